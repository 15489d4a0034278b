//! The acceptor over real sockets: silent peers, caps, strangers, and certificates that change
//! while connections stand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hub_server::identity::{Authority, Name, Role};
use hub_server::metrics::Metrics;
use hub_server::tls::{self, Acceptor, Certificate, Limits};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::service::Routes;

const HUB: &str = "0123456789abcdef0123456789abcdef";
/// Long enough for any step of a test that works.
const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    authority: Authority,
    certificate: Arc<Certificate>,
    address: SocketAddr,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
}

async fn server(limits: Limits) -> Server {
    let now = SystemTime::now();
    let (authority, _) = Authority::create(HUB, now).unwrap();
    let (certificate, _) = Certificate::make(&authority, &[], now).unwrap();
    let config = tls::config(&authority, Arc::clone(&certificate)).unwrap();
    let metrics = Arc::new(Metrics::default());
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let acceptor = Acceptor::new(config, HUB, Routes::default(), limits, Arc::clone(&metrics));
    tokio::spawn(acceptor.serve(listener, stopped));
    Server { authority, certificate, address, metrics, stop }
}

fn client(trusted: &Authority, signer: Option<&Authority>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    for root in trusted.roots() {
        roots.add(root.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match signer {
        None => builder.with_no_client_auth(),
        Some(signer) => {
            let name = Name::Operator { role: Role::Admin, name: "ann".into() };
            let (certificate, key) = signer.issue(&name, SystemTime::now()).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(connector: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(address).await?;
    connector.connect(ServerName::try_from("drover-hub").unwrap(), socket).await
}

/// Whether the server speaks HTTP/2 here: it answers the preface with its settings.
async fn is_served(stream: &mut TlsStream<TcpStream>) -> bool {
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    if stream.write_all(preface).await.is_err() {
        return false;
    }
    let mut head = [0; 9];
    let read = timeout(PATIENCE, stream.read_exact(&mut head)).await.expect("an answer or an end");
    read.is_ok() && head[3] == 4
}

/// Waits until the server has closed a socket.
async fn is_closed(mut socket: TcpStream) {
    let mut bytes = [0; 64];
    loop {
        let read = timeout(PATIENCE, socket.read(&mut bytes)).await.expect("the server closes");
        if matches!(read, Ok(0) | Err(_)) {
            return;
        }
    }
}

#[tokio::test]
async fn a_silent_peer_is_closed_and_others_are_served_meanwhile() {
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let server = server(limits).await;
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut other = connect(&client(&server.authority, None), server.address).await.unwrap();
    assert!(is_served(&mut other).await);
    is_closed(silent).await;
    assert_eq!(server.metrics.handshakes_failed.get(), 1);
}

#[tokio::test]
async fn silent_peers_hold_their_places_no_longer_than_a_handshake_may_take() {
    let limits = Limits { handshake: Duration::from_millis(300), handshakes: 2, ..Limits::default() };
    let server = server(limits).await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
    }
    let connector = client(&server.authority, None);
    let late = timeout(PATIENCE, connect(&connector, server.address)).await;
    assert!(is_served(&mut late.expect("room again").unwrap()).await);
    assert!(server.metrics.handshakes_failed.get() >= 1, "a silent peer had to go first");
}

#[tokio::test]
async fn who_shakes_hands_and_asks_for_nothing_loses_its_place() {
    let limits = Limits { handshake: Duration::from_millis(300), ..Limits::default() };
    let server = server(limits).await;
    let connector = client(&server.authority, None);
    let silent = connect(&connector, server.address).await.unwrap();
    let mut polite = connect(&connector, server.address).await.unwrap();
    // It speaks HTTP/2, and still asks for nothing.
    assert!(is_served(&mut polite).await);
    for mut idle in [silent, polite] {
        let mut rest = Vec::new();
        timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("the server closes").ok();
    }
    let all_gone = async {
        while server.metrics.connections.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_gone).await.expect("their places are free");
}

#[tokio::test]
async fn above_the_cap_connections_are_closed_at_accept() {
    let server = server(Limits { connections: 1, ..Limits::default() }).await;
    let connector = client(&server.authority, None);
    let mut first = connect(&connector, server.address).await.unwrap();
    assert!(is_served(&mut first).await);
    is_closed(TcpStream::connect(server.address).await.unwrap()).await;
    assert_eq!(server.metrics.connections_refused.get(), 1);
    // Its end makes room.
    drop(first);
    let next = async {
        loop {
            if let Ok(mut stream) = connect(&connector, server.address).await
                && is_served(&mut stream).await
            {
                return;
            }
        }
    };
    timeout(PATIENCE, next).await.expect("room again");
}

#[tokio::test]
async fn strangers_are_told_apart() {
    let server = server(Limits::default()).await;
    let (other, _) = Authority::create(HUB, SystemTime::now()).unwrap();
    assert!(
        connect(&client(&other, None), server.address).await.is_err(),
        "a client that trusts another CA refuses this server"
    );
    // With TLS 1.3 a client hears of its refusal only when it reads.
    let mut stranger = connect(&client(&server.authority, Some(&other)), server.address).await.unwrap();
    assert!(!is_served(&mut stranger).await, "a certificate of another CA");
    let mut known = connect(&client(&server.authority, Some(&server.authority)), server.address).await.unwrap();
    assert!(is_served(&mut known).await);
}

#[tokio::test]
async fn the_certificate_changes_while_connections_stand() {
    let server = server(Limits::default()).await;
    let connector = client(&server.authority, None);
    let leaf = |stream: &TlsStream<TcpStream>| stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
    let mut before = connect(&connector, server.address).await.unwrap();
    server.certificate.renew(&server.authority, &[], SystemTime::now()).unwrap();
    // A client of its own: a resumed session would show the old one.
    let after = connect(&client(&server.authority, None), server.address).await.unwrap();
    assert_ne!(leaf(&before), leaf(&after));
    assert!(is_served(&mut before).await);
}

#[tokio::test]
async fn connections_end_when_the_hub_stops() {
    let server = server(Limits::default()).await;
    let mut stream = connect(&client(&server.authority, None), server.address).await.unwrap();
    assert!(is_served(&mut stream).await);
    server.stop.send_replace(true);
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end").ok();
}
