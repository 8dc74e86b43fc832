//! Sends portions of items, and again what may succeed later.

use std::{sync::Arc, time::Duration};

use teraslice_core::{context::Context, operation::OperationError};
use teraslice_elastic::{BulkFailure, Client, Error};
use tokio::time::sleep;

use super::{
    body::Portion,
    item::Mode,
    pace::{Permit, Target},
};
use crate::elastic::{PATIENCE, failed};

/// Before refused items are sent again, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Sends portions to one target.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) client: Client,
    pub(super) target: Arc<Target>,
    pub(super) context: Context,
    pub(super) mode: Mode,
}

/// A record that the server refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) record: u32,
    pub(super) reason: String,
}

/// What to do about an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing: what it wants is the case, or nothing is there to change.
    Ignore,
    /// Send it again later; whether the server is short of room.
    Again {
        is_busy: bool,
    },
    Refuse,
}

impl Sender {
    /// Sends items until each is done or refused; returns the refused records in order.
    pub(super) async fn send(self, portion: Portion, permit: Permit) -> Result<Vec<Refusal>, OperationError> {
        let deadline = self.context.now() + PATIENCE;
        let mut backoff = BACKOFF.0;
        let mut refusals = Vec::new();
        let mut waiting = vec![portion];
        let mut permit = Some(permit);
        while let Some(portion) = waiting.pop() {
            let permit = match permit.take() {
                Some(permit) => permit,
                None => self.target.permit().await,
            };
            let start = self.context.now();
            let outcome = match self.client.bulk(portion.lines(), "", PATIENCE).await {
                Ok(outcome) => outcome,
                Err(error) if error.status() == Some(413) => {
                    permit.too_large(portion.lines().len());
                    self.cut(&portion, &error, &mut waiting, &mut refusals);
                    continue;
                }
                Err(error) => return Err(failed(&error)),
            };
            let (again, is_busy) = self.sort(&portion, &outcome.failed, &mut refusals);
            if is_busy || outcome.tries > 1 {
                permit.refused();
            } else {
                permit.answered(portion.len(), start.elapsed());
            }
            let Some(first) = again.first() else { continue };
            let pause = self.context.jittered(backoff);
            if self.context.now() + pause >= deadline {
                return Err(OperationError::retry(told(&self.client, first)));
            }
            tracing::debug!(items = again.len(), kind = first.kind, "items are sent again");
            sleep(pause).await;
            backoff = (backoff * 2).min(BACKOFF.1);
            waiting.push(portion.only(&again.iter().map(|failure| failure.at).collect::<Vec<_>>()));
        }
        refusals.sort_by_key(|refusal| refusal.record);
        refusals.dedup_by_key(|refusal| refusal.record);
        Ok(refusals)
    }

    /// Cuts a portion that is too large for the server.
    fn cut(&self, portion: &Portion, error: &Error, waiting: &mut Vec<Portion>, refusals: &mut Vec<Refusal>) {
        if portion.len() == 1 {
            refusals.push(Refusal { record: portion.record(0), reason: error.to_string() });
        } else {
            let [first, second] = portion.halves();
            waiting.extend([second, first]);
        }
    }

    /// Sorts out what failed; returns what is to be sent again, and whether the server is short of room.
    fn sort<'a>(
        &self,
        portion: &Portion,
        failures: &'a [BulkFailure],
        refusals: &mut Vec<Refusal>,
    ) -> (Vec<&'a BulkFailure>, bool) {
        let mut again = Vec::new();
        let mut is_busy = false;
        for failure in failures {
            match self.judge(failure) {
                Verdict::Ignore => {}
                Verdict::Again { is_busy: now } => {
                    is_busy |= now;
                    again.push(failure);
                }
                Verdict::Refuse => {
                    let record = portion.record(failure.at);
                    refusals.push(Refusal { record, reason: told(&self.client, failure) });
                }
            }
        }
        (again, is_busy)
    }

    fn judge(&self, failure: &BulkFailure) -> Verdict {
        let kind = failure.kind.as_str();
        match failure.status {
            _ if failure.is_passing() => Verdict::Again { is_busy: failure.status == 429 },
            // Somebody else has changed the document in between.
            409 if self.mode.is_update() && kind == "version_conflict_engine_exception" => {
                Verdict::Again { is_busy: false }
            }
            409 => Verdict::Ignore,
            // What was to be deleted is not there.
            404 if kind == "unknown" || kind == "document_missing_exception" => Verdict::Ignore,
            _ if kind == "document_already_exists_exception" => Verdict::Ignore,
            _ => Verdict::Refuse,
        }
    }
}

fn told(client: &Client, failure: &BulkFailure) -> String {
    format!("connection {:?}: {}: {}", client.name(), failure.kind, failure.reason)
}
