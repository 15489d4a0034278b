//! A proxy before a real API server, which delays, answers itself, or holds what passes: faults
//! that a server does not bring about on demand.
//!
//! It speaks plain HTTP to the spoke and TLS to the server, a connection a request.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value as Json, json};
use tests_tools::Cluster;

/// The head of a request.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `GET`, `PATCH`, …
    pub method: String,
    /// Path and query.
    pub path: String,
}

impl Seen {
    /// Whether it changes something for good.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.method != "GET" && !self.path.contains("dryRun=All")
    }

    /// Whether it is about an object of a bundle, rather than what the spoke keeps for itself.
    #[must_use]
    pub fn is_of_a_bundle(&self) -> bool {
        !self.path.contains("/drover-system/") && !self.path.contains("/events")
    }
}

/// What becomes of a request. A verdict is asked for on a thread of the request's own: it may
/// take its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes to the server, and the answer back.
    Pass,
    /// It goes to the server; its answer is lost.
    Lose,
    /// It is lost itself.
    Drop,
    /// The server never sees it; this is the answer.
    Answer(String),
}

/// Decides about each request. The second call of [`Verdict::Lose`] is the one after the answer came.
pub type Judge = Arc<dyn Fn(&Seen) -> Verdict + Send + Sync>;

/// A proxy that runs; its threads end with their connections.
#[derive(Debug)]
pub struct Proxy {
    kubeconfig: PathBuf,
}

struct Upstream {
    address: String,
    tls: Arc<ClientConfig>,
    judge: Judge,
    /// Called when the answer to a lost request came.
    lost: Arc<dyn Fn(&Seen) + Send + Sync>,
}

impl Proxy {
    /// Starts one before a cluster, and writes a kubeconfig that leads through it.
    ///
    /// # Errors
    /// No port, or no such cluster.
    pub fn start(
        cluster: &Cluster,
        kubeconfig: &Path,
        judge: Judge,
        lost: Arc<dyn Fn(&Seen) + Send + Sync>,
    ) -> Result<Self> {
        crate::conformance::World::install_provider();
        let mut config = super::site::admin_config(cluster)?;
        let server = &mut config["clusters"][0]["cluster"];
        let address = server["server"].as_str().and_then(|url| url.strip_prefix("https://"));
        let address = address.context("no server in the kubeconfig")?.to_owned();
        let mut roots = RootCertStore::empty();
        let pem = std::fs::read(cluster.dir().join("apiserver.crt")).context("read the server's certificate")?;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate?)?;
        }
        let tls = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
        let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
        *server = json!({"server": format!("http://{}", listener.local_addr()?)});
        std::fs::write(kubeconfig, Json::to_string(&config)).context("write a kubeconfig")?;
        let upstream = Arc::new(Upstream { address, tls, judge, lost });
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let upstream = upstream.clone();
                // Whatever breaks, the client sees a connection that closes.
                thread::spawn(move || drop(upstream.serve(&stream)));
            }
        });
        Ok(Self { kubeconfig: kubeconfig.to_owned() })
    }

    /// The kubeconfig that leads through it.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.kubeconfig.clone()
    }
}

impl Upstream {
    fn serve(&self, client: &TcpStream) -> Result<()> {
        let mut reader = BufReader::new(client);
        let mut head = String::new();
        let (mut length, mut first) = (0_usize, String::new());
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if line.trim().is_empty() {
                break;
            }
            if first.is_empty() {
                first.clone_from(&line);
            }
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            if !lower.starts_with("connection:") {
                head.push_str(&line);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split_whitespace().map(str::to_owned);
        let seen =
            Seen { method: words.next().unwrap_or_default(), path: words.next().context("no path in a request")? };
        let verdict = (self.judge)(&seen);
        let mut to_client = client;
        match verdict {
            Verdict::Drop => return Ok(()),
            Verdict::Answer(answer) => return to_client.write_all(answer.as_bytes()).context("answer"),
            Verdict::Pass | Verdict::Lose => {}
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut server = self.connect()?;
        server.write_all(head.as_bytes())?;
        server.write_all(&body)?;
        server.flush()?;
        let mut piece = vec![0; 64 * 1024];
        loop {
            // A server that closes without a word of TLS is at its end, too.
            let read = server.read(&mut piece).unwrap_or(0);
            if read == 0 {
                break;
            }
            if verdict == Verdict::Pass {
                to_client.write_all(&piece[..read])?;
            }
        }
        if verdict == Verdict::Lose {
            (self.lost)(&seen);
        }
        Ok(())
    }

    fn connect(&self) -> Result<StreamOwned<ClientConnection, TcpStream>> {
        let tcp = TcpStream::connect(&self.address)?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from("127.0.0.1").context("a name of TLS")?;
        Ok(StreamOwned::new(ClientConnection::new(self.tls.clone(), name)?, tcp))
    }
}

/// An answer with a Status, as an API server gives it.
#[must_use]
pub fn status(code: u16, reason: &str, message: &str, headers: &str) -> String {
    let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code,
        "message": message});
    let body = status.to_string();
    format!(
        "HTTP/1.1 {code} {reason}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}
