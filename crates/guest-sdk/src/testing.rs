//! Runs operations outside of the sandbox, for the tests of an asset.
//!
//! ```
//! # use serde::Deserialize;
//! # use teraslice_guest_sdk::{ConfigError, Error, Info, Name, Operation, Record, Verdict};
//! # struct Upper(Name);
//! # #[derive(Deserialize)]
//! # struct Config { field: Name }
//! # impl Operation for Upper {
//! #     type Config = Config;
//! #     const INFO: Info = Info::new("drop", "Drops a field.", "{}");
//! #     fn new(config: Config) -> Result<Self, ConfigError> { Ok(Self(config.field)) }
//! #     fn process(&mut self, record: &mut Record<'_>) -> Result<Verdict, Error> {
//! #         record.remove(&self.0);
//! #         Ok(Verdict::Keep)
//! #     }
//! # }
//! use teraslice_guest_sdk::testing::Run;
//!
//! let run = Run::of::<Upper>(r#"{"field":"a"}"#, &[r#"{"a":1,"b":2}"#]);
//! assert_eq!(run.records, [r#"{"b":2}"#]);
//! ```

use std::cell::RefCell;

use crate::{
    chain::{Chain, Counts, Done, Problem},
    frame::{self, Frame},
    host::Level,
    operation::{Entry, Operation},
};

/// What came of running records through operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The records that left the chain, those released at the end of the slice last.
    pub records: Vec<String>,
    /// Their metadata: JSON objects, or empty.
    pub metadata: Vec<String>,
    /// For each record that left before the end of the slice, the place of the record it comes from.
    pub origin: Vec<u32>,
    /// How many records were left out on purpose.
    pub dropped: u64,
    /// The records that were refused, in order.
    pub failures: Vec<Refused>,
    /// Per step: received, emitted, dropped, failed, created.
    pub counts: Vec<[u64; 5]>,
    /// What the operations logged.
    pub log: Vec<(Level, String)>,
    /// What the operations counted.
    pub counters: Vec<(String, i64)>,
    /// Why the slice failed as a whole, if it did.
    pub problem: Option<String>,
}

/// A record that a step refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The place of the input record; absent at the end of the slice.
    pub index: Option<u32>,
    /// The place of the step.
    pub step: u32,
    /// Why.
    pub message: String,
    /// The record as the step saw it, if it is no longer what came in.
    pub data: Option<String>,
}

impl Run {
    /// Runs records through one operation.
    ///
    /// # Panics
    ///
    /// When the settings are wrong.
    #[must_use]
    pub fn of<T: Operation>(config: &str, records: &[&str]) -> Self {
        Self::of_chain(&[Entry::of::<T>()], &[(T::INFO.name, config)], &plain(records))
    }

    /// Runs records, each with its metadata, through one operation.
    ///
    /// # Panics
    ///
    /// When the settings are wrong.
    #[must_use]
    pub fn with_metadata<T: Operation>(config: &str, records: &[(&str, &str)]) -> Self {
        Self::of_chain(&[Entry::of::<T>()], &[(T::INFO.name, config)], records)
    }

    /// Runs records, each with its metadata, through a chain of operations, in batches of two.
    ///
    /// # Panics
    ///
    /// When the settings are wrong.
    #[must_use]
    pub fn of_chain(known: &[Entry], steps: &[(&str, &str)], records: &[(&str, &str)]) -> Self {
        let _before = host::take();
        let mut run = Self::default();
        let mut chain = match Chain::open(known, steps) {
            Ok(chain) => chain,
            Err(problem) => panic!("the chain does not open: {problem:?}"),
        };
        let run_all = |run: &mut Self, chain: &mut Chain| -> Result<(), Problem> {
            for (at, batch) in records.chunks(2).enumerate() {
                let data = framed(batch.iter().map(|(data, _)| *data));
                let has_metadata = batch.iter().any(|(_, metadata)| !metadata.is_empty());
                let metadata = has_metadata.then(|| framed(batch.iter().map(|(_, metadata)| *metadata)));
                let first = u32::try_from(2 * at).unwrap_or(u32::MAX);
                run.add(chain.process(&data, metadata.as_deref())?, first);
            }
            run.add(chain.finish()?, 0);
            Ok(())
        };
        if let Err(problem) = run_all(&mut run, &mut chain) {
            run.problem = Some(format!("{problem:?}"));
        }
        (run.log, run.counters) = host::take();
        run
    }

