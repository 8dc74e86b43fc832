//! A growing buffer that copies short pieces without calling out of the sandbox.

/// Bytes written one piece after the other.
///
/// A copy of unknown length is a call to the host, which costs more than the copy where pieces are short. So the buffer keeps
/// room behind its end, and short pieces are copied in blocks of fixed size that may reach beyond them.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Written up to `len`; whatever lies behind is left over.
    bytes: Vec<u8>,
    len: usize,
}

impl Buffer {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Returns all bytes, those behind the end included; places up to `len` are what was written.
    pub(crate) fn as_padded(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    pub(crate) fn push(&mut self, byte: u8) {
        if self.len == self.bytes.len() {
            self.grow(1);
        }
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Appends `from[start..end]`; nothing if there is no such range.
    #[inline]
    pub(crate) fn push_range(&mut self, from: &[u8], start: usize, end: usize) {
        let len = end.wrapping_sub(start);
        if self.bytes.len() - self.len < len.saturating_add(BLOCK) {
            if from.get(start..end).is_none() {
                return;
            }
            self.grow(len + BLOCK);
        }
        if len <= SHORT && self.push_blocks(from, start, len).is_some() {
            self.len += len;
        } else if let Some(piece) = from.get(start..end)
            && let Some(place) = self.bytes.get_mut(self.len..self.len + len)
        {
            place.copy_from_slice(piece);
            self.len += len;
        }
    }

    pub(crate) fn push_slice(&mut self, piece: &[u8]) {
        self.push_range(piece, 0, piece.len());
    }

    /// Copies at least `len` bytes; `None` if the blocks would reach beyond what there is.
    #[inline]
    fn push_blocks(&mut self, from: &[u8], start: usize, len: usize) -> Option<()> {
        let from = from.get(start..)?;
        let to = self.bytes.get_mut(self.len..)?;
        if len <= 16 {
            *to.first_chunk_mut::<16>()? = *from.first_chunk::<16>()?;
        } else if len <= 32 {
            *to.first_chunk_mut::<32>()? = *from.first_chunk::<32>()?;
        } else {
            *to.first_chunk_mut::<64>()? = *from.first_chunk::<64>()?;
        }
        Some(())
    }

    #[cold]
    fn grow(&mut self, by: usize) {
        let len = (self.len + by).max(2 * self.bytes.len()).max(1024);
        self.bytes.resize(len, 0);
    }
}

const BLOCK: usize = 64;
const SHORT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_are_copied_whole() {
        let from: Vec<u8> = (0..=255).collect();
        let mut buffer = Buffer::default();
        let mut expected = Vec::new();
        for len in 0..=200 {
            for start in [0, 1, 256 - len] {
                buffer.push_range(&from, start, start + len);
                expected.extend_from_slice(&from[start..start + len]);
            }
            buffer.push(7);
            expected.push(7);
        }
        assert_eq!(buffer.as_slice(), expected);
        buffer.clear();
        assert_eq!(buffer.as_slice(), b"");
    }

    #[test]
    fn a_range_that_does_not_exist_is_left_out() {
        let mut buffer = Buffer::default();
        buffer.push_range(b"abc", 2, 9);
        buffer.push_range(b"abc", 3, 1);
        buffer.push_slice(b"ok");
        assert_eq!(buffer.as_slice(), b"ok");
    }
}
