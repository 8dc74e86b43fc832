//! Batch framing: bytes from a guest are a frame or an error, and a frame is written as it was read.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use teraslice_model::batch::{Batch, Frame};

fuzz_target!(|data: &[u8]| {
    let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(data)) else { return };
    let mut written = Vec::new();
    frame.encode(&mut written);
    assert_eq!(written, data);
    let items: Vec<Vec<u8>> = frame.iter().map(<[u8]>::to_vec).collect();
    assert_eq!(items.len(), frame.len());
    let batch = Batch::new(frame);
    let parts = batch.clone().split();
    let rejoined: Vec<Vec<u8>> =
        parts.iter().flat_map(|part| part.records().iter().map(<[u8]>::to_vec).collect::<Vec<_>>()).collect();
    assert_eq!(rejoined, items);
    for index in 0..batch.len() {
        assert!(batch.record(index).len() <= items[index].len());
    }
});
