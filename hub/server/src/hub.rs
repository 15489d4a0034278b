//! One replica of the hub: its parts put together, started and stopped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, anyhow};
use futures::future::select_all;
use hub_core::catalog::check_url;
use hub_core::command::Command;
use hub_core::fleet::Fleet;
use hub_git::Fetcher;
use hub_raft::Options;
use hub_render::{Charts, Programs, Renderer, Tool};
use hub_store::{SealingKey, Store};
use proto_model::{limits, token::is_address};
use proto_wire::control::control_server::ControlServer;
use proto_wire::enroll::enroll_server::EnrollServer;
use proto_wire::sync::sync_server::SyncServer;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, spawn_blocking};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tracing::{info, warn};

use crate::args::Run;
use crate::bodies::Bodies;
use crate::dir::{Dir, write_durably};
use crate::identity::{Authority, Identity, hosts};
use crate::leader::{Handle, Leader};
use crate::log::{Applied, Raft, Replicated, State};
use crate::metrics::{self, Metrics};
use crate::node::Node;
use crate::rate::Rate;
use crate::source::{self, Places, Pokes, Room, Spec};
use crate::tls::{self, Acceptor, Certificate};
use crate::{collect, control, enroll, hooks, sync};

/// What the services of a replica share.
pub struct Hub {
    /// Who the hub is.
    pub identity: Identity,
    /// Where spokes and operators reach it, for join tokens.
    pub addresses: Vec<String>,
    /// The memory of this replica.
    pub node: Arc<Node>,
    /// Bodies.
    pub bodies: Arc<Bodies>,
    /// Fleet, as far as it was applied here.
    pub applied: watch::Receiver<Applied>,
    /// The way into the log.
    pub leader: Handle,
    /// What renders.
    pub renderer: Arc<Renderer>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Attaches that are let through.
    pub attaches: Rate,
    /// Enrolments that are let through.
    pub enrolments: Rate,
    /// Room for fetches under way, beside that of the root source.
    pub fetches: Room,
    /// Room for files that renderings under way read, in KiB.
    pub rendering: Arc<Semaphore>,
    /// The sources that are followed.
    pub pokes: Pokes,
    /// Turns true when the hub stops.
    pub stop: watch::Receiver<bool>,
}

impl Hub {
    /// The present state of the fleet.
    #[must_use]
    pub fn state(&self) -> State {
        State::of(&self.applied.borrow())
    }
}

/// A replica that serves.
pub struct Running {
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    hooks_address: Option<SocketAddr>,
    hub: Arc<Hub>,
    raft: Raft,
    stop: watch::Sender<bool>,
    acceptor: JoinHandle<()>,
    leader: JoinHandle<String>,
    others: Vec<JoinHandle<()>>,
    /// Held for as long as the replica runs.
    _lock: std::fs::File,
}

impl Running {
    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where it takes webhooks.
    #[must_use]
    pub fn hooks_address(&self) -> Option<SocketAddr> {
        self.hooks_address
    }

    /// Which hub it is.
    #[must_use]
    pub fn hub_id(&self) -> &str {
        &self.hub.identity.hub.hub_id
    }

    /// What its services share.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Resolves when the replica cannot go on, with the reason.
    pub async fn failed(&mut self) -> String {
        const DEFECT: &str = "this is a defect of drover-hub; its log says where";
        let mut stopped = self.raft.stopped();
        tokio::select! {
            led = &mut self.leader => match led {
                Ok(reason) => reason,
                Err(_) => format!("the leader's loop panicked: {DEFECT}"),
            },
            reason = stopped.wait_for(Option::is_some) => match reason.as_deref() {
                Ok(Some(reason)) => format!("the log has stopped: {reason}"),
                _ => "the log has stopped".into(),
            },
            _ = &mut self.acceptor => format!("the acceptor ended: {DEFECT}"),
            _ = select_all(&mut self.others) => format!("a task ended that must not: {DEFECT}"),
        }
    }

