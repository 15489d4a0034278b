//! A spoke's machine on a cluster of a case, with a hub of a few lines: what it decides is carried
//! out for real.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proto_model::ask::{Answer, BundleDiff};
use proto_model::assign::{Assignment, Entry, RULES};
use proto_model::delta::{BodyPart, Delta, ToHub, ToSpoke, VariantPart};
use proto_model::{Fence, GroupKind, Object, Permit, Report, Settings, Variables, Variant};
use serde_json::Value as Json;
use spoke_core::port::{Cluster, Observation, marked};
use spoke_core::{Agent, Effect, Event, Now, ledger};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::World;

/// The bundle of a case.
pub const BUNDLE: &str = "main/web";
const PATIENCE: Duration = Duration::from_secs(90);

/// One spoke. Its ledger is in memory: what a cluster makes of a ledger is shown elsewhere.
pub struct Driver {
    agent: Agent,
    cluster: Arc<dyn Cluster>,
    tell: UnboundedSender<Event>,
    told: UnboundedReceiver<Event>,
    start: Instant,
    /// Time that was skipped, in milliseconds.
    skipped: u64,
    wake: Option<u64>,
    /// The newest reading of the ledger that was asked for.
    load: u64,
    records: BTreeMap<String, Vec<u8>>,
    reports: BTreeMap<String, Report>,
    /// The generation with which each bundle was assigned last.
    since: BTreeMap<String, u64>,
    answer: Option<Answer>,
    asks: u64,
    entries: BTreeMap<String, Entry>,
    fence: Fence,
}

impl Driver {
    /// A spoke that is connected, welcome, and holds nothing.
    pub async fn new(world: &World) -> Self {
        let (tell, told) = unbounded_channel();
        let mut driver = Self {
            agent: Agent::new("conformance"),
            cluster: world.another().await,
            tell,
            told,
            start: Instant::now(),
            skipped: 0,
            wake: None,
            load: 0,
            records: BTreeMap::new(),
            reports: BTreeMap::new(),
            since: BTreeMap::new(),
            answer: None,
            asks: 0,
            entries: BTreeMap::new(),
            // One spoke's marks say nothing to another of the same cluster.
            fence: Fence { hub_id: world.namespace.clone(), epoch: 1, incarnation: 1, generation: 0 },
        };
        driver.begin();
        driver
    }

    fn begin(&mut self) {
        self.step(Event::Lease(true));
        self.step(Event::Started { id: self.load, records: self.records.clone(), cluster_uid: "u".into() });
        self.step(Event::Connected);
        self.hear(ToSpoke::Welcome { session_token: vec![1], want_holding: false, want_reports: true });
    }

    /// Begins anew; what was written down is lost, where it is said so.
    pub async fn restart(&mut self, loses_ledger: bool) {
        // Answers that are under way would be taken for those to later questions.
        self.work(500).await;
        self.carry_out(Effect::Watch(BTreeMap::new()));
        if loses_ledger {
            self.records.clear();
            self.entries.clear();
            self.since.clear();
        }
        self.agent = Agent::new("conformance");
        self.reports.clear();
        self.begin();
    }

    /// Assigns content to the bundle; everything that it drops may go.
    pub fn assign(&mut self, settings: Settings, manifests: &[Json]) {
        self.assign_all(everything(), &[(BUNDLE, settings, manifests)]);
    }

    /// Assigns content to several bundles in one change.
    pub fn assign_all(&mut self, permit: Permit, bundles: &[(&str, Settings, &[Json])]) {
        let mut set = BTreeMap::new();
        let mut parts = Vec::new();
        for (bundle, settings, manifests) in bundles {
            let bodies: Vec<Object> = manifests.iter().map(|one| Object::new(one).unwrap()).collect();
            let objects = bodies.iter().map(|body| body.digest).collect();
            let variant = Variant { settings: settings.clone(), objects };
            let digest = variant.digest();
            let assignment =
                Assignment { variant: digest, variables: Variables::default(), permit: permit.clone(), rules: RULES };
            set.insert((*bundle).to_owned(), Entry::Run(assignment));
            let bytes = packed(&variant.encode());
            parts.push(ToSpoke::Variant(VariantPart { digest, base: None, bytes }));
            let part = |body: Object| BodyPart { digest: body.digest, base: None, bytes: packed(&body.body) };
            parts.extend(bodies.into_iter().map(|body| ToSpoke::Body(part(body))));
        }
        self.change(set);
        parts.into_iter().for_each(|part| self.hear(part));
    }

    /// Takes the bundle away.
    pub fn remove(&mut self) {
        self.remove_with(everything());
    }

    /// Takes the bundle away, within a permit.
    pub fn remove_with(&mut self, permit: Permit) {
        self.change(BTreeMap::from([(BUNDLE.to_owned(), Entry::Remove(permit))]));
    }

    fn change(&mut self, set: BTreeMap<String, Entry>) {
        let base = ledger::root(&self.entries);
        self.fence.generation += 1;
        for bundle in set.keys() {
            self.reports.remove(bundle);
            self.since.insert(bundle.clone(), self.fence.generation);
        }
        self.entries.extend(set.clone());
        self.hear(ToSpoke::Delta(Delta {
            fence: self.fence.clone(),
            fence_mac: vec![1],
            base,
            root: ledger::root(&self.entries),
            set,
            forget: Default::default(),
        }));
    }

