//! Keeps flushes in order.
//!
//! A client whose connection is cut sends its flush again on another one. What was held up in the first may arrive after later
//! flushes, and would take the ledger back. So each try is numbered, and one that comes after a later one is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use teraslice_core::store::{StoreError, Writer};
use teraslice_model::id::ExId;

/// Executions that are remembered; beyond that those at rest are forgotten.
const EXECUTIONS_MAX: usize = 4_096;

/// One try of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Try {
    pub(super) writer: Writer,
    /// Who numbers.
    pub(super) client: u64,
    /// Ascending.
    pub(super) number: u64,
}

/// The last try of each execution. Whoever holds the inner lock writes.
#[derive(Debug, Default)]
pub(super) struct Order(Mutex<HashMap<ExId, Arc<tokio::sync::Mutex<Option<Try>>>>>);

impl Order {
    /// Returns the last try of an execution, to be locked while one writes.
    pub(super) fn of(&self, id: ExId) -> Arc<tokio::sync::Mutex<Option<Try>>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= EXECUTIONS_MAX && !known.contains_key(&id) {
            known.retain(|_, last| Arc::strong_count(last) > 1);
        }
        Arc::clone(known.entry(id).or_default())
    }
}

/// Takes down a try, unless it is late. One of an earlier writer is left to the store, which refuses it.
pub(super) fn check(last: &mut Option<Try>, this: Try) -> Result<(), StoreError> {
    match last {
        Some(last) if last.writer > this.writer => Ok(()),
        Some(last)
            if (last.writer, last.client) == (this.writer, this.client) && last.number >= this.number =>
        {
            Err(StoreError::Unavailable { reason: "a later flush has come before this one".to_owned() })
        }
        _ => {
            *last = Some(this);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::id::{Epoch, Generation};

    use super::*;

    fn one(epoch: u64, client: u64, number: u64) -> Try {
        Try { writer: Writer { generation: Generation(1), epoch: Epoch(epoch) }, client, number }
    }

    #[test]
    fn refuses_what_comes_after_a_later_one() {
        let mut last = None;
        for number in [1, 2, 5] {
            assert!(check(&mut last, one(1, 7, number)).is_ok());
        }
        for number in [1, 4, 5] {
            assert!(check(&mut last, one(1, 7, number)).is_err());
        }
        assert!(check(&mut last, one(1, 7, 6)).is_ok());
    }

    #[test]
    fn begins_anew_with_a_later_writer_or_another_client() {
        let mut last = None;
        for this in [one(1, 7, 9), one(2, 8, 1), one(2, 9, 1)] {
            assert!(check(&mut last, this).is_ok());
            assert_eq!(last, Some(this));
        }
        assert!(check(&mut last, one(1, 7, 10)).is_ok(), "the store refuses it");
        assert_eq!(last, Some(one(2, 9, 1)));
    }

    #[test]
    fn forgets_executions_at_rest_when_there_are_many() {
        let order = Order::default();
        let id = |n: usize| ExId::new(uuid::Uuid::from_u128(n as u128));
        let busy = order.of(id(0));
        for n in 1..=EXECUTIONS_MAX {
            drop(order.of(id(n)));
        }
        assert!(order.0.lock().unwrap().len() < 3);
        assert!(Arc::ptr_eq(&busy, &order.of(id(0))));
    }
}
