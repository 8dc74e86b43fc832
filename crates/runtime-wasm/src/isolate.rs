//! Chains that look at one record at a time: a record that breaks them is found, taken out, and all others are kept.

use std::time::Duration;

use teraslice_core::operation::{OperationError, Processed, Processor, Rejected};
use teraslice_model::batch::Batch;

use crate::{
    instance::{Fault, FaultKind, Instance},
    processor::{Attempt, add, nothing},
};

/// A part of a batch gets at least this long.
const TIME_LEAST: Duration = Duration::from_millis(20);

/// Runs batches through instances that keep nothing from one record to the next.
///
/// ```text
/// batch --fault--> the same batch on a fresh instance          it may not have been the records (not if memory was short)
///       --fault--> each half on a fresh instance, and so on    what passes is kept
///       --fault--> one record: which step breaks on it?        it is rejected there, with the fault as the reason
/// ```
pub(crate) struct PerRecord {
    attempt: Attempt,
    /// None after a fault: an instance that broke off is never called again.
    instance: Option<Instance>,
}

/// A record as the step that breaks on it gets it.
struct Found {
    step: usize,
    record: Batch,
    /// What became of it in the steps before.
    before: Option<Processed>,
}

impl PerRecord {
    pub(crate) fn open(attempt: Attempt) -> Result<Self, OperationError> {
        let instance = Some(attempt.open(attempt.steps())?);
        Ok(Self { attempt, instance })
    }

    fn try_batch(
        &mut self,
        batch: &Batch,
        limit: Option<Duration>,
    ) -> Result<Result<Processed, Fault>, OperationError> {
        let steps = self.attempt.steps();
        let mut instance = match self.instance.take() {
            Some(instance) => instance,
            None => self.attempt.open(steps)?,
        };
        let answer = self.attempt.process(&mut instance, batch, steps, limit)?;
        if answer.is_ok() && !instance.wants_recycling() {
            self.instance = Some(instance);
        }
        Ok(answer)
    }

    fn halve(
        &mut self,
        batch: &Batch,
        fault: Fault,
        whole: Duration,
        sum: &mut Processed,
    ) -> Result<(), OperationError> {
        if batch.len() == 1 {
            return self.take_out(batch, fault, sum);
        }
        let middle = batch.len() / 2;
        for half in [batch.slice(0..middle), batch.slice(middle..batch.len())] {
            // Less time for less; who is only slow gets all of it in the end, alone.
            let limit = (whole / 2).max(TIME_LEAST);
            match self.try_batch(&half, Some(limit))? {
                Ok(processed) => add(sum, processed),
                Err(fault) => self.halve(&half, fault, limit, sum)?,
            }
        }
        Ok(())
    }

    /// Rejects a record, if it breaks the chain even when it has all the time.
    fn take_out(&mut self, record: &Batch, fault: Fault, sum: &mut Processed) -> Result<(), OperationError> {
        let fault = match fault.kind {
            FaultKind::Timeout => match self.try_batch(record, None)? {
                Ok(processed) => {
                    add(sum, processed);
                    return Ok(());
                }
                Err(fault) => fault,
            },
            _ => fault,
        };
        self.attempt.blame(&fault)?;
        let Found { step, record, before } = self.find_step(record)?;
        if let Some(before) = before {
            // The counts of the steps before; what they let out went into the one at fault.
            add(sum, Processed { batches: Vec::new(), ..before });
        }
        let counts = &mut sum.counts[step];
        counts.received += 1;
        counts.failed += 1;
        sum.rejected.push(Rejected {
            step,
            reason: self.attempt.reason(&fault),
            record: record.record(0).to_vec(),
            metadata: record.metadata_of(0).map(<[u8]>::to_vec),
            is_fault: true,
        });
        Ok(())
    }

