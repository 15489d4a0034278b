//! A real hub in this process, clients over real TLS, and a spoke that does as it is told.
#![allow(dead_code, unreachable_pub, reason = "not every test file uses all of it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hub_git::{CHILD_ARG, Fetcher};
use hub_server::args::Run;
use hub_server::dir::Dir;
use hub_server::identity::{self, Context};
use hub_server::{Running, start_with};
use proto_model::assign::{self, Entry, RULES};
use proto_model::delta::{Delta, HeldEntry, Hello, Refusal, ToHub, ToSpoke, level};
use proto_model::token::JoinToken;
use proto_model::{Digest, Fence, Health, Report, Sync, ask};
use proto_wire::control::control_client::ControlClient;
use proto_wire::control::execute_request::Command as Operator;
use proto_wire::control::{CreateJoinToken, ExecuteRequest, ExecuteResponse, StatusRequest, StatusResponse};
use proto_wire::enroll::enroll_client::EnrollClient;
use proto_wire::enroll::{JoinRequest, JoinResponse};
use proto_wire::sync::sync_client::SyncClient;
use proto_wire::sync::{HubMessage, SpokeMessage};
use proto_wire::to_spoke::FromHub;
use proto_wire::{to_hub, to_spoke};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Status, Streaming};

/// Long enough for any step of a test that works.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A hub, its directory, and a repository that it reads.
pub struct World {
    pub temp: tempfile::TempDir,
    pub hub: Option<Running>,
    pub context: Context,
}

impl World {
    /// A hub over a repository with these files.
    pub async fn start(files: &[(&str, &str)]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        git(&temp.path().join("repo"), &["init", "-q", "-b", "main"]);
        let dir = Dir::new(temp.path().join("hub"));
        let open = ["127.0.0.1:0".to_owned()];
        let made = identity::init(&dir, &open, None, std::time::SystemTime::now()).await.unwrap();
        let context = serde_json::from_slice(&std::fs::read(made.context).unwrap()).unwrap();
        let mut world = Self { temp, hub: None, context };
        world.commit(files);
        world.boot().await;
        world
    }

    pub fn hub_dir(&self) -> Dir {
        Dir::new(self.temp.path().join("hub"))
    }

    pub fn repo(&self) -> std::path::PathBuf {
        self.temp.path().join("repo")
    }

    /// Starts the hub on its directory.
    pub async fn boot(&mut self) {
        let run = Run {
            dir: self.hub_dir().root().to_path_buf(),
            listen: "127.0.0.1:0".parse().unwrap(),
            source: Some(self.repo().to_string_lossy().into_owned()),
            reference: "main".into(),
            path: String::new(),
            credentials_dir: None,
            poll: None,
            hooks: None,
            hooks_tls: None,
            hook_secret_file: None,
            token_file: None,
            credentials: None,
            verify_with: None,
            unverified: false,
            metrics: None,
            helm: None,
            kustomize: None,
            kube_version: hub_render::KUBE_VERSION.into(),
            print_ready: false,
        };
        let fetcher = Fetcher::new(env!("CARGO_BIN_EXE_drover-hub"), [CHILD_ARG]);
        let hub = start_with(run, fetcher).await.unwrap();
        assert_eq!(self.context.addresses, [hub.address().to_string()], "the port is kept");
        self.hub = Some(hub);
    }

    pub async fn stop(&mut self) {
        self.hub.take().unwrap().stop().await;
    }

    pub fn running(&self) -> &Running {
        self.hub.as_ref().unwrap()
    }

