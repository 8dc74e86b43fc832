//! How the API server is reached: from inside the cluster, or as the kubeconfig says.

use std::time::Duration;

use kube::{Client, Config, config::InferConfigError};

/// A connection has to stand after this.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Why the API server cannot be reached at all.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nothing says where it is.
    #[error(
        "no Kubernetes cluster is configured: neither is this a pod with a service account, nor is there a kubeconfig"
    )]
    NoConfig(#[source] Box<InferConfigError>),
    /// What is said about it cannot be used.
    #[error("the configuration of the Kubernetes cluster cannot be used")]
    Config(#[source] Box<kube::Error>),
}

/// Makes a client: as the service account of this pod, else as `KUBECONFIG` or `~/.kube/config` says. Connects later.
///
/// # Errors
///
/// See [`ConnectError`].
pub async fn client() -> Result<Client, ConnectError> {
    let mut config = Config::infer().await.map_err(|error| ConnectError::NoConfig(Box::new(error)))?;
    config.connect_timeout = Some(CONNECT_MAX);
    // Calls have deadlines, and whoever makes them knows when to try again.
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ConnectError::Config(Box::new(error)))
}
