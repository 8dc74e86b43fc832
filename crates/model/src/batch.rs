//! Batches: records as an offset table over one byte buffer, and their framing.

use std::ops::Range;

use bytes::Bytes;

/// A run of records that is processed at once, with optional metadata per record.
///
/// A record's bytes may end in one line feed, which is not part of the record: a line file is handed on without
/// copying its records apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    records: Frame,
    metadata: Option<Frame>,
}

impl Batch {
    /// Batches aim at this many bytes.
    pub const BYTES_TARGET: usize = 256 * 1024;
    /// Batches hold at most this many records.
    pub const RECORDS_MAX: usize = 1_000;

    /// Makes a batch of records without metadata.
    #[must_use]
    pub const fn new(records: Frame) -> Self {
        Self { records, metadata: None }
    }

    /// Makes a batch of records, each with its metadata: a JSON object, or empty for none.
    ///
    /// # Errors
    ///
    /// When the two frames differ in length.
    pub fn with_metadata(records: Frame, metadata: Frame) -> Result<Self, FrameError> {
        if records.len() != metadata.len() {
            return Err(FrameError::Metadata { records: records.len(), items: metadata.len() });
        }
        Ok(Self { records, metadata: Some(metadata) })
    }

    /// Returns the number of records.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Tells whether there is no record.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Returns the bytes of all records.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.records.payload.len()
    }

    /// Returns the records, each perhaps with its closing line feed.
    #[must_use]
    pub const fn records(&self) -> &Frame {
        &self.records
    }

    /// Returns the metadata, if any record has some.
    #[must_use]
    pub const fn metadata(&self) -> Option<&Frame> {
        self.metadata.as_ref()
    }

    /// Returns record `index` without its closing line feed.
    ///
    /// # Panics
    ///
    /// When there is no such record.
    #[must_use]
    pub fn record(&self, index: usize) -> &[u8] {
        let bytes = self.records.get(index);
        bytes.strip_suffix(b"\n").unwrap_or(bytes)
    }

    /// Cuts the batch into batches of at most [`Self::RECORDS_MAX`] records and about [`Self::BYTES_TARGET`] bytes, which
    /// share its memory.
    #[must_use]
    pub fn split(self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut from = 0;
        while from < self.len() {
            let fits = |to: &usize| *to == from + 1 || self.records.bytes(from..*to) <= Self::BYTES_TARGET;
            let last = (from + Self::RECORDS_MAX).min(self.len());
            if from == 0 && last == self.len() && fits(&last) {
                return vec![self];
            }
            let to = (from + 1..=last).take_while(fits).last().unwrap_or(last);
            parts.push(self.slice(from..to));
            from = to;
        }
        parts
    }

    /// Returns some of the records, which share the batch's memory.
    ///
    /// # Panics
    ///
    /// When there are not as many records.
    #[must_use]
    pub fn slice(&self, records: Range<usize>) -> Self {
        let metadata = self.metadata.as_ref().map(|frame| frame.slice(records.clone()));
        Self { records: self.records.slice(records), metadata }
    }

    /// Returns the metadata of record `index` as JSON text, if it has any.
    #[must_use]
    pub fn metadata_of(&self, index: usize) -> Option<&[u8]> {
        self.metadata.as_ref().map(|frame| frame.get(index)).filter(|json| !json.is_empty())
    }
}

/// Items as an offset table over one byte buffer.
///
/// As bytes, little-endian (the framing of `teraslice:asset`):
///
/// ```text
/// [u32 count][u32 offset * (count + 1)][payload]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Begins with 0, never decreases, ends with the payload's length; one more than there are items.
    offsets: Vec<u32>,
    payload: Bytes,
}

