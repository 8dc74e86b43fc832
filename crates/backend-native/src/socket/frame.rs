//! Frames: a length of four bytes, big-endian, then so many bytes of JSON.

use std::io;

use bytes::{Buf, BufMut, BytesMut};
use serde::{Serialize, de::DeserializeOwned};

/// Bytes of the length.
const HEAD: usize = 4;

/// Bytes that are no frame, or a message that fits into none.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The frame is too long.
    #[error("a frame of {len} bytes is longer than {max}")]
    TooLong { len: usize, max: usize },
    /// The content is no message.
    #[error("a frame holds no message of this protocol")]
    Content(#[source] serde_json::Error),
}

impl From<FrameError> for io::Error {
    fn from(error: FrameError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// Appends a message as a frame; on an error nothing is appended.
pub(super) fn encode<T: Serialize>(
    message: &T,
    out: &mut BytesMut,
    len_max: usize,
) -> Result<(), FrameError> {
    let start = out.len();
    out.put_u32(0);
    let written = serde_json::to_writer(out.writer(), message).map_err(FrameError::Content);
    let len = out.len() - start - HEAD;
    let framed = written.and_then(|()| match u32::try_from(len) {
        Ok(short) if len <= len_max => Ok(short),
        _ => Err(FrameError::TooLong { len, max: len_max }),
    });
    match framed {
        Ok(len) => {
            out[start..start + HEAD].copy_from_slice(&len.to_be_bytes());
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Takes the first message out of what was received; none while its frame is not complete.
pub(super) fn decode<T: DeserializeOwned>(
    received: &mut BytesMut,
    len_max: usize,
) -> Result<Option<T>, FrameError> {
    let Some(head) = received.first_chunk::<HEAD>() else { return Ok(None) };
    let len = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
    if len > len_max {
        return Err(FrameError::TooLong { len, max: len_max });
    }
    if received.len() < HEAD + len {
        received.reserve(HEAD + len - received.len());
        return Ok(None);
    }
    received.advance(HEAD);
    let content = received.split_to(len);
    serde_json::from_slice(&content).map(Some).map_err(FrameError::Content)
}

#[cfg(test)]
mod tests {
    use teraslice_core::link::FromWorker;

    use super::*;

    #[test]
    fn reads_back_what_it_writes_however_it_is_cut() {
        let messages = [FromWorker::Credit(7), FromWorker::Heartbeat, FromWorker::Goodbye];
        let mut all = BytesMut::new();
        for message in &messages {
            encode(message, &mut all, 100).unwrap();
        }
        for cut in 1..all.len() {
            let (mut received, mut found) = (BytesMut::new(), Vec::new());
            for part in all.chunks(cut) {
                received.extend_from_slice(part);
                while let Some(message) = decode::<FromWorker>(&mut received, 100).unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, messages, "cut into {cut}");
        }
    }

    #[test]
    fn refuses_a_frame_that_is_too_long_before_it_is_there() {
        let mut received = BytesMut::from(&[0, 0, 1, 0][..]);
        let error = decode::<FromWorker>(&mut received, 255).unwrap_err();
        assert_eq!(error.to_string(), "a frame of 256 bytes is longer than 255");
    }

    #[test]
    fn appends_nothing_when_a_message_does_not_fit() {
        let mut out = BytesMut::from(&b"before"[..]);
        encode(&FromWorker::Heartbeat, &mut out, 3).unwrap_err();
        assert_eq!(&out[..], b"before");
    }

    #[test]
    fn refuses_what_is_no_message() {
        let mut received = BytesMut::from(&b"\0\0\0\x03???"[..]);
        assert!(matches!(decode::<FromWorker>(&mut received, 10), Err(FrameError::Content(_))));
    }
}
