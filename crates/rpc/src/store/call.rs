//! The calls, and who may make them.

use prost::Message;
use serde::{Deserialize, Serialize};
use teraslice_core::store::{
    Claim, ErrorQuery, ExecutionQuery, ExecutionUpdate, JobQuery, Letters, Page, StateStore, StatusChange,
    StoreError,
};
use teraslice_model::{
    access::{AuditEntry, TokenRecord},
    asset::AssetRecord,
    execution::{Execution, JobRecord},
    id::{ExId, Generation, JobId},
    slice::SliceState,
};

use crate::wire::v1;

/// A call of a method of [`StateStore`]; all but `append`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    PutJob(JobRecord),
    Job(JobId),
    CreateExecution(Box<Execution>),
    Execution(ExId),
    Jobs(JobQuery),
    Executions(ExecutionQuery),
    Sums,
    UpdateExecution { id: ExId, update: Box<ExecutionUpdate> },
    SetStatus { id: ExId, change: Box<StatusChange> },
    BeginEpoch { id: ExId, generation: Generation },
    Ledger(ExId),
    Slices { id: ExId, state: SliceState, page: Page },
    Errors(ErrorQuery),
    SliceCounts(ExId),
    DeadLetters { id: ExId, which: Which, page: Page },
    ClaimDeadLetters { id: ExId, numbers: Vec<u64>, from: Option<ExId>, by: ExId },
    CreateAsset(AssetRecord),
    Assets,
    DeleteAsset(String),
    CreateToken(TokenRecord),
    Tokens,
    DeleteToken(String),
    Note(AuditEntry),
    Audit(Page),
}

/// Which dead letters are listed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Which {
    All,
    Open,
    ReplayedIn(ExId),
}

impl From<Letters> for Which {
    fn from(letters: Letters) -> Self {
        match letters {
            Letters::All => Self::All,
            Letters::Open => Self::Open,
            Letters::ReplayedIn(id) => Self::ReplayedIn(id),
        }
    }
}

impl From<Which> for Letters {
    fn from(which: Which) -> Self {
        match which {
            Which::All => Self::All,
            Which::Open => Self::Open,
            Which::ReplayedIn(id) => Self::ReplayedIn(id),
        }
    }
}

impl Call {
    /// Checks that the controller of an execution may make it: it changes its own execution, and looks at those that it
    /// recovers or replays.
    pub(super) fn check_controller(&self, own: ExId) -> Result<(), StoreError> {
        match self {
            Self::Execution(_)
            | Self::Ledger(_)
            | Self::Slices { .. }
            | Self::SliceCounts(_)
            | Self::DeadLetters { .. }
            | Self::Errors(ErrorQuery { ex_id: Some(_), .. }) => Ok(()),
            Self::UpdateExecution { id, .. } | Self::SetStatus { id, .. } | Self::BeginEpoch { id, .. }
                if *id == own =>
            {
                Ok(())
            }
            Self::ClaimDeadLetters { by, .. } if *by == own => Ok(()),
            _ => Err(not_allowed(own)),
        }
    }

    /// Tells whether making it twice is as good as once, so that it may be repeated when nobody knows whether it was made.
    pub(super) const fn is_repeatable(&self) -> bool {
        !matches!(
            self,
            Self::CreateExecution(_)
                | Self::ClaimDeadLetters { .. }
                | Self::CreateAsset(_)
                | Self::DeleteAsset(_)
                | Self::CreateToken(_)
                | Self::DeleteToken(_)
                | Self::Note(_)
        )
    }
}

/// The refusal of what only the master may do.
pub(super) fn not_allowed(own: ExId) -> StoreError {
    StoreError::Broken { reason: format!("the controller of execution {own} may not do this") }
}