/// Bytes that are no frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The table does not fit into the bytes.
    #[error("frame of {bytes} bytes is too short for {count} items")]
    Short {
        /// Items announced.
        count: u64,
        /// Bytes there are.
        bytes: usize,
    },
    /// An offset is smaller than the one before, or points behind the end.
    #[error("frame offset {index} is out of order: {offset}")]
    Offset {
        /// Its place in the table.
        index: usize,
        /// Its value.
        offset: u32,
    },
    /// The last offset is not the payload's length.
    #[error("frame ends at {end}, its payload has {payload} bytes")]
    End {
        /// The last offset.
        end: u32,
        /// Bytes of payload.
        payload: usize,
    },
    /// The payload is larger than an offset can say.
    #[error("frame of {bytes} bytes is too large: the limit is 4 GiB")]
    Large {
        /// Bytes of payload.
        bytes: usize,
    },
    /// Metadata for another number of records.
    #[error("metadata for {items} records comes with {records} records")]
    Metadata {
        /// Records there are.
        records: usize,
        /// Metadata items there are.
        items: usize,
    },
}

impl Default for Frame {
    fn default() -> Self {
        Self { offsets: vec![0], payload: Bytes::new() }
    }
}

impl Frame {
    /// Makes a frame of a payload and its offset table.
    ///
    /// # Errors
    ///
    /// When the table does not begin with 0, decreases, or does not end with the payload's length.
    pub fn new(offsets: Vec<u32>, payload: Bytes) -> Result<Self, FrameError> {
        if offsets.first() != Some(&0) {
            let offset = offsets.first().copied().unwrap_or_default();
            return Err(FrameError::Offset { index: 0, offset });
        }
        if let Some(at) = offsets.windows(2).position(|pair| pair[1] < pair[0]) {
            return Err(FrameError::Offset { index: at + 1, offset: offsets[at + 1] });
        }
        let end = offsets[offsets.len() - 1];
        if end as usize != payload.len() {
            return Err(FrameError::End { end, payload: payload.len() });
        }
        Ok(Self { offsets, payload })
    }

    /// Makes a frame of separate items.
    ///
    /// # Errors
    ///
    /// When the items add up to more than 4 GiB.
    pub fn of<I>(items: I) -> Result<Self, FrameError>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        let mut builder = FrameBuilder::default();
        for item in items {
            builder.push(item.as_ref())?;
        }
        Ok(builder.finish())
    }

    /// Reads a frame; the payload shares memory with `bytes`.
    ///
    /// # Errors
    ///
    /// When `bytes` are no frame; nothing is allocated beyond their own length.
    pub fn decode(bytes: &Bytes) -> Result<Self, FrameError> {
        let word = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let count = word(0).ok_or(FrameError::Short { count: 0, bytes: bytes.len() })?;
        let table = 4 + 4 * (u64::from(count) + 1);
        let table = usize::try_from(table)
            .ok()
            .filter(|end| *end <= bytes.len())
            .ok_or(FrameError::Short { count: u64::from(count), bytes: bytes.len() })?;
        let offsets =
            bytes[4..table].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Self::new(offsets, bytes.slice(table..))
    }

    /// Writes the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(4 * (self.offsets.len() + 1) + self.payload.len());
        let count = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        for offset in &self.offsets {
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(&self.payload);
    }

    /// Returns the number of items.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tells whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all items' bytes, end to end.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Returns item `index`.
    ///
    /// # Panics
    ///
    /// When there is no such item.
    #[must_use]
    pub fn get(&self, index: usize) -> &[u8] {
        &self.payload[self.offsets[index] as usize..self.offsets[index + 1] as usize]
    }

    /// Returns some of the items; they share the payload's memory.
    ///
    /// # Panics
    ///
    /// When there are not as many items.
    #[must_use]
    pub fn slice(&self, items: Range<usize>) -> Self {
        let base = self.offsets[items.start];
        let offsets: Vec<_> =
            self.offsets[items.start..=items.end].iter().map(|offset| offset - base).collect();
        let payload = self.payload.slice(base as usize..self.offsets[items.end] as usize);
        Self { offsets, payload }
    }

    /// Returns how many bytes some of the items take.
    fn bytes(&self, items: Range<usize>) -> usize {
        (self.offsets[items.end] - self.offsets[items.start]) as usize
    }

    /// Returns the items one by one.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

/// Builds a [`Frame`] item by item.
#[derive(Clone, Debug)]
pub struct FrameBuilder {
    offsets: Vec<u32>,
    payload: Vec<u8>,
}

