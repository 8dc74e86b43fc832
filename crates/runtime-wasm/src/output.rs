//! Checks what a guest returns: nothing of it is believed.

use bytes::Bytes;
use teraslice_core::operation::{Processed, Rejected, StepCounts};
use teraslice_model::batch::{Batch, Frame, FrameError};

use crate::{bindings::teraslice::asset::types, host::cut};

/// Bytes of a failure's message that are kept.
const MESSAGE_MAX: usize = 512;

/// An answer that breaks the contract. Nothing of it is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOutput {
    #[error("the records are no frame: {0}")]
    Records(FrameError),
    #[error("the metadata are no frame: {0}")]
    Metadata(FrameError),
    #[error("origin lists {origins} records, the batch has {records}")]
    OriginLen { origins: usize, records: usize },
    #[error("origin {index} is {origin}: it decreases or points behind the {inputs} input records")]
    Origin { index: usize, origin: u32, inputs: usize },
    #[error("{counts} step counts for {steps} steps")]
    CountsLen { counts: usize, steps: usize },
    #[error("step 0 says it received {received} records, it got {inputs}")]
    Received { received: u64, inputs: usize },
    #[error("failure {index} names step {step} of {steps}")]
    FailureStep { index: usize, step: u32, steps: usize },
    #[error("failure {index} names an input record that does not exist")]
    FailureIndex { index: usize },
    #[error("failure {index} has neither an input record nor data")]
    FailureEmpty { index: usize },
    #[error("step {step} counts {counted} failures and lists {listed}")]
    FailureCount { step: usize, counted: u64, listed: u64 },
}

/// Turns an answer of `process` (with its input) or `finish` (without) into what the worker takes.
pub(crate) fn check(
    output: types::Output,
    input: Option<&Batch>,
    steps: usize,
) -> Result<Processed, BadOutput> {
    let types::Output { batch, origin, failed, counts } = output;
    let batch = self::batch(batch)?;
    if let Some(input) = input {
        check_origin(&origin, batch.len(), input.len())?;
    }
    let counts = self::counts(&counts, input, steps)?;
    let rejected = rejected(failed, input, steps)?;
    for (step, count) in counts.iter().enumerate() {
        let listed = rejected.iter().filter(|rejected| rejected.step == step).count() as u64;
        if listed != count.failed {
            return Err(BadOutput::FailureCount { step, counted: count.failed, listed });
        }
    }
    let batches = if batch.is_empty() { Vec::new() } else { batch.split() };
    Ok(Processed { batches, rejected, counts })
}

fn batch(batch: types::Batch) -> Result<Batch, BadOutput> {
    let records = Frame::decode(&Bytes::from(batch.data)).map_err(BadOutput::Records)?;
    match batch.metadata {
        None => Ok(Batch::new(records)),
        Some(metadata) => {
            let metadata = Frame::decode(&Bytes::from(metadata)).map_err(BadOutput::Metadata)?;
            Batch::with_metadata(records, metadata).map_err(BadOutput::Metadata)
        }
    }
}

fn check_origin(origin: &[u32], records: usize, inputs: usize) -> Result<(), BadOutput> {
    if origin.len() != records {
        return Err(BadOutput::OriginLen { origins: origin.len(), records });
    }
    let mut last = 0;
    for (index, &origin) in origin.iter().enumerate() {
        if origin < last || origin as usize >= inputs {
            return Err(BadOutput::Origin { index, origin, inputs });
        }
        last = origin;
    }
    Ok(())
}

fn counts(
    counts: &[types::StepCount],
    input: Option<&Batch>,
    steps: usize,
) -> Result<Vec<StepCounts>, BadOutput> {
    if counts.len() != steps {
        return Err(BadOutput::CountsLen { counts: counts.len(), steps });
    }
    let inputs = input.map_or(0, Batch::len);
    match counts.first() {
        Some(first) if first.received != inputs as u64 => {
            Err(BadOutput::Received { received: first.received, inputs })
        }
        _ => Ok(counts.iter().map(count).collect()),
    }
}

const fn count(count: &types::StepCount) -> StepCounts {
    StepCounts {
        received: count.received,
        emitted: count.emitted,
        dropped: count.dropped,
        failed: count.failed,
        created: count.created,
    }
}

