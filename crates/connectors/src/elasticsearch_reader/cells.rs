//! Counts of records over stretches of time, on grids that get finer where records are dense.
//!
//! ```text
//! start                                                             limit
//!   |-----c-----|-----c-----|-----c-----|-----c-----|  known to here ...      level 0, cells of one step
//!               ^ at        |--|--|--|--|                                     level 1, within one cell
//! ```
//!
//! The grid is fixed by its start and its step, never by counts, so that it is the same for whoever looks again. Where
//! records have been given to slices already, cells end: the first one begins at `at`.

use std::collections::VecDeque;

/// A cell of level n+1 is so much finer than one of level n.
const FINER: i64 = 128;

/// Some time with records in it. Times are in milliseconds since 1970; ends are exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) count: u64,
}

/// What has to be counted before it is clear where to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The next stretch, from here on.
    More { from: i64 },
    /// What is within a cell, in finer cells.
    Within { from: i64, to: i64, origin: i64, step: i64 },
}

/// Cells with records, in order; time without a cell has none.
#[derive(Clone, Debug)]
struct Level {
    /// Where the grid begins.
    origin: i64,
    step: i64,
    cells: VecDeque<Cell>,
    /// All is known up to here.
    known: i64,
}

/// The cells of a stretch of time, and of what lies within them where that was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    levels: Vec<Level>,
    at: i64,
    limit: i64,
    /// The finest step.
    unit: i64,
}

impl Cells {
    /// Makes cells of `step`, counted from `origin`, for the time from `at` to `limit`.
    pub(crate) fn new(origin: i64, step: i64, at: i64, limit: i64, unit: i64) -> Self {
        let level = Level { origin, step, cells: VecDeque::new(), known: at };
        Self { levels: vec![level], at, limit, unit }
    }

    /// Returns the time from which on records are not in a slice yet.
    pub(crate) const fn at(&self) -> i64 {
        self.at
    }

    pub(crate) const fn limit(&self) -> i64 {
        self.limit
    }

    /// Returns up to where cells of the first level are known.
    pub(crate) fn known(&self) -> i64 {
        self.levels[0].known
    }

    pub(crate) fn step(&self) -> i64 {
        self.levels[0].step
    }

    pub(crate) fn origin(&self) -> i64 {
        self.levels[0].origin
    }

    /// Returns how many cells with records are known.
    pub(crate) fn len(&self) -> usize {
        self.levels[0].cells.len()
    }

    /// Returns the last border of the first level that is at `time` or before.
    pub(crate) fn border(&self, time: i64) -> i64 {
        self.levels[0].border(time)
    }

    /// Takes what was counted for a need: the cells with records, and up to where that is all.
    pub(crate) fn supply(&mut self, need: Need, cells: impl IntoIterator<Item = (i64, u64)>, known: i64) {
        let level = match need {
            Need::More { .. } => &mut self.levels[0],
            Need::Within { from, origin, step, .. } => {
                self.levels.push(Level { origin, step, cells: VecDeque::new(), known: from });
                self.levels.last_mut().expect("one was pushed")
            }
        };
        let (from, step) = (level.known, level.step);
        level.cells.extend(cells.into_iter().filter_map(|(start, count)| {
            let cell = Cell { start: start.max(from), end: (start + step).min(known), count };
            (count > 0 && cell.start < cell.end).then_some(cell)
        }));
        level.known = known;
    }

    /// Counts the records from `at` to a border of the first level that is known.
    pub(crate) fn count_to(&self, end: i64) -> u64 {
        let cells = self.levels[0].cells.iter();
        cells.take_while(|cell| cell.start < end).map(|cell| cell.count).sum()
    }

    /// Returns the first cell of the first level that ends behind `time`.
    pub(crate) fn cell_behind(&self, time: i64) -> Option<Cell> {
        self.levels[0].cells.iter().find(|cell| cell.end > time).copied()
    }

    /// Finds the end of the longest slice from `at` that has at most `size` records and ends at a border; a cell of the
    /// finest step may have more. None: no record is left.
    pub(crate) fn fill(&self, size: u64) -> Result<Option<(i64, u64)>, Need> {
        let level = &self.levels[0];
        let mut sum = 0;
        for cell in &level.cells {
            if sum + cell.count > size {
                return if sum > 0 { Ok(Some((cell.start, sum))) } else { self.split(*cell, size).map(Some) };
            }
            sum += cell.count;
        }
        if level.known < self.limit {
            return Err(Need::More { from: level.known });
        }
        Ok((sum > 0).then_some((self.limit, sum)))
    }

