//! Accepts connections: a task and a timeout for each handshake, a cap on handshakes under way and
//! on connections, and HTTP/2 with small buffers.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use proto_model::limits;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service as _;
use tracing::debug;

use crate::identity::Peer;
use crate::metrics::Metrics;

/// What an acceptor bears.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time for one handshake.
    pub handshake: Duration,
    /// Handshakes under way.
    pub handshakes: usize,
    /// Connections open, those in a handshake included.
    pub connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(limits::TLS_HANDSHAKE_SECS_MAX),
            handshakes: limits::TLS_HANDSHAKES_MAX,
            connections: limits::CONNECTIONS_MAX,
        }
    }
}

/// The other end of a connection; an extension of every request on it.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Where it comes from.
    pub address: SocketAddr,
    /// Whom its certificate names; `None` without a certificate of this hub.
    pub peer: Option<Arc<Peer>>,
}

/// Serves routes over TLS.
pub struct Acceptor {
    tls: Arc<ServerConfig>,
    hub_id: Arc<str>,
    routes: Routes,
    limits: Limits,
    metrics: Arc<Metrics>,
}

impl Acceptor {
    /// An acceptor for the routes of a hub.
    #[must_use]
    pub fn new(tls: Arc<ServerConfig>, hub_id: &str, routes: Routes, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self { tls, hub_id: hub_id.into(), routes: routes.prepare(), limits, metrics }
    }

    /// Accepts until `stop` turns true, then lets the connections end, for at most
    /// `limits::DRAIN_SECS_MAX`.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let this = Arc::new(self);
        let handshakes = Arc::new(Semaphore::new(this.limits.handshakes));
        let connections = Arc::new(Semaphore::new(this.limits.connections));
        let mut tasks = JoinSet::new();
        let mut stopped = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = this.next(&listener, &handshakes) => accepted,
                _ = stopped.wait_for(|stop| *stop) => break,
                Some(_) = tasks.join_next() => continue,
            };
            let (socket, address, handshake) = accepted;
            let Ok(connection) = Arc::clone(&connections).try_acquire_owned() else {
                // Dropping the socket closes it: the caller tries again, later or elsewhere.
                this.metrics.connections_refused.inc();
                continue;
            };
            let this = Arc::clone(&this);
            let stop = stop.clone();
            tasks.spawn(async move {
                this.connection(socket, address, handshake, stop).await;
                drop(connection);
            });
        }
        drop(listener);
        let drained = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(Duration::from_secs(limits::DRAIN_SECS_MAX), drained).await;
    }

    /// The next socket, once there is room for its handshake. Peers that stay silent hold their
    /// place for the time of a handshake, no longer.
    async fn next(
        &self,
        listener: &TcpListener,
        handshakes: &Arc<Semaphore>,
    ) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed.
        let permit = Arc::clone(handshakes).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((socket, address)) => return (socket, address, permit),
                Err(error) => {
                    // Out of descriptors, or the peer went away in between: do not spin.
                    debug!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    async fn connection(
        &self,
        socket: TcpStream,
        address: SocketAddr,
        handshake: Option<OwnedSemaphorePermit>,
        stop: watch::Receiver<bool>,
    ) {
        let _ = socket.set_nodelay(true);
        let accept = TlsAcceptor::from(Arc::clone(&self.tls)).accept(socket);
        let stream = match tokio::time::timeout(self.limits.handshake, accept).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.metrics.handshakes_failed.inc();
                debug!(%address, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                self.metrics.handshakes_failed.inc();
                debug!(%address, "TLS handshake took too long");
                return;
            }
        };
        drop(handshake);
        self.metrics.connections.inc();
        let remote = Remote { address, peer: self.peer(&stream) };
        let service = WithRemote { routes: self.routes.clone(), remote, has_asked: Arc::default() };
        if let Err(error) = serve_http(stream, service, self.limits.handshake, stop).await {
            debug!(%address, %error, "connection ended");
        }
        self.metrics.connections.dec();
    }

    fn peer(&self, stream: &TlsStream<TcpStream>) -> Option<Arc<Peer>> {
        let chain = stream.get_ref().1.peer_certificates()?;
        Peer::of(chain, &self.hub_id).map(Arc::new)
    }
}

async fn serve_http(
    stream: TlsStream<TcpStream>,
    service: WithRemote,
    patience: Duration,
    mut stop: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let has_asked = Arc::clone(&service.has_asked);
    let mut http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    http.timer(TokioTimer::new())
        .initial_stream_window_size(limits::SYNC_WINDOW_BYTES)
        .initial_connection_window_size(limits::SYNC_WINDOW_BYTES)
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .max_header_list_size(limits::HEADER_BYTES_MAX)
        .max_send_buf_size(limits::SYNC_SEND_BUFFER_BYTES)
        .keep_alive_interval(ping_interval())
        .keep_alive_timeout(Duration::from_secs(limits::SYNC_PING_TIMEOUT_SECS));
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let stopped = async {
        // A sender that is gone has stopped, too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let mut stopped = std::pin::pin!(stopped);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = stopped.as_mut() => connection.as_mut().graceful_shutdown(),
        () = tokio::time::sleep(patience) => {
            // Anybody can shake hands, and a place is worth as much as a spoke's: who asks for nothing loses it.
            if !has_asked.load(Ordering::Relaxed) {
                debug!("a connection asked for nothing in time");
                return Ok(());
            }
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = stopped => connection.as_mut().graceful_shutdown(),
            }
        }
    }
    connection.await
}

/// Between one and two times `limits::SYNC_PING_SECS`, so that a fleet does not ping in step.
fn ping_interval() -> Duration {
    let jitter = crate::rate::jitter_millis(limits::SYNC_PING_SECS * 1000);
    Duration::from_millis(limits::SYNC_PING_SECS * 1000 + jitter)
}

#[derive(Clone)]
struct WithRemote {
    routes: Routes,
    remote: Remote,
    /// Whether a request came on this connection.
    has_asked: Arc<AtomicBool>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for WithRemote {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        self.has_asked.store(true, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(self.remote.clone());
        let mut routes = self.routes.clone();
        Box::pin(async move { routes.call(request).await })
    }
}