fn rejected(
    failed: Vec<types::Failure>,
    input: Option<&Batch>,
    steps: usize,
) -> Result<Vec<Rejected>, BadOutput> {
    let mut all = Vec::with_capacity(failed.len());
    for (index, failure) in failed.into_iter().enumerate() {
        if failure.step as usize >= steps {
            return Err(BadOutput::FailureStep { index, step: failure.step, steps });
        }
        let at = match (failure.index, input) {
            (Some(at), Some(input)) if (at as usize) < input.len() => Some((at as usize, input)),
            (Some(_), _) => return Err(BadOutput::FailureIndex { index }),
            (None, _) => None,
        };
        let record = match (failure.data, at) {
            (Some(data), _) => data,
            (None, Some((at, input))) => input.record(at).to_vec(),
            (None, None) => return Err(BadOutput::FailureEmpty { index }),
        };
        let metadata = at.and_then(|(at, input)| input.metadata_of(at)).map(<[u8]>::to_vec);
        let reason = cut(&failure.message, MESSAGE_MAX).to_owned();
        all.push(Rejected { step: failure.step as usize, reason, record, metadata, is_fault: false });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn input() -> Batch {
        Batch::new(Frame::of(["{\"a\":1}", "{\"a\":2}"]).unwrap())
    }

    fn framed<const N: usize>(records: [&str; N]) -> types::Batch {
        let mut data = Vec::new();
        Frame::of(records).unwrap().encode(&mut data);
        types::Batch { data, metadata: None }
    }

    fn good() -> types::Output {
        let count = types::StepCount { received: 2, emitted: 1, dropped: 0, failed: 1, created: 0 };
        let failure = types::Failure { index: Some(1), step: 0, message: "no".to_owned(), data: None };
        types::Output {
            batch: framed(["{\"a\":1}"]),
            origin: vec![0],
            failed: vec![failure],
            counts: vec![count],
        }
    }

    fn refused(spoil: impl FnOnce(&mut types::Output)) -> String {
        let mut output = good();
        spoil(&mut output);
        check(output, Some(&input()), 1).unwrap_err().to_string()
    }

    #[test]
    fn takes_an_answer_that_keeps_the_contract() {
        let processed = check(good(), Some(&input()), 1).unwrap();
        assert_eq!(processed.batches[0].record(0), b"{\"a\":1}");
        assert_eq!(processed.rejected[0].record, b"{\"a\":2}");
    }

    #[test]
    fn refuses_each_kind_of_lie() {
        assert_eq!(
            refused(|o| o.batch.data.truncate(5)),
            "the records are no frame: frame of 5 bytes is too short for 1 items"
        );
        assert_eq!(
            refused(|o| o.batch.metadata = Some(framed([]).data)),
            "the metadata are no frame: metadata for 0 records comes with 1 records"
        );
        assert_eq!(refused(|o| o.origin.clear()), "origin lists 0 records, the batch has 1");
        assert_eq!(
            refused(|o| o.origin[0] = 2),
            "origin 0 is 2: it decreases or points behind the 2 input records"
        );
        assert_eq!(
            refused(|o| {
                o.batch = framed(["{}", "{}"]);
                o.origin = vec![1, 0];
            }),
            "origin 1 is 0: it decreases or points behind the 2 input records"
        );
        assert_eq!(refused(|o| o.counts.clear()), "0 step counts for 1 steps");
        assert_eq!(refused(|o| o.counts[0].received = 9), "step 0 says it received 9 records, it got 2");
        assert_eq!(refused(|o| o.failed[0].step = 1), "failure 0 names step 1 of 1");
        assert_eq!(
            refused(|o| o.failed[0].index = Some(2)),
            "failure 0 names an input record that does not exist"
        );
        assert_eq!(refused(|o| o.failed[0].index = None), "failure 0 has neither an input record nor data");
        assert_eq!(refused(|o| o.counts[0].failed = 0), "step 0 counts 0 failures and lists 1");
    }

    #[test]
    fn cuts_a_long_message() {
        let mut output = good();
        output.failed[0].message = "x".repeat(10_000);
        let processed = check(output, Some(&input()), 1).unwrap();
        assert_eq!(processed.rejected[0].reason.len(), MESSAGE_MAX);
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let framed = proptest::collection::vec("[{}a]{0,3}", 0..4).prop_map(|records| {
            let mut data = Vec::new();
            Frame::of(records).unwrap().encode(&mut data);
            data
        });
        prop_oneof![3 => framed, 1 => proptest::collection::vec(any::<u8>(), 0..40)]
    }

    fn failure() -> impl Strategy<Value = types::Failure> {
        let (index, step) = (proptest::option::of(0_u32..4), 0_u32..3);
        let data = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..4));
        (index, step, ".{0,3}", data).prop_map(|(index, step, message, data)| types::Failure {
            index,
            step,
            message,
            data,
        })
    }

    fn step_count() -> impl Strategy<Value = types::StepCount> {
        let any = || prop_oneof![4 => 0_u64..4, 1 => any::<u64>()];
        (any(), any(), any(), any(), any()).prop_map(|(received, emitted, dropped, failed, created)| {
            types::StepCount { received, emitted, dropped, failed, created }
        })
    }

    proptest! {
        #[test]
        fn takes_only_what_fits_whatever_a_guest_returns(
            data in bytes(),
            metadata in proptest::option::of(bytes()),
            origin in proptest::collection::vec(0_u32..4, 0..4),
            failed in proptest::collection::vec(failure(), 0..3),
            counts in proptest::collection::vec(step_count(), 0..3),
        ) {
            let output = types::Output { batch: types::Batch { data, metadata }, origin, failed, counts };
            let input = input();
            if let Ok(processed) = check(output, Some(&input), 2) {
                prop_assert_eq!(processed.counts.len(), 2);
                prop_assert_eq!(processed.counts[0].received, input.len() as u64);
                let listed: u64 = processed.counts.iter().map(|count| count.failed).sum();
                prop_assert_eq!(listed, processed.rejected.len() as u64);
                prop_assert!(processed.rejected.iter().all(|rejected| rejected.step < 2));
            }
        }
    }
}
