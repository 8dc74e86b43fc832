//! What a controller and its workers say, as messages.

use teraslice_core::link::{FromWorker, Lease, Outcome, SliceResult, ToWorker};
use teraslice_model::{
    id::{SliceId, WorkerId},
    slice::Slice,
};

use super::{
    Malformed, id, numbers,
    v1::{self, controller_message as controller, worker_message as worker},
};

impl From<FromWorker> for v1::WorkerMessage {
    fn from(message: FromWorker) -> Self {
        let what = match message {
            FromWorker::Hello { worker } => worker::What::Hello(worker.as_str().to_owned()),
            FromWorker::Credit(credit) => worker::What::Credit(credit),
            FromWorker::Results(results) => {
                worker::What::Results(v1::Results { results: results.into_iter().map(Into::into).collect() })
            }
            FromWorker::Heartbeat => worker::What::Heartbeat(true),
            FromWorker::Goodbye => worker::What::Goodbye(true),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<v1::WorkerMessage> for FromWorker {
    type Error = Malformed;

    fn try_from(message: v1::WorkerMessage) -> Result<Self, Malformed> {
        Ok(match message.what.ok_or(Malformed("meaning"))? {
            worker::What::Hello(worker) => Self::Hello { worker: WorkerId::new(worker) },
            worker::What::Credit(credit) => Self::Credit(credit),
            worker::What::Results(v1::Results { results }) => {
                Self::Results(results.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            worker::What::Heartbeat(_) => Self::Heartbeat,
            worker::What::Goodbye(_) => Self::Goodbye,
        })
    }
}

impl From<SliceResult> for v1::SliceResult {
    fn from(result: SliceResult) -> Self {
        let (slice_id_high, slice_id_low) = numbers(result.slice_id.uuid());
        let (outcome, error) = match result.outcome {
            Outcome::Completed => (v1::Outcome::Completed, String::new()),
            Outcome::Failed { error } => (v1::Outcome::Failed, error),
            Outcome::JobFault { error } => (v1::Outcome::JobFault, error),
            Outcome::Released => (v1::Outcome::Released, String::new()),
        };
        Self {
            slice_id_high,
            slice_id_low,
            attempt: result.attempt,
            outcome: outcome.into(),
            error,
            retry_count: result.retry_count,
            operations: result.operations.into_iter().map(Into::into).collect(),
            dead_letters: result.dead_letters.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::SliceResult> for SliceResult {
    type Error = Malformed;

    fn try_from(result: v1::SliceResult) -> Result<Self, Malformed> {
        let outcome = match result.outcome() {
            v1::Outcome::Unspecified => return Err(Malformed("outcome")),
            v1::Outcome::Completed => Outcome::Completed,
            v1::Outcome::Failed => Outcome::Failed { error: result.error },
            v1::Outcome::JobFault => Outcome::JobFault { error: result.error },
            v1::Outcome::Released => Outcome::Released,
        };
        Ok(Self {
            slice_id: SliceId::new(id(result.slice_id_high, result.slice_id_low)),
            attempt: result.attempt,
            outcome,
            retry_count: result.retry_count,
            operations: result.operations.into_iter().map(Into::into).collect(),
            dead_letters: result.dead_letters.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<ToWorker> for v1::ControllerMessage {
    fn from(message: ToWorker) -> Self {
        let what = match message {
            ToWorker::Leases(leases) => {
                controller::What::Leases(v1::Leases { leases: leases.into_iter().map(Into::into).collect() })
            }
            ToWorker::Drain => controller::What::Drain(true),
            ToWorker::Finished => controller::What::Finished(true),
        };
        Self { what: Some(what) }
    }
}

impl TryFrom<v1::ControllerMessage> for ToWorker {
    type Error = Malformed;

    fn try_from(message: v1::ControllerMessage) -> Result<Self, Malformed> {
        Ok(match message.what.ok_or(Malformed("meaning"))? {
            controller::What::Leases(v1::Leases { leases }) => {
                Self::Leases(leases.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?)
            }
            controller::What::Drain(_) => Self::Drain,
            controller::What::Finished(_) => Self::Finished,
        })
    }
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        Self { slice: Some(lease.slice.into()), attempt: lease.attempt }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = Malformed;

    fn try_from(lease: v1::Lease) -> Result<Self, Malformed> {
        let slice: Slice = lease.slice.ok_or(Malformed("slice"))?.into();
        Ok(Self { slice, attempt: lease.attempt })
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use teraslice_model::{
        counts::Counts,
        dead_letter::{DeadLetter, Encoding},
        id::ExId,
        slice::Request,
        timestamp::Timestamp,
    };

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What version 1.0 sends, so that no later one changes it unawares.
    #[test]
    fn says_what_version_1_0_said() {
        let ex_id = ExId::from_random([1; 16]);
        let request = Request::from_json("{\"n\":1}");
        let slice = Slice::new(ex_id, 2, 3, request, Timestamp::from_millis(1_600_000_000_000));
        let letter = DeadLetter {
            slice_id: slice.id,
            operation: 1,
            op: "filter".to_owned(),
            reason: "no".to_owned(),
            record: "{}".to_owned(),
            encoding: Encoding::Base64,
            metadata: Some("{}".to_owned()),
        };
        let result = SliceResult {
            slice_id: slice.id,
            attempt: 4,
            outcome: Outcome::Completed,
            retry_count: 5,
            operations: vec![Counts { received: 6, bytes: 7, ..Counts::default() }],
            dead_letters: vec![letter],
        };
        let failed = SliceResult { outcome: Outcome::Failed { error: "no".to_owned() }, ..result.clone() };
        let to = [ToWorker::Leases(vec![Lease { slice, attempt: 1 }]), ToWorker::Drain, ToWorker::Finished];
        let from = [
            FromWorker::Hello { worker: WorkerId::new("w") },
            FromWorker::Credit(8),
            FromWorker::Results(vec![result, failed]),
            FromWorker::Heartbeat,
            FromWorker::Goodbye,
        ];
        let to = v1::ControllerBatch { messages: to.into_iter().map(Into::into).collect() };
        let from = v1::WorkerBatch { messages: from.into_iter().map(Into::into).collect() };
        assert_eq!([hex(&to.encode_to_vec()), hex(&from.encode_to_vec())], [TO_WORKER, FROM_WORKER]);
    }

    const TO_WORKER: &str = concat!(
        "0a2e0a2c0a2a0a26097d5af5215e26d4ab11366f3534041fde95180220032a077b226e223a317d308080babbc82e1001",
        "0a0210010a021801",
    );
    const FROM_WORKER: &str = concat!(
        "0a030a01770a0210080a9f011a9c010a4a097d5af5215e26d4ab11366f3534041fde951804200130053a040806380742",
        "2a097d5af5215e26d4ab11366f3534041fde951801220666696c7465722a026e6f32027b7d380142027b7d0a4e097d5a",
        "f5215e26d4ab11366f3534041fde95180420022a026e6f30053a0408063807422a097d5af5215e26d4ab11366f353404",
        "1fde951801220666696c7465722a026e6f32027b7d380142027b7d0a0220010a022801",
    );
}