    /// Finds the first step that breaks on a record, by running it through ever fewer of them.
    fn find_step(&mut self, record: &Batch) -> Result<Found, OperationError> {
        let (mut good, mut bad) = (0, self.attempt.steps());
        let mut found = Found { step: 0, record: record.clone(), before: None };
        while bad - good > 1 {
            let steps = good.midpoint(bad);
            let mut instance = self.attempt.open(steps)?;
            match self.attempt.process(&mut instance, record, steps, None)? {
                Err(_) => bad = steps,
                Ok(processed) => match processed.batches.as_slice() {
                    [only] if only.len() == 1 && processed.rejected.is_empty() => {
                        good = steps;
                        found = Found { step: steps, record: only.clone(), before: Some(processed) };
                    }
                    // It is several records by now, or a step that should not have passed it on: the chain is to blame.
                    _ => return Ok(Found { step: 0, record: record.clone(), before: None }),
                },
            }
        }
        Ok(found)
    }
}

impl Processor for PerRecord {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        let fault = match self.try_batch(batch, None)? {
            Ok(processed) => return Ok(processed),
            Err(fault) => fault,
        };
        let calls = self.attempt.calls();
        let fault = match fault.kind {
            FaultKind::OutOfMemory => fault,
            _ => match self.try_batch(batch, None)? {
                Ok(processed) => return Ok(processed),
                Err(fault) => fault,
            },
        };
        let mut sum = nothing(self.attempt.steps());
        let text = fault.to_string();
        self.halve(batch, fault, self.attempt.time(batch), &mut sum)?;
        let (calls, faults) = (self.attempt.calls() - calls, sum.rejected.len());
        tracing::debug!(fault = text, records = batch.len(), faults, calls, "a batch was run in parts");
        Ok(sum)
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        for _ in 0..2 {
            let mut instance = match self.instance.take() {
                Some(instance) => instance,
                None => self.attempt.open(self.attempt.steps())?,
            };
            match self.attempt.finish(&mut instance)? {
                Ok(processed) => return Ok(processed),
                Err(fault) => tracing::debug!(%fault, "a chain broke off as it was ended"),
            }
        }
        Err(self.attempt.broken("it broke off as it was ended, on a fresh instance too"))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use teraslice_core::operation::SliceContext;
    use teraslice_model::{
        batch::Frame,
        id::{ExId, JobId, WorkerId},
        job::{Encoding, OperationConfig},
        slice::{Request, Slice},
        timestamp::Timestamp,
    };

    use super::*;
    use crate::{Bundle, Runtime, RuntimeOptions};

    #[test]
    fn finds_one_bad_record_in_a_thousand_in_thirty_calls() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/dist/testing-v1.0.0.zip");
        let zip = fs::read(path).expect("run `cargo xtask assets` first");
        let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
        let asset = runtime.load(Bundle::read(&zip).unwrap()).unwrap();
        let step = |op: &str| OperationConfig {
            op: op.to_owned(),
            asset: None,
            encoding: Encoding::Json,
            dead_letter_action: None,
            api_name: None,
            connection: None,
            settings: serde_json::Map::new(),
        };
        let steps = ["test_clock", "test_log", "test_fail", "test_trap", "test_fatal"].map(step);
        let ex_id = ExId::from_random([1; 16]);
        let slice = SliceContext {
            ex_id,
            job_id: JobId::from_random([2; 16]),
            worker: WorkerId::new("w"),
            slice: Slice::new(ex_id, 0, 1, Request::from_json("{}"), Timestamp::default()),
            attempt: 0,
        };
        for bad in [0, 1, 333, 512, 999] {
            let record = |n: usize| if n == bad { "{\"trap\":true}" } else { "{}" };
            let batch = Batch::new(Frame::of((0..1_000).map(record)).unwrap());
            let mut chain = PerRecord::open(asset.chain_of(&steps).attempt(&slice)).unwrap();
            let processed = chain.process(&batch).unwrap();
            assert_eq!((processed.rejected.len(), processed.rejected[0].step), (1, 3));
            assert_eq!(processed.counts[4].emitted, 999);
            assert!(chain.attempt.calls() <= 31, "{} calls for record {bad}", chain.attempt.calls());
        }
    }
}
