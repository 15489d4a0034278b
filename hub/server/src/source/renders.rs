//! What the renderings of a source came to, and what of them is tried again. They go on beside the source: a head
//! goes to the leader with what is there, and the rest follows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hub_core::catalog::Defect;
use hub_core::fleet::Fleet;
use hub_core::release::{RenderInput, Rendering, Renderings};
use hub_core::snapshot::Snapshot;
use proto_model::{Digest, limits};
use tokio::sync::Semaphore;
use tokio::time::sleep_until;

use super::batch::{Batch, batches};
use super::render::{Became, Means, Part, Round, broke, bundle};
use super::room::Room;
use super::turns::Turns;
use super::under_way::{Came, Teller, UnderWay};
use super::waiting::Waiting;
use crate::bodies::Bodies;
use crate::hub::Hub;
use crate::leader::{Defects, Noted};

const HANDOVER: Duration = Duration::from_secs(limits::RENDER_HANDOVER_SECS);

/// The renderings of one source.
pub(super) struct Renders {
    hub: Arc<Hub>,
    source: String,
    mirror: PathBuf,
    /// What is wrong with them, by the digest of their inputs.
    failed: BTreeMap<Digest, Vec<Defect>>,
    /// What is tried again.
    waiting: Waiting,
    /// What is worth knowing of them, by the digest of their inputs.
    noted: Option<BTreeMap<Digest, Vec<Defect>>>,
    under_way: UnderWay<Became>,
    shares: Shares,
    /// What came and was not handed over.
    fresh: Renderings,
    /// When the first of that came.
    since: Option<Instant>,
    /// Why some of them cannot be told.
    trouble: Option<String>,
}

/// What the renderings of one source share, so that it takes little from others.
#[derive(Clone)]
struct Shares {
    turns: Arc<Turns>,
    /// Room for fetches of charts.
    fetches: Arc<Room>,
    /// Room for parts, whose files lie in memory.
    parts: Arc<Semaphore>,
}

impl Default for Shares {
    fn default() -> Self {
        let parts = Arc::new(Semaphore::new(limits::RENDER_PARTS_MAX));
        Self { turns: Arc::default(), fetches: Arc::default(), parts }
    }
}

impl Renders {
    pub(super) fn new(hub: Arc<Hub>, source: String, mirror: PathBuf) -> Self {
        let (failed, waiting, under_way) = (BTreeMap::new(), Waiting::default(), UnderWay::default());
        let (fresh, since, trouble) = (Renderings::default(), None, None);
        let (noted, shares) = (None, Shares::default());
        Self { hub, source, mirror, failed, waiting, noted, under_way, shares, fresh, since, trouble }
    }

    /// Another head counts, which needs these. What is known of all others is forgotten; but of notes those on
    /// the head before stay, since clusters may ask for the same renderings again in a moment.
    pub(super) fn only(&mut self, current: &BTreeSet<Digest>, before: Option<&[Noted]>) {
        let (hub, source) = (&self.hub, &self.source);
        let noted = self.noted.get_or_insert_with(|| noted_before(hub.state().fleet(), source, &hub.bodies));
        if let Some(before) = before {
            let before: BTreeSet<Digest> = before.iter().map(|noted| noted.rendering).collect();
            noted.retain(|input, _| current.contains(input) || before.contains(input));
        }
        self.failed.retain(|input, _| current.contains(input));
        self.waiting.retain(current);
        self.under_way.want(current.clone());
        // What broke for another head does not matter, and what broke for this one is begun anew.
        self.trouble = None;
        self.fresh.done.retain(|input, _| current.contains(input));
        self.fresh.failed.retain(|input| current.contains(input));
    }

    /// Clusters came that need these.
    pub(super) fn also(&mut self, inputs: &[RenderInput]) {
        self.under_way.want_also(inputs.iter().map(|input| input.digest));
    }