    /// Writes files (empty content removes one) and commits them; gives the commit.
    pub fn commit(&self, files: &[(&str, &str)]) -> String {
        let repo = self.repo();
        for (path, content) in files {
            let path = repo.join(path);
            if content.is_empty() {
                std::fs::remove_file(&path).unwrap();
                continue;
            }
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        git(&repo, &["add", "-A"]);
        git(&repo, &["commit", "-q", "--allow-empty", "-m", "a change"]);
        git(&repo, &["rev-parse", "HEAD"])
    }

    pub fn channel(&self, identity: Option<(&str, &str)>) -> Channel {
        let mut tls =
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.context.ca)).domain_name("drover-hub");
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(certificate, key));
        }
        let address = format!("https://{}", self.running().address());
        Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap().connect_lazy()
    }

    pub fn admin(&self) -> ControlClient<Channel> {
        let Context { certificate, key, .. } = &self.context;
        ControlClient::new(self.channel(Some((certificate, key))))
    }

    pub async fn status(&self) -> StatusResponse {
        self.admin().status(StatusRequest::default()).await.unwrap().into_inner()
    }

    /// Asks for the status until it is as wanted.
    pub async fn status_until(&self, wanted: impl Fn(&StatusResponse) -> bool) -> StatusResponse {
        let mut watch = self.admin().watch(StatusRequest::default()).await.unwrap().into_inner();
        let mut last = None;
        let found = tokio::time::timeout(PATIENCE, async {
            while let Some(status) = watch.message().await.unwrap() {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            panic!("the watch ended");
        });
        match found.await {
            Ok(status) => status,
            Err(_) => panic!("never as wanted; last: {last:#?}"),
        }
    }

    pub async fn execute(&self, id: &str, command: Operator) -> Result<ExecuteResponse, Status> {
        let request = ExecuteRequest { request_id: id.into(), reason: "a test".into(), command: Some(command) };
        self.admin().execute(request).await.map(tonic::Response::into_inner)
    }

    pub async fn token(&self, id: &str, names: &str) -> JoinToken {
        let ask = CreateJoinToken { names: vec![names.into()], uses: 10, ..Default::default() };
        let answer = self.execute(id, Operator::CreateJoinToken(ask)).await.unwrap();
        JoinToken::parse(&answer.token).unwrap()
    }

    pub async fn join(&self, token: &JoinToken, cluster: &str, key: &KeyPair) -> Result<JoinResponse, Status> {
        let request = JoinRequest {
            token_id: token.id.clone(),
            secret: token.secret.clone(),
            cluster: cluster.into(),
            csr: csr(key).into(),
        };
        let mut client = EnrollClient::new(self.channel(None));
        client.join(request).await.map(tonic::Response::into_inner)
    }

    /// A spoke that joined.
    pub async fn spoke(&self, cluster: &str) -> Spoke {
        let token = self.token(&format!("token-{cluster}"), cluster).await;
        let key = KeyPair::generate().unwrap();
        let joined = self.join(&token, cluster, &key).await.unwrap();
        Spoke {
            cluster: cluster.into(),
            certificate: String::from_utf8(joined.certificates.to_vec()).unwrap(),
            key,
            session_token: Vec::new(),
            fence: Fence::default(),
            fence_mac: Vec::new(),
            entries: BTreeMap::new(),
            reports: BTreeMap::new(),
            bodies: BTreeMap::new(),
            asks: ask::VERSION,
            delta_bytes: 0,
        }
    }
}

/// A certificate signing request for a key, PEM.
pub fn csr(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().pem().unwrap().into_bytes()
}

