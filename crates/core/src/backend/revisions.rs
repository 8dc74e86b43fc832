//! Which wish of whom was applied last, so that an earlier one is refused.

use std::collections::BTreeMap;

use teraslice_model::id::{ExId, Term};

use super::BackendError;

/// The wishes that were applied last.
#[derive(Debug, Default)]
pub struct Revisions {
    /// The latest term.
    pub term: Term,
    applied: BTreeMap<ExId, (Term, u64)>,
}

impl Revisions {
    /// Begins with a term that is known already.
    #[must_use]
    pub fn since(term: Term) -> Self {
        Self { term, applied: BTreeMap::new() }
    }

    /// Takes the revision of a wish, unless a later one was applied.
    ///
    /// # Errors
    ///
    /// [`BackendError::Stale`].
    pub fn take(&mut self, ex_id: ExId, term: Term, revision: u64) -> Result<(), BackendError> {
        let applied = self.applied.entry(ex_id).or_default();
        if (term, revision) < *applied {
            return Err(BackendError::Stale { revision });
        }
        *applied = (term, revision);
        Ok(())
    }

    /// Forgets an execution.
    pub fn forget(&mut self, ex_id: ExId) {
        self.applied.remove(&ex_id);
    }

    /// Lists the executions.
    #[must_use]
    pub fn executions(&self) -> Vec<ExId> {
        self.applied.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_an_earlier_wish_of_the_same_term_only() {
        let mut revisions = Revisions::default();
        let ex_id = ExId::from_random([1; 16]);
        revisions.take(ex_id, Term(1), 8).unwrap();
        revisions.take(ex_id, Term(1), 8).unwrap();
        assert!(matches!(revisions.take(ex_id, Term(1), 7), Err(BackendError::Stale { revision: 7 })));
        revisions.take(ex_id, Term(2), 0).unwrap();
        revisions.forget(ex_id);
        revisions.take(ex_id, Term(1), 1).unwrap();
    }
}