    /// When there is something to render again; `None` where nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.waiting.next(|input| self.under_way.has(input))
    }

    /// What is to be rendered again now.
    pub(super) fn due_now(&self) -> Vec<RenderInput> {
        self.waiting.due(Instant::now(), |input| self.under_way.has(input))
    }

    /// Puts off what could not be begun again.
    pub(super) fn put_off(&mut self) {
        self.waiting.put_off(Instant::now(), |input| self.under_way.has(input));
    }

    /// Adds to `renderings` what is known of these inputs, renders what is not, and adds that, too, as far as it
    /// is there in time. `before`: what the head before needed, and has at hand.
    pub(super) async fn render(
        &mut self,
        inputs: Vec<RenderInput>,
        snapshot: &Snapshot,
        before: Option<&Renderings>,
        renderings: &mut Renderings,
    ) -> Result<(), String> {
        let deadline = Instant::now() + HANDOVER;
        while let Some(came) = self.under_way.next_now() {
            self.take(came);
        }
        let missing = self.missing(inputs, before, renderings);
        if !missing.is_empty() {
            // What was begun for another head was waited for already.
            let work = self.begin(missing, snapshot).await?;
            while self.under_way.goes_on(work) {
                tokio::select! {
                    came = self.under_way.next() => self.take(came),
                    () = sleep_until(deadline.into()) => break,
                }
            }
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        self.since = None;
        let fresh = std::mem::take(&mut self.fresh);
        renderings.failed.retain(|input| !fresh.done.contains_key(input));
        renderings.done.extend(fresh.done);
        renderings.failed.extend(fresh.failed);
        Ok(())
    }

    /// Those that nothing is known of, and nobody is at.
    fn missing(
        &mut self,
        inputs: Vec<RenderInput>,
        before: Option<&Renderings>,
        renderings: &mut Renderings,
    ) -> Vec<RenderInput> {
        let (state, now) = (self.hub.state(), Instant::now());
        let before = |input: &RenderInput| before?.done.get(&input.digest).cloned();
        let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
        for input in inputs {
            let digest = &input.digest;
            // Bundles may share one.
            let is_fresh = self.fresh.done.contains_key(digest) || self.fresh.failed.contains(digest);
            if is_fresh || !seen.insert(*digest) {
                continue;
            }
            let is_tried = self.under_way.has(digest);
            let waits = self.waiting.is_early(digest, now) || is_tried && self.waiting.has(digest);
            if self.failed.contains_key(digest) || waits {
                renderings.failed.insert(input.digest);
            } else if let Some(rendering) = known(state.fleet(), &self.hub.bodies, &input, before(&input)) {
                // Another source may have had it rendered.
                self.waiting.settled(digest);
                renderings.done.insert(input.digest, rendering);
            } else if !is_tried {
                missing.push(input);
            }
        }
        missing
    }

    /// Begins to render these, whose files lie in the snapshot.
    async fn begin(&mut self, inputs: Vec<RenderInput>, snapshot: &Snapshot) -> Result<u64, String> {
        let files = inputs.iter().flat_map(|input| input.files.iter().map(|file| file.path.clone())).collect();
        let sizes = sizes(&self.mirror, snapshot, &files).await?;
        let digests: Vec<Digest> = inputs.iter().map(|input| input.digest).collect();
        let parts: Vec<(Batch, Snapshot)> =
            batches(inputs, &sizes, limits::BUNDLE_BYTES_MAX as u64, limits::RENDER_BATCH_BYTES_MAX as u64)
                .into_iter()
                .map(|batch| {
                    let files = part_of(snapshot, &batch.paths);
                    (batch, files)
                })
                .collect();
        let (hub, mirror, shares) = (Arc::clone(&self.hub), self.mirror.clone(), self.shares.clone());
        Ok(self.under_way.begin(digests.into_iter(), |teller| {
            tokio::spawn(work(hub, mirror, parts, shares, teller));
        }))
    }

    /// Waits until there is more to hand over than there was: all that is under way, or what came in a while.
    /// Nothing is lost where it is not waited for to the end.
    pub(super) async fn came(&mut self) {
        while self.trouble.is_none() && (self.since.is_none() || self.under_way.is_any()) {
            let due = self.since.map(|since| since + HANDOVER);
            tokio::select! {
                came = self.under_way.next() => self.take(came),
                () = super::reached(due) => return,
            }
        }
    }

    fn take(&mut self, came: Came<Became>) {
        let now = Instant::now();
        let (input, became) = match came {
            Came::Over(over) => *over,
            Came::Skipped => return self.trouble = Some("a rendering that was given up is wanted again".into()),
            Came::Lost => return self.trouble = Some(super::panicked("rendering")),
        };
        self.since.get_or_insert(now);
        let digest = input.digest;
        match became {
            Became::Rendered(rendering, notes) => {
                self.waiting.settled(&digest);
                if !notes.is_empty() {
                    self.noted.get_or_insert_default().insert(digest, notes);
                }
                self.fresh.done.insert(digest, rendering);
                return;
            }
            Became::Defective(defects) => {
                self.waiting.settled(&digest);
                self.failed.insert(digest, defects);
            }
            Became::Passing(defects) => self.waiting.failed(input, defects, now),
        }
        self.fresh.failed.insert(digest);
    }

    /// What is wrong with the renderings of these bundles.
    pub(super) fn defects(&self, inputs: &[(Digest, String)]) -> Vec<Defect> {
        let of = |(input, bundle): &(Digest, String)| {
            let failed = self.failed.get(input).map_or(&[][..], |defects| defects);
            let found = failed.iter().chain(self.waiting.defects(input));
            found.map(|defect| defect.clone().holding(bundle)).collect::<Vec<_>>()
        };
        inputs.iter().flat_map(of).collect()
    }

    /// Whether this one is neither known nor waits to be tried again.
    pub(super) fn is_under_way(&self, input: &Digest) -> bool {
        self.under_way.has(input) && !self.waiting.has(input)
    }

    /// What is worth knowing of these renderings of these bundles.
    pub(super) fn notes(&self, inputs: &[(Digest, String)]) -> Vec<Noted> {
        let noted = |(rendering, bundle): &(Digest, String)| {
            let notes = self.noted.as_ref().and_then(|noted| noted.get(rendering)).into_iter().flatten();
            let note = |note: &Defect| Noted { note: note.clone().holding(bundle), rendering: *rendering };
            notes.map(note).collect::<Vec<_>>()
        };
        inputs.iter().flat_map(noted).collect()
    }
}