pub fn git(dir: &Path, args: &[&str]) -> String {
    std::fs::create_dir_all(dir).unwrap();
    let output = Command::new("git")
        .args(["-c", "user.name=test", "-c", "user.email=test@example.com"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .unwrap();
    assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// What a spoke keeps between its streams.
pub struct Spoke {
    pub cluster: String,
    pub certificate: String,
    pub key: KeyPair,
    pub session_token: Vec<u8>,
    pub fence: Fence,
    pub fence_mac: Vec<u8>,
    pub entries: BTreeMap<String, Entry>,
    pub reports: BTreeMap<String, Report>,
    pub bodies: BTreeMap<Digest, Vec<u8>>,
    /// Version of the asks that it says it answers.
    pub asks: u32,
    /// Bytes of deltas, variants and bodies in the present stream.
    pub delta_bytes: usize,
}

/// A stream of a spoke.
pub struct Stream {
    out: mpsc::Sender<SpokeMessage>,
    messages: Streaming<HubMessage>,
    reader: to_spoke::Reader,
}

impl Spoke {
    fn hello(&self) -> Hello {
        let digests = self.entries.iter().map(|(name, one)| (name.clone(), one.digest())).collect();
        Hello {
            fence: self.fence.clone(),
            fence_mac: self.fence_mac.clone(),
            root: assign::root(&digests),
            level: level(self.reports.values()),
            session_token: self.session_token.clone(),
            cluster_uid: format!("uid-of-{}", self.cluster),
            rules: RULES,
            version: "test".into(),
            asks: self.asks,
            suspends: 0,
            suspended: false,
        }
    }

    /// Connects and says Hello.
    pub async fn connect(&mut self, world: &World) -> Result<Stream, Status> {
        self.delta_bytes = 0;
        let key = self.key.serialize_pem();
        let channel = world.channel(Some((&self.certificate, &key)));
        let (out, messages) = mpsc::channel(16);
        for message in to_hub::encode(&ToHub::Hello(self.hello())).unwrap() {
            out.send(message).await.unwrap();
        }
        let answer = SyncClient::new(channel).connect(ReceiverStream::new(messages)).await?;
        Ok(Stream { out, messages: answer.into_inner(), reader: to_spoke::Reader::default() })
    }

    /// Takes what the hub says, and does as it is told, until `done`.
    pub async fn follow(&mut self, stream: &mut Stream, done: impl Fn(&Self) -> bool) {
        let mut delta: Option<Delta> = None;
        while !done(self) {
            match stream.next().await {
                ToSpoke::Welcome { session_token, want_holding, want_reports } => {
                    self.session_token = session_token;
                    if want_holding {
                        let held = self.entries.iter().map(|(name, entry)| {
                            let variant = match entry {
                                Entry::Run(run) => Some(run.variant),
                                Entry::Remove(_) => None,
                            };
                            (name.clone(), HeldEntry { digest: entry.digest(), variant })
                        });
                        stream.say(&ToHub::Holding(held.collect())).await;
                    }
                    if want_reports {
                        for report in self.reports.values() {
                            stream.say(&ToHub::Report(report.clone())).await;
                        }
                    }
                }
                ToSpoke::Delta(head) => delta = Some(head),
                ToSpoke::Variant(part) => self.keep(part.digest, part.base, &part.bytes),
                ToSpoke::Body(part) => self.keep(part.digest, part.base, &part.bytes),
                other => panic!("unexpected: {other:?}"),
            }
            if let Some(head) = delta.take_if(|head| self.has_all(head)) {
                self.take(head, stream).await;
            }
        }
    }

    fn keep(&mut self, digest: Digest, base: Option<Digest>, bytes: &[u8]) {
        self.delta_bytes += bytes.len();
        let base = base.map(|base| self.bodies[&base].clone());
        let body = proto_wire::compress::decompress(bytes, base.as_deref(), 1 << 22).unwrap();
        assert_eq!(Digest::of(&body), digest);
        self.bodies.insert(digest, body);
    }

    fn has_all(&self, delta: &Delta) -> bool {
        delta.set.values().all(|entry| match entry {
            Entry::Remove(_) => true,
            Entry::Run(run) => self.bodies.get(&run.variant).is_some_and(|list| {
                let variant = proto_model::Variant::decode(list).unwrap();
                variant.objects.iter().all(|digest| self.bodies.contains_key(digest))
            }),
        })
    }

    /// Acks, and reports that all went well.
    async fn take(&mut self, delta: Delta, stream: &Stream) {
        self.delta_bytes += 1;
        self.fence = delta.fence.clone();
        self.fence_mac = delta.fence_mac;
        self.entries.extend(delta.set.clone());
        self.entries.retain(|name, _| !delta.forget.contains(name));
        self.reports.retain(|name, _| !delta.forget.contains(name));
        let generation = delta.fence.generation;
        stream.say(&ToHub::Ack { generation, root: delta.root }).await;
        for (bundle, entry) in delta.set {
            let (variant, variables, objects) = match &entry {
                Entry::Run(run) => (Some(run.variant), run.variables.digest(), 1),
                Entry::Remove(_) => (None, Digest::of(b""), 0),
            };
            let report = Report {
                bundle: bundle.clone(),
                generation,
                variant,
                variables,
                sync: Sync::Applied,
                health: Health::Healthy,
                drifted: false,
                suspended: false,
                installed: true,
                objects,
                problems: Vec::new(),
                problems_more: 0,
                since_unix_millis: 1,
            };
            stream.say(&ToHub::Report(report.clone())).await;
            self.reports.insert(bundle, report);
        }
    }
}

impl Stream {
    pub async fn say(&self, word: &ToHub) {
        for message in to_hub::encode(word).unwrap() {
            self.out.send(message).await.unwrap();
        }
    }

    /// The next word of the hub.
    pub async fn next(&mut self) -> ToSpoke {
        self.try_next().await.expect("the stream ended")
    }

    pub async fn try_next(&mut self) -> Option<ToSpoke> {
        loop {
            let message =
                tokio::time::timeout(PATIENCE, self.messages.message()).await.expect("the hub says something");
            match self.reader.accept(message.ok()??).unwrap() {
                Some(FromHub::Word(word)) => return Some(word),
                Some(FromHub::Move(_)) => panic!("no Move is due"),
                None => {}
            }
        }
    }

    /// Waits for the word of a hub that stops, and for the end of the stream.
    pub async fn moved(&mut self) {
        loop {
            let message = self.messages.message().await.unwrap().expect("the stream ended without a word");
            if let Some(FromHub::Move(_)) = self.reader.accept(message).unwrap() {
                assert!(self.messages.message().await.unwrap().is_none(), "nothing comes after it");
                return;
            }
        }
    }

    /// Waits for the refusal that ends the stream.
    pub async fn refusal(&mut self) -> Refusal {
        loop {
            if let ToSpoke::Refused(reason) = self.next().await {
                assert!(self.try_next().await.is_none(), "nothing comes after a refusal");
                return reason;
            }
        }
    }
}
