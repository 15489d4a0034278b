//! A hub of a few lines: signs what is asked for, and lets the test speak on each stream.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use proto_model::Digest;
use proto_model::delta::{Hello, ToHub, ToSpoke};
use proto_model::token::JoinToken;
use proto_wire::enroll::enroll_server::{Enroll, EnrollServer};
use proto_wire::enroll::{JoinRequest, JoinResponse, RenewRequest};
use proto_wire::sync::sync_server::{Sync, SyncServer};
use proto_wire::sync::{HubMessage, SpokeMessage};
use proto_wire::{SERVER_NAME, to_hub, to_spoke};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use spoke_agent::{Config, RunError};
use spoke_core::port::Cluster;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(30);
const SECRET: &str = "swordfish";

/// One stream, seen from the hub.
pub struct Session {
    pub hello: Hello,
    say: mpsc::Sender<Result<HubMessage, Status>>,
    heard: mpsc::UnboundedReceiver<ToHub>,
}

impl Session {
    pub async fn say(&self, word: ToSpoke) {
        self.say_all(&[word]).await;
    }

    /// Words that are encoded beforehand, so that they come as fast as they can.
    pub async fn say_all(&self, words: &[ToSpoke]) {
        let encoded: Vec<_> = words.iter().flat_map(|word| to_spoke::encode(word).unwrap()).collect();
        for message in encoded {
            self.say.send(Ok(message)).await.unwrap();
        }
    }

    pub async fn welcome(&self, token: &str) {
        let session_token = token.as_bytes().to_vec();
        self.say(ToSpoke::Welcome { session_token, want_holding: false, want_reports: false }).await;
    }

    /// The next word that `wanted` makes something of; others are passed over.
    pub async fn hears<T>(&mut self, wanted: impl Fn(ToHub) -> Option<T>) -> T {
        timeout(PATIENCE, async {
            loop {
                let word = self.heard.recv().await.expect("the stream ended");
                if let Some(found) = wanted(word) {
                    return found;
                }
            }
        })
        .await
        .expect("the spoke does not say it")
    }

    /// Waits until the spoke is gone.
    pub async fn ends(mut self) {
        timeout(PATIENCE, async { while self.heard.recv().await.is_some() {} })
            .await
            .expect("the spoke does not end the stream");
    }
}

struct State {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    joins: Mutex<Vec<String>>,
    renewals: Mutex<u32>,
    refuse_joins: Mutex<bool>,
    refused: Notify,
    sessions: mpsc::UnboundedSender<Session>,
}

impl State {
    fn chain(&self, csr: &[u8], ago_secs: u64, left_secs: u64) -> String {
        let csr = std::str::from_utf8(csr).unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let now = SystemTime::now();
        request.params.not_before = (now - Duration::from_secs(ago_secs)).into();
        request.params.not_after = (now + Duration::from_secs(left_secs)).into();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        request.signed_by(&self.issuer).unwrap().pem()
    }

    fn sign(&self, csr: &[u8]) -> JoinResponse {
        JoinResponse {
            certificates: self.chain(csr, 60, 6000).into(),
            roots: self.ca_pem.clone().into(),
            hub_id: "0123".into(),
            incarnation: 1,
        }
    }
}

#[derive(Clone)]
struct Service(Arc<State>);

#[tonic::async_trait]
impl Enroll for Service {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        if request.secret != SECRET || *self.0.refuse_joins.lock().unwrap() {
            self.0.refused.notify_one();
            return Err(Status::permission_denied("no such token"));
        }
        self.0.joins.lock().unwrap().push(request.cluster);
        Ok(Response::new(self.0.sign(&request.csr)))
    }

    async fn renew(&self, request: Request<RenewRequest>) -> Result<Response<JoinResponse>, Status> {
        *self.0.renewals.lock().unwrap() += 1;
        Ok(Response::new(self.0.sign(&request.into_inner().csr)))
    }
}

