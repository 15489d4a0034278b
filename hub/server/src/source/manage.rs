//! Follows the sources that the root source declares, and lets go of those that it no longer does.
//!
//! What to follow is read from the root's published catalog and not from its Git, so that a new
//! leader, or one that cannot reach Git, follows the same.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hub_core::catalog::Catalog;
use hub_core::catalog::spec::{OnRewind, SourceSpec, Verify};
use hub_core::command::Command;
use hub_core::fleet::Fleet;
use hub_git::{Fetcher, Signers};
use hub_store::Kind;
use proto_model::{Digest, limits};
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{error, info, warn};

use super::{ROOT, Spec, follow};
use crate::hub::Hub;
use crate::leader::Prepared;

/// Where what sources need lies on this machine.
#[derive(Clone, Debug)]
pub struct Places {
    /// The directory for the mirrors of all sources.
    pub mirrors: PathBuf,
    /// The directory with a folder for each name of credentials.
    pub credentials: Option<PathBuf>,
}

/// Keeps what is followed as the root source declares it, until the hub stops.
pub async fn manage(hub: Arc<Hub>, places: Places, fetcher: Fetcher) {
    let (mut stop, mut applied) = (hub.stop.clone(), hub.applied.clone());
    let again = Duration::from_secs(limits::PLAN_AGAIN_SECS);
    let mut manager = Manager {
        hub,
        places,
        fetcher,
        catalog: None,
        declared: BTreeMap::new(),
        running: BTreeMap::new(),
        retired: BTreeSet::new(),
    };
    loop {
        applied.mark_unchanged();
        let seen = Seen::of(manager.hub.state().fleet());
        let went_well = manager.look().await.unwrap_or_else(|reason| {
            warn!(reason, "further sources are followed as before");
            false
        });
        // What failed is tried again when what it failed for can be another: its own refused entry is none of that.
        let news = async {
            match went_well {
                true => applied.changed().await.is_ok(),
                false => applied.wait_for(|now| Seen::of(&now.machine.0) != seen).await.is_ok(),
            }
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            goes_on = news => if !goes_on {
                return;
            },
            // What failed for want of a body or of room may go well now.
            () = tokio::time::sleep(again) => {}
        }
    }
}

/// Of Fleet, what decides which sources can be begun and ended.
#[derive(PartialEq)]
struct Seen {
    catalog: Option<Digest>,
    /// Each with whether anything of it runs.
    sources: Vec<(String, bool)>,
}

impl Seen {
    fn of(fleet: &Fleet) -> Self {
        let root = fleet.sources.get(ROOT).and_then(|root| root.head.as_ref());
        let sources = fleet.sources.keys().map(|name| (name.clone(), has_bundles(fleet, name))).collect();
        Self { catalog: root.map(|head| head.catalog), sources }
    }
}

struct Manager {
    hub: Arc<Hub>,
    places: Places,
    fetcher: Fetcher,
    /// The root's catalog that `declared` is of.
    catalog: Option<Digest>,
    declared: BTreeMap<String, SourceSpec>,
    running: BTreeMap<String, Running>,
    /// Sources of which the leader was told that they declare nothing any more.
    retired: BTreeSet<String>,
}

struct Running {
    spec: Spec,
    /// `None` where it cannot be followed as it is declared.
    task: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Follow it; what ran of it ends before.
    Follow(Box<Spec>),
    /// It cannot be followed, and why.
    Refuse(Box<Spec>, &'static str),
    /// It is no longer declared: its bundles are to go, as far as the guard lets them.
    Retire(String),
    /// Nothing of it is left.
    Forget(String),
}

impl Step {
    fn source(&self) -> &str {
        match self {
            Self::Follow(spec) | Self::Refuse(spec, _) => &spec.name,
            Self::Retire(name) | Self::Forget(name) => name,
        }
    }
}

/// What is to be done next; nothing once everything is as declared.
fn steps(fleet: &Fleet, wanted: &[Spec], running: &BTreeMap<String, &Spec>, retired: &BTreeSet<String>) -> Vec<Step> {
    let root_is_local = fleet.sources.get(ROOT).is_some_and(|root| super::is_local(&root.url));
    let changed = wanted.iter().filter(|spec| running.get(&spec.name) != Some(spec));
    let begun = changed.map(|spec| match refusal(spec, root_is_local) {
        Some(why) => Step::Refuse(Box::new(spec.clone()), why),
        None => Step::Follow(Box::new(spec.clone())),
    });
    let mut steps = Vec::new();
    let is_wanted = |name: &String| name == ROOT || wanted.iter().any(|spec| spec.name == *name);
    for name in fleet.sources.keys().filter(|name| !is_wanted(name)) {
        if !retired.contains(name) {
            steps.push(Step::Retire(name.clone()));
        } else if !has_bundles(fleet, name) {
            steps.push(Step::Forget(name.clone()));
        }
    }
    // What goes makes room for what comes.
    steps.extend(begun);
    steps
}

fn refusal(spec: &Spec, root_is_local: bool) -> Option<&'static str> {
    if spec.is_local() && !root_is_local {
        return Some("a path of the hub's machine is followed only where the root source is one, too; give a URL");
    }
    None
}