    /// Finds the end of a slice within a cell that has more than `size` records, the first one of all.
    pub(crate) fn split(&self, first: Cell, size: u64) -> Result<(i64, u64), Need> {
        let mut cell = first;
        for depth in 0.. {
            let level = &self.levels[depth];
            if level.step <= self.unit {
                break;
            }
            let Some(finer) = self.levels.get(depth + 1) else {
                let step = ((level.step / FINER) / self.unit * self.unit).max(self.unit);
                let origin = level.border(cell.start);
                return Err(Need::Within { from: cell.start, to: cell.end, origin, step });
            };
            let mut sum = 0;
            let mut too_large = None;
            for next in &finer.cells {
                if sum + next.count > size {
                    too_large = Some(*next);
                    break;
                }
                sum += next.count;
            }
            match too_large {
                Some(next) if sum > 0 => return Ok((next.start, sum)),
                Some(next) => cell = next,
                // Records have gone since the cell was counted.
                None => return Ok((cell.end, sum)),
            }
        }
        Ok((cell.end, cell.count))
    }

    /// Gives the records up to `end` to a slice.
    pub(crate) fn advance(&mut self, end: i64) {
        self.at = end;
        let mut depth = 0;
        self.levels.retain(|level| {
            depth += 1;
            depth == 1 || level.known > end
        });
        // What is left of the cell that a finer level is within.
        let mut rest = None;
        for level in self.levels.iter_mut().rev() {
            while level.cells.front().is_some_and(|cell| cell.end <= end) {
                let _given = level.cells.pop_front();
            }
            if let Some(cell) = level.cells.front_mut().filter(|cell| cell.start < end) {
                cell.start = end;
                cell.count = rest.unwrap_or(cell.count);
                if cell.count == 0 {
                    let _empty = level.cells.pop_front();
                }
            }
            rest = Some(level.cells.iter().map(|cell| cell.count).sum());
        }
        while self.levels.len() > 1 && self.levels.last().is_some_and(|level| level.cells.is_empty()) {
            let _empty = self.levels.pop();
        }
    }
}

impl Level {
    fn border(&self, time: i64) -> i64 {
        self.origin + (time - self.origin).div_euclid(self.step) * self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts records at the given times.
    fn counted(times: &[i64], from: i64, to: i64, origin: i64, step: i64) -> Vec<(i64, u64)> {
        let mut cells: Vec<(i64, u64)> = Vec::new();
        for time in times.iter().filter(|time| (from..to).contains(*time)) {
            let start = origin + (time - origin).div_euclid(step) * step;
            match cells.last_mut().filter(|(last, _)| *last == start) {
                Some((_, count)) => *count += 1,
                None => cells.push((start, 1)),
            }
        }
        cells
    }

    /// Returns all slices, with stretches of three cells.
    fn filled(times: &[i64], step: i64, limit: i64, size: u64, at: i64) -> Vec<(i64, i64, u64)> {
        let mut cells = Cells::new(0, step, at, limit, 1);
        let mut slices = Vec::new();
        loop {
            match cells.fill(size) {
                Ok(None) => return slices,
                Ok(Some((end, count))) => {
                    slices.push((cells.at(), end, count));
                    cells.advance(end);
                }
                Err(need @ Need::More { from }) => {
                    let to = (cells.border(from) + 3 * step).min(limit);
                    cells.supply(need, counted(times, from, to, 0, step), to);
                }
                Err(need @ Need::Within { from, to, origin, step }) => {
                    cells.supply(need, counted(times, from, to, origin, step), to);
                }
            }
        }
    }

    #[test]
    fn fills_slices_up_to_their_size() {
        let times: Vec<i64> = (0..100).map(|n| n * 10).collect();
        let slices = filled(&times, 50, 1_000, 20, 0);
        assert_eq!(slices, (0..5).map(|n| (n * 200, n * 200 + 200, 20)).collect::<Vec<_>>());
    }

    #[test]
    fn looks_closer_where_records_are_dense() {
        // 1,000 records within one cell of a thousand cells, a few elsewhere.
        let mut times: Vec<i64> = (500_100..501_100).collect();
        times.extend([5, 999_999]);
        times.sort_unstable();
        let slices = filled(&times, 1_000, 1_000_000, 100, 0);
        assert_eq!(slices.iter().map(|slice| slice.2).sum::<u64>(), 1_002);
        assert!(slices.len() <= 13, "{slices:?}");
        assert!(slices.windows(2).all(|pair| pair[0].1 == pair[1].0), "no time is left out");
        assert!(slices.iter().all(|slice| slice.2 <= 100));
    }

    #[test]
    fn gives_too_many_records_at_one_time_as_one_slice() {
        let times = [vec![7; 50], vec![8, 9]].concat();
        assert_eq!(filled(&times, 1_000, 5_000, 10, 0), [(0, 8, 50), (8, 5_000, 2)]);
    }

    #[test]
    fn goes_on_alike_from_any_cut() {
        let mut times = Vec::new();
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..3_000 {
            let center = [1_000, 50_000, 51_000, 900_000][random.usize(..4)];
            times.push(center + random.i64(0..3_000));
        }
        times.sort_unstable();
        let all = filled(&times, 10_000, 1_000_000, 40, 0);
        for (made, slice) in all.iter().enumerate() {
            assert_eq!(filled(&times, 10_000, 1_000_000, 40, slice.0), all[made..], "from {}", slice.0);
        }
    }
}