/// Renders part by part, each as soon as there is room for its files in memory.
async fn work(hub: Arc<Hub>, mirror: PathBuf, parts: Vec<(Batch, Snapshot)>, shares: Shares, teller: Teller<Became>) {
    let (round, teller) = (Arc::new(Round::default()), Arc::new(teller));
    for (Batch { inputs, paths, bytes, .. }, mut files) in parts {
        let own = Arc::clone(&shares.parts).acquire_owned().await.ok();
        let (inputs, unwanted): (Vec<_>, Vec<_>) =
            inputs.into_iter().partition(|input| teller.wanted.has(&input.digest));
        unwanted.iter().for_each(|input| teller.skip(input.digest));
        if inputs.is_empty() {
            continue;
        }
        // Other sources have files in memory, too. What there is room for is more than one part.
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&hub.rendering).acquire_many_owned(kib.min(limits::RENDER_BATCHES_KIB_MAX)).await.ok();
        if let Err(error) = hub_git::fill(&mirror, &mut files, &paths).await {
            let reason = error.to_string();
            for input in inputs {
                let became = broke(&input, reason.clone());
                teller.tell(input, became);
            }
            continue;
        }
        let (round, turns, fetches) = (Arc::clone(&round), Arc::clone(&shares.turns), Arc::clone(&shares.fetches));
        let means = Means::of(Arc::clone(&hub), files, teller.wanted.clone());
        let part = Arc::new(Part { round, means, turns, fetches, teller: Arc::clone(&teller), _room: [own, room] });
        let mut bundles: BTreeMap<String, Vec<RenderInput>> = BTreeMap::new();
        for input in inputs {
            bundles.entry(input.bundle.clone()).or_default().push(input);
        }
        for inputs in bundles.into_values() {
            tokio::spawn(bundle(Arc::clone(&part), inputs));
        }
    }
}

/// The part of a snapshot that these paths are, without content.
fn part_of(snapshot: &Snapshot, paths: &BTreeSet<String>) -> Snapshot {
    let files = paths.iter().filter_map(|path| Some((path.clone(), snapshot.files.get(path)?.clone())));
    Snapshot { commit: snapshot.commit.clone(), files: files.collect(), ..Snapshot::default() }
}

/// The sizes of the files among these that are small enough to be read.
pub(super) async fn sizes(
    mirror: &std::path::Path,
    snapshot: &Snapshot,
    paths: &BTreeSet<String>,
) -> Result<BTreeMap<String, u64>, String> {
    let sizes = hub_git::sizes(mirror, snapshot, paths).await.map_err(|error| error.to_string())?;
    Ok(sizes.into_iter().filter(|(_, size)| *size <= limits::FILE_BYTES_MAX as u64).collect())
}

/// What was rendered from these inputs before, if its bodies are here.
fn known(fleet: &Fleet, bodies: &Bodies, input: &RenderInput, before: Option<Rendering>) -> Option<Rendering> {
    let variant = *fleet.renderings.get(&input.digest)?;
    if let Some(before) = before.filter(|before| before.variant == variant) {
        return Some(before);
    }
    Some(Rendering { variant, meta: bodies.meta(&variant)? })
}

/// What was noted on the renderings of the head before, by the digest of their inputs.
fn noted_before(fleet: &Fleet, source: &str, bodies: &Bodies) -> BTreeMap<Digest, Vec<Defect>> {
    let head = fleet.sources.get(source).and_then(|source| source.head.as_ref());
    let stored = head.and_then(|head| serde_json::from_slice::<Defects>(&bodies.get(&head.defects)?).ok());
    let mut noted: BTreeMap<Digest, Vec<Defect>> = BTreeMap::new();
    for Noted { note, rendering } in stored.unwrap_or_default().notes {
        let notes = noted.entry(rendering).or_default();
        // Bundles that share a rendering each have its notes.
        let note = Defect { bundle: None, ..note };
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    noted
}
