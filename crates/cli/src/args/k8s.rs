//! Arguments of what has to do with Kubernetes.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum K8s {
    /// Check rights, volumes, configuration and addresses as a master needs them, and say what to do
    Doctor {
        /// The namespace [default: `kubernetes_namespace` of the configuration]
        #[arg(long, value_name = "NAME")]
        namespace: Option<String>,
    },
}
