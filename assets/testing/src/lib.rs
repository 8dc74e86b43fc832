//! Operations that misbehave on purpose, for tests of the host.
//!
//! Each does its harm when a record's field of its own name, such as `trap`, is `true`.

mod gather;
mod harm;
mod refuse;
mod report;

pub use gather::Gather;
pub use harm::{Grow, OutputBomb, Recurse, Spin, Trap};
pub use refuse::{Fail, Fatal, RetryLater};
pub use report::{Clock, Log};

teraslice_guest_sdk::asset!(
    Clock, Fail, Fatal, Gather, Grow, Log, OutputBomb, Recurse, RetryLater, Spin, Trap
);

use teraslice_guest_sdk::{Name, Record, Value};

/// Settings of an operation that has none.
#[derive(Debug, serde::Deserialize)]
pub struct NoSettings {}

const NO_SETTINGS: &str = r#"{"type":"object","properties":{}}"#;

fn is_set(record: &Record<'_>, field: &Name) -> bool {
    record.get(field).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use teraslice_guest_sdk::testing;

    use super::*;

    #[test]
    fn operations_are_described() {
        assert_eq!(testing::description_faults(OPERATIONS), [""; 0]);
    }
}
