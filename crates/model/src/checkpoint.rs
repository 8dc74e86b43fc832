//! Checkpoints: how far a slicer has come.

use serde::{Deserialize, Serialize};

use crate::slice::Request;

/// The position of one slicer, written together with the slices made up to it.
///
/// A slicer that starts from a checkpoint makes exactly the slices after `order`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The slicer, from 0.
    pub slicer_id: u32,
    /// `slicer_order` of the last slice made; 0 before the first.
    pub order: u64,
    /// Where the slicer goes on, in its own terms; absent before the first slice.
    pub position: Option<Request>,
    /// Whether the slicer has nothing more to make.
    pub is_exhausted: bool,
}

impl Checkpoint {
    /// Returns the checkpoint of a slicer that has made nothing.
    #[must_use]
    pub const fn start(slicer_id: u32) -> Self {
        Self { slicer_id, order: 0, position: None, is_exhausted: false }
    }
}