    /// Lets time pass at once.
    pub fn skip(&mut self, millis: u64) {
        self.skipped += millis;
        self.step(Event::Tick);
    }

    /// Works until the report of the bundle is as wanted.
    pub async fn until<T>(&mut self, what: &str, fits: impl FnMut(&Report) -> Option<T>) -> T {
        self.until_of(BUNDLE, what, fits).await
    }

    /// Works until the report of a bundle is as wanted.
    pub async fn until_of<T>(&mut self, bundle: &str, what: &str, mut fits: impl FnMut(&Report) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.reports.get(bundle).and_then(&mut fits) {
                return found;
            }
            let wait =
                self.wake.map_or(PATIENCE, |at| Duration::from_millis(at.saturating_sub(self.now().mono_millis)));
            tokio::select! {
                event = self.told.recv() => self.step(event.unwrap()),
                () = tokio::time::sleep(wait) => self.step(Event::Tick),
                () = tokio::time::sleep_until(deadline) => panic!("not in time: {what}; at last {:?}", self.reports.get(bundle)),
            }
        }
    }

    /// Works until the words of the report fit: sync, health, and the problems.
    pub async fn until_words(&mut self, wanted: &str) -> String {
        self.until_words_of(BUNDLE, wanted).await
    }

    /// Works until the words of a bundle's report fit.
    pub async fn until_words_of(&mut self, bundle: &str, wanted: &str) -> String {
        self.until_of(bundle, wanted, |report| {
            let problems: Vec<String> = report.problems.iter().map(say).collect();
            let words = format!("{} {} {}", report.sync, report.health, problems.join(" | "));
            words.contains(wanted).then_some(words)
        })
        .await
    }

    /// Asks how the bundle is live against what is bound.
    pub async fn diff(&mut self) -> BundleDiff {
        self.asks += 1;
        self.answer = None;
        self.hear(ToSpoke::Ask { id: self.asks, bundle: BUNDLE.into() });
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answer.take() {
                assert_eq!(answer.id, self.asks);
                return answer.outcome.unwrap();
            }
            let event = tokio::time::timeout_at(deadline, self.told.recv()).await;
            self.step(event.expect("an answer in time").unwrap());
        }
    }

    /// Works for a while, whatever comes.
    pub async fn work(&mut self, millis: u64) {
        let until = tokio::time::Instant::now() + Duration::from_millis(millis);
        while let Ok(event) = tokio::time::timeout_at(until, self.told.recv()).await {
            self.step(event.unwrap());
        }
    }

    fn now(&self) -> Now {
        let millis = u64::try_from(self.start.elapsed().as_millis()).unwrap() + self.skipped;
        Now { mono_millis: millis, unix_millis: millis }
    }

    fn hear(&mut self, message: ToSpoke) {
        self.step(Event::Hub(message));
    }

    fn step(&mut self, event: Event) {
        for effect in self.agent.step(event, self.now()) {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let (tell, cluster) = (self.tell.clone(), self.cluster.clone());
        match effect {
            Effect::Send(ToHub::Report(report)) => {
                // One that waited until now may still be about what was assigned before.
                let since = self.since.get(&report.bundle);
                if since.is_none_or(|since| report.generation >= *since) {
                    self.reports.insert(report.bundle.clone(), report);
                }
            }
            Effect::Send(ToHub::Answer(answer)) => self.answer = Some(answer),
            // Answered by hand.
            Effect::Load { id } => self.load = id,
            Effect::Send(_) => {}
            Effect::Store { token, write } => {
                self.records.extend(write.puts);
                write.deletes.iter().for_each(|key| drop(self.records.remove(key)));
                drop(tell.send(Event::Stored { token, result: Ok(()) }));
            }
            Effect::Execute { id, op } => {
                tokio::spawn(async move {
                    let outcome = cluster.execute(op).await;
                    drop(tell.send(Event::Done { id, outcome }));
                });
            }
            Effect::Recover { only } => {
                tokio::spawn(async move { drop(tell.send(Event::Recovered(marked(&*cluster, only).await))) });
            }
            Effect::Watch(kinds) => {
                cluster.watch(kinds, Arc::new(move |seen: Observation| drop(tell.send(Event::Observed(seen)))));
            }
            Effect::Tell(note) => {
                tokio::spawn(async move {
                    // Best effort, as in a running spoke; the case looks at what is there.
                    let _ = cluster.tell(note).await;
                });
            }
            // All cases of a real cluster share the one ConfigMap.
            Effect::Publish { .. } => drop(tell.send(Event::Published(Ok(())))),
            Effect::Obeyed { result, .. } => drop(result.unwrap()),
            Effect::Wake { at_mono_millis } => self.wake = at_mono_millis,
            Effect::Halt { why } | Effect::EndSession { why } => panic!("{why}"),
        }
    }
}

fn say(problem: &proto_model::ObjectProblem) -> String {
    let object = problem.object.as_ref().map_or(String::new(), |object| format!("{object} "));
    format!("{object}{}", problem.message)
}

/// Lets everything go.
pub fn everything() -> Permit {
    let kinds = [("v1", "Namespace"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")];
    Permit {
        deletions: 1_000,
        protected: kinds.map(|(api, kind)| GroupKind::of(api, kind)).into(),
        ..Permit::default()
    }
}

fn packed(bytes: &[u8]) -> Arc<[u8]> {
    proto_wire::compress::compress(bytes, None).unwrap().into()
}
