//! Chains with state: after a fault the slice is run again without the record that broke them.

use teraslice_core::operation::{OperationError, Processed, Processor, Rejected};
use teraslice_model::batch::Batch;

use crate::{
    instance::{Fault, FaultKind, Instance},
    processor::{Answer, Attempt, add, nothing},
};

/// When memory is short, a slice is tried in batches of so many parts of the usual.
const SMALLER: usize = 8;

/// Runs the batches of a slice through one instance.
///
/// Input and output of the slice are held, so that it can be run again; a slice that is larger than may be held
/// (`replay_bytes`) is let go of, and then a fault fails the attempt.
///
/// ```text
/// fault --> the slice so far on a fresh instance
///       --> the shortest beginning of the slice that breaks the chain, by halving: its last record is at fault
///       --> the slice without that record, and so on
/// ```
pub(crate) struct PerSlice {
    attempt: Attempt,
    /// None after a fault, for good: the attempt has failed.
    instance: Option<Instance>,
    held: Option<Held>,
}

/// A slice so far.
struct Held {
    input: Vec<Batch>,
    output: Processed,
    /// Records taken out, by their place in the input, in order.
    out: Vec<(usize, Rejected)>,
    bytes: usize,
}

impl PerSlice {
    pub(crate) fn open(attempt: Attempt) -> Result<Self, OperationError> {
        let steps = attempt.steps();
        let instance = Some(attempt.open(steps)?);
        let held = Held { input: Vec::new(), output: nothing(steps), out: Vec::new(), bytes: 0 };
        Ok(Self { attempt, instance, held: Some(held) })
    }

    /// Finds out what breaks the chain, takes it out, and runs the rest again.
    fn recover(&mut self, mut held: Held, is_end: bool) -> Result<Held, OperationError> {
        loop {
            let records = held.left();
            let fault = match self.replay(&held, records, is_end, 1)? {
                Ok(output) => return Ok(Held { output, ..held }),
                Err(fault) => fault,
            };
            if fault.kind == FaultKind::OutOfMemory {
                return match self.replay(&held, records, is_end, SMALLER)? {
                    Ok(output) => Ok(Held { output, ..held }),
                    Err(fault) => {
                        let what = format!("{}; make smaller slices", self.attempt.reason(&fault));
                        Err(self.attempt.broken(&what))
                    }
                };
            }
            if self.replay(&held, 0, is_end, 1)?.is_err() {
                return Err(self.attempt.broken(&format!("it breaks off without any record: {fault}")));
            }
            let (mut good, mut bad, mut fault) = (0, records, fault);
            while bad - good > 1 {
                let middle = good.midpoint(bad);
                match self.replay(&held, middle, is_end, 1)? {
                    Ok(_) => good = middle,
                    Err(earlier) => (bad, fault) = (middle, earlier),
                }
            }
            self.attempt.blame(&fault)?;
            held.take_out(good, self.attempt.reason(&fault));
        }
    }

    /// Runs the first `records` of those left through a fresh instance, which stays if it does not break.
    fn replay(&mut self, held: &Held, records: usize, is_end: bool, parts: usize) -> Answer {
        let steps = self.attempt.steps();
        // Its place in the pool has to be free.
        self.instance = None;
        let mut instance = self.attempt.open(steps)?;
        let mut output = nothing(steps);
        for batch in held.first(records) {
            let len = batch.len().div_ceil(parts);
            for from in (0..batch.len()).step_by(len) {
                let part = batch.slice(from..batch.len().min(from + len));
                match self.attempt.process(&mut instance, &part, steps, None)? {
                    Ok(processed) => add(&mut output, processed),
                    Err(fault) => return Ok(Err(fault)),
                }
            }
        }
        if is_end {
            match self.attempt.finish(&mut instance)? {
                Ok(processed) => add(&mut output, processed),
                Err(fault) => return Ok(Err(fault)),
            }
        }
        self.instance = Some(instance);
        Ok(Ok(output))
    }

    fn instance(&mut self) -> Result<Instance, OperationError> {
        self.instance.take().ok_or_else(|| self.attempt.broken("it broke off before"))
    }

    /// Ends an attempt that cannot be run again from its start.
    fn lost(&self, fault: &Fault) -> OperationError {
        let what = format!("the slice is too large to look for the record at fault: {fault}");
        OperationError::retry(self.attempt.broken(&what).to_string())
    }
}

impl Held {
    /// Takes note of a batch; returns false when it is too much.
    fn push(&mut self, batch: &Batch, max: usize) -> bool {
        self.bytes += batch.bytes();
        self.input.push(batch.clone());
        self.bytes <= max
    }

    fn add(&mut self, processed: Processed) {
        self.bytes += processed.batches.iter().map(Batch::bytes).sum::<usize>();
        add(&mut self.output, processed);
    }