fn has_bundles(fleet: &Fleet, source: &str) -> bool {
    let prefix = format!("{source}/");
    fleet.bundles.range(prefix.clone()..).next().is_some_and(|(name, _)| name.starts_with(&prefix))
}

impl Manager {
    /// Does what is to be done; whether all of it was.
    async fn look(&mut self) -> Result<bool, String> {
        let state = self.hub.state();
        // Before the root was read nobody knows what it declares, and then nothing ends.
        let root = state.fleet().sources.get(ROOT).and_then(|root| root.head.as_ref());
        let Some(digest) = root.map(|head| head.catalog) else { return Ok(true) };
        if self.catalog != Some(digest) {
            self.declared = self.read(digest).await?;
            self.catalog = Some(digest);
        }
        self.running.retain(|name, one| {
            let ended = one.task.as_ref().is_some_and(JoinHandle::is_finished);
            if ended {
                error!(source = name, "following it ended: this is a defect of drover-hub; it begins anew");
            }
            !ended
        });
        let wanted: Vec<Spec> = self.declared.iter().map(|(name, spec)| self.places.spec(name, spec)).collect();
        let running = self.running.iter().map(|(name, one)| (name.clone(), &one.spec)).collect();
        self.hub.node.keep_sources(|name| {
            name == ROOT || self.declared.contains_key(name) || state.fleet().sources.contains_key(name)
        });
        let mut went_well = true;
        for step in steps(state.fleet(), &wanted, &running, &self.retired) {
            let name = step.source().to_owned();
            if let Err(reason) = self.take(step, state.fleet()).await {
                // The others go on; this one is tried again.
                warn!(source = name, reason, "a further source could not be begun or ended");
                self.hub.node.source(&name, |state| state.error = Some(reason));
                went_well = false;
            }
        }
        Ok(went_well)
    }

    async fn take(&mut self, step: Step, fleet: &Fleet) -> Result<(), String> {
        match step {
            Step::Follow(spec) => self.follow(*spec).await,
            Step::Refuse(spec, why) => self.refuse(*spec, why).await,
            Step::Retire(name) => self.retire(&name, fleet).await,
            Step::Forget(name) => self.forget(&name).await,
        }
    }

    /// What a catalog declares. One that is missing never reads as one that declares nothing.
    async fn read(&self, digest: Digest) -> Result<BTreeMap<String, SourceSpec>, String> {
        let bodies = Arc::clone(&self.hub.bodies);
        let reading = spawn_blocking(move || {
            let body = bodies.get(&digest).ok_or("the catalog of the root source is missing here")?;
            Catalog::decode(&body).map_err(|error| format!("the catalog of the root source: {error}"))
        });
        let catalog = reading.await.map_err(|_| "reading a catalog panicked".to_owned())??;
        Ok(catalog.sources.into_iter().map(|(name, item)| (name, item.spec)).collect())
    }

    /// Records what a source is. Where it lies elsewhere now, nothing of what was read before may
    /// be published under its name.
    async fn record(&mut self, spec: &Spec) -> Result<(), String> {
        self.end(&spec.name).await;
        self.hub.pokes.end(&spec.name);
        self.retired.remove(&spec.name);
        let state = self.hub.state();
        let known = state.fleet().sources.get(&spec.name);
        let same = known
            .is_some_and(|known| known.url == spec.url && known.reference == spec.reference && known.path == spec.path);
        let verified = spec.signers.is_some();
        if same && known.is_some_and(|known| known.verified == verified) {
            return Ok(());
        }
        if !same && known.is_some_and(|known| known.head.is_some()) {
            warn!(source = spec.name, url = spec.url, "the source lies elsewhere now: its head is accepted anew");
        }
        if !same {
            self.hub.leader.forget(&spec.name).await;
        }
        let (source, url) = (spec.name.clone(), spec.url.clone());
        let (reference, path) = (spec.reference.clone(), spec.path.clone());
        let command = Command::Source { source, url, reference, path, verified };
        self.hub.leader.command(command).await.map(drop).map_err(|refused| refused.to_string())
    }

