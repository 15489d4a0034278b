//! Renders the inputs of bundles side by side, and stores what comes out. What does not end takes the turn of
//! nobody else: a bundle begins with one of its inputs, and who is at it for long makes room.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::join_all;
use hub_core::catalog::Defect;
use hub_core::release::lock::{LOCK_FILE, Origin};
use hub_core::release::{Chart, How, RenderInput, Rendering};
use hub_core::snapshot::Snapshot;
use hub_render::{Rendered, Unrendered};
use hub_store::Kind;
use proto_model::{Digest, Object};
use tokio::sync::{OnceCell, OwnedSemaphorePermit};
use tokio::task::spawn_blocking;

use super::room::Room;
use super::turns::Turns;
use super::under_way::{Teller, Wanted};
use crate::bodies::Bodies;
use crate::hub::Hub;

/// What became of one input.
pub(super) enum Became {
    /// With what is worth knowing of it.
    Rendered(Rendering, Vec<Defect>),
    /// Something is wrong with it.
    Defective(Vec<Defect>),
    /// Something is wrong that may be otherwise in a minute; nothing is said where it was not begun.
    Passing(Vec<Defect>),
}

impl From<Unrendered> for Became {
    fn from(unrendered: Unrendered) -> Self {
        let Unrendered { defects, passes } = unrendered;
        if passes { Self::Passing(defects) } else { Self::Defective(defects) }
    }
}

/// What fetching a chart gave.
type Fetched = Result<(), String>;

/// A chart from elsewhere: where it lies, the name of the credentials for it, and what it must be.
type Fetch = (Origin, Option<String>, Digest);

/// What the renderings of one round, in however many parts, know of each other.
#[derive(Default)]
pub(super) struct Round {
    /// Bundles of which one combination ran out of time or memory, or has no chart: so would the others.
    stuck: Mutex<BTreeSet<String>>,
    /// Charts from elsewhere: each is asked for once, whatever comes of it.
    charts: Mutex<BTreeMap<Fetch, Arc<OnceCell<Fetched>>>>,
}

/// What is done about an input.
type Act<T> = Box<dyn Fn(&RenderInput) -> T + Send + Sync>;

/// How an input is rendered. All of it blocks.
pub(super) struct Means {
    /// Whether nothing need be fetched for it.
    pub(super) is_here: Act<bool>,
    /// Sees that its chart is here.
    pub(super) fetch: Act<Fetched>,
    /// Renders it; `None` where that was given up, since nobody wants it any more.
    pub(super) render: Act<Option<Became>>,
}

impl Means {
    /// Those of a hub, over files that lie in memory.
    pub(super) fn of(hub: Arc<Hub>, files: Snapshot, wanted: Wanted) -> Self {
        let (fetcher, keeper) = (Arc::clone(&hub), Arc::clone(&hub));
        let render = move |input: &RenderInput| {
            let is_wanted = || wanted.has(&input.digest) && !*hub.stop.borrow();
            if !is_wanted() {
                return None;
            }
            hub.metrics.renderings.inc();
            let became = match hub.renderer.render(input, |path| files.read(path).cloned(), &is_wanted) {
                Ok(mut rendered) => {
                    let notes = std::mem::take(&mut rendered.notes);
                    let stored = store(rendered, &hub.bodies);
                    stored.map_or_else(|why| broke(input, why), |rendering| Became::Rendered(rendering, notes))
                }
                Err(unrendered) => unrendered.into(),
            };
            // What did not come to its end may have been ended for that.
            (is_wanted() || !matches!(became, Became::Passing(_))).then_some(became)
        };
        Self {
            is_here: Box::new(move |input| keeper.renderer.is_here(input)),
            fetch: Box::new(move |input| fetcher.renderer.fetch(input)),
            render: Box::new(render),
        }
    }
}

/// A part of a round.
pub(super) struct Part {
    pub(super) round: Arc<Round>,
    pub(super) means: Means,
    pub(super) turns: Arc<Turns>,
    /// Room for fetches of charts.
    pub(super) fetches: Arc<Room>,
    pub(super) teller: Arc<Teller<Became>>,
    /// The room that its files take: of the source's, and of the hub's.
    pub(super) _room: [Option<OwnedSemaphorePermit>; 2],
}