    /// Returns how many records are left.
    fn left(&self) -> usize {
        self.input.iter().map(Batch::len).sum::<usize>() - self.out.len()
    }

    /// Returns the first `records` of those left, cut where one was taken out.
    fn first(&self, records: usize) -> Vec<Batch> {
        let (mut runs, mut at, mut wanted) = (Vec::new(), 0, records);
        for batch in &self.input {
            let end = at + batch.len();
            let out = self.out.iter().map(|(place, _)| *place).filter(|place| (at..end).contains(place));
            let mut from = at;
            for gap in out.chain([end]) {
                let len = (gap - from).min(wanted);
                if len > 0 {
                    runs.push(batch.slice(from - at..from - at + len));
                    wanted -= len;
                }
                from = gap + 1;
            }
            at = end;
        }
        runs
    }

    /// Takes out the record at `index` of those left.
    fn take_out(&mut self, index: usize, reason: String) {
        let mut place = index;
        for (out, _) in &self.out {
            place += usize::from(*out <= place);
        }
        let mut begin = 0;
        let batch = self.input.iter().find(|batch| {
            begin += batch.len();
            place < begin
        });
        let batch = batch.expect("the place is within the input");
        let at = place - (begin - batch.len());
        let rejected = Rejected {
            // Where in the chain it breaks would take a replay per step; it goes in again where it came in.
            step: 0,
            reason,
            record: batch.record(at).to_vec(),
            metadata: batch.metadata_of(at).map(<[u8]>::to_vec),
            is_fault: true,
        };
        self.out.push((place, rejected));
        self.out.sort_unstable_by_key(|(place, _)| *place);
    }

    /// Returns what came of the slice, with the records that were taken out.
    fn into_processed(self) -> Processed {
        let mut processed = self.output;
        let count = self.out.len() as u64;
        if let Some(first) = processed.counts.first_mut() {
            first.received += count;
            first.failed += count;
        }
        processed.rejected.extend(self.out.into_iter().map(|(_, rejected)| rejected));
        processed
    }
}

impl Processor for PerSlice {
    fn process(&mut self, batch: &Batch) -> Result<Processed, OperationError> {
        let steps = self.attempt.steps();
        let mut instance = self.instance()?;
        let answer = self.attempt.process(&mut instance, batch, steps, None)?;
        let Some(mut held) = self.held.take() else {
            let processed = answer.map_err(|fault| self.lost(&fault))?;
            self.instance = Some(instance);
            return Ok(processed);
        };
        let fits = held.push(batch, self.attempt.held_max());
        match answer {
            Ok(processed) => {
                held.add(processed);
                self.instance = Some(instance);
            }
            Err(fault) => {
                tracing::debug!(%fault, "a chain with state broke off, running the slice again");
                drop(instance);
                held = self.recover(held, false)?;
            }
        }
        if !fits {
            return Ok(held.into_processed());
        }
        self.held = Some(held);
        Ok(nothing(steps))
    }

    fn finish(&mut self) -> Result<Processed, OperationError> {
        let mut instance = self.instance()?;
        let answer = self.attempt.finish(&mut instance)?;
        let Some(mut held) = self.held.take() else {
            return answer.map_err(|fault| self.lost(&fault));
        };
        match answer {
            Ok(processed) => held.add(processed),
            Err(fault) => {
                tracing::debug!(%fault, "a chain with state broke off at its end, running the slice again");
                drop(instance);
                held = self.recover(held, true)?;
            }
        }
        Ok(held.into_processed())
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::batch::Frame;

    use super::*;

    fn held() -> Held {
        let batch =
            |numbers: std::ops::Range<u32>| Batch::new(Frame::of(numbers.map(|n| n.to_string())).unwrap());
        Held { input: vec![batch(0..3), batch(3..8)], output: nothing(1), out: Vec::new(), bytes: 0 }
    }

    fn records(batches: &[Batch]) -> String {
        let all = batches.iter().flat_map(|batch| (0..batch.len()).map(|at| batch.record(at).to_vec()));
        String::from_utf8(all.flatten().collect()).unwrap()
    }

    #[test]
    fn runs_a_beginning_of_the_slice_without_what_was_taken_out() {
        let mut held = held();
        assert_eq!(records(&held.first(4)), "0123");
        held.take_out(2, String::new());
        held.take_out(2, String::new());
        held.take_out(0, String::new());
        held.take_out(4, String::new());
        let out: Vec<_> =
            held.out.iter().map(|(place, refused)| (*place, refused.record.as_slice())).collect();
        assert_eq!(out, [(0, &b"0"[..]), (2, b"2"), (3, b"3"), (7, b"7")]);
        assert_eq!(held.left(), 4);
        assert_eq!(records(&held.first(4)), "1456");
        assert_eq!(records(&held.first(1)), "1");
        assert_eq!(records(&held.first(0)), "");
    }
}
