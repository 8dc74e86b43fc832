//! Runs records through a chain of operations.

use serde_json::{Map, Value as Json};

use crate::{
    buffer::Buffer,
    frame::{self, Frame},
    operation::{AnyOperation, ConfigError, Entry, Error, Verdict},
    record::{Held, Record},
};

/// Operations that a record passes one after the other.
pub(crate) struct Chain {
    steps: Vec<Step>,
    out: Output,
}

struct Step {
    operation: Box<dyn AnyOperation>,
    is_raw: bool,
    held: Vec<Held>,
    /// Of the current call.
    counts: Counts,
}

/// What became of the records that reached one step. Over a slice `received + created = emitted + dropped + failed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) emitted: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
    pub(crate) created: u64,
}

/// A record that a step refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) index: Option<u32>,
    pub(crate) step: u32,
    pub(crate) message: String,
    pub(crate) data: Option<Vec<u8>>,
}

/// What a call gives back: frames, and what did not come through.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) data: Vec<u8>,
    pub(crate) metadata: Option<Vec<u8>>,
    pub(crate) origin: Vec<u32>,
    pub(crate) failed: Vec<Failure>,
    pub(crate) counts: Vec<Counts>,
}

/// Why a chain cannot be opened, or a call fails as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    BadConfig { step: u32, error: ConfigError },
    RetryLater(String),
    Fatal(String),
}

/// A record longer than this is cut in messages.
const MESSAGE_MAX: usize = 512;

impl Chain {
    /// Opens the operations by their names and settings.
    pub(crate) fn open(known: &[Entry], steps: &[(&str, &str)]) -> Result<Self, Problem> {
        let open = |(at, (name, config)): (usize, &(&str, &str))| {
            let problem = |error| Problem::BadConfig { step: number(at), error };
            let settings: Map<String, Json> = serde_json::from_str(config).map_err(|error| {
                problem(ConfigError::several(format!("the settings are no object: {error}")))
            })?;
            let entry = known.iter().find(|entry| entry.info.name == *name).ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|entry| entry.info.name).collect();
                problem(ConfigError::new("_op", *name, &format!("one of {}", names.join(", "))))
            })?;
            let operation = (entry.open)(settings).map_err(problem)?;
            Ok(Step { operation, is_raw: entry.info.is_raw, held: Vec::new(), counts: Counts::default() })
        };
        let steps = steps.iter().enumerate().map(open).collect::<Result<_, _>>()?;
        Ok(Self { steps, out: Output::default() })
    }

    /// Runs a batch through the chain.
    pub(crate) fn process(&mut self, data: &[u8], metadata: Option<&[u8]>) -> Result<Done, Problem> {
        let broken = || Problem::Fatal("the batch is no frame".to_owned());
        let data = Frame::read(data).ok_or_else(broken)?;
        let metadata = metadata.map(|bytes| Frame::read(bytes).ok_or_else(broken)).transpose()?;
        self.begin();
        self.out.has_metadata = metadata.is_some();
        let mut record = Record::default();
        for index in 0..data.count {
            let (start, end) = data.range(index);
            let end_of_record = end - usize::from(end > start && data.payload[end - 1] == b'\n');
            record.has_line_feed = end_of_record < end;
            record.data.load(data.payload, start, end_of_record);
            if let Some(metadata) = &metadata {
                let (start, end) = metadata.range(index);
                record.metadata.load(metadata.payload, start, end);
            } else {
                record.metadata.load(&[], 0, 0);
            }
            self.run(0, Some(number(index)), &mut record)?;
        }
        Ok(self.end(data.count as u64))
    }

    /// Ends the slice: what steps hold runs through those behind them.
    pub(crate) fn finish(&mut self) -> Result<Done, Problem> {
        self.begin();
        for at in 0..self.steps.len() {
            let step = &mut self.steps[at];
            let held = std::mem::take(&mut step.held);
            let count = held.len() as u64;
            let released = step.operation.finish(held).map_err(|error| problem(&error))?;
            let (records, rejected) = (released.records, released.rejected);
            let (emitted, failed) = (records.len() as u64, rejected.len() as u64);
            step.counts.emitted += emitted;
            step.counts.failed += failed;
            step.counts.dropped += count.saturating_sub(emitted + failed);
            step.counts.created += (emitted + failed).saturating_sub(count);
            for (record, message) in rejected {
                let data = Some(record.data.into());
                self.out.failed.push(Failure { index: None, step: number(at), message: cut(message), data });
            }
            self.release(at + 1, records)?;
        }
        Ok(self.end(0))
    }

    fn release(&mut self, step: usize, records: Vec<Held>) -> Result<(), Problem> {
        if let Some(next) = self.steps.get_mut(step) {
            next.counts.received += records.len() as u64;
        }
        let mut objects = Default::default();
        for held in records {
            let mut record = Record::with_objects(objects);
            held.load(&mut record);
            self.run(step, None, &mut record)?;
            objects = record.into_objects();
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.out.clear();
        self.steps.iter_mut().for_each(|step| step.counts = Counts::default());
    }

    fn end(&mut self, received: u64) -> Done {
        let mut counts: Vec<_> = self.steps.iter().map(|step| step.counts).collect();
        if let Some(first) = counts.first_mut() {
            first.received += received;
        }
        self.out.take(counts)
    }

    /// Runs one record through the steps from `first` on.
    #[inline]
    fn run(&mut self, first: usize, index: Option<u32>, record: &mut Record<'_>) -> Result<(), Problem> {
        for (at, step) in self.steps.iter_mut().enumerate().skip(first) {
            if at > first {
                step.counts.received += 1;
            }
            let verdict = if step.is_raw || record.data.read().is_ok() {
                step.operation.process(record)
            } else {
                Err(Error::Reject("the record is no JSON object; json_parser makes one of raw bytes".into()))
            };
            match verdict {
                Ok(Verdict::Keep) => step.counts.emitted += 1,
                Ok(Verdict::Drop) => {
                    step.counts.dropped += 1;
                    return Ok(());
                }
                Ok(Verdict::Hold) => {
                    step.held.push(record.hold());
                    return Ok(());
                }
                Err(Error::Reject(message)) => {
                    step.counts.failed += 1;
                    let is_known = index.is_some() && record.data.is_original();
                    let data = (!is_known).then(|| record.bytes().into_owned());
                    let message = cut(message.into_owned());
                    self.out.failed.push(Failure { index, step: number(at), message, data });
                    return Ok(());
                }
                Err(error) => return Err(problem(&error)),
            }
        }
        self.out.push(record, index);
        Ok(())
    }
}

