//! What the API goes by.

use std::time::Duration;

use teraslice_api::cluster::ClusterInfo;

/// The numbers and names of the API.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Who the master is.
    pub info: ClusterInfo,
    /// Whether callers have to show a token (default none).
    pub auth: ApiAuth,
    /// Bytes of a request's body at most, bundles of assets excepted (default 64 MiB).
    pub body_len_max: usize,
    /// An answer may take this long (`api_response_timeout`, default 5 minutes).
    pub answer_max: Duration,
    /// Records of a list at most (default 10,000).
    pub list_len_max: u64,
    /// Event streams at a time at most (default 256).
    pub streams_max: usize,
    /// What the metrics carry as the label `url` (`prom_metrics_display_url`, default empty).
    pub metrics_url: String,
}

impl ServerOptions {
    /// Returns the defaults.
    #[must_use]
    pub const fn new(info: ClusterInfo) -> Self {
        Self {
            info,
            auth: ApiAuth::None,
            body_len_max: 64 << 20,
            answer_max: Duration::from_mins(5),
            list_len_max: 10_000,
            streams_max: 256,
            metrics_url: String::new(),
        }
    }

    /// Tells whether executions run as pods.
    pub(crate) fn is_kubernetes(&self) -> bool {
        self.info.clustering_type.starts_with("kubernetes")
    }
}

/// Whether callers have to show a token (`api_auth`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiAuth {
    /// Everybody may do everything.
    None,
    /// Only bearers of a token may do something, each what its role says.
    Tokens,
}
