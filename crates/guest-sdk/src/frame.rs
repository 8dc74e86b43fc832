//! The framing of batches: an offset table over one byte buffer.

/// A frame as it comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    table: &'a [u8],
    /// All items, end to end.
    pub(crate) payload: &'a [u8],
    pub(crate) count: usize,
}

impl<'a> Frame<'a> {
    /// Reads the head; the offsets are read one by one.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first_chunk::<4>()?;
        let count = u32::from_le_bytes(*head) as usize;
        let (table, payload) = rest.split_at_checked(count.checked_add(1)?.checked_mul(4)?)?;
        Some(Self { table, payload, count })
    }

    /// Returns the place of item `index` in the payload; an empty one if there is none.
    #[inline]
    pub(crate) fn range(&self, index: usize) -> (usize, usize) {
        let Some(pair) = self.table.get(4 * index..).and_then(<[u8]>::first_chunk::<8>) else {
            return (0, 0);
        };
        let pair = u64::from_le_bytes(*pair);
        let (start, end) = ((pair & 0xFFFF_FFFF) as usize, (pair >> 32) as usize);
        if start <= end && end <= self.payload.len() { (start, end) } else { (0, 0) }
    }
}

/// Returns the bytes of a frame.
pub(crate) fn write(offsets: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 * (offsets.len() + 1) + payload.len());
    let count = u32::try_from(offsets.len().saturating_sub(1)).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&count.to_le_bytes());
    bytes.extend(offsets.iter().flat_map(|offset| offset.to_le_bytes()));
    bytes.extend_from_slice(payload);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let bytes = write(&[0, 1, 1, 3], b"abc");
        let frame = Frame::read(&bytes).unwrap();
        assert_eq!((frame.count, frame.payload), (3, &b"abc"[..]));
        assert_eq!([0, 1, 2, 3].map(|index| frame.range(index)), [(0, 1), (1, 1), (1, 3), (0, 0)]);
    }

    #[test]
    fn broken_frames_give_no_range_outside() {
        for bytes in [&b""[..], &[1, 0, 0], &[9, 0, 0, 0, 0, 0, 0, 0], &[255; 64]] {
            assert!(Frame::read(bytes).is_none());
        }
        let lying = write(&[5, 2, 900], b"abc");
        let frame = Frame::read(&lying).unwrap();
        assert_eq!([frame.range(0), frame.range(1)], [(0, 0), (0, 0)]);
    }
}
