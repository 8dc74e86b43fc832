//! Whether the Kubernetes cluster of the configuration is ready for a master.

pub use teraslice_backend_k8s::doctor::{Finding, Verdict};

use teraslice_backend_k8s::{self as k8s, KubernetesSettings, doctor};
use teraslice_core::{backend::BackendError, context::Context};

use crate::config::Config;

/// Why nothing can be checked.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// Nothing says where the cluster is.
    #[error(transparent)]
    Config(#[from] k8s::ConnectError),
    /// Its API server does not answer.
    #[error("failed to reach the cluster")]
    Unreachable(#[source] BackendError),
}

/// Checks the cluster with the credentials of this process; a namespace that is given stands for the configured one.
///
/// # Errors
///
/// See [`DoctorError`].
pub async fn examine(
    config: &Config,
    namespace: Option<&str>,
    context: &Context,
) -> Result<Vec<Finding>, DoctorError> {
    let configured = config.kubernetes.clone();
    let namespace = namespace.map_or_else(|| configured.namespace.clone(), str::to_owned);
    let settings = KubernetesSettings { namespace, ..configured };
    let client = k8s::client().await?;
    doctor::examine(&settings, &client, context).await.map_err(DoctorError::Unreachable)
}