    /// Asks spokes to come back later, lets connections end, and closes the log.
    pub async fn stop(self) {
        info!("stopping");
        self.stop.send_replace(true);
        if !self.acceptor.is_finished() {
            let _ = self.acceptor.await;
        }
        for task in &self.others {
            task.abort();
        }
        self.leader.abort();
        self.raft.shutdown().await;
    }
}

/// Starts a replica on an initialised directory; it serves when this returns.
///
/// # Errors
/// What is missing or broken, where, and what to do next.
pub async fn start(args: Run) -> anyhow::Result<Running> {
    start_with(args, Fetcher::default()).await
}

/// As [`start`], with another way to fetch: programs whose `main` is not `drover-hub`'s.
///
/// # Errors
/// As [`start`].
pub async fn start_with(args: Run, fetcher: Fetcher) -> anyhow::Result<Running> {
    let fetcher = fetcher.private(&args.dir);
    let dir = Dir::new(&args.dir);
    let (lock, identity, store) = spawn_blocking({
        let dir = dir.clone();
        move || open(&dir)
    })
    .await
    .map_err(|_| anyhow!("opening the hub's directory panicked"))??;
    let listener = listen(&dir, args.listen).await?;
    let address = listener.local_addr()?;
    let addresses = advertised(&identity.hub.advertise, address);
    let fleet = Replicated(Fleet::new(&identity.hub.hub_id));
    let raft = Raft::open(&dir.raft(), fleet, Options::default()).await?;
    let metrics = Arc::new(Metrics::default());
    let bodies = Arc::new(Bodies::new(Arc::new(store)));
    let node = Arc::new(Node::new(Arc::clone(&bodies)));
    let (leader, handle) = Leader::new(raft.clone(), Arc::clone(&bodies), Arc::clone(&node), Arc::clone(&metrics));
    let (stop, stopped) = watch::channel(false);
    let hub = Arc::new(Hub {
        identity,
        addresses,
        node,
        bodies,
        applied: raft.applied(),
        leader: handle,
        renderer: Arc::new(renderer(&args, &dir)),
        metrics: Arc::clone(&metrics),
        attaches: Rate::new(limits::ATTACHES_PER_SEC_MAX, Instant::now()),
        enrolments: Rate::new(limits::ENROLMENTS_PER_SEC_MAX, Instant::now()),
        fetches: Room::default(),
        rendering: Arc::new(Semaphore::new(limits::RENDER_BATCHES_KIB_MAX as usize)),
        pokes: Pokes::default(),
        stop: stopped.clone(),
    });
    let metrics_address = match args.metrics {
        Some(address) => Some(
            metrics::serve(Arc::clone(&metrics), address, stopped.clone())
                .await
                .with_context(|| format!("serve metrics on {address}"))?,
        ),
        None => None,
    };
    let hooks_address = match args.hooks {
        Some(address) => Some(hooks::serve(Arc::clone(&hub), address, args.hooks_tls.clone()).await?),
        None => None,
    };
    let leader = tokio::spawn(leader.run());
    let (tls, fresh) = certificates(&hub)?;
    let acceptor = Acceptor::new(tls, &hub.identity.hub.hub_id, routes(&hub)?, tls::Limits::default(), metrics);
    let mut others = vec![
        tokio::spawn(fresh),
        tokio::spawn(sync::dispatch(Arc::clone(&hub))),
        tokio::spawn(collect::run(Arc::clone(&hub))),
    ];
    if let Some(spec) = spec(&hub, &dir, &args).await? {
        others.push(tokio::spawn(source::follow(Arc::clone(&hub), spec, fetcher.clone())));
    }
    let places = Places { mirrors: dir.sources(), credentials: args.credentials_dir.clone() };
    others.push(tokio::spawn(source::manage(Arc::clone(&hub), places, fetcher)));
    let acceptor = tokio::spawn(acceptor.serve(listener, stopped));
    info!(%address, hub_id = hub.identity.hub.hub_id, "serving");
    Ok(Running { address, metrics_address, hooks_address, hub, raft, stop, acceptor, leader, others, _lock: lock })
}

