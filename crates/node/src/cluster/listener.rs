//! Where the master listens: plain or encrypted connections, for HTTP and gRPC alike.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::serve::Listener;
use teraslice_core::context::Context;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

/// A peer has to finish its handshake within this.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Connections that are ready and wait to be served.
const READY_MAX: usize = 64;
/// After the system refused a connection (out of descriptors, for one) the next is accepted after so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A connection, whatever protects it.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Accepts connections; handshakes go on beside each other, so that a slow peer keeps nobody waiting.
pub(super) struct MasterListener {
    ready: mpsc::Receiver<(Box<dyn Stream>, SocketAddr)>,
    address: SocketAddr,
}

impl MasterListener {
    /// Starts to accept; with `tls` every connection is encrypted.
    ///
    /// # Errors
    ///
    /// When the listener has no address.
    pub(super) fn new(
        listener: TcpListener,
        tls: Option<Arc<ServerConfig>>,
        context: &Context,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(READY_MAX);
        drop(context.spawn(accept(listener, tls.map(TlsAcceptor::from), sender, context.clone())));
        Ok(Self { ready, address })
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    ready: mpsc::Sender<(Box<dyn Stream>, SocketAddr)>,
    context: Context,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ready.closed() => return,
        };
        match accepted {
            Ok((stream, peer)) => drop(context.spawn(prepare(stream, peer, tls.clone(), ready.clone()))),
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn prepare(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    ready: mpsc::Sender<(Box<dyn Stream>, SocketAddr)>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "connection is gone");
        return;
    }
    let stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
        Some(tls) => match timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "handshake took too long");
                return;
            }
        },
    };
    // The server may have ended meanwhile.
    let _ended = ready.send((stream, peer)).await;
}

impl Listener for MasterListener {
    type Io = Box<dyn Stream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(ready) => ready,
            // The task ends with the runtime only.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
