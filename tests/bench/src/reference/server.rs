//! The server of the reference.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use proto_model::limits;
use proto_wire::sync::sync_server::{Sync, SyncServer};
use proto_wire::sync::{Chunk, HubMessage, SpokeMessage, hub_message::Kind};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::child;

/// Messages of one change of one bundle: what is assigned, the variant, the object.
const MESSAGES: usize = 3;

/// Arguments of this part.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder with the certificates
    #[arg(long)]
    dir: PathBuf,
    /// Bytes of one broadcast to each client
    #[arg(long)]
    bytes: usize,
}

type Out = mpsc::Sender<Result<HubMessage, Status>>;

#[derive(Default)]
struct Shared {
    streams: Mutex<Vec<Out>>,
    acks: AtomicUsize,
    acked: Notify,
}

#[derive(Clone)]
struct Service(Arc<Shared>);

#[tonic::async_trait]
impl Sync for Service {
    type ConnectStream = ReceiverStream<Result<HubMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<SpokeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let (out, messages) = mpsc::channel(16);
        let shared = Arc::clone(&self.0);
        shared.streams.lock().unwrap_or_else(PoisonError::into_inner).push(out);
        let mut inbound = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(_)) = inbound.message().await {
                shared.acks.fetch_add(1, Ordering::SeqCst);
                shared.acked.notify_one();
            }
        });
        Ok(Response::new(ReceiverStream::new(messages)))
    }
}

/// Serves until it is killed. Word: `go` broadcasts, and tells when the last ack was in.
///
/// # Errors
/// It cannot serve.
pub(crate) async fn run(args: Args) -> Result<()> {
    let pem = |name: &str| std::fs::read_to_string(args.dir.join(name));
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(pem("server.pem")?, pem("server.key")?))
        .client_ca_root(Certificate::from_pem(pem("ca.pem")?));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?.to_string();
    let shared = Arc::new(Shared::default());
    let server = Server::builder()
        .tls_config(tls)?
        .initial_stream_window_size(limits::SYNC_WINDOW_BYTES)
        .initial_connection_window_size(limits::SYNC_WINDOW_BYTES)
        .tcp_nodelay(true)
        .add_service(SyncServer::new(Service(Arc::clone(&shared))));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    child::answer(&json!({"address": address}));
    let mut words = child::words();
    while words.recv().await.is_some() {
        let micros = broadcast(&shared, args.bytes).await;
        child::answer(&json!({"micros": micros}));
    }
    Ok(())
}

async fn broadcast(shared: &Shared, bytes: usize) -> u64 {
    let streams = shared.streams.lock().unwrap_or_else(PoisonError::into_inner).clone();
    shared.acks.store(0, Ordering::SeqCst);
    let start = Instant::now();
    let data = Bytes::from(vec![7; bytes]);
    let size = bytes.div_ceil(MESSAGES).clamp(1, limits::SYNC_CHUNK_BYTES_MAX);
    for out in &streams {
        let mut rest = data.clone();
        while !rest.is_empty() {
            let data = rest.split_to(size.min(rest.len()));
            let kind = Some(Kind::Body(Chunk { data, last: rest.is_empty() }));
            // A client that is gone is missed among the acks.
            let _ = out.send(Ok(HubMessage { kind })).await;
        }
    }
    while shared.acks.load(Ordering::SeqCst) < streams.len() {
        shared.acked.notified().await;
    }
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}
