//! `dead_letter_reader`: the dead letters that an execution has been given to replay.
//!
//! The slicer reads them from the state store and writes them into the slices themselves: workers need no store, and a
//! replay that is killed goes on from its ledger.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use teraslice_core::{
    operation::{
        Fetched, Fetcher, OperationError, OperationInfo, OperationKind, RecordStream, Rejected, SliceContext,
        Sliced, Slicer, SlicerContext,
    },
    registry::{Reader, WorkerContext},
    store::{KeptLetter, Letters, Page, StateStore, StoreError},
};
use teraslice_model::{
    batch::{Batch, FrameBuilder, FrameError},
    dead_letter::{DeadLetter, DeadLetterAction},
    id::ExId,
    job::{CheckedJob, OperationConfig},
    problem::Problem,
    slice::Request,
};

use crate::json::Checker;

/// Letters of one slice at the most.
const LETTERS_MAX: usize = 100;
/// Bytes of records in one slice; a larger record has a slice of its own.
const BYTES_MAX: usize = 256 << 10;

/// Reads dead letters of an execution that were claimed for this one.
#[derive(Clone, Copy, Debug)]
pub struct DeadLetterReader;

/// Its settings.
#[derive(Clone, Debug, Deserialize)]
pub struct DeadLetterReaderConfig {
    /// The execution that has the letters.
    ex_id: ExId,
}

/// What a slice asks for: letters, with their numbers.
#[derive(Debug, Serialize, Deserialize)]
struct Asked {
    letters: Vec<KeptLetter>,
}

#[async_trait]
impl Reader for DeadLetterReader {
    type Config = DeadLetterReaderConfig;

    fn info(&self) -> OperationInfo {
        let settings = json!({
            "properties": {"ex_id": {"type": "string", "description": "The execution that has the letters."}},
            "required": ["ex_id"],
        });
        let description = "Reads the dead letters that `teraslice dead-letters replay` has chosen.";
        let info =
            OperationInfo::built_in("dead_letter_reader", OperationKind::Reader, description, settings);
        OperationInfo { dead_letter_action: DeadLetterAction::Store, ..info }
    }

    fn check(&self, _: &Self::Config, _: &OperationConfig, _: &CheckedJob) -> Vec<Problem> {
        Vec::new()
    }

    fn is_recoverable(&self, _: &Self::Config) -> bool {
        true
    }

    async fn slicers(
        &self,
        config: Self::Config,
        _: &OperationConfig,
        context: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        let position = context.checkpoint(0).position;
        let next = position.and_then(|position| position.parse().ok()).unwrap_or_default();
        let store =
            context.store.ok_or_else(|| OperationError::slice("there is no state store to read from"))?;
        Ok(vec![Box::new(LetterSlicer { store, source: config.ex_id, own: context.ex_id, next })])
    }

    async fn fetcher(
        &self,
        _: Self::Config,
        _: &OperationConfig,
        _: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        Ok(Box::new(LetterFetcher))
    }
}

struct LetterSlicer {
    store: Arc<dyn StateStore>,
    source: ExId,
    own: ExId,
    /// Letters that slices were made of.
    next: u64,
}

impl LetterSlicer {
    async fn page(&self) -> Result<Vec<KeptLetter>, OperationError> {
        let page = Page { from: self.next, size: LETTERS_MAX as u64 };
        let letters = self.store.dead_letters(self.source, Letters::ReplayedIn(self.own), page).await;
        letters.map_err(|error| match error {
            StoreError::NotFound { what } => {
                OperationError::job(Problem::new("/ex_id", format!("{what} does not exist")))
            }
            other => OperationError::retry(other.to_string()),
        })
    }
}