impl Default for FrameBuilder {
    fn default() -> Self {
        Self { offsets: vec![0], payload: Vec::new() }
    }
}

impl FrameBuilder {
    /// Adds an item.
    ///
    /// # Errors
    ///
    /// When the frame would pass 4 GiB; it stays as it was.
    pub fn push(&mut self, item: &[u8]) -> Result<(), FrameError> {
        let bytes = self.payload.len() + item.len();
        let end = u32::try_from(bytes).map_err(|_| FrameError::Large { bytes })?;
        self.payload.extend_from_slice(item);
        self.offsets.push(end);
        Ok(())
    }

    /// Returns the number of items.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Tells whether there is no item.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the bytes of all items.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Returns the frame.
    #[must_use]
    pub fn finish(self) -> Frame {
        Frame { offsets: self.offsets, payload: self.payload.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn encoded(frame: &Frame) -> Bytes {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        bytes.into()
    }

    #[test]
    fn keeps_the_framing_of_version_one() {
        let frame = Frame::of(["ab", "", "c"]).unwrap();
        let sample = b"\x03\0\0\0\0\0\0\0\x02\0\0\0\x02\0\0\0\x03\0\0\0abc";
        assert_eq!(encoded(&frame), sample[..]);
        assert_eq!(Frame::decode(&Bytes::from_static(sample)).unwrap(), frame);
    }

    #[test]
    fn leaves_a_closing_line_feed_out_of_the_record() {
        let batch = Batch::new(Frame::of(["{}\n", "{\"a\":1}"]).unwrap());
        assert_eq!(batch.record(0), b"{}");
        assert_eq!(batch.record(1), b"{\"a\":1}");
    }

    #[test]
    fn refuses_metadata_of_another_length() {
        let refused = Batch::with_metadata(Frame::of(["{}"]).unwrap(), Frame::default());
        assert_eq!(refused.unwrap_err(), FrameError::Metadata { records: 1, items: 0 });
    }

    #[test]
    fn refuses_bytes_that_are_no_frame() {
        let cases: [(&[u8], &str); 5] = [
            (b"", "frame of 0 bytes is too short for 0 items"),
            (b"\xff\xff\xff\xff", "frame of 4 bytes is too short for 4294967295 items"),
            (b"\0\0\0\0\x01\0\0\0a", "frame offset 0 is out of order: 1"),
            (b"\x01\0\0\0\0\0\0\0\x02\0\0\0a", "frame ends at 2, its payload has 1 bytes"),
            (b"\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0a", "frame offset 2 is out of order: 0"),
        ];
        for (bytes, message) in cases {
            let refused = Frame::decode(&Bytes::from_static(bytes)).unwrap_err();
            assert_eq!(refused.to_string(), message);
        }
    }

    #[test]
    fn splits_by_records_and_by_bytes() {
        let many = Batch::new(Frame::of(vec!["x"; 2_500]).unwrap());
        let lengths: Vec<_> = many.split().iter().map(Batch::len).collect();
        assert_eq!(lengths, [1_000, 1_000, 500]);
        let large = "x".repeat(Batch::BYTES_TARGET - 1);
        let parts = Batch::new(Frame::of(["a", &large, "b", "c"]).unwrap()).split();
        let lengths: Vec<_> = parts.iter().map(Batch::len).collect();
        assert_eq!(lengths, [2, 2]);
        assert_eq!(parts[1].record(1), b"c");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(items: Vec<Vec<u8>>) {
            let frame = Frame::of(&items).unwrap();
            let read = Frame::decode(&encoded(&frame)).unwrap();
            assert!(read.iter().eq(items.iter().map(Vec::as_slice)));
        }

        #[test]
        fn never_panics_on_bytes_from_outside(bytes in any::<Vec<u8>>()) {
            if let Ok(frame) = Frame::decode(&bytes.into()) {
                assert_eq!(frame.iter().map(<[u8]>::len).sum::<usize>(), frame.payload().len());
            }
        }
    }
}
