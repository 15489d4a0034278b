//! Follows a source: fetches it when it is due, holds a rewind, and hands each new head, read and
//! rendered, to the leader.

mod batch;
mod manage;
mod poke;
mod prepare;
mod render;
mod renders;
mod room;
mod turns;
mod under_way;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_core::catalog::spec::May;
use hub_core::command::Command;
use hub_core::release::RenderInput;
use hub_git::{Fetcher, Place, Schedule, Signers};
use proto_model::Digest;
use tracing::{info, warn};

use crate::hub::Hub;
use crate::leader::{Asked, Prepared};
use crate::node::unix_millis;
use crate::rate::jitter_millis;
use prepare::Preparer;

pub use manage::{Places, manage};
pub use poke::{Followed, Pokes};
pub use room::Room;

/// Name of the source that `drover-hub` is started with.
pub const ROOT: &str = "main";

/// What is followed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Name of the source.
    pub name: String,
    /// A path or a URL.
    pub url: String,
    /// Branch, tag or commit.
    pub reference: String,
    /// Folder within the repository; empty for its root.
    pub path: String,
    /// Time between polls; left out, that of `limits` for where it lies.
    pub poll: Option<Duration>,
    /// A file with the secrets that its webhooks are signed with.
    pub hook_secret: Option<PathBuf>,
    /// A file with a token, in place of credentials by name.
    pub token_file: Option<PathBuf>,
    /// Name of its credentials.
    pub credentials: Option<String>,
    /// The directory with a folder for each name of credentials.
    pub credentials_dir: Option<PathBuf>,
    /// The keys of those who may sign; where they are given, a head must be signed.
    pub signers: Option<Signers>,
    /// Whether a head that does not descend from the one before is followed without an operator's
    /// word.
    pub follows_rewinds: bool,
    /// What it may declare, and where its bundles may go; `None` is the root source.
    pub may: Option<May>,
    /// The directory for the mirrors of all sources.
    pub mirrors: PathBuf,
}

impl Spec {
    /// The mirror: another one for each URL, so that histories never mix.
    fn mirror(&self) -> PathBuf {
        let mut url = Digest::of(self.url.as_bytes()).to_string();
        url.truncate(8);
        self.mirrors.join(format!("{}-{url}", self.name))
    }

    /// Whether it lies on this machine.
    fn is_local(&self) -> bool {
        is_local(&self.url)
    }

    /// The file or folder with its credentials.
    fn credentials(&self) -> Result<Option<PathBuf>, String> {
        let Some(name) = &self.credentials else { return Ok(self.token_file.clone()) };
        let Some(dir) = &self.credentials_dir else {
            return Err(format!("the source names credentials {name:?}: start drover-hub with --credentials-dir DIR"));
        };
        hub_git::credentials_folder(dir, name).map(Some).map_err(|error| error.to_string())
    }
}

fn is_local(url: &str) -> bool {
    hub_git::place(url) == Place::Local
}

/// One source under way.
struct Follower {
    hub: Arc<Hub>,
    spec: Spec,
    fetcher: Fetcher,
    preparer: Preparer,
    /// The commit that the leader was given.
    given: Option<String>,
}

/// What is to be done next.
enum Due {
    /// To look at the source.
    Look,
    /// To render more of the head.
    More(Asked),
    /// To render again what failed.
    Again,
    /// To hand over what was rendered late.
    Late,
}

