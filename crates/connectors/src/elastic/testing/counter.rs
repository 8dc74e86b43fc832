//! Records in memory that can be counted as a server counts them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use teraslice_core::operation::OperationError;

use crate::elasticsearch_reader::count::{Counter, Stretch, Survey};

/// Records, each with its date and its id.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub(crate) records: Vec<(i64, String)>,
    /// How often it was asked.
    pub(crate) asked: AtomicUsize,
}

impl Memory {
    pub(crate) fn of(records: impl IntoIterator<Item = (i64, String)>) -> Self {
        Self { records: records.into_iter().collect(), asked: AtomicUsize::new(0) }
    }

    fn between(&self, from: i64, to: i64) -> impl Iterator<Item = &(i64, String)> {
        let _before = self.asked.fetch_add(1, Ordering::Relaxed);
        self.records.iter().filter(move |(time, _)| (from..to).contains(time))
    }
}

#[async_trait]
impl Counter for Memory {
    async fn survey(&self, from: Option<i64>, to: Option<i64>) -> Result<Option<Survey>, OperationError> {
        let times = || self.between(from.unwrap_or(i64::MIN), to.unwrap_or(i64::MAX)).map(|(time, _)| *time);
        let bounds = times().min().zip(times().max());
        Ok(bounds.map(|(first, last)| Survey { count: times().count() as u64, first, last }))
    }

    async fn histogram(&self, stretch: Stretch) -> Result<Vec<(i64, u64)>, OperationError> {
        let Stretch { from, to, origin, step } = stretch;
        let mut cells = BTreeMap::new();
        for (time, _) in self.between(from, to) {
            *cells.entry(origin + (time - origin).div_euclid(step) * step).or_default() += 1;
        }
        // As from a server, the answer is not there at once.
        tokio::task::yield_now().await;
        Ok(cells.into_iter().collect())
    }

    async fn first(&self, from: i64, to: i64) -> Result<Option<i64>, OperationError> {
        tokio::task::yield_now().await;
        Ok(self.between(from, to).map(|(time, _)| *time).min())
    }

    async fn keys(
        &self,
        dates: Option<(i64, i64)>,
        prefix: &str,
        next: &[char],
    ) -> Result<Vec<u64>, OperationError> {
        let (from, to) = dates.unwrap_or((i64::MIN, i64::MAX));
        let inside: Vec<_> = self.between(from, to).filter_map(|(_, id)| id.strip_prefix(prefix)).collect();
        let by = |character: &char| inside.iter().filter(|id| id.starts_with(*character)).count() as u64;
        let counts: Vec<_> = next.iter().map(by).collect();
        let rest = inside.len() as u64 - counts.iter().sum::<u64>();
        tokio::task::yield_now().await;
        Ok(counts.into_iter().chain([rest]).collect())
    }
}