/// The records that leave the chain; what it allocates is used again.
#[derive(Debug, Default)]
struct Output {
    data: Buffer,
    offsets: Vec<u32>,
    metadata: Buffer,
    metadata_offsets: Vec<u32>,
    has_metadata: bool,
    origin: Vec<u32>,
    failed: Vec<Failure>,
}

impl Output {
    fn clear(&mut self) {
        self.data.clear();
        self.metadata.clear();
        self.offsets.clear();
        self.offsets.push(0);
        self.metadata_offsets.clear();
        self.metadata_offsets.push(0);
        self.has_metadata = false;
    }

    #[inline]
    fn push(&mut self, record: &Record<'_>, index: Option<u32>) {
        record.data.write(&mut self.data);
        if record.has_line_feed {
            self.data.push(b'\n');
        }
        self.offsets.push(number(self.data.len()));
        self.origin.extend(index);
        if self.has_metadata || !record.metadata.is_original() || index.is_none() {
            self.push_metadata(record);
        }
    }

    fn push_metadata(&mut self, record: &Record<'_>) {
        // The first record with metadata may come behind some without.
        self.metadata_offsets.resize(self.offsets.len() - 1, 0);
        record.write_metadata(&mut self.metadata);
        self.metadata_offsets.push(number(self.metadata.len()));
        self.has_metadata |= self.metadata.len() > 0;
    }

    fn take(&mut self, counts: Vec<Counts>) -> Done {
        let metadata = (self.metadata.len() > 0).then(|| {
            self.metadata_offsets.resize(self.offsets.len(), number(self.metadata.len()));
            frame::write(&self.metadata_offsets, self.metadata.as_slice())
        });
        Done {
            data: frame::write(&self.offsets, self.data.as_slice()),
            metadata,
            origin: std::mem::take(&mut self.origin),
            failed: std::mem::take(&mut self.failed),
            counts,
        }
    }
}

fn problem(error: &Error) -> Problem {
    match error {
        Error::RetryLater(message) => Problem::RetryLater(message.clone()),
        Error::Fatal(message) => Problem::Fatal(message.clone()),
        Error::Reject(message) => Problem::Fatal(message.clone().into_owned()),
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MESSAGE_MAX));
    message
}

/// A frame counts in 32 bits: so does this.
#[expect(clippy::cast_possible_truncation, reason = "counts and places of a batch are below 4 GiB")]
const fn number(value: usize) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests;