    /// Ends following a source, for good on return: what it was about to hand in, of another place or of more than it
    /// may do now, must not come afterwards.
    async fn end(&mut self, name: &str) {
        let Some(mut running) = self.running.remove(name) else { return };
        if let Some(task) = running.task.take() {
            task.abort();
            // Aborted is what it should be; a panic was its end already.
            drop(task.await);
        }
    }

    async fn follow(&mut self, spec: Spec) -> Result<(), String> {
        self.record(&spec).await?;
        info!(source = spec.name, url = spec.url, "following a source");
        self.hub.node.source(&spec.name, |state| state.error = None);
        let mirror = spec.mirror();
        let (name, mirrors) = (spec.name.clone(), spec.mirrors.clone());
        let _ = spawn_blocking(move || remove_mirrors(&mirrors, &name, Some(&mirror))).await;
        let task = tokio::spawn(follow(Arc::clone(&self.hub), spec.clone(), self.fetcher.clone()));
        self.running.insert(spec.name.clone(), Running { spec, task: Some(task) });
        Ok(())
    }

    async fn refuse(&mut self, spec: Spec, why: &'static str) -> Result<(), String> {
        self.record(&spec).await?;
        self.hub.node.source(&spec.name, |state| state.error = Some(why.to_owned()));
        self.running.insert(spec.name.clone(), Running { spec, task: None });
        Ok(())
    }

    /// As if its repository were empty: what that takes away is for the guard to judge.
    async fn retire(&mut self, name: &str, fleet: &Fleet) -> Result<(), String> {
        self.end(name).await;
        self.hub.pokes.end(name);
        info!(source = name, "the source is no longer declared: its bundles go as far as the guard lets them");
        let why = format!("removed: {ROOT} no longer declares it; it goes from here with the last of its bundles");
        self.hub.node.source(name, |state| state.error = Some(why));
        let head = fleet.sources.get(name).and_then(|source| source.head.as_ref());
        let commit = head.map(|head| head.commit.clone()).unwrap_or_default();
        if has_bundles(fleet, name) {
            let prepared = self.nothing(name, commit).await?;
            self.hub.leader.prepared(Arc::new(prepared)).await.map_err(|refused| refused.to_string())?;
        }
        self.retired.insert(name.to_owned());
        Ok(())
    }

    /// A head that declares nothing.
    async fn nothing(&self, name: &str, commit: String) -> Result<Prepared, String> {
        let catalog = Catalog::default();
        let body = catalog.encode();
        let catalog_digest = Digest::of(&body);
        let bodies = Arc::clone(&self.hub.bodies);
        let put = spawn_blocking(move || bodies.put(&[(catalog_digest, Kind::Catalog, &body)]));
        put.await.map_err(|_| "storing a catalog panicked".to_owned())?.map_err(|error| error.to_string())?;
        Ok(Prepared {
            source: name.to_owned(),
            commit,
            catalog: Arc::new(catalog),
            catalog_digest,
            wanted: Arc::default(),
            renderings: hub_core::release::Renderings::default(),
            tools: hub_core::release::Tools::default(),
            defects: Vec::new(),
            notes: Vec::new(),
        })
    }

    async fn forget(&mut self, name: &str) -> Result<(), String> {
        self.hub.leader.forget(name).await;
        let command = Command::Forget { source: name.to_owned() };
        self.hub.leader.command(command).await.map_err(|refused| refused.to_string())?;
        self.hub.node.forget_source(name);
        self.retired.remove(name);
        info!(source = name, "nothing of the source is left");
        let (name, mirrors) = (name.to_owned(), self.places.mirrors.clone());
        let _ = spawn_blocking(move || remove_mirrors(&mirrors, &name, None)).await;
        Ok(())
    }
}

impl Places {
    fn spec(&self, name: &str, declared: &SourceSpec) -> Spec {
        let folder = self.credentials.as_ref().zip(declared.credentials.as_ref()).map(|(dir, name)| dir.join(name));
        Spec {
            name: name.to_owned(),
            url: declared.url.clone(),
            reference: declared.reference.clone(),
            path: declared.path.trim_matches('/').to_owned(),
            hook_secret: folder.map(|folder| folder.join(hub_git::WEBHOOK)),
            token_file: None,
            credentials: declared.credentials.clone(),
            credentials_dir: self.credentials.clone(),
            poll: declared.poll.map(|poll| Duration::from_secs(poll.secs)),
            follows_rewinds: declared.on_rewind == OnRewind::Follow,
            signers: (declared.verify == Verify::Required).then(|| Signers::Keys(declared.keys.clone())),
            may: Some(declared.may.clone()),
            mirrors: self.mirrors.clone(),
        }
    }
}

