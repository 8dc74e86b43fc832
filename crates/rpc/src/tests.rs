//! What several tests need: a wire that can be cut, and patience.

mod relay;

use std::{future::Future, time::Duration};

use teraslice_model::id::ExId;
use tokio::{net::TcpListener, time::timeout};

pub(crate) use relay::Relay;

/// Everything has to happen within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(wait: impl Future<Output = T>) -> T {
    timeout(PATIENCE, wait).await.expect("it happens in time")
}

pub(crate) async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

pub(crate) fn ex(byte: u8) -> ExId {
    ExId::from_random([byte; 16])
}
