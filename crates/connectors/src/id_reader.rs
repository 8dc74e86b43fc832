//! `id_reader`: reads an index by the first characters of its ids.

pub(crate) mod alphabet;
mod slicer;
pub(crate) mod walk;

use async_trait::async_trait;
use teraslice_core::{
    operation::{Fetcher, OperationError, OperationInfo, OperationKind, Slicer, SlicerContext},
    registry::{Reader, WorkerContext},
};
use teraslice_elastic::Connections;
use teraslice_model::{
    job::{CheckedJob, Lifecycle, OperationConfig},
    problem::Problem,
};

use crate::{
    elastic::check_connection,
    elasticsearch_reader::{IndexReaderConfig, count::IndexCounter, fetcher::IndexFetcher, settings},
};

/// Reads the records of an index of Elasticsearch or OpenSearch by the first characters of their ids.
///
/// The id is a keyword field (`id_field_name`). Ids that end early, or have characters that `key_type` does not know, are
/// read too; with a `key_range` only those that begin with one of its characters are.
#[derive(Clone, Debug)]
pub struct IdReader {
    connections: Connections,
}

impl IdReader {
    /// Makes the reader; it reads through `connections`.
    #[must_use]
    pub fn new(connections: &Connections) -> Self {
        Self { connections: connections.clone() }
    }
}

#[async_trait]
impl Reader for IdReader {
    type Config = IndexReaderConfig;

    fn info(&self) -> OperationInfo {
        let description = "Reads an index of Elasticsearch or OpenSearch by the first characters of its ids.";
        OperationInfo::built_in("id_reader", OperationKind::Reader, description, settings::schema())
    }

    fn check(&self, config: &Self::Config, operation: &OperationConfig, job: &CheckedJob) -> Vec<Problem> {
        let mut problems: Vec<_> = check_connection(&self.connections, operation).into_iter().collect();
        problems.extend(config.check_common(job));
        if config.id_field_name.as_deref().is_none_or(str::is_empty) {
            let message = "id_field_name is missing";
            problems
                .push(Problem::new("/id_field_name", message).with_hint("name a keyword field with the id"));
        }
        if job.lifecycle == Lifecycle::Persistent {
            let message = "id_reader reads an index once, but the job is persistent";
            problems.push(
                Problem::new("/_op", message).with_hint("set lifecycle: once, or use elasticsearch_reader"),
            );
        }
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
        slicer::slicers(&config, &context, counter)
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