/// Follows a source until the hub stops.
pub async fn follow(hub: Arc<Hub>, spec: Spec, fetcher: Fetcher) {
    let place = hub_git::place(&spec.url);
    let preparer = Preparer::new(Arc::clone(&hub), spec.clone(), spec.mirror());
    let (mut stop, mut applied, mut missing) = (hub.stop.clone(), hub.applied.clone(), hub.leader.missing());
    let followed = hub.pokes.begin(&spec);
    let mut schedule = Schedule::new(place);
    if let Some(poll) = spec.poll {
        schedule = schedule.polled_every(u64::try_from(poll.as_millis()).unwrap_or(u64::MAX));
    }
    let mut follower = Follower { hub, spec, fetcher, preparer, given: None };
    let start = Instant::now();
    let millis = || u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (mut poked, name) = (None, follower.spec.name.clone());
    loop {
        let given = follower.given.clone();
        let wait = Duration::from_millis(schedule.next_millis().saturating_sub(millis()));
        let due = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(wait) => Due::Look,
            () = reached(follower.preparer.due()) => Due::Again,
            () = follower.preparer.came() => Due::Late,
            () = followed.poked() => {
                schedule.hooked();
                // It may not be due yet.
                continue;
            }
            Ok(()) = missing.changed() => {
                Due::More(missing.borrow_and_update().get(&name).cloned().unwrap_or_default())
            }
            // Once for each: where the source cannot be reached, the schedule says when to try again.
            Ok(now) = applied.wait_for(|now| {
                approved(&now.machine.0, &name, given.as_deref()).is_some_and(|commit| poked.as_deref() != Some(commit))
            }) => {
                poked = approved(&now.machine.0, &name, given.as_deref()).map(str::to_owned);
                schedule.poke();
                Due::Look
            }
        };
        let dice = jitter_millis(1 << 20) as f64 / f64::from(1 << 20);
        match due {
            Due::Look => {}
            Due::More(_) | Due::Again | Due::Late => {
                let given = match due {
                    // What another head needs is none of this one's business.
                    Due::More(more) if more.inputs.is_empty() || !follower.preparer.is_at(&more.commit) => continue,
                    Due::More(more) => follower.give_more(&more.inputs).await,
                    Due::Late => follower.give_more(&[]).await,
                    _ => follower.try_again().await,
                };
                if let Err(reason) = given {
                    // The next look gives the whole head again.
                    schedule.failed(millis(), &reason, dice);
                }
                continue;
            }
        }
        let looked = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            looked = follower.look() => looked,
        };
        follower.tell(looked.as_ref().err());
        match looked {
            Ok(()) => schedule.succeeded(millis(), dice),
            Err(reason) => schedule.failed(millis(), &reason, dice),
        }
    }
}

/// Waits for an instant; for ever where there is none.
async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

/// The rewind that an operator approved and that was not followed yet.
fn approved<'a>(fleet: &'a hub_core::fleet::Fleet, source: &str, given: Option<&str>) -> Option<&'a str> {
    let rewind = fleet.sources.get(source)?.rewind.as_ref()?;
    let waits = rewind.approved && given != Some(&rewind.commit);
    waits.then_some(rewind.commit.as_str())
}

impl Follower {
    /// Fetches, and goes on with what is new.
    async fn look(&mut self) -> Result<(), String> {
        let state = self.hub.state();
        let accepted = state
            .fleet()
            .sources
            .get(&self.spec.name)
            .and_then(|source| source.head.as_ref())
            .map(|head| head.commit.clone());
        match self.fetch(accepted.clone()).await {
            Ok(fetched) => {
                self.hub.metrics.fetches.inc();
                let arrived = self.arrived(fetched.commit, accepted.clone()).await;
                if arrived.is_err() {
                    self.go_on_without(accepted).await;
                }
                arrived
            }
            Err(reason) => {
                self.hub.metrics.fetches_failed.inc();
                self.go_on_without(accepted).await;
                Err(reason)
            }
        }
    }

    async fn fetch(&self, accepted: Option<String>) -> Result<hub_git::Fetched, String> {
        let source = hub_git::Source {
            url: self.spec.url.clone(),
            reference: self.spec.reference.clone(),
            dir: self.preparer.mirror().to_path_buf(),
            credentials: self.spec.credentials()?,
            signers: self.spec.signers.clone(),
            accepted,
        };
        // The root waits for nobody: others that hang must not keep it from being mended.
        let _room = match self.spec.name == ROOT {
            true => None,
            false => self.hub.fetches.enter(&hub_git::host(&self.spec.url)).await,
        };
        self.fetcher.fetch(&source).await.map_err(|error| error.to_string())
    }

    async fn arrived(&mut self, commit: String, accepted: Option<String>) -> Result<(), String> {
        if accepted.as_ref() == Some(&commit) {
            self.came_back(&commit).await?;
        }
        if self.given.as_ref() == Some(&commit) {
            return Ok(());
        }
        info!(source = self.spec.name, %commit, "saw a new head");
        if let Some(accepted) = accepted.filter(|accepted| *accepted != commit) {
            let rewind = self.rewind(&accepted, &commit).await?;
            if let Some(reason) = rewind.filter(|_| !self.is_approved(&commit)) {
                if !self.spec.follows_rewinds {
                    return self.hold(commit, accepted, &reason).await;
                }
                warn!(source = self.spec.name, %commit, %accepted, reason, "the source was rewound, and is followed as declared");
            }
        }
        self.give(commit).await
    }

