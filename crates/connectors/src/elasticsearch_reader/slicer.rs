//! Cuts an index into slices by dates.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use teraslice_core::{
    context::Context,
    operation::{OperationError, Sliced, Slicer, SlicerContext},
};
use teraslice_model::{slice::Request, timestamp::Timestamp};

use super::{
    cells::Cells,
    count::Counter,
    plan::{Plan, Position, WithinKeys},
    rules::Rules,
    settings::IndexReaderConfig,
    stretch::Counting,
};
use crate::id_reader::walk::{Alphabet, Place, Walk};

/// The position of a slicer that has nothing to cut.
const NOTHING: &str = "null";

/// Cuts one part of an index into slices; of a persistent job, its part of each window.
pub(crate) struct DateSlicer {
    slicer: u32,
    position: Position,
    cells: Cells,
    rules: Rules,
    counting: Counting,
    counter: Arc<dyn Counter>,
    context: Context,
    /// How long after its end a window is read.
    delay: i64,
    /// From how many records on a slice is cut by ids, and how.
    by_keys: Option<(u64, Alphabet)>,
    /// The slice that is being cut so.
    walk: Option<(i64, Walk)>,
    /// The position that was told last.
    told: Option<Request>,
}

/// Makes the slicers of a job: from their checkpoints, or from what is there.
pub(crate) async fn slicers(
    config: &IndexReaderConfig,
    context: &SlicerContext,
    counter: Arc<dyn Counter>,
) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
    let stored = context.checkpoints.iter().find_map(|checkpoint| checkpoint.position.as_ref());
    let plan = match stored {
        Some(stored) if stored.json() == NOTHING => None,
        Some(stored) => Some(Position::of(stored)?.plan),
        // Nothing more is to be made: what is there does not matter.
        None if !context.checkpoints.is_empty() && context.checkpoints.iter().all(|one| one.is_exhausted) => {
            None
        }
        None => {
            let now = context.context.wall().as_millis();
            Plan::make(config, context.lifecycle, context.slicers, now, counter.as_ref()).await?
        }
    };
    let Some(plan) = plan else {
        let nothing = || Box::new(Nothing) as Box<dyn Slicer>;
        return Ok((0..context.slicers.max(1)).map(|_| nothing()).collect());
    };
    if plan.slicers < context.slicers {
        tracing::warn!(
            wanted = context.slicers,
            slicers = plan.slicers,
            "the parts of the earlier run are kept: there are no more slicers than it had"
        );
    }
    let make = |slicer| -> Result<Box<dyn Slicer>, OperationError> {
        let stored = context.checkpoint(slicer).position;
        let position = stored.map_or_else(|| Ok(plan.begin(slicer)), |stored| Position::of(&stored))?;
        Ok(Box::new(DateSlicer::new(
            slicer,
            position,
            config,
            context.context.clone(),
            Arc::clone(&counter),
        )?))
    };
    (0..plan.slicers).map(make).collect()
}

impl DateSlicer {
    fn new(
        slicer: u32,
        position: Position,
        config: &IndexReaderConfig,
        context: Context,
        counter: Arc<dyn Counter>,
    ) -> Result<Self, OperationError> {
        let plan = position.plan;
        let rules =
            Rules { size: config.size, interval: plan.interval, cuts_by_count: config.recurse_optimization };
        let by_keys = config.subslice_by_key.then(|| (config.subslice_key_threshold, Alphabet::of(config)));
        let walk = match (&position.keys, &by_keys) {
            (Some(within), Some((_, alphabet))) => {
                let walk = Walk::new(alphabet.clone(), config.size, &within.place, 0, 1);
                Some((within.end, walk))
            }
            _ => None,
        };
        Ok(Self {
            slicer,
            cells: cells(&position, slicer),
            rules,
            counting: Counting::new(Arc::clone(&counter), context.clone()),
            counter,
            context,
            delay: config.delay_ms().map_err(OperationError::job)?,
            by_keys,
            walk,
            told: None,
            position,
        })
    }

    fn request(&self, end: i64, count: u64) -> Request {
        let text = |millis| Timestamp::from_millis(millis);
        let (start, end, limit) = (text(self.cells.at()), text(end), text(self.cells.limit()));
        Request::from_json(format!(
            "{{\"start\":\"{start}\",\"end\":\"{end}\",\"limit\":\"{limit}\",\"holes\":[],\"count\":{count}}}"
        ))
    }

