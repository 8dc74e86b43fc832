//! Where nodes find the master that leads, and the wires between them.

use std::sync::{Arc, Mutex, PoisonError};

use teraslice_backend_native::nodes::{
    Nodes,
    message::{FromNode, ToNode},
};
use teraslice_core::context::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::weather::{Place, Weather};

/// Messages that wait on a wire.
const WIRE_LEN: usize = 64;

/// Connects nodes with the backend that the masters use. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Switchboard {
    context: Context,
    weather: Weather,
    current: Arc<Mutex<Option<Current>>>,
}

#[derive(Debug)]
struct Current {
    nodes: Nodes,
    /// Ends every connection.
    gone: CancellationToken,
}

/// A node's end of a connection.
#[derive(Debug)]
pub struct Wire {
    /// To the master.
    pub to: mpsc::Sender<FromNode>,
    /// From the master.
    pub from: mpsc::Receiver<ToNode>,
}

impl Switchboard {
    /// Makes a switchboard without a master.
    #[must_use]
    pub fn new(context: Context, weather: Weather) -> Self {
        Self { context, weather, current: Arc::default() }
    }

    /// Connects nodes with this backend from now on; connections with an earlier one end.
    pub fn plug(&self, nodes: Nodes) {
        self.replace(Some(Current { nodes, gone: CancellationToken::new() }));
    }

    /// Ends all connections: nobody is there.
    pub fn unplug(&self) {
        self.replace(None);
    }

    fn replace(&self, current: Option<Current>) {
        let earlier =
            std::mem::replace(&mut *self.current.lock().unwrap_or_else(PoisonError::into_inner), current);
        if let Some(earlier) = earlier {
            earlier.gone.cancel();
        }
    }

    /// Connects a node, if somebody is there and can be reached.
    #[must_use]
    pub fn connect(&self, node: u32) -> Option<Wire> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = current.as_ref()?;
        let (here, there) = (Place::Node(node), Place::Master);
        if !self.weather.is_open(here, there) {
            return None;
        }
        let (to, sent) = mpsc::channel(WIRE_LEN);
        let (heard, inbox) = mpsc::channel(WIRE_LEN);
        let (outbox, told) = mpsc::channel(WIRE_LEN);
        let (deliver, from) = mpsc::channel(WIRE_LEN);
        current.nodes.attach(node_id(node), inbox, outbox);
        let gone = &current.gone;
        let carry = |from, to| Carrier { weather: self.weather.clone(), from, to };
        let up = gone.clone().run_until_cancelled_owned(carry(here, there).run(sent, heard));
        let down = gone.clone().run_until_cancelled_owned(carry(there, here).run(told, deliver));
        drop(self.context.spawn(up));
        drop(self.context.spawn(down));
        Some(Wire { to, from })
    }
}

/// Returns the name of a node.
#[must_use]
pub fn node_id(number: u32) -> String {
    format!("node{number:05}")
}

struct Carrier {
    weather: Weather,
    from: Place,
    to: Place,
}

impl Carrier {
    /// Carries messages in order, some of them twice, until one end is gone or the connection breaks.
    async fn run<T: Clone>(self, mut sent: mpsc::Receiver<T>, deliver: mpsc::Sender<T>) {
        while let Some(message) = sent.recv().await {
            if !self.weather.carry(self.from, self.to).await {
                return;
            }
            if self.weather.strikes(self.weather.faults().duplicate)
                && deliver.send(message.clone()).await.is_err()
            {
                return;
            }
            if deliver.send(message).await.is_err() {
                return;
            }
        }
    }
}
