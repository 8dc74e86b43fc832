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