    /// Makes what slices can be made without waiting, or waits for the first. Returns whether that was all of the window.
    async fn fill(&mut self, requests: &mut Vec<Request>, max: usize) -> Result<bool, OperationError> {
        // Cells of a part of an interval are passed over quickly.
        let is_fine = self.rules.interval.is_some_and(|interval| interval > self.cells.step());
        while requests.len() < max {
            if self.walk.is_some() {
                self.walk_keys(requests, max).await?;
                if self.walk.is_some() {
                    return Ok(false);
                }
                continue;
            }
            match self.rules.next(&self.cells) {
                Ok(None) => return Ok(true),
                Ok(Some((end, count))) => match &self.by_keys {
                    Some((threshold, alphabet)) if count >= *threshold => {
                        let walk = Walk::new(alphabet.clone(), self.rules.size, &Place::default(), 0, 1);
                        self.walk = Some((end, walk));
                    }
                    _ => {
                        requests.push(self.request(end, count));
                        self.advance(end);
                    }
                },
                // What is made already goes out before anything is waited for.
                Err(need) if !requests.is_empty() && !self.counting.is_ready(need) => break,
                Err(need) => self.counting.meet(need, &mut self.cells, is_fine).await?,
            }
        }
        self.counting.look_ahead(&self.cells, is_fine);
        Ok(self.cells.at() >= self.cells.limit())
    }

    fn advance(&mut self, end: i64) {
        self.cells.advance(end);
        self.position.at = end;
        self.position.keys = None;
    }

    /// Cuts the slice at hand by ids, as far as slices are wanted and can be made without waiting.
    async fn walk_keys(&mut self, requests: &mut Vec<Request>, max: usize) -> Result<(), OperationError> {
        let Some((end, walk)) = &mut self.walk else { return Ok(()) };
        let (start, end, limit) = (self.cells.at(), *end, self.cells.limit());
        while requests.len() < max {
            match walk.next() {
                Ok(Some(found)) => {
                    requests.push(found.request(Some((start, end, limit))));
                    self.position.keys = Some(WithinKeys { end, place: walk.place() });
                }
                Ok(None) => {
                    self.walk = None;
                    self.advance(end);
                    break;
                }
                Err(_) if !requests.is_empty() => break,
                Err(ask) => {
                    let counts = self.counter.keys(Some((start, end)), &ask.prefix, &ask.next).await?;
                    walk.supply(counts);
                }
            }
        }
        Ok(())
    }

    /// Returns when the window at hand can be read; none: at once.
    fn due(&self) -> Option<i64> {
        let due = self.cells.limit() + self.delay;
        (!self.position.plan.ends() && due > self.context.wall().as_millis()).then_some(due)
    }

    /// Goes on to the next window.
    fn next_window(&mut self) {
        self.position.window += 1;
        if let Some((from, _)) = self.position.plan.part(self.slicer, self.position.window) {
            self.position.at = from;
        }
        self.cells = cells(&self.position, self.slicer);
    }

    fn told(&mut self, requests: Vec<Request>, is_exhausted: bool) -> Result<Sliced, OperationError> {
        let position =
            Request::new(&self.position).map_err(|error| OperationError::slice(error.to_string()))?;
        self.told = Some(position.clone());
        Ok(Sliced { requests, position, is_exhausted })
    }

    fn has_news(&self) -> bool {
        let now = Request::new(&self.position).ok();
        self.told.is_some() && self.told != now
    }
}

/// Returns the cells of what is left of a slicer's part.
fn cells(position: &Position, slicer: u32) -> Cells {
    let plan = position.plan;
    let (from, to) = plan.part(slicer, position.window).unwrap_or((position.at, position.at));
    Cells::new(from, plan.step, position.at, to, plan.unit)
}

#[async_trait]
impl Slicer for DateSlicer {
    async fn next(&mut self, max: usize) -> Result<Sliced, OperationError> {
        let mut requests = Vec::new();
        loop {
            if let Some(due) = self.due() {
                if !requests.is_empty() || self.has_news() {
                    return self.told(requests, false);
                }
                let wait = due - self.context.wall().as_millis();
                tokio::time::sleep(Duration::from_millis(u64::try_from(wait).unwrap_or(1).max(1))).await;
                continue;
            }
            let is_done = self.fill(&mut requests, max).await?;
            if !is_done {
                return self.told(requests, false);
            }
            if self.position.plan.ends() {
                self.advance(self.cells.limit());
                return self.told(requests, true);
            }
            self.next_window();
            if requests.len() >= max {
                return self.told(requests, false);
            }
        }
    }
}

/// Has nothing to cut.
#[derive(Debug)]
struct Nothing;

#[async_trait]
impl Slicer for Nothing {
    async fn next(&mut self, _: usize) -> Result<Sliced, OperationError> {
        Ok(Sliced { requests: Vec::new(), position: Request::from_json(NOTHING), is_exhausted: true })
    }
}