    fn add(&mut self, done: Done, first: u32) {
        let data = unframed(&done.data);
        self.metadata
            .extend(done.metadata.map_or_else(|| vec![String::new(); data.len()], |all| unframed(&all)));
        self.records.extend(data);
        self.origin.extend(done.origin.iter().map(|index| first + index));
        self.counts.resize(done.counts.len(), [0; 5]);
        for (sum, count) in self.counts.iter_mut().zip(done.counts) {
            let Counts { received, emitted, dropped, failed, created } = count;
            for (sum, count) in sum.iter_mut().zip([received, emitted, dropped, failed, created]) {
                *sum += count;
            }
            self.dropped += dropped;
        }
        self.failures.extend(done.failed.into_iter().map(|failure| Refused {
            index: failure.index.map(|index| first + index),
            step: failure.step,
            message: failure.message,
            data: failure.data.map(|data| String::from_utf8_lossy(&data).into_owned()),
        }));
    }

    /// Tells whether nothing got lost: for each step, what came in is what went out, was left out or refused.
    #[must_use]
    pub fn is_balanced(&self) -> bool {
        self.counts.iter().all(|[received, emitted, dropped, failed, created]| {
            received + created == emitted + dropped + failed
        })
    }
}

/// A chain outside of the sandbox, fed with batches as the host feeds one inside.
pub struct Native(Chain);

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Native")
    }
}

impl Native {
    /// Opens a chain.
    ///
    /// # Panics
    ///
    /// When the settings are wrong.
    #[must_use]
    pub fn open(known: &[Entry], steps: &[(&str, &str)]) -> Self {
        match Chain::open(known, steps) {
            Ok(chain) => Self(chain),
            Err(problem) => panic!("the chain does not open: {problem:?}"),
        }
    }

    /// Makes batches of up to 1,000 records.
    #[must_use]
    pub fn batches(records: &[&str]) -> Vec<Vec<u8>> {
        records.chunks(1_000).map(|batch| framed(batch.iter().copied())).collect()
    }

    /// Runs a batch; returns how many bytes came out.
    ///
    /// # Panics
    ///
    /// When the batch fails as a whole.
    pub fn process(&mut self, batch: &[u8]) -> usize {
        match self.0.process(batch, None) {
            Ok(done) => done.data.len(),
            Err(problem) => panic!("the batch fails: {problem:?}"),
        }
    }
}

/// Opens an operation and returns what it says of wrong settings: the setting and the message.
#[must_use]
pub fn config_error<T: Operation>(config: &str) -> Option<(String, String)> {
    match Chain::open(&[Entry::of::<T>()], &[(T::INFO.name, config)]) {
        Err(Problem::BadConfig { error, .. }) => Some((error.field, error.message)),
        _ => None,
    }
}

/// Returns what is wrong with the descriptions of an asset's operations.
#[must_use]
pub fn description_faults(known: &[Entry]) -> Vec<String> {
    let fault = |entry: &Entry| {
        let schema: Result<serde_json::Value, _> = serde_json::from_str(entry.info.schema);
        let name = entry.info.name;
        match schema {
            Err(error) => Some(format!("{name}: the schema is no JSON: {error}")),
            Ok(schema) if !schema["properties"].is_object() => {
                Some(format!("{name}: the schema has no properties"))
            }
            Ok(_) if !entry.info.description.ends_with('.') => {
                Some(format!("{name}: the description is no sentence"))
            }
            Ok(_) => None,
        }
    };
    known.iter().filter_map(fault).collect()
}

fn plain<'a>(records: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    records.iter().map(|record| (*record, "")).collect()
}

fn framed<'a>(items: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let (mut offsets, mut payload) = (vec![0], Vec::new());
    for item in items {
        payload.extend_from_slice(item.as_bytes());
        offsets.push(u32::try_from(payload.len()).unwrap_or(u32::MAX));
    }
    frame::write(&offsets, &payload)
}

fn unframed(bytes: &[u8]) -> Vec<String> {
    let frame = Frame::read(bytes).expect("a chain writes frames");
    let item = |index| {
        let (start, end) = frame.range(index);
        String::from_utf8_lossy(&frame.payload[start..end]).into_owned()
    };
    (0..frame.count).map(item).collect()
}

/// What stands in for the host.
pub(crate) mod host {
    use super::{Level, RefCell};

    type Seen = (Vec<(Level, String)>, Vec<(String, i64)>);

    thread_local! {
        static SEEN: RefCell<Seen> = const { RefCell::new((Vec::new(), Vec::new())) };
    }

    pub(crate) fn take() -> Seen {
        SEEN.take()
    }

    pub(crate) fn log(level: Level, message: &str) {
        SEEN.with_borrow_mut(|seen| seen.0.push((level, message.to_owned())));
    }

    pub(crate) fn count(name: &str, delta: i64) {
        SEEN.with_borrow_mut(|seen| seen.1.push((name.to_owned(), delta)));
    }

    pub(crate) const fn now_ms() -> u64 {
        super::NOW_MS
    }

    pub(crate) const fn seed() -> u64 {
        super::SEED
    }
}

/// The time that tests see: 2026-11-22T00:00:00Z.
pub const NOW_MS: u64 = 1_795_305_600_000;
/// The seed that tests see.
pub const SEED: u64 = 42;