/// Renders the inputs of one bundle: one first, and where that ends, the others side by side.
pub(super) async fn bundle(part: Arc<Part>, inputs: Vec<RenderInput>) {
    let mut inputs = inputs.into_iter();
    if let Some(first) = inputs.next() {
        one(&part, first).await;
    }
    join_all(inputs.map(|input| one(&part, input))).await;
}

async fn one(part: &Arc<Part>, input: RenderInput) {
    match part.fetched(&input).await {
        None => return part.teller.skip(input.digest),
        Some(Err(message)) => return part.tell(input, Became::Passing(vec![at(LOCK_FILE, message)])),
        Some(Ok(())) => {}
    }
    let turn = part.turns.begin(&input.bundle).await;
    if !part.is_wanted(&input) {
        return part.teller.skip(input.digest);
    }
    if lock(&part.round.stuck).contains(&input.bundle) {
        return part.tell(input, Became::Passing(Vec::new()));
    }
    let (means, rendered) = (Arc::clone(part), input.clone());
    match turn.over(spawn_blocking(move || (means.means.render)(&rendered))).await {
        Ok(Some(became)) => part.tell(input, became),
        Ok(None) => part.teller.skip(input.digest),
        Err(_) => {
            let became = broke(&input, super::panicked("rendering"));
            part.tell(input, became);
        }
    }
}

/// What lies with this hub, and may be otherwise in a minute.
pub(super) fn broke(input: &RenderInput, why: String) -> Became {
    Became::Passing(vec![at(&input.path, why)])
}

fn at(file: &str, message: String) -> Defect {
    Defect { file: file.to_owned(), line: 0, message, bundle: None, note: false }.shown()
}

impl Part {
    fn is_wanted(&self, input: &RenderInput) -> bool {
        self.teller.wanted.has(&input.digest)
    }

    fn tell(&self, input: RenderInput, became: Became) {
        if matches!(became, Became::Passing(_)) {
            lock(&self.round.stuck).insert(input.bundle.clone());
        }
        self.teller.tell(input, became);
    }

    /// Sees that the chart of an input is here; `None` where nobody wants it any more. Others that need it wait
    /// meanwhile, and take nobody's turn.
    async fn fetched(self: &Arc<Self>, input: &RenderInput) -> Option<Fetched> {
        let How::Helm(helm) = &input.how else { return Some(Ok(())) };
        let Chart::Archive { origin, credentials, digest } = &helm.chart else { return Some(Ok(())) };
        let (looker, one) = (Arc::clone(self), input.clone());
        // Where it cannot be told, it is asked for.
        if spawn_blocking(move || (looker.means.is_here)(&one)).await.unwrap_or(false) {
            return Some(Ok(()));
        }
        let chart = (Origin::clone(origin), credentials.clone(), *digest);
        let slot = Arc::clone(lock(&self.round.charts).entry(chart).or_default());
        let fetch = || async {
            let _place = self.fetches.enter(&origin.host()).await;
            if !self.is_wanted(input) {
                return Err(());
            }
            let (part, input) = (Arc::clone(self), input.clone());
            let fetching = spawn_blocking(move || (part.means.fetch)(&input));
            Ok(fetching.await.unwrap_or_else(|_| Err(super::panicked("fetching a chart"))))
        };
        slot.get_or_try_init(fetch).await.ok().cloned()
    }
}

