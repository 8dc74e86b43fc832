//! Where the next slice ends.

use super::cells::{Cells, Need};

/// How time is cut into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Wanted records per slice.
    pub(crate) size: u64,
    /// The length of a slice, in milliseconds; none: as long as its records are not too many.
    pub(crate) interval: Option<i64>,
    /// Whether what is too much is cut by counts instead of in halves.
    pub(crate) cuts_by_count: bool,
}

impl Rules {
    /// Returns the end of the next slice and how many records it has; none when no record is left.
    ///
    /// With an interval: a slice that has none goes on until it has some; one that has too many is cut until it has not.
    pub(crate) fn next(&self, cells: &Cells) -> Result<Option<(i64, u64)>, Need> {
        let Some(interval) = self.interval else { return cells.fill(self.size) };
        let Some(first) = cells.cell_behind(cells.at()) else {
            let is_all = cells.known() >= cells.limit();
            return if is_all { Ok(None) } else { Err(Need::More { from: cells.known() }) };
        };
        // Whole intervals that are empty are passed over.
        let empty = (first.start - cells.at()) / interval;
        let from = if empty > 0 { cells.border(cells.at() + empty * interval) } else { cells.at() };
        let end = next_border(cells, from, interval);
        if cells.known() < end {
            return Err(Need::More { from: cells.known() });
        }
        let count = cells.count_to(end);
        if count <= self.size {
            return Ok(Some((end, count)));
        }
        self.cut(cells, from, end, count).map(Some)
    }

    /// Cuts a slice that has too many records, all of them between `from` and `to`.
    fn cut(&self, cells: &Cells, mut from: i64, mut to: i64, mut count: u64) -> Result<(i64, u64), Need> {
        loop {
            let length =
                if self.cuts_by_count { share(to - from, self.size, count) } else { (to - from) / 2 };
            let least = cells.border(from) + cells.step();
            let middle = cells.border(from + length).max(least);
            if middle >= to {
                let cell = cells.cell_behind(from).expect("records are there: they were counted");
                return cells.split(cell, self.size);
            }
            match cells.count_to(middle) {
                0 => from = middle,
                fewer if fewer <= self.size => return Ok((middle, fewer)),
                many => (to, count) = (middle, many),
            }
        }
    }
}

/// Returns the border that is an interval away, or the nearest one where the grid is coarser.
fn next_border(cells: &Cells, from: i64, interval: i64) -> i64 {
    let to = from.saturating_add(interval);
    if to >= cells.limit() {
        return cells.limit();
    }
    let border = cells.border(to);
    if border > from { border } else { (border + cells.step()).min(cells.limit()) }
}

/// Returns `length * size / count`.
fn share(length: i64, size: u64, count: u64) -> i64 {
    let share = i128::from(length) * i128::from(size) / i128::from(count.max(1));
    i64::try_from(share).unwrap_or(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the slices of records at the given seconds.
    fn slices(seconds: &[i64], limit: i64, rules: Rules, step: i64) -> Vec<(i64, i64, u64)> {
        let mut cells = Cells::new(0, step, 0, limit, 1);
        let mut slices = Vec::new();
        let counted = |from: i64, to: i64, step: i64| {
            let inside = seconds.iter().filter(move |second| (from..to).contains(*second));
            let mut cells = std::collections::BTreeMap::<i64, u64>::new();
            inside.for_each(|second| *cells.entry(second / step * step).or_default() += 1);
            cells
        };
        loop {
            match rules.next(&cells) {
                Ok(None) => return slices,
                Ok(Some((end, count))) => {
                    slices.push((cells.at(), end, count));
                    cells.advance(end);
                }
                Err(need @ Need::More { from }) => {
                    let next = seconds.iter().find(|second| **second >= from).copied().unwrap_or(limit);
                    let to = (next / step * step + 4 * step).min(limit);
                    cells.supply(need, counted(from, to, step), to);
                }
                Err(need @ Need::Within { from, to, step, .. }) => {
                    cells.supply(need, counted(from, to, step), to);
                }
            }
        }
    }

    fn every(interval: i64) -> Rules {
        Rules { size: 3, interval: Some(interval), cuts_by_count: false }
    }

    #[test]
    fn cuts_as_the_original_does() {
        let seconds = [0, 1, 2, 3, 30, 31, 55];
        assert_eq!(slices(&seconds, 60, every(20), 1), [(0, 2, 2), (2, 22, 2), (22, 42, 2), (42, 60, 1)]);
        assert_eq!(slices(&seconds, 60, every(10), 1), [(0, 2, 2), (2, 12, 2), (12, 32, 2), (32, 60, 1)]);
    }

    #[test]
    fn cuts_by_counts_on_request() {
        let rules = Rules { cuts_by_count: true, ..every(60) };
        let seconds: Vec<i64> = (0..12).collect();
        let found = slices(&seconds, 60, rules, 1);
        assert_eq!(found.iter().map(|slice| slice.2).sum::<u64>(), 12);
        assert!(found.iter().all(|slice| slice.2 <= 3), "{found:?}");
    }

    #[test]
    fn gives_many_records_of_one_second_as_one_slice() {
        // An empty second, then more than fit: this once grew without end.
        let seconds = [0, 2, 2, 2, 2, 5];
        assert_eq!(slices(&seconds, 10, every(1), 1), [(0, 1, 1), (1, 3, 4), (3, 6, 1)]);
    }

    #[test]
    fn looks_closer_where_the_interval_is_longer_than_the_grid_is_fine() {
        let seconds: Vec<i64> = (1_000..1_010).chain([5_000, 9_999]).collect();
        let found = slices(&seconds, 10_000, every(4_000), 4_000);
        assert_eq!(found.iter().map(|slice| slice.2).sum::<u64>(), 12);
        assert!(found.iter().all(|slice| slice.2 <= 3), "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].0), "{found:?}");
        assert_eq!(found.last().unwrap().1, 10_000);
    }

    #[test]
    fn passes_over_years_without_records() {
        let year = 365 * 86_400;
        assert_eq!(slices(&[0, year], 2 * year, every(1), 1), [(0, 1, 1), (1, year + 1, 1)]);
    }
}