#[tonic::async_trait]
impl Sync for Service {
    type ConnectStream = ReceiverStream<Result<HubMessage, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<SpokeMessage>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if request.peer_certs().is_none_or(|chain| chain.is_empty()) {
            return Err(Status::unauthenticated("a certificate is needed"));
        }
        let mut messages = request.into_inner();
        let (say, said) = mpsc::channel(1);
        let (hear, heard) = mpsc::unbounded_channel();
        let sessions = self.0.sessions.clone();
        let mut streams = Some((say, heard));
        tokio::spawn(async move {
            let mut reader = to_hub::Reader::default();
            while let Ok(Some(message)) = messages.message().await {
                match reader.accept(message).expect("the spoke speaks the protocol") {
                    None => {}
                    Some(ToHub::Hello(hello)) => {
                        let (say, heard) = streams.take().expect("one Hello a stream");
                        let _ = sessions.send(Session { hello, say, heard });
                    }
                    Some(word) => drop(hear.send(word)),
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(said)))
    }
}

/// The hub.
pub struct Hub {
    state: Arc<State>,
    ca: Digest,
    address: SocketAddr,
    sessions: mpsc::UnboundedReceiver<Session>,
    // Its own runtime, so that it can be killed with all its connections.
    server: Option<Runtime>,
}

impl Hub {
    pub async fn start() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let ca = params.self_signed(&key).unwrap();
        let (ca_pem, digest) = (ca.pem(), Digest::of(ca.der()));
        let issuer = Issuer::new(params, key);
        let (sessions, accepted) = mpsc::unbounded_channel();
        let state = Arc::new(State {
            issuer,
            ca_pem,
            joins: Mutex::default(),
            renewals: Mutex::default(),
            refuse_joins: Mutex::default(),
            refused: Notify::new(),
            sessions,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Some(serve(Arc::clone(&state), listener));
        Self { state, ca: digest, address, sessions: accepted, server }
    }

    pub fn token(&self, id: &str) -> JoinToken {
        JoinToken { addresses: vec![self.address.to_string()], ca: self.ca, id: id.into(), secret: SECRET.into() }
    }

    pub fn refuse_joins(&self, refuse: bool) {
        *self.state.refuse_joins.lock().unwrap() = refuse;
    }

    /// Waits until a join was refused.
    pub async fn refused(&self) {
        timeout(PATIENCE, self.state.refused.notified()).await.expect("nobody asks to join");
    }

    pub fn joins(&self) -> Vec<String> {
        self.state.joins.lock().unwrap().clone()
    }

    pub fn renewals(&self) -> u32 {
        *self.state.renewals.lock().unwrap()
    }

    /// A certificate of now.
    pub fn sign(&self, csr: &[u8]) -> Vec<u8> {
        self.state.sign(csr).certificates.to_vec()
    }

    /// A certificate for this key that was made so many seconds ago and ends in so many.
    pub fn sign_aged(&self, key: &str, ago_secs: u64, left_secs: u64) -> String {
        self.state.chain(request(key).as_bytes(), ago_secs, left_secs)
    }

    /// The next stream that begins with a Hello.
    pub async fn accept(&mut self) -> Session {
        timeout(PATIENCE, self.sessions.recv()).await.expect("no spoke comes").unwrap()
    }

    /// Kills the process, as far as spokes can see, and starts it again at the same address.
    pub async fn restart(&mut self) {
        self.kill();
        let listener = loop {
            // Until the kernel has let go of the port.
            match TcpListener::bind(self.address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        self.server = Some(serve(Arc::clone(&self.state), listener));
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.shutdown_background();
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A signing request of a key, both PEM.
pub fn request(key: &str) -> String {
    let key = KeyPair::from_pem(key).unwrap();
    CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap()
}

fn serve(state: Arc<State>, listener: TcpListener) -> Runtime {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = params.signed_by(&key, &state.issuer).unwrap().pem();
    let chain = format!("{leaf}{}", state.ca_pem);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(chain, key.serialize_pem()))
        .client_ca_root(Certificate::from_pem(&state.ca_pem))
        .client_auth_optional(true);
    let service = Service(state);
    let listener = listener.into_std().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        let _ = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(EnrollServer::new(service.clone()))
            .add_service(SyncServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await;
    });
    runtime
}

/// A spoke in this process.
pub struct Spoke {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Spoke {
    pub fn start(dir: PathBuf, token: Option<JoinToken>, cluster: Arc<dyn Cluster>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let config = Config::new(dir, "edge-1".into(), token);
        let task = tokio::spawn(spoke_agent::run(config, cluster, async {
            let _ = stopped.await;
        }));
        Self { stop, task }
    }

    /// Ends it cleanly.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        timeout(PATIENCE, self.task).await.expect("the spoke does not end").unwrap().unwrap();
    }

    /// Waits for it to give up.
    pub async fn fails(self) -> RunError {
        let ended = timeout(PATIENCE, self.task).await.expect("the spoke does not give up");
        ended.unwrap().expect_err("it ended well")
    }
}
