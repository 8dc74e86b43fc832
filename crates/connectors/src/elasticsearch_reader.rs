//! `elasticsearch_reader`: reads an index by dates.

pub(crate) mod cells;
pub(crate) mod count;
pub(crate) mod fetcher;
mod geo;
mod hits;
mod plan;
pub(crate) mod query;
mod rules;
mod search;
pub(crate) mod settings;
mod slicer;
mod stretch;

use async_trait::async_trait;
use teraslice_core::{
    operation::{Fetcher, OperationError, OperationInfo, OperationKind, Slicer, SlicerContext},
    registry::{Reader, WorkerContext},
};
use teraslice_elastic::Connections;
use teraslice_model::{
    job::{CheckedJob, OperationConfig},
    problem::Problem,
};

use crate::elastic::check_connection;
use count::IndexCounter;
use fetcher::IndexFetcher;
pub(crate) use settings::IndexReaderConfig;

/// Reads the records of an index of Elasticsearch or OpenSearch by the dates in one of their fields.
///
/// A job that runs once reads from `start` to `end`, or all there is when it starts; a persistent one reads window by window
/// behind the present. What is read, and by which slicer, is found out once and kept in the checkpoints, so that a restart
/// goes on exactly where it was. Records without the date are not read.
#[derive(Clone, Debug)]
pub struct ElasticsearchReader {
    connections: Connections,
}

impl ElasticsearchReader {
    /// Makes the reader; it reads through `connections`.
    #[must_use]
    pub fn new(connections: &Connections) -> Self {
        Self { connections: connections.clone() }
    }
}

#[async_trait]
impl Reader for ElasticsearchReader {
    type Config = IndexReaderConfig;

    fn info(&self) -> OperationInfo {
        let description = "Reads an index of Elasticsearch or OpenSearch by dates.";
        OperationInfo::built_in(
            "elasticsearch_reader",
            OperationKind::Reader,
            description,
            settings::schema(),
        )
    }

    fn check(&self, config: &Self::Config, operation: &OperationConfig, job: &CheckedJob) -> Vec<Problem> {
        let mut problems: Vec<_> = check_connection(&self.connections, operation).into_iter().collect();
        problems.extend(config.check_common(job));
        problems.extend(config.check_dates(job));
        problems
    }

    fn is_recoverable(&self, _: &Self::Config) -> bool {
        true
    }

    async fn slicers(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: SlicerContext,
    ) -> Result<Vec<Box<dyn Slicer>>, OperationError> {
        let counter = IndexCounter::connect(&self.connections, &config, operation)?;
        slicer::slicers(&config, &context, counter).await
    }

    async fn fetcher(
        &self,
        config: Self::Config,
        operation: &OperationConfig,
        context: WorkerContext,
    ) -> Result<Box<dyn Fetcher>, OperationError> {
        IndexFetcher::connect(&self.connections, &config, operation, context.context)
    }
}

#[cfg(test)]
mod tests;
