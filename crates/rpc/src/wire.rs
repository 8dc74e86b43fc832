//! What goes over the wire: the generated messages, and how they stand for what core knows.

pub(crate) mod failure;
mod ledger;
mod link;
mod slice;

#[expect(
    unreachable_pub,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    reason = "generated code"
)]
pub(crate) mod v1 {
    tonic::include_proto!("teraslice.v1");
}

pub(crate) use ledger::{flush, flush_parts};
pub(crate) use slice::{id, numbers};

/// A message that can be read but means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message has no {0}, or one that nobody knows")]
pub struct Malformed(pub(crate) &'static str);

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> Self {
        Self::invalid_argument(malformed.to_string())
    }
}