/// What a thread that panicked left is whole: each write is one.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn store(rendered: Rendered, bodies: &Bodies) -> Result<Rendering, String> {
    let list = rendered.variant.encode();
    let variant = Digest::of(&list);
    let mut put: Vec<(Digest, Kind, &[u8])> = rendered
        .objects
        .iter()
        .zip(&rendered.meta.objects)
        .map(|(object, meta): (&Object, _)| {
            let is_secret = meta.identity.kind.is("", "Secret");
            (object.digest, if is_secret { Kind::Secret } else { Kind::Object }, &*object.body)
        })
        .collect();
    put.push((variant, Kind::Variant, &list));
    bodies.put(&put).map_err(|error| error.to_string())?;
    Ok(Rendering { variant, meta: Arc::new(rendered.meta) })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use hub_core::release::Helm;

    use super::super::under_way::{Came, UnderWay};
    use super::*;

    fn input(bundle: &str, combination: u8, chart: Option<&str>) -> RenderInput {
        let origin = |chart: &str| Origin { repo: None, oci: None, chart: chart.to_owned(), version: "1".into() };
        let how = chart.map_or(How::Manifests, |chart| {
            let chart = Chart::Archive { origin: Box::new(origin(chart)), credentials: None, digest: Digest::of(b"x") };
            How::Helm(Box::new(Helm { chart, ..Helm::default() }))
        });
        let digest = Digest::of(&[bundle.as_bytes(), &[combination]].concat());
        RenderInput { digest, bundle: bundle.into(), how, ..RenderInput::default() }
    }

    /// What becomes of inputs, by bundle and in their order.
    async fn words(
        inputs: Vec<RenderInput>,
        fetch: impl Fn(&RenderInput) -> Fetched + Send + Sync + 'static,
        render: impl Fn(&RenderInput) -> Option<Became> + Send + Sync + 'static,
    ) -> Vec<&'static str> {
        let mut under_way = UnderWay::default();
        under_way.want(inputs.iter().map(|input| input.digest).collect());
        let mut teller = None;
        under_way.begin(inputs.iter().map(|input| input.digest), |given| teller = Some(given));
        let means = Means { is_here: Box::new(|_| false), fetch: Box::new(fetch), render: Box::new(render) };
        let (round, turns, fetches) = (Arc::default(), Arc::default(), Arc::default());
        let part = Part { round, means, turns, fetches, teller: Arc::new(teller.unwrap()), _room: [None, None] };
        let part = Arc::new(part);
        let mut bundles: BTreeMap<String, Vec<RenderInput>> = BTreeMap::new();
        inputs.iter().for_each(|input| bundles.entry(input.bundle.clone()).or_default().push(input.clone()));
        join_all(bundles.into_values().map(|inputs| bundle(Arc::clone(&part), inputs))).await;
        drop(part);
        let mut said = BTreeMap::new();
        while let Some(Came::Over(over)) = under_way.next_now() {
            let word = match over.1 {
                Became::Rendered(..) => "rendered",
                Became::Defective(_) => "defective",
                Became::Passing(defects) if defects.is_empty() => "not begun",
                Became::Passing(_) => "passing",
            };
            said.insert(over.0.digest, word);
        }
        inputs.iter().map(|input| said.get(&input.digest).copied().unwrap_or("nothing")).collect()
    }

    /// One chart that loops must not take a minute of a core for each of a thousand combinations.
    #[tokio::test]
    async fn what_passes_stops_the_bundle_and_no_other() {
        let defect = || Defect { file: "f".into(), line: 0, message: "too long".into(), bundle: None, note: false };
        let begun = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&begun);
        let render = move |input: &RenderInput| {
            counted.fetch_add(1, Ordering::Relaxed);
            Some(match &*input.bundle {
                "slow" => Became::Passing(vec![defect()]),
                "bad" => Became::Defective(vec![defect()]),
                _ => Became::Rendered(Rendering { variant: Digest::default(), meta: Arc::default() }, Vec::new()),
            })
        };
        let inputs = ["slow", "bad", "good"].iter().flat_map(|name| (0..3).map(|at| input(name, at, None))).collect();
        let expected = ["passing", "not begun", "not begun", "defective", "defective", "defective"];
        assert_eq!(words(inputs, |_| Ok(()), render).await, [&expected[..], &["rendered"; 3]].concat());
        assert_eq!(begun.load(Ordering::Relaxed), 7);
    }

    #[tokio::test]
    async fn a_chart_is_asked_for_once_in_a_round() {
        let asked = Arc::new(AtomicUsize::new(0));
        let of = |inputs| {
            let asked = Arc::clone(&asked);
            let fetch = move |_: &RenderInput| {
                asked.fetch_add(1, Ordering::Relaxed);
                Err("no answer".to_owned())
            };
            words(inputs, fetch, |_| None)
        };
        let same = (0..20).map(|at| input(&format!("b{at}"), 0, Some("web"))).collect();
        assert_eq!(of(same).await, ["passing"; 20]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        of(vec![input("b", 0, Some("web")), input("b", 1, Some("db")), input("c", 0, Some("db"))]).await;
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
