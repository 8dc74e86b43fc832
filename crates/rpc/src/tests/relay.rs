//! A wire between two ends that can be held up and cut.

use teraslice_core::context::Context;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::listener;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Passes,
    Holds,
    Cut,
}

/// Passes bytes on to a port, as long as it is let.
pub(crate) struct Relay {
    pub(crate) port: u16,
    wire: watch::Sender<Wire>,
}

impl Relay {
    pub(crate) async fn to(port: u16, context: &Context) -> Self {
        let (listener, own) = listener().await;
        let (wire, state) = watch::channel(Wire::Passes);
        let spawner = context.clone();
        drop(context.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
                let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
                drop(spawner.spawn(pass(near_read, far_write, state.clone())));
                drop(spawner.spawn(pass(far_read, near_write, state.clone())));
            }
        }));
        Self { port: own, wire }
    }

    /// Nothing passes any more, but nobody is told.
    pub(crate) fn hold(&self) {
        let _before = self.wire.send_replace(Wire::Holds);
    }

    /// What was held passes.
    pub(crate) fn release(&self) {
        let _before = self.wire.send_replace(Wire::Passes);
    }

    /// Closes the connections that stand; later ones pass again after `release`.
    pub(crate) fn cut(&self) {
        let _before = self.wire.send_replace(Wire::Cut);
    }
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let mut cut = wire.clone();
    let passing = async {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if wire.wait_for(|wire| *wire == Wire::Passes).await.is_err() {
                return;
            }
            if to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = passing => {}
        _ = cut.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}
