//! Batches: what waits to be sent goes in one message, up to a size; what is too large for one goes in several.

use prost::Message;
use teraslice_core::link::{FromWorker, Outcome, SliceResult, ToWorker};

use crate::wire::v1::{
    self, ControllerBatch, ControllerMessage, WorkerBatch, WorkerMessage, controller_message as controller,
    worker_message as worker,
};

/// Messages that are sent in one batch.
pub(super) const MESSAGES_MAX: usize = 256;
/// A batch of this size is sent without what else waits.
const LEN_SOFT: usize = 256 << 10;

/// A message that fits into no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a message of {len} bytes is longer than {max}")]
pub(super) struct TooLong {
    len: usize,
    max: usize,
}

/// Packs what a worker says. A result that is too long by itself becomes a failure that says so.
pub(super) fn from_worker(messages: Vec<FromWorker>, len_max: usize) -> Vec<WorkerBatch> {
    let mut packed = Packed::default();
    for message in messages {
        put_from_worker(message.into(), len_max, &mut packed);
    }
    packed.finish().into_iter().map(|messages| WorkerBatch { messages }).collect()
}

fn put_from_worker(message: WorkerMessage, len_max: usize, packed: &mut Packed<WorkerMessage>) {
    let len = message.encoded_len();
    let what = match message.what {
        Some(worker::What::Results(v1::Results { mut results })) if len > len_max => {
            let rest = results.split_off(results.len() / 2);
            if let ([], [long]) = (&results[..], &rest[..]) {
                let result = WorkerMessage::from(FromWorker::Results(vec![without_letters(long, len)]));
                return packed.put(result.encoded_len(), result);
            }
            for part in [results, rest] {
                let what = Some(worker::What::Results(v1::Results { results: part }));
                put_from_worker(WorkerMessage { what }, len_max, packed);
            }
            return;
        }
        other => other,
    };
    packed.put(len, WorkerMessage { what });
}

fn without_letters(result: &v1::SliceResult, len: usize) -> SliceResult {
    let error = format!(
        "the slice refused {} records, which are too many to report at once ({len} bytes)",
        result.dead_letters.len()
    );
    SliceResult {
        slice_id: teraslice_model::id::SliceId::new(crate::wire::id(
            result.slice_id_high,
            result.slice_id_low,
        )),
        attempt: result.attempt,
        outcome: Outcome::Failed { error },
        retry_count: result.retry_count,
        operations: Vec::new(),
        dead_letters: Vec::new(),
    }
}

/// Packs what a controller says; what follows a lease that is too long by itself is not packed.
pub(super) fn to_worker(messages: Vec<ToWorker>, len_max: usize) -> Vec<Result<ControllerBatch, TooLong>> {
    let mut packed = Packed::default();
    let put =
        messages.into_iter().try_for_each(|message| put_to_worker(message.into(), len_max, &mut packed));
    let batches = packed.finish().into_iter().map(|messages| Ok(ControllerBatch { messages }));
    batches.chain(put.err().map(Err)).collect()
}

fn put_to_worker(
    message: ControllerMessage,
    len_max: usize,
    packed: &mut Packed<ControllerMessage>,
) -> Result<(), TooLong> {
    let len = message.encoded_len();
    if len <= len_max {
        packed.put(len, message);
        return Ok(());
    }
    match message.what {
        Some(controller::What::Leases(v1::Leases { mut leases })) if leases.len() > 1 => {
            let rest = leases.split_off(leases.len() / 2);
            [leases, rest].into_iter().try_for_each(|leases| {
                let what = Some(controller::What::Leases(v1::Leases { leases }));
                put_to_worker(ControllerMessage { what }, len_max, packed)
            })
        }
        _ => Err(TooLong { len, max: len_max }),
    }
}

#[derive(Debug)]
struct Packed<M> {
    done: Vec<Vec<M>>,
    open: Vec<M>,
    len: usize,
}

impl<M> Default for Packed<M> {
    fn default() -> Self {
        Self { done: Vec::new(), open: Vec::new(), len: 0 }
    }
}

