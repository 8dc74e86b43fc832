//! Runs execution controllers and workers as pods of Kubernetes.
//!
//! [`render()`] makes the objects of an execution, a pure function; [`Kubernetes`] keeps the cluster like that, and tells what
//! runs; [`TokenVerifier`] knows pods by their tokens; [`Leadership`] keeps masters apart;
//! [`doctor`] tells whether a cluster is ready for all that.

mod api;
mod backend;
mod cache;
mod connect;
pub mod doctor;
#[cfg(test)]
mod fake;
pub mod labels;
mod lease;
mod names;
mod phase;
mod ports;
mod render;
mod seen;
mod settings;
mod tokens;
mod validate;
mod watch;

pub use backend::{Kubernetes, PodView};
pub use connect::{ConnectError, client};
pub use kube::Client;
pub use lease::{Leadership, lead};
pub use render::{CONTAINER, Rendered, render};
pub use seen::Purpose;
pub use settings::KubernetesSettings;
pub use tokens::{PodIdentity, TokenError, TokenVerifier};
pub use validate::validate;