/// Claims the directory. A process that has just ended may be held open a moment longer by a child
/// of ours that was being started.
fn claim(dir: &Dir) -> io::Result<std::fs::File> {
    const WAIT: Duration = Duration::from_millis(50);
    let mut left = Duration::from_secs(limits::CLAIM_SECS_MAX);
    loop {
        match dir.lock() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !left.is_zero() => {
                left = left.saturating_sub(WAIT);
                std::thread::sleep(WAIT);
            }
            result => return result,
        }
    }
}

fn open(dir: &Dir) -> anyhow::Result<(std::fs::File, Identity, Store)> {
    // Before the lock, which would make the directory look like somebody's.
    crate::identity::HubFile::load(dir)?;
    let lock = claim(dir).with_context(|| format!("claim {}", dir.root().display()))?;
    let identity = Identity::load(dir, &SealingKey::load(&dir.sealing_key())?)?;
    let store = Store::open(&dir.bodies(), SealingKey::load(&dir.sealing_key())?)?;
    Ok((lock, identity, store))
}

/// Listens; a port of 0 means the one of the last start where it is free, so that spokes find the
/// hub again.
async fn listen(dir: &Dir, wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    if wanted.port() != 0 {
        return TcpListener::bind(wanted).await.with_context(|| format!("listen on {wanted}"));
    }
    let last = std::fs::read_to_string(dir.port()).ok();
    if let Some(port) = last.and_then(|text| text.trim().parse::<u16>().ok()) {
        let again = SocketAddr::new(wanted.ip(), port);
        match TcpListener::bind(again).await {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                warn!(address = %again, "the port of the last start is taken; choosing another");
            }
            Err(error) => return Err(error).with_context(|| format!("listen on {again}")),
        }
    }
    let listener = TcpListener::bind(wanted).await.with_context(|| format!("listen on {wanted}"))?;
    let port = listener.local_addr()?.port();
    write_durably(&dir.port(), port.to_string().as_bytes())
        .with_context(|| format!("write {}", dir.port().display()))?;
    Ok(listener)
}

/// The advertised addresses, with the port that was chosen where they leave it open.
fn advertised(addresses: &[String], bound: SocketAddr) -> Vec<String> {
    addresses
        .iter()
        .map(|address| match address.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", bound.port()),
            None => address.clone(),
        })
        .filter(|address| is_address(address))
        .collect()
}

type Fresh = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

fn certificates(hub: &Hub) -> anyhow::Result<(Arc<rustls::ServerConfig>, Fresh)> {
    let authority: &Arc<Authority> = &hub.identity.authority;
    let hosts = hosts(&hub.identity.hub.advertise)?;
    let (certificate, renew_at) = Certificate::make(authority, &hosts, SystemTime::now())?;
    let tls = tls::config(authority, Arc::clone(&certificate))?;
    Ok((tls, Box::pin(certificate.keep_fresh(Arc::clone(authority), hosts, renew_at))))
}

/// Everything that the one port serves.
fn routes(hub: &Arc<Hub>) -> anyhow::Result<Routes> {
    let small = limits::SYNC_MESSAGE_BYTES_MAX;
    let large = limits::CONTROL_MESSAGE_BYTES_MAX;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto_wire::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .context("describe the services")?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let serving = async move {
        reporter.set_serving::<ControlServer<control::Service>>().await;
        reporter.set_serving::<SyncServer<sync::Service>>().await;
        reporter.set_serving::<EnrollServer<enroll::Service>>().await;
    };
    tokio::spawn(serving);
    let mut routes = Routes::builder();
    routes
        .add_service(
            SyncServer::new(sync::Service::new(Arc::clone(hub)))
                .max_decoding_message_size(small)
                .max_encoding_message_size(small),
        )
        .add_service(
            EnrollServer::new(enroll::Service::new(Arc::clone(hub)))
                .max_decoding_message_size(limits::ENROL_MESSAGE_BYTES_MAX),
        )
        .add_service(ControlServer::new(control::Service::new(Arc::clone(hub))).max_decoding_message_size(large))
        .add_service(InterceptedService::new(reflection, control::only_operators))
        .add_service(health);
    Ok(routes.routes())
}