/// Removes the mirrors of a source, but for one. What cannot be removed costs room and no more.
fn remove_mirrors(mirrors: &std::path::Path, name: &str, but: Option<&std::path::Path>) {
    let Ok(entries) = std::fs::read_dir(mirrors) else { return };
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let file = path.file_name().and_then(|file| file.to_str());
        let rest = file.and_then(|file| file.strip_prefix(name)?.strip_prefix('-'));
        let is_ours = rest.is_some_and(|rest| rest.len() == 8 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_ours
            && Some(&*path) != but
            && let Err(error) = std::fs::remove_dir_all(&path)
        {
            warn!(path = %path.display(), %error, "an old mirror could not be removed");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn spec(name: &str, url: &str) -> Spec {
        let declared: SourceSpec = serde_json::from_value(serde_json::json!({"url": url})).unwrap();
        Places { mirrors: "/mirrors".into(), credentials: Some("/credentials".into()) }.spec(name, &declared)
    }

    fn fleet(root: &str, others: &[&str], bundles: &[&str]) -> Fleet {
        let mut fleet = Fleet::new("h");
        let source = |url: &str| hub_core::fleet::Source { url: url.into(), ..Default::default() };
        fleet.sources.insert(ROOT.into(), source(root));
        others.iter().for_each(|name| drop(fleet.sources.insert((*name).into(), source("https://h/x"))));
        bundles.iter().for_each(|name| drop(fleet.bundles.insert((*name).into(), Arc::default())));
        fleet
    }

    const NONE: BTreeMap<String, &Spec> = BTreeMap::new();

    #[test]
    fn what_is_declared_is_followed_and_begun_anew_where_it_changed() {
        let fleet = fleet("https://h/root", &[], &[]);
        let (a, b) = (spec("a", "https://h/a"), spec("b", "https://h/b"));
        let wanted = [a.clone(), b.clone()];
        let follow = |spec: &Spec| Step::Follow(Box::new(spec.clone()));
        assert_eq!(steps(&fleet, &wanted, &NONE, &BTreeSet::new()), [follow(&a), follow(&b)]);
        let moved = spec("b", "https://h/c");
        let running = BTreeMap::from([("a".to_owned(), &a), ("b".to_owned(), &moved)]);
        assert_eq!(steps(&fleet, &wanted, &running, &BTreeSet::new()), [follow(&b)]);
        let less = Spec { may: None, ..b.clone() };
        let running = BTreeMap::from([("a".to_owned(), &a), ("b".to_owned(), &less)]);
        assert_eq!(steps(&fleet, &wanted, &running, &BTreeSet::new()), [follow(&b)], "what it may do changed");
    }

    #[test]
    fn what_is_no_longer_declared_is_forgotten_once_nothing_of_it_is_left() {
        let retired: BTreeSet<String> = ["a".to_owned()].into();
        let left = fleet("https://h/root", &["a", "ab"], &["a/web", "ab/web", "main/web"]);
        let expected = [Step::Retire("a".into()), Step::Retire("ab".into())];
        assert_eq!(steps(&left, &[], &NONE, &BTreeSet::new()), expected);
        assert_eq!(steps(&left, &[], &NONE, &retired), [Step::Retire("ab".into())]);
        let gone = fleet("https://h/root", &["a"], &["ab/web", "main/web"]);
        assert_eq!(steps(&gone, &[], &NONE, &retired), [Step::Forget("a".into())]);
    }

    #[test]
    fn a_path_is_followed_only_beside_a_root_that_is_one() {
        let a = spec("a", "/srv/a");
        let refused = steps(&fleet("https://h/root", &[], &[]), std::slice::from_ref(&a), &NONE, &BTreeSet::new());
        assert!(matches!(refused.as_slice(), [Step::Refuse(..)]), "{refused:?}");
        let followed = steps(&fleet("/srv/root", &[], &[]), std::slice::from_ref(&a), &NONE, &BTreeSet::new());
        assert_eq!(followed, [Step::Follow(Box::new(a))]);
    }

    #[test]
    fn only_a_sources_own_mirrors_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a-0123abcd", "a-deadbeef", "a-b-0123abcd", "a-other", "b-0123abcd"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        remove_mirrors(dir.path(), "a", Some(&dir.path().join("a-deadbeef")));
        let left: BTreeSet<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(left, ["a-deadbeef", "a-b-0123abcd", "a-other", "b-0123abcd"].map(str::to_owned).into());
    }
}
