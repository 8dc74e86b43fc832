//! `dead_letter_reader`: the dead letters that an execution has been given to replay.
//!
//! The slicer reads them from the state store and writes them into the slices themselves: workers need no store, and a
//! replay that is killed goes on from its ledger.

use std::{collections::VecDeque, fmt, sync::Arc, time::Duration};

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
/// Bytes of records and their metadata in one slice; a larger record has a slice of its own.
const BYTES_MAX: usize = 256 << 10;
/// Waits before the store is asked again when it is not available.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(100), Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(5)];

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
        let sliced = position.and_then(|position| position.parse().ok()).unwrap_or_default();
        let store =
            context.store.ok_or_else(|| OperationError::slice("there is no state store to read from"))?;
        let (source, own) = (config.ex_id, context.ex_id);
        let (ahead, is_all) = (VecDeque::new(), false);
        Ok(vec![Box::new(LetterSlicer { store, source, own, sliced, ahead, is_all })])
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
    sliced: u64,
    /// The letters behind those.
    ahead: VecDeque<KeptLetter>,
    /// Whether nothing is behind `ahead`.
    is_all: bool,
}

impl LetterSlicer {
    /// Reads until there are enough letters for a whole slice: where one ends does not depend on where reading began.
    async fn read_ahead(&mut self) -> Result<(), OperationError> {
        while !self.is_all && self.ahead.len() < LETTERS_MAX {
            let letters = self.page().await?;
            self.is_all = letters.is_empty();
            self.ahead.extend(letters);
        }
        Ok(())
    }

    async fn page(&self) -> Result<Vec<KeptLetter>, OperationError> {
        let page = Page { from: self.sliced + self.ahead.len() as u64, size: LETTERS_MAX as u64 };
        let mut pauses = PAUSES.into_iter();
        loop {
            match self.store.dead_letters(self.source, Letters::ReplayedIn(self.own), page).await {
                Ok(letters) => return Ok(letters),
                Err(StoreError::NotFound { what }) => {
                    let problem = Problem::new("/ex_id", format!("{what} does not exist"));
                    return Err(OperationError::job(problem));
                }
                Err(error) => match pauses.next() {
                    Some(pause) if matches!(error, StoreError::Unavailable { .. }) => {
                        tokio::time::sleep(pause).await;
                    }
                    _ => return Err(OperationError::slice(error.to_string())),
                },
            }
        }
    }
}

/// Returns how many letters go into one slice.
fn fitting(letters: &VecDeque<KeptLetter>) -> usize {
    let mut bytes = 0;
    let fits = |kept: &&KeptLetter| {
        bytes += kept.letter.record.len() + kept.letter.metadata.as_ref().map_or(0, String::len);
        bytes <= BYTES_MAX
    };
    let fitting = letters.iter().take(LETTERS_MAX).take_while(fits).count();
    fitting.max(1).min(letters.len())
}

#[async_trait]
impl Slicer for LetterSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        self.read_ahead().await?;
        let mut requests = Vec::new();
        while requests.len() < max && !self.ahead.is_empty() {
            if !self.is_all && self.ahead.len() < LETTERS_MAX {
                break;
            }
            let letters: Vec<_> = self.ahead.drain(..fitting(&self.ahead)).collect();
            self.sliced += letters.len() as u64;
            let asked = serde_json::to_string(&Asked { letters });
            requests
                .push(Request::from_json(asked.map_err(|error| OperationError::slice(error.to_string()))?));
        }
        let is_exhausted = self.is_all && self.ahead.is_empty();
        Ok(Sliced { requests, position: Request::from_json(self.sliced.to_string()), is_exhausted })
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
    use teraslice_core::{
        conformance::{self, reader::Source, store::record},
        context::Context,
        store::{Claim, Flush, Writer},
    };
    use teraslice_model::{dead_letter::Encoding, id::SliceId, slice::SliceState};
    use teraslice_store::MemoryStore;

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

    fn kept(number: u64, bytes: usize) -> KeptLetter {
        let record = format!("{{\"n\":{number},\"text\":\"{}\"}}", "x".repeat(bytes));
        KeptLetter { number, replayed_in: None, letter: letter(record.as_bytes(), None) }
    }

    /// A store in which one letter in three was claimed by the execution that replays.
    struct Claimed {
        store: Arc<dyn StateStore>,
        source: ExId,
        own: ExId,
        records: Vec<String>,
    }

    impl Claimed {
        async fn of(bytes: &[usize]) -> Self {
            let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new(Context::system()));
            let execution = conformance::store::execution(1);
            let (source, own) = (execution.ex_id, ExId::from_random([7; 16]));
            let writer = Writer::of(&execution);
            store.create_execution(execution).await.unwrap();
            let done = record(source, 0, 1, SliceState::Completed);
            let letters: Vec<_> = (0..).zip(bytes).map(|(n, bytes)| kept(n, *bytes).letter).collect();
            let records = letters.iter().step_by(3).map(|letter| letter.record.clone()).collect();
            let letters = letters.into_iter().map(|letter| DeadLetter { slice_id: done.slice.id, ..letter });
            let dead_letters = letters.collect();
            let flush = Flush { slices: vec![done], dead_letters, ..Flush::default() };
            store.append(source, writer, flush).await.unwrap();
            let all =
                store.dead_letters(source, Letters::All, Page { from: 0, size: u64::MAX }).await.unwrap();
            let numbers = all.iter().step_by(3).map(|kept| kept.number).collect();
            store.claim_dead_letters(source, Claim { numbers, from: None, by: own }).await.unwrap();
            Self { store, source, own, records }
        }
    }

    #[async_trait]
    impl Source for Claimed {
        async fn slicer(&self, position: Option<Request>) -> Box<dyn Slicer> {
            let sliced = position.map(|position| position.parse().unwrap()).unwrap_or_default();
            let (store, ahead) = (Arc::clone(&self.store), VecDeque::new());
            Box::new(LetterSlicer { store, source: self.source, own: self.own, sliced, ahead, is_all: false })
        }

        async fn fetcher(&self) -> Box<dyn Fetcher> {
            Box::new(LetterFetcher)
        }

        fn records(&self) -> Vec<String> {
            self.records.clone()
        }
    }

    #[tokio::test]
    async fn keeps_the_laws_of_readers() {
        let mixed = [10, 100_000, 10, 300_000, 50_000].repeat(60);
        for bytes in [&[][..], &[10; 4], &[10; 300], &[10; 2_000], &mixed] {
            conformance::reader::run(&Claimed::of(bytes).await).await;
        }
    }

    #[test]
    fn bounds_a_slice_by_letters_and_by_bytes() {
        for (bytes, expected) in [
            (&[][..], 0),
            (&[10; 3], 3),
            (&[10; 150], LETTERS_MAX),
            (&[100_000; 5], 2),
            (&[10, BYTES_MAX], 1),
            (&[BYTES_MAX, 10], 1),
        ] {
            let letters = bytes.iter().map(|bytes| kept(1, *bytes)).collect();
            assert_eq!(fitting(&letters), expected, "{bytes:?}");
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