#[async_trait]
impl Slicer for LetterSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let mut requests = Vec::new();
        let mut is_exhausted = false;
        while requests.len() < max && !is_exhausted {
            let mut letters = self.page().await?;
            let mut bytes = 0;
            let fits = |kept: &&KeptLetter| {
                bytes += kept.letter.record.len();
                bytes <= BYTES_MAX
            };
            let fitting = letters.iter().take_while(fits).count().max(1);
            letters.truncate(fitting);
            is_exhausted = letters.is_empty();
            if !is_exhausted {
                self.next += letters.len() as u64;
                let asked = serde_json::to_string(&Asked { letters });
                let asked = asked.map_err(|error| OperationError::slice(error.to_string()))?;
                requests.push(Request::from_json(asked));
            }
        }
        Ok(Sliced { requests, position: Request::from_json(self.next.to_string()), is_exhausted })
    }
}

struct LetterFetcher;

#[async_trait]
impl Fetcher for LetterFetcher {
    async fn open(&mut self, slice: &SliceContext) -> Result<Box<dyn RecordStream>, OperationError> {
        let asked: Asked =
            slice.slice.request.parse().map_err(|error| OperationError::slice(error.to_string()))?;
        let fetched = fetched(asked.letters.into_iter().map(|kept| kept.letter));
        let fetched = fetched.map_err(|error| OperationError::slice(error.to_string()))?;
        Ok(Box::new(LetterStream(Some(fetched))))
    }
}

/// Turns letters into records again; what is no record is refused again.
fn fetched(letters: impl Iterator<Item = DeadLetter>) -> Result<Fetched, FrameError> {
    let (mut records, mut metadata) = (FrameBuilder::default(), FrameBuilder::default());
    let (mut checker, mut rejected, mut has_metadata) = (Checker::default(), Vec::new(), false);
    for letter in letters {
        let read = letter.bytes().map_err(|error| (letter.record.clone().into_bytes(), error.to_string()));
        let read = read.and_then(|bytes| match checker.object(&bytes) {
            Ok(()) => Ok(bytes),
            Err(reason) => Err((bytes, reason)),
        });
        match read {
            Ok(bytes) => {
                records.push(&bytes)?;
                has_metadata |= letter.metadata.is_some();
                metadata.push(letter.metadata.unwrap_or_default().as_bytes())?;
            }
            Err((record, reason)) => {
                let metadata = letter.metadata.map(String::into_bytes);
                rejected.push(Rejected { step: 0, reason, record, metadata, is_fault: false });
            }
        }
    }
    let (records, metadata) = (records.finish(), metadata.finish());
    let batch = if has_metadata { Batch::with_metadata(records, metadata)? } else { Batch::new(records) };
    Ok(Fetched { batch, rejected })
}

struct LetterStream(Option<Fetched>);

#[async_trait]
impl RecordStream for LetterStream {
    async fn next(&mut self) -> Result<Option<Fetched>, OperationError> {
        Ok(self.0.take())
    }
}

impl fmt::Debug for LetterSlicer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LetterSlicer").field("source", &self.source).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use teraslice_model::{dead_letter::Encoding, id::SliceId};

    use super::*;

    fn letter(bytes: &[u8], metadata: Option<&str>) -> DeadLetter {
        let (encoding, record) = Encoding::encode(bytes.to_vec());
        DeadLetter {
            slice_id: SliceId::derive(ExId::from_random([1; 16]), 0, 1),
            operation: 2,
            op: "filter".to_owned(),
            reason: "no".to_owned(),
            record,
            encoding,
            metadata: metadata.map(str::to_owned),
        }
    }

    #[test]
    fn makes_records_of_letters_and_refuses_what_is_none() {
        let letters = [
            letter(b"{\"n\":1}", None),
            letter(b"\xff{", None),
            letter(b"{\"n\":2}\n", Some("{\"_key\":\"k\"}")),
        ];
        let Fetched { batch, rejected } = fetched(letters.into_iter()).unwrap();
        assert_eq!((batch.record(0), batch.record(1)), (&b"{\"n\":1}"[..], &b"{\"n\":2}"[..]));
        assert_eq!((batch.metadata_of(0), batch.metadata_of(1)), (None, Some(&b"{\"_key\":\"k\"}"[..])));
        assert_eq!(rejected[0].record, b"\xff{");
        assert!(rejected[0].reason.starts_with("invalid JSON"), "{}", rejected[0].reason);
    }
}
