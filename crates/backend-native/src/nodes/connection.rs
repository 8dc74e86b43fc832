//! The master's end of one connection to a node.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, mpsc},
    time::{sleep_until, timeout},
};

use super::{
    Shared,
    message::{FromNode, Hello, ToNode},
};

/// A node has to say who it is within this.
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Talks to a node until one of the channels ends, the node is silent for too long, or it connects again.
pub(super) async fn serve(
    shared: Arc<Shared>,
    node_id: String,
    connection: u64,
    mut from: mpsc::Receiver<FromNode>,
    to: mpsc::Sender<ToNode>,
) {
    let Some(hello) = hello(&node_id, &mut from).await else { return };
    tracing::info!(node_id, hostname = hello.hostname, slots = hello.slots, processes = hello.processes.len(), limits = ?hello.limits, "node connected");
    let wake = Arc::new(Notify::new());
    shared.change(|cluster, at| cluster.connect(hello, connection, &wake, at));
    let link = Link { shared, node_id, connection, wake };
    let reason = link.talk(&mut from, &to).await;
    let Link { shared, node_id, .. } = link;
    let may_return = shared.change(|cluster, _| cluster.disconnect(&node_id, connection));
    tracing::info!(node_id, reason, may_return, "node disconnected");
    if may_return {
        shared.expect_return(node_id, connection);
    }
}

async fn hello(node_id: &str, from: &mut mpsc::Receiver<FromNode>) -> Option<Hello> {
    match timeout(HELLO_MAX, from.recv()).await {
        Ok(Some(FromNode::Hello(hello))) if hello.node_id == node_id => return Some(*hello),
        Ok(Some(_)) => tracing::warn!(node_id, "node did not say who it is"),
        Ok(None) => {}
        Err(_) => tracing::warn!(node_id, "node said nothing"),
    }
    None
}

struct Link {
    shared: Arc<Shared>,
    node_id: String,
    connection: u64,
    wake: Arc<Notify>,
}

impl Link {
    /// Returns why it is over.
    async fn talk(&self, from: &mut mpsc::Receiver<FromNode>, to: &mpsc::Sender<ToNode>) -> &'static str {
        let silence_max = self.shared.options.silence_max;
        let mut silent_at = self.shared.context.now() + silence_max;
        let mut has_pending = true;
        loop {
            if !self.shared.lock().is_current(&self.node_id, self.connection) {
                return "it has connected again";
            }
            tokio::select! {
                // In this order always, so that a simulated run repeats itself.
                biased;
                message = from.recv() => {
                    let Some(message) = message else { return "the connection has ended" };
                    silent_at = self.shared.context.now() + silence_max;
                    self.hear(message);
                }
                permit = to.reserve(), if has_pending => {
                    let Ok(permit) = permit else { return "the connection has ended" };
                    match self.next() {
                        Some(message) => permit.send(message),
                        None => has_pending = false,
                    }
                }
                () = self.wake.notified() => has_pending = true,
                () = sleep_until(silent_at) => return "it is silent",
                () = to.closed() => return "the connection has ended",
            }
        }
    }

    fn hear(&self, message: FromNode) {
        let node_id = self.node_id.as_str();
        self.shared.change(|cluster, at| {
            if !cluster.is_current(node_id, self.connection) {
                return;
            }
            match message {
                FromNode::Hello(hello) => cluster.connect(*hello, self.connection, &self.wake, at),
                FromNode::Processes(reports) => cluster.listed(node_id, reports, at),
                FromNode::Changed(report) => cluster.reported(node_id, report, at),
                FromNode::Leaving => cluster.leaving(node_id),
            }
        });
    }

    /// Returns what the node is to be told next, unless it has a newer connection that tells it.
    fn next(&self) -> Option<ToNode> {
        let now = self.shared.context.now();
        let mut cluster = self.shared.lock();
        if !cluster.is_current(&self.node_id, self.connection) {
            return None;
        }
        cluster.next_message(&self.node_id, now, |spec| {
            if let Some(dress) = &self.shared.options.dress {
                dress(spec);
            }
        })
    }
}
