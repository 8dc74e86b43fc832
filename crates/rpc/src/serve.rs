//! Serves HTTP/2 connections until told to stop.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::Router;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use teraslice_core::context::Context;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::peer::{CONNECTION_WINDOW, STREAM_WINDOW};

/// Streams of one connection.
const STREAMS_MAX: u32 = 256;
/// After the system refused a connection (out of descriptors, for one) the next is accepted after so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What was said last has to be sent after this.
pub(crate) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// What connections are served with.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) context: Context,
    /// The first call has to be accepted after this.
    pub(crate) hello_max: Duration,
    pub(crate) ping_every: Duration,
    pub(crate) ping_max: Duration,
}

/// Waits until what was said last is sent, or cannot be.
#[derive(Debug)]
pub struct Farewell(mpsc::Receiver<()>);

impl Farewell {
    /// Makes one that waits until every clone of the sender is dropped.
    pub(crate) fn new() -> (mpsc::Sender<()>, Self) {
        let (is_open, closed) = mpsc::channel(1);
        (is_open, Self(closed))
    }

    /// Waits; at most some seconds, once the end it belongs to is dropped.
    pub async fn wait(mut self) {
        let _none_comes = self.0.recv().await;
    }
}

impl Server {
    /// Accepts connections until `stop`; then lets streams that have ended be written. `is_open` is dropped when all is over.
    pub(crate) async fn run(self, listener: TcpListener, stop: CancellationToken, is_open: mpsc::Sender<()>) {
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, _)) => {
                    let (server, stop, is_open) = (self.clone(), stop.clone(), is_open.clone());
                    let serving = async move {
                        if let Err(error) = server.greet(stream, stop).await {
                            tracing::debug!(%error, "connection not served");
                        }
                        drop(is_open);
                    };
                    drop(self.context.spawn(serving));
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn greet(&self, stream: TcpStream, stop: CancellationToken) -> io::Result<()> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => self.serve(stream, stop).await,
            Some(config) => {
                let greeting = TlsAcceptor::from(Arc::clone(config)).accept(stream);
                let stream = timeout(self.hello_max, greeting).await??;
                self.serve(stream, stop).await
            }
        }
    }

    async fn serve(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        stop: CancellationToken,
    ) -> io::Result<()> {
        let is_known = CancellationToken::new();
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let (mut router, is_known) = (self.router.clone(), is_known.clone());
            async move {
                let response = router.call(request).await;
                // A refused call has its status in the head.
                if response.as_ref().is_ok_and(|response| !response.headers().contains_key("grpc-status")) {
                    is_known.cancel();
                }
                response
            }
        });
        let connection = http2::Builder::new(Spawner(self.context.clone()))
            .timer(TokioTimer::new())
            .keep_alive_interval(self.ping_every)
            .keep_alive_timeout(self.ping_max)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_MAX)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let unknown = async {
            if timeout(self.hello_max, is_known.cancelled()).await.is_ok() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            served = connection.as_mut() => return served.map_err(io::Error::other),
            () = unknown => return Err(io::Error::from(io::ErrorKind::TimedOut)),
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        timeout(FAREWELL_MAX, connection).await?.map_err(io::Error::other)
    }
}

/// Starts the tasks of a connection.
#[derive(Clone)]
struct Spawner(Context);

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        drop(self.0.spawn(task));
    }
}