/// What to follow: what the arguments say, else what the log knows from the last start.
async fn spec(hub: &Arc<Hub>, dir: &Dir, args: &Run) -> anyhow::Result<Option<Spec>> {
    let name = source::ROOT.to_owned();
    let (url, reference, path) = match &args.source {
        Some(url) => (absolute(url)?, args.reference.clone(), args.path.trim_matches('/').to_owned()),
        None => match hub.state().fleet().sources.get(&name) {
            Some(known) => (known.url.clone(), known.reference.clone(), known.path.clone()),
            None => {
                warn!("no source: start with --source URL|PATH to read one");
                return Ok(None);
            }
        },
    };
    check(hub.state().fleet(), &url, args)?;
    let verified = args.verify_with.is_some();
    let command = Command::Source {
        source: name.clone(),
        url: url.clone(),
        reference: reference.clone(),
        path: path.clone(),
        verified,
    };
    hub.leader.command(command).await.context("record the source")?;
    let named = args.credentials_dir.as_ref().zip(args.credentials.as_ref());
    let named = named.map(|(dir, name)| dir.join(name).join(hub_git::WEBHOOK));
    let (poll, hook_secret) = (args.poll, args.hook_secret_file.clone().or(named));
    let (token_file, credentials) = (args.token_file.clone(), args.credentials.clone());
    let (credentials_dir, mirrors) = (args.credentials_dir.clone(), dir.sources());
    let signers = args.verify_with.clone().map(hub_git::Signers::File);
    Ok(Some(Spec {
        name,
        url,
        reference,
        path,
        token_file,
        credentials,
        credentials_dir,
        signers,
        poll,
        hook_secret,
        follows_rewinds: false,
        may: None,
        mirrors,
    }))
}

/// What must not be followed, though it could be.
fn check(fleet: &Fleet, url: &str, args: &Run) -> anyhow::Result<()> {
    check_url(url).map_err(|why| anyhow::anyhow!("--source: {why}"))?;
    let was_verified = fleet.sources.get(source::ROOT).is_some_and(|known| known.verified);
    anyhow::ensure!(
        args.verify_with.is_some() || args.unverified || !was_verified,
        "heads had to be signed at the last start: give --verify-with again, or --unverified to follow the repository \
         without signatures from now on"
    );
    Ok(())
}

/// A path as it will mean the same wherever the hub is started next.
fn absolute(url: &str) -> anyhow::Result<String> {
    if url.contains("://") || url.split('/').next().is_some_and(|first| first.contains(':')) {
        return Ok(url.to_owned());
    }
    let path = std::path::absolute(Path::new(url)).with_context(|| format!("--source {url}"))?;
    Ok(path.to_string_lossy().into_owned())
}

/// What renders, with the programs of the arguments.
fn renderer(args: &Run, dir: &Dir) -> Renderer {
    let programs = Programs::new(hub_render::Options {
        helm: args.helm.clone(),
        kustomize: args.kustomize.clone(),
        scratch: Some(dir.renderings()),
        ..hub_render::Options::default()
    });
    for (tool, given) in [(Tool::Helm, &args.helm), (Tool::Kustomize, &args.kustomize)] {
        // Where nobody asked for one, only bundles that need it say that it is missing.
        if let Some(problem) = given.as_ref().and_then(|_| programs.problem(tool)) {
            tracing::warn!("bundles that need {tool} are held: {problem}");
        }
    }
    for door in programs.open_doors() {
        tracing::warn!("{door}");
    }
    let mut charts = Charts::in_folder(dir.charts());
    if let Some(folder) = args.credentials_dir.clone() {
        charts = charts.with_credentials(move |name| hub_git::access(&folder, name).map_err(|error| error.to_string()));
    }
    Renderer { kube_version: args.kube_version.clone(), programs: Arc::new(programs), charts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_port_is_filled_in() {
        let bound = SocketAddr::from(([127, 0, 0, 1], 4711));
        let addresses = ["hub.example.com:7443".to_owned(), "127.0.0.1:0".to_owned()];
        assert_eq!(advertised(&addresses, bound), ["hub.example.com:7443", "127.0.0.1:4711"]);
    }
}
