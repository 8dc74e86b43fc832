//! The state of a cluster: in the master's directory, or in indices on a search server.

use std::{path::Path, sync::Arc, time::Duration};

use teraslice_core::{
    context::Context,
    store::{StateStore, StoreError},
};
use teraslice_model::problem::Problem;
use teraslice_store::{ElasticOptions, ElasticStore, OpenError};
use tokio::time::Instant;

use super::Parts;

/// How long a server that does not answer yet is waited for.
const SERVER_MAX: Duration = Duration::from_mins(5);

/// Why the state of a cluster cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The store of the directory cannot be used.
    #[error(transparent)]
    Directory(#[from] OpenError),
    /// There is no such connection.
    #[error("the state has no connection")]
    Connection(Problem),
    /// The indices cannot be used.
    #[error("failed to open the state of cluster {cluster:?} on connection {connection:?}")]
    Indices {
        /// The cluster's name.
        cluster: String,
        /// The connection's name.
        connection: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl StateError {
    /// Says what would help.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Directory(error) => error.hint().to_string(),
            Self::Connection(problem) => problem.to_string(),
            Self::Indices { .. } => {
                "see terafoundation.connectors and teraslice.state.connection; `sqlite` there needs no server"
                    .to_owned()
            }
        }
    }
}

impl Parts {
    /// Opens the state of this cluster: in indices if the configuration says so (`teraslice.state`), else in a directory.
    ///
    /// # Errors
    ///
    /// See [`StateError`]; a server that does not answer is waited for up to 5 minutes.
    pub async fn state(
        &self,
        directory: &Path,
        context: &Context,
    ) -> Result<Arc<dyn StateStore>, StateError> {
        match &self.config.state.connection {
            Some(connection) => self.indices(connection, &self.config.cluster.name, context).await,
            None => Ok(self.store(directory, context)?),
        }
    }

    /// Opens the state of the cluster `name` in the indices on a connection; those that are missing are made.
    ///
    /// # Errors
    ///
    /// See [`StateError`]; a server that does not answer is waited for up to 5 minutes.
    pub async fn indices(
        &self,
        connection: &str,
        name: &str,
        context: &Context,
    ) -> Result<Arc<dyn StateStore>, StateError> {
        let client = self.config.elastic.get(Some(connection)).map_err(StateError::Connection)?;
        let indices = self.config.state.indices;
        let options = ElasticOptions { indices, ..ElasticOptions::new(context.clone(), name) };
        let deadline = Instant::now() + SERVER_MAX;
        loop {
            match ElasticStore::open(client.clone(), &options).await {
                Ok(store) => return Ok(Arc::new(store)),
                Err(StoreError::Unavailable { reason }) if Instant::now() < deadline => {
                    tracing::warn!(connection, reason, "waiting for the server that keeps the state");
                }
                Err(source) => {
                    let (cluster, connection) = (name.to_owned(), connection.to_owned());
                    return Err(StateError::Indices { cluster, connection, source });
                }
            }
        }
    }
}