    /// Why a head counts as a rewind. What is not known must not pass for a descendant, nor keep the
    /// source where it is for ever.
    async fn rewind(&self, accepted: &str, commit: &str) -> Result<Option<String>, String> {
        match hub_git::is_descendant(self.preparer.mirror(), accepted, commit).await {
            Ok(true) => Ok(None),
            Ok(false) => Ok(Some(format!("{commit} does not descend from {accepted}"))),
            Err(unknown @ hub_git::ReadError::HistoryTooLong { .. }) => Ok(Some(unknown.to_string())),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A rewind that waited is over once the source is at the accepted head again.
    async fn came_back(&self, commit: &str) -> Result<(), String> {
        let state = self.hub.state();
        if state.fleet().sources.get(&self.spec.name).is_none_or(|source| source.rewind.is_none()) {
            return Ok(());
        }
        info!(source = self.spec.name, %commit, "the source is at the accepted head again");
        let command = Command::Rewind { source: self.spec.name.clone(), commit: commit.to_owned() };
        self.hub.leader.command(command).await.map(drop).map_err(|refused| refused.to_string())
    }

    fn is_approved(&self, commit: &str) -> bool {
        approved(self.hub.state().fleet(), &self.spec.name, self.given.as_deref()) == Some(commit)
    }

    /// A head that is not known to descend from the accepted one waits for an operator's word.
    async fn hold(&mut self, commit: String, accepted: String, reason: &str) -> Result<(), String> {
        let state = self.hub.state();
        let known = state.fleet().sources.get(&self.spec.name);
        let rewind = known.and_then(|source| source.rewind.as_ref());
        if rewind.is_none_or(|rewind| rewind.commit != commit) {
            warn!(source = self.spec.name, %commit, %accepted, reason, "the source was rewound: held");
            let command = Command::Rewind { source: self.spec.name.clone(), commit };
            self.hub.leader.command(command).await.map_err(|refused| refused.to_string())?;
        }
        self.go_on_without(Some(accepted)).await;
        Ok(())
    }

    /// Without a new head the accepted one still says what clusters that join should run.
    async fn go_on_without(&mut self, accepted: Option<String>) {
        let Some(commit) = accepted.filter(|_| self.given.is_none()) else { return };
        if let Err(reason) = self.give(commit).await {
            warn!(source = self.spec.name, reason, "the accepted head cannot be read");
        }
    }

    async fn give(&mut self, commit: String) -> Result<(), String> {
        let prepared = self.preparer.prepare(&commit).await?;
        let under_way = self.preparer.under_way();
        info!(source = self.spec.name, %commit, under_way, "read a head");
        self.hub.leader.prepared(prepared).await.map_err(|refused| refused.to_string())?;
        self.given = Some(commit);
        Ok(())
    }

    /// Renders again what failed for a reason that may have passed.
    async fn try_again(&mut self) -> Result<(), String> {
        let again = self.preparer.again().await;
        self.hand_over(again).await
    }

    /// Clusters came that need other renderings of the same head, or some of them came late.
    async fn give_more(&mut self, missing: &[RenderInput]) -> Result<(), String> {
        let more = self.preparer.prepare_more(missing).await;
        self.hand_over(more).await
    }

    /// Gives the leader more of the same head.
    async fn hand_over(&mut self, more: Result<Option<Arc<Prepared>>, String>) -> Result<(), String> {
        match more {
            Ok(None) => {}
            Ok(Some(prepared)) => {
                let (commit, under_way) = (&prepared.commit, self.preparer.under_way());
                info!(source = self.spec.name, %commit, under_way, "rendered more of a head");
                // A leader that is gone needs nothing.
                drop(self.hub.leader.prepared(prepared).await);
            }
            Err(reason) => {
                warn!(source = self.spec.name, reason, "more of the head cannot be rendered now");
                self.given = None;
                return Err(reason);
            }
        }
        Ok(())
    }

    fn tell(&self, error: Option<&String>) {
        if let Some(reason) = error {
            warn!(source = self.spec.name, reason, "the source cannot be followed now");
        }
        self.hub.node.source(&self.spec.name, |state| match error {
            Some(reason) => state.error = Some(reason.clone()),
            None => {
                state.error = None;
                state.fetched_unix_millis = Some(unix_millis());
            }
        });
    }
}

fn panicked(what: &str) -> String {
    format!("{what} panicked: this is a defect of drover-hub; its log says where")
}
