//! What is read, divided among the slicers: found out once, and kept in every position.

use serde::{Deserialize, Serialize};
use teraslice_core::operation::OperationError;
use teraslice_model::{job::Lifecycle, problem::Problem, slice::Request};

use crate::id_reader::walk::Place;

use super::{count::Counter, settings::IndexReaderConfig};

/// Cells per slice, where slices follow the counts: they come out this evenly.
const CELLS_PER_SLICE: i64 = 8;
/// An interval is counted in about so many parts, or up to so many if no other number divides it, so that it can be cut.
const PARTS: (i64, i64) = (128, 4_096);

/// What is read, and by how many slicers. Times are in milliseconds since 1970; ends are exclusive.
///
/// ```text
/// once         start                                end
///                |--- slicer 0 ---|--- slicer 1 ---|
/// persistent   start          + interval       + interval
///                |- 0 -|- 1 -|- 0 -|- 1 -|- 0 -|- 1 -|  ...
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    start: i64,
    /// Absent: the job is persistent.
    end: Option<i64>,
    /// The length of a slice, or of a window; absent: slices follow the counts.
    pub(super) interval: Option<i64>,
    /// The step of the coarsest counts.
    pub(super) step: i64,
    pub(super) slicers: u32,
    /// How finely time is cut.
    pub(super) unit: i64,
}

/// Where a slicer stands: the plan and its own place in it. The checkpoint of a slicer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    #[serde(flatten)]
    pub(super) plan: Plan,
    /// The window at hand; 0 when there is one only.
    #[serde(default)]
    pub(super) window: i64,
    /// Up to where records are in slices.
    pub(super) at: i64,
    /// Within which time records are being cut by their ids, and how far that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys: Option<WithinKeys>,
}

/// A slice that is being cut by ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WithinKeys {
    /// Where the slice ends.
    pub(super) end: i64,
    /// How far its ids are cut.
    pub(super) place: Place,
}

impl Position {
    /// Reads a checkpoint.
    pub(crate) fn of(stored: &Request) -> Result<Self, OperationError> {
        stored.parse().map_err(|error| {
            OperationError::slice(format!("the checkpoint is not of elasticsearch_reader: {error}"))
        })
    }
}

impl Plan {
    /// Finds out what there is to read; none: nothing.
    pub(crate) async fn make(
        config: &IndexReaderConfig,
        lifecycle: Lifecycle,
        slicers: u32,
        now: i64,
        counter: &dyn Counter,
    ) -> Result<Option<Self>, OperationError> {
        let unit = config.time_resolution.millis();
        let interval = config.interval_ms().map_err(OperationError::job)?;
        let slicers = slicers.max(1);
        if lifecycle == Lifecycle::Persistent {
            let delay = config.delay_ms().map_err(OperationError::job)?;
            let interval = interval.ok_or_else(|| {
                OperationError::job(Problem::new("/interval", "a persistent job needs one"))
            })?;
            let start = floor(now - delay - interval, unit);
            let step = fine_step(interval, unit);
            return Ok(Some(Self { start, end: None, interval: Some(interval), step, slicers, unit }));
        }
        let (from, to) = config.dates(now).map_err(OperationError::job)?;
        let Some(survey) = counter.survey(from, to).await? else { return Ok(None) };
        let start = floor(from.unwrap_or(survey.first), unit);
        // What lies within the last unit is read too.
        let end = to.map_or_else(|| floor(survey.last, unit) + unit, |to| floor(to + unit - 1, unit));
        let end = end.max(start + unit);
        let step = match interval {
            Some(interval) => fine_step(interval, unit),
            None => {
                let slices = i64::try_from(survey.count.div_ceil(config.size)).unwrap_or(i64::MAX);
                floor((end - start) / slices.saturating_mul(CELLS_PER_SLICE).max(1), unit).max(unit)
            }
        };
        Ok(Some(Self { start, end: Some(end), interval, step, slicers, unit }))
    }

    /// Returns the part of a slicer in a window, if there is such a window.
    pub(super) fn part(&self, slicer: u32, window: i64) -> Option<(i64, i64)> {
        let (start, end) = match (self.end, self.interval) {
            (Some(end), _) => (window == 0).then_some((self.start, end))?,
            (None, Some(interval)) => {
                let start = self.start.checked_add(window.checked_mul(interval)?)?;
                (start, start + interval)
            }
            (None, None) => return None,
        };
        let border = |number: u32| {
            let share = i128::from(end - start) * i128::from(number) / i128::from(self.slicers);
            start + floor(i64::try_from(share).unwrap_or_default(), self.unit)
        };
        // Bounds are multiples of the unit; the last part has the rest.
        let to = if slicer + 1 >= self.slicers { end } else { border(slicer + 1) };
        Some((border(slicer), to))
    }

    /// Tells whether there is one window only.
    pub(super) const fn ends(&self) -> bool {
        self.end.is_some()
    }

    /// Returns the position of a slicer that has made nothing.
    pub(crate) fn begin(self, slicer: u32) -> Position {
        let at = self.part(slicer, 0).map_or(self.start, |(from, _)| from);
        Position { plan: self, window: 0, at, keys: None }
    }
}

/// Returns the step with which a fixed interval is counted: the unit, or larger where that is fine enough.
fn fine_step(interval: i64, unit: i64) -> i64 {
    let units = interval / unit;
    if units < 2 * PARTS.0 {
        return unit;
    }
    let parts = (PARTS.0..=PARTS.1.min(units)).find(|parts| units % parts == 0);
    parts.map_or(interval, |parts| interval / parts)
}

const fn floor(time: i64, unit: i64) -> i64 {
    time.div_euclid(unit) * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_an_interval_as_finely_as_it_may_be_cut() {
        let second = 1_000;
        for (interval, unit, step) in [
            (1, 1, 1),
            (60 * second, second, second),
            (300 * second, second, 2 * second),
            (86_400 * second, second, 675 * second),
            (second, 1, 5),
            (257, 1, 1),
            (5_003, 1, 5_003),
        ] {
            assert_eq!(fine_step(interval, unit), step, "{interval} by {unit}");
        }
    }

    #[test]
    fn divides_every_window_among_the_slicers() {
        let once = Plan { start: 0, end: Some(10_000), interval: None, step: 1_000, slicers: 3, unit: 1_000 };
        let parts: Vec<_> = (0..3).filter_map(|slicer| once.part(slicer, 0)).collect();
        assert_eq!(parts, [(0, 3_000), (3_000, 6_000), (6_000, 10_000)]);
        assert_eq!(once.part(0, 1), None);
        let persistent = Plan { end: None, interval: Some(2_000), slicers: 2, ..once };
        assert_eq!(persistent.part(1, 3), Some((7_000, 8_000)));
    }

    #[test]
    fn reads_the_position_of_version_one() {
        let stored = "{\"start\":0,\"end\":10000,\"interval\":null,\"step\":1000,\"slicers\":3,\"unit\":1000,\
                      \"window\":0,\"at\":4000}";
        let position = Position::of(&Request::from_json(stored)).unwrap();
        assert_eq!(Request::new(&position).unwrap().json(), stored);
    }
}
