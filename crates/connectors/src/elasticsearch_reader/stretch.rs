//! Counts the next stretch of time while slices of the one before are handed out.

use std::sync::Arc;

use teraslice_core::{context::Context, operation::OperationError};

use super::{
    cells::{Cells, Need},
    count::{Counter, Stretch},
};
use crate::task::Task;

/// Cells that are counted at once, where cells follow the counts.
const CELLS: i64 = 2_048;
/// Cells that are counted at once where an interval has many.
const FINE_CELLS: i64 = 8_192;

/// What was counted, and up to where.
#[derive(Debug)]
struct Counted {
    cells: Vec<(i64, u64)>,
    known: i64,
}

/// Counts what is needed, the next stretch ahead of time.
#[derive(Debug)]
pub(super) struct Counting {
    counter: Arc<dyn Counter>,
    context: Context,
    /// The next stretch and where it begins.
    ahead: Option<(i64, Task<Result<Counted, OperationError>>)>,
}

impl Counting {
    pub(super) fn new(counter: Arc<dyn Counter>, context: Context) -> Self {
        Self { counter, context, ahead: None }
    }

    /// Tells whether a need can be met at once.
    pub(super) fn is_ready(&self, need: Need) -> bool {
        match (need, &self.ahead) {
            (Need::More { from }, Some((begin, task))) => *begin == from && task.is_done(),
            _ => false,
        }
    }

    /// Begins to count what comes behind the known cells, unless that is under way or many are left.
    pub(super) fn look_ahead(&mut self, cells: &Cells, is_fine: bool) {
        let from = cells.known();
        let is_under_way = self.ahead.as_ref().is_some_and(|(begin, _)| *begin == from);
        let many = usize::try_from(if is_fine { FINE_CELLS } else { CELLS }).unwrap_or(usize::MAX);
        if from >= cells.limit() || is_under_way || cells.len() >= many {
            return;
        }
        let work = more(Arc::clone(&self.counter), cells, from, is_fine);
        self.ahead = Some((from, Task::start(&self.context, work)));
    }

    /// Counts what is needed. Dropping the future loses nothing.
    pub(super) async fn meet(
        &mut self,
        need: Need,
        cells: &mut Cells,
        is_fine: bool,
    ) -> Result<(), OperationError> {
        let counted = match need {
            Need::More { from } => {
                self.ahead = self.ahead.take().filter(|(begin, _)| *begin == from);
                if self.ahead.is_none() {
                    self.ahead = Some((
                        from,
                        Task::start(&self.context, more(Arc::clone(&self.counter), cells, from, is_fine)),
                    ));
                }
                let (_, task) = self.ahead.as_mut().expect("it was started");
                let counted = task.done().await?;
                self.ahead = None;
                counted?
            }
            Need::Within { from, to, origin, step } => {
                let cells = self.counter.histogram(Stretch { from, to, origin, step }).await?;
                Counted { cells, known: to }
            }
        };
        cells.supply(need, counted.cells, counted.known);
        Ok(())
    }
}

/// Counts from `from` on; where a stretch has no records, goes on to the next one that has.
fn more(
    counter: Arc<dyn Counter>,
    cells: &Cells,
    from: i64,
    is_fine: bool,
) -> impl Future<Output = Result<Counted, OperationError>> + Send + 'static {
    let (origin, step, limit) = (cells.origin(), cells.step(), cells.limit());
    let length = step.saturating_mul(if is_fine { FINE_CELLS } else { CELLS });
    let stretch = move |from: i64| {
        let border = origin + (from - origin).div_euclid(step) * step;
        Stretch { from, to: border.saturating_add(length).min(limit), origin, step }
    };
    async move {
        let near = stretch(from);
        let found = counter.histogram(near).await?;
        if !found.is_empty() || near.to >= limit {
            return Ok(Counted { cells: found, known: near.to });
        }
        let Some(first) = counter.first(near.to, limit).await? else {
            return Ok(Counted { cells: Vec::new(), known: limit });
        };
        let far = stretch(first.max(near.to));
        let begin = (origin + (far.from - origin).div_euclid(step) * step).max(near.to);
        let cells = counter.histogram(Stretch { from: begin, ..far }).await?;
        Ok(Counted { cells, known: far.to })
    }
}
