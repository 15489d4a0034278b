//! The clients of the reference.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use proto_model::limits;
use proto_wire::sync::sync_client::SyncClient;
use proto_wire::sync::{Ack, SpokeMessage, hub_message, spoke_message::Kind};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::child;

/// Arguments of this part.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folder with the certificates, and for the records
    #[arg(long)]
    dir: PathBuf,
    /// The server
    #[arg(long)]
    address: String,
    /// Number of the first client
    #[arg(long)]
    first: usize,
    /// How many
    #[arg(long)]
    count: usize,
    /// Bytes of the record that each writes
    #[arg(long)]
    record_bytes: usize,
}

/// Runs until it is killed.
///
/// # Errors
/// A client cannot connect.
pub(crate) async fn run(args: Args) -> Result<()> {
    let pem = |name: &str| std::fs::read_to_string(args.dir.join(name));
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(pem("ca.pem")?))
        .identity(Identity::from_pem(pem("client.pem")?, pem("client.key")?))
        .domain_name("reference");
    let endpoint = Endpoint::from_shared(format!("https://{}", args.address))?
        .initial_stream_window_size(limits::SYNC_WINDOW_BYTES)
        .initial_connection_window_size(limits::SYNC_WINDOW_BYTES)
        .tcp_nodelay(true)
        .tls_config(tls)?;
    let record = Bytes::from(vec![7; args.record_bytes]);
    for number in args.first..args.first + args.count {
        let file = OpenOptions::new().create(true).append(true).open(args.dir.join(format!("record-{number}")))?;
        let channel = endpoint.connect().await.context("a client of the reference cannot connect")?;
        let mut client = SyncClient::new(channel);
        let (say, said) = mpsc::channel(4);
        let mut messages = client.connect(ReceiverStream::new(said)).await?.into_inner();
        let (file, record) = (Arc::new(Mutex::new(file)), record.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                if let Some(hub_message::Kind::Body(chunk)) = message.kind
                    && chunk.last
                {
                    store(Arc::clone(&file), record.clone()).await?;
                    let ack = Ack { generation: 1, root: Bytes::from_static(&[7; 32]) };
                    say.send(SpokeMessage { kind: Some(Kind::Ack(ack)) }).await?;
                }
            }
            // The connection lives as long as its client does.
            drop(client);
            Ok::<_, anyhow::Error>(())
        });
    }
    child::answer(&json!({"connected": args.count}));
    std::future::pending().await
}

/// Appends a record and syncs it, where it stops no other client of this process.
async fn store(file: Arc<Mutex<File>>, record: Bytes) -> Result<()> {
    let written = spawn_blocking(move || {
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(&record).and_then(|()| file.sync_data())
    });
    written.await?.context("a record cannot be written")
}