impl<M> Packed<M> {
    fn put(&mut self, len: usize, message: M) {
        if self.len > 0 && self.len + len > LEN_SOFT {
            self.done.push(std::mem::take(&mut self.open));
            self.len = 0;
        }
        self.len += len;
        self.open.push(message);
    }

    fn finish(mut self) -> Vec<Vec<M>> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use teraslice_core::{conformance::store::record, link::Lease};
    use teraslice_model::{
        dead_letter::{DeadLetter, Encoding},
        id::ExId,
        slice::{Request, SliceState},
    };

    use super::*;

    fn lease(order: u64, len: usize) -> Lease {
        let mut slice = record(ExId::from_random([1; 16]), 0, order, SliceState::Pending).slice;
        slice.request = Request::from_json("1".repeat(len));
        Lease { slice, attempt: 1 }
    }

    fn result(order: u64, letters: u32) -> SliceResult {
        let slice_id = lease(order, 1).slice.id;
        let letter = |operation| DeadLetter {
            slice_id,
            operation,
            op: "filter".to_owned(),
            reason: "no".to_owned(),
            record: "x".repeat(100),
            encoding: Encoding::Text,
            metadata: None,
        };
        SliceResult {
            slice_id,
            attempt: 3,
            outcome: Outcome::Completed,
            retry_count: 1,
            operations: Vec::new(),
            dead_letters: (0..letters).map(letter).collect(),
        }
    }

    fn read_worker(batches: Vec<WorkerBatch>) -> Vec<FromWorker> {
        batches
            .into_iter()
            .flat_map(|batch| batch.messages)
            .map(|message| message.try_into().unwrap())
            .collect()
    }

    #[test]
    fn what_waits_goes_in_one_batch_and_stays_apart() {
        let messages = vec![
            FromWorker::Hello { worker: teraslice_model::id::WorkerId::new("w") },
            FromWorker::Credit(0),
            FromWorker::Results(vec![result(1, 2)]),
            FromWorker::Results(Vec::new()),
            FromWorker::Heartbeat,
            FromWorker::Goodbye,
        ];
        let batches = from_worker(messages.clone(), 1 << 20);
        assert_eq!(batches.len(), 1);
        assert_eq!(read_worker(batches), messages);
    }

    #[test]
    fn splits_results_that_are_too_long_and_fails_those_that_are_by_themselves() {
        let results = vec![result(1, 5), result(2, 5), result(3, 100)];
        let batches = from_worker(vec![FromWorker::Results(results), FromWorker::Goodbye], 2_000);
        let heard: Vec<_> = read_worker(batches)
            .into_iter()
            .flat_map(|message| if let FromWorker::Results(results) = message { results } else { Vec::new() })
            .collect();
        assert_eq!(heard[..2], [result(1, 5), result(2, 5)]);
        assert!(matches!(&heard[2].outcome, Outcome::Failed { error } if error.contains("100 records")));
        assert_eq!((heard[2].slice_id, heard[2].attempt), (result(3, 0).slice_id, 3));
    }

    #[test]
    fn splits_leases_that_are_too_long_and_stops_at_one_that_is_by_itself() {
        let leases = vec![lease(1, 900), lease(2, 900), lease(3, 900), lease(4, 5_000), lease(5, 1)];
        let batches = to_worker(vec![ToWorker::Leases(leases.clone()), ToWorker::Finished], 2_000);
        let mut heard = Vec::new();
        let mut refused = None;
        for batch in batches {
            match batch {
                Ok(batch) => {
                    heard.extend(batch.messages.into_iter().map(|it| ToWorker::try_from(it).unwrap()))
                }
                Err(error) => refused = Some(error),
            }
        }
        let heard: Vec<_> = heard
            .into_iter()
            .flat_map(|message| if let ToWorker::Leases(leases) = message { leases } else { Vec::new() })
            .collect();
        assert_eq!(heard, leases[..3]);
        assert!(refused.is_some_and(|refused| refused.len > 5_000 && refused.max == 2_000));
    }

    #[test]
    fn large_messages_go_in_batches_of_their_own() {
        let messages = (0..4).map(|order| ToWorker::Leases(vec![lease(order, LEN_SOFT)])).collect();
        assert_eq!(to_worker(messages, 1 << 20).len(), 4);
    }
}