/// Makes a call; returns the answer in bytes.
pub(super) async fn answer(store: &dyn StateStore, call: Call) -> Result<Vec<u8>, StoreError> {
    match call {
        Call::PutJob(job) => json(&store.put_job(job).await?),
        Call::Job(id) => json(&store.job(id).await?),
        Call::CreateExecution(execution) => json(&store.create_execution(*execution).await?),
        Call::Execution(id) => json(&store.execution(id).await?),
        Call::Jobs(query) => json(&store.jobs(query).await?),
        Call::Executions(query) => json(&store.executions(query).await?),
        Call::Sums => json(&store.sums().await?),
        Call::UpdateExecution { id, update } => json(&store.update_execution(id, *update).await?),
        Call::SetStatus { id, change } => json(&store.set_status(id, *change).await?),
        Call::BeginEpoch { id, generation } => json(&store.begin_epoch(id, generation).await?),
        Call::Ledger(id) => Ok(v1::Ledger::from(store.ledger(id).await?).encode_to_vec()),
        Call::Slices { id, state, page } => {
            Ok(v1::SliceList::from(store.slices(id, state, page).await?).encode_to_vec())
        }
        Call::Errors(query) => Ok(v1::ErrorList::from(store.errors(query).await?).encode_to_vec()),
        Call::SliceCounts(id) => json(&store.slice_counts(id).await?),
        Call::DeadLetters { id, which, page } => {
            let letters = store.dead_letters(id, which.into(), page).await?;
            Ok(v1::LetterList::from(letters).encode_to_vec())
        }
        Call::ClaimDeadLetters { id, numbers, from, by } => {
            json(&store.claim_dead_letters(id, Claim { numbers, from, by }).await?)
        }
        Call::CreateAsset(asset) => json(&store.create_asset(asset).await?),
        Call::Assets => json(&store.assets().await?),
        Call::DeleteAsset(id) => json(&store.delete_asset(&id).await?),
        Call::CreateToken(token) => json(&store.create_token(token).await?),
        Call::Tokens => json(&store.tokens().await?),
        Call::DeleteToken(name) => json(&store.delete_token(&name).await?),
        Call::Note(entry) => json(&store.note(entry).await?),
        Call::Audit(page) => json(&store.audit(page).await?),
    }
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    let failed = |error| StoreError::Broken { reason: format!("an answer cannot be written: {error}") };
    serde_json::to_vec(answer).map_err(failed)
}

#[cfg(test)]
mod tests {
    use teraslice_model::status::Status;

    use super::*;

    #[test]
    fn a_controller_changes_its_own_execution_only() {
        let (own, other) = (ExId::from_random([1; 16]), ExId::from_random([2; 16]));
        let changes = |id| {
            let change = Box::new(StatusChange::new(Status::Pending, Status::Running));
            [
                Call::BeginEpoch { id, generation: Generation(1) },
                Call::UpdateExecution { id, update: Box::default() },
                Call::SetStatus { id, change },
                Call::ClaimDeadLetters { id: other, numbers: Vec::new(), from: None, by: id },
            ]
        };
        assert!(changes(own).iter().all(|call| call.check_controller(own).is_ok()));
        assert!(changes(other).iter().all(|call| call.check_controller(own).is_err()));
    }

    #[test]
    fn a_controller_looks_at_other_executions() {
        let (own, other) = (ExId::from_random([1; 16]), ExId::from_random([2; 16]));
        let looks = [
            Call::Execution(other),
            Call::Ledger(other),
            Call::SliceCounts(other),
            Call::Slices { id: other, state: SliceState::Error, page: Page::default() },
            Call::DeadLetters { id: other, which: Which::All, page: Page::default() },
        ];
        assert!(looks.iter().all(|call| call.check_controller(own).is_ok()));
    }

    #[test]
    fn a_controller_has_no_business_with_jobs_assets_and_tokens() {
        let own = ExId::from_random([1; 16]);
        let calls = [
            Call::Jobs(JobQuery::default()),
            Call::Executions(ExecutionQuery::default()),
            Call::Errors(ErrorQuery::default()),
            Call::Sums,
            Call::Assets,
            Call::DeleteAsset("a".to_owned()),
            Call::Tokens,
            Call::DeleteToken("a".to_owned()),
            Call::Audit(Page::default()),
        ];
        for call in calls {
            let refused = call.check_controller(own);
            assert!(matches!(refused, Err(StoreError::Broken { .. })), "{call:?}");
        }
    }
}
