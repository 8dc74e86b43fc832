//! Who is let in as which worker.

use std::collections::HashMap;

use teraslice_model::id::WorkerId;
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The highest incarnation of each worker that was let in, and how its session is ended.
#[derive(Debug, Default)]
pub(super) struct Admission(HashMap<WorkerId, (u64, CancellationToken)>);

impl Admission {
    /// Lets a worker in and ends its earlier session; refuses it when a later process has been let in.
    pub(super) fn admit(
        &mut self,
        worker: &WorkerId,
        incarnation: u64,
        ends: CancellationToken,
    ) -> Result<(), Status> {
        match self.0.get(worker) {
            Some((highest, _)) if *highest > incarnation => Err(Status::aborted(format!(
                "incarnation {highest} of {worker} has connected, this is {incarnation}"
            ))),
            _ => {
                if let Some((_, earlier)) = self.0.insert(worker.clone(), (incarnation, ends)) {
                    earlier.cancel();
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_in_the_highest_incarnation_and_the_same_again() {
        let (mut admission, worker) = (Admission::default(), WorkerId::new("w"));
        let tokens: Vec<_> = (0..4).map(|_| CancellationToken::new()).collect();
        let mut admit = |incarnation, n: usize| admission.admit(&worker, incarnation, tokens[n].clone());
        assert!(admit(2, 0).is_ok());
        assert!(admit(2, 1).is_ok());
        assert!(tokens[0].is_cancelled() && !tokens[1].is_cancelled());
        assert!(admit(3, 2).is_ok());
        assert!(tokens[1].is_cancelled());
        let refused = admit(2, 3).unwrap_err();
        assert_eq!(refused.message(), "incarnation 3 of w has connected, this is 2");
        assert!(!tokens[2].is_cancelled());
    }

    #[test]
    fn keeps_workers_apart() {
        let mut admission = Admission::default();
        let one = CancellationToken::new();
        assert!(admission.admit(&WorkerId::new("a"), 9, one.clone()).is_ok());
        assert!(admission.admit(&WorkerId::new("b"), 1, CancellationToken::new()).is_ok());
        assert!(!one.is_cancelled());
    }
}
