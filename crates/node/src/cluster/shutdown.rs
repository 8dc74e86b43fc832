//! The end of a master or node: what it leaves running.

use teraslice_core::backend::StopBackend;
use tokio_util::sync::CancellationToken;

/// Asks a master or a node to end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    asked: CancellationToken,
    /// Whether what runs ends too.
    is_total: bool,
}

impl Shutdown {
    /// Makes one that nobody has asked for yet; `is_total`: executions end too, else they go on.
    #[must_use]
    pub fn new(is_total: bool) -> Self {
        Self { asked: CancellationToken::new(), is_total }
    }

    /// Asks for the end.
    pub fn ask(&self) {
        self.asked.cancel();
    }

    /// Waits until somebody asks for the end.
    pub(super) async fn asked(&self) {
        self.asked.cancelled().await;
    }

    /// Tells what becomes of what runs.
    pub(super) const fn how(&self) -> StopBackend {
        if self.is_total { StopBackend::Terminate } else { StopBackend::Detach }
    }
}
