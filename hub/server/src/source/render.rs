//! Renders inputs side by side, and stores what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use hub_core::catalog::Defect;
use hub_core::release::lock::{LOCK_FILE, Origin};
use hub_core::release::{Chart, How, RenderInput, Rendering};
use hub_core::snapshot::Snapshot;
use hub_render::{Rendered, Unrendered, side_by_side};
use hub_store::Kind;
use proto_model::{Digest, Object};

use super::under_way::Teller;
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
/// The same, for whoever waits for it.
type Slot = Arc<OnceLock<Fetched>>;

/// A chart from elsewhere: where it lies, the name of the credentials for it, and what it must be.
type Fetch = (Origin, Option<String>, Digest);

/// What the renderings of one round, in however many parts, know of each other.
#[derive(Default)]
pub(super) struct Round {
    /// Bundles of which one combination ran out of time or memory, or has no chart: so would the others,
    /// and each would keep a core from everybody else as long again.
    stuck: Mutex<BTreeSet<String>>,
    /// Charts from elsewhere: each is asked for once, whatever comes of it.
    charts: Mutex<BTreeMap<Fetch, Slot>>,
}

/// Renders some inputs side by side, as far as they are wanted still, and tells of each what became of it. An
/// error is that of the store.
pub(super) fn render_all(
    inputs: &[RenderInput],
    snapshot: &Snapshot,
    hub: &Hub,
    round: &Round,
    teller: &Teller<Result<Became, String>>,
) {
    let fetch = |input: &RenderInput| hub.renderer.fetch(input);
    let render = |input: &RenderInput| {
        hub.metrics.renderings.inc();
        match hub.renderer.render(input, |path| snapshot.read(path).cloned()) {
            Ok(mut rendered) => {
                let notes = std::mem::take(&mut rendered.notes);
                store(rendered, &hub.bodies).map(|rendering| Became::Rendered(rendering, notes))
            }
            Err(unrendered) => Ok(unrendered.into()),
        }
    };
    side_by_side(inputs.len(), |at| {
        let is_wanted = |input: &&RenderInput| !*hub.stop.borrow() && teller.wanted.has(&input.digest);
        if let Some(input) = inputs.get(at).filter(is_wanted) {
            teller.tell(input.clone(), round.one(input, fetch, render));
        }
    });
}

impl Round {
    fn one(
        &self,
        input: &RenderInput,
        fetch: impl Fn(&RenderInput) -> Fetched,
        render: impl Fn(&RenderInput) -> Result<Became, String>,
    ) -> Result<Became, String> {
        if lock(&self.stuck).contains(&input.bundle) {
            return Ok(Became::Passing(Vec::new()));
        }
        let became = match self.fetched(input, fetch) {
            Ok(()) => render(input)?,
            Err(message) => {
                let (file, bundle) = (LOCK_FILE.to_owned(), Some(input.bundle.clone()));
                Became::Passing(vec![Defect { file, line: 0, message, bundle, note: false }.shown()])
            }
        };
        if matches!(became, Became::Passing(_)) {
            lock(&self.stuck).insert(input.bundle.clone());
        }
        Ok(became)
    }

    /// Sees that the chart of an input is here. Others that need it wait meanwhile.
    fn fetched(&self, input: &RenderInput, fetch: impl Fn(&RenderInput) -> Fetched) -> Fetched {
        let How::Helm(helm) = &input.how else { return Ok(()) };
        let Chart::Archive { origin, credentials, digest } = &helm.chart else { return Ok(()) };
        let chart = (Origin::clone(origin), credentials.clone(), *digest);
        let slot = Arc::clone(lock(&self.charts).entry(chart).or_default());
        slot.get_or_init(|| fetch(input)).clone()
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

    fn words(found: Vec<(usize, Result<Became, String>)>) -> Vec<&'static str> {
        let mut found = found;
        found.sort_by_key(|(at, _)| *at);
        let word = |became: Became| match became {
            Became::Rendered(..) => "rendered",
            Became::Defective(_) => "defective",
            Became::Passing(defects) if defects.is_empty() => "not begun",
            Became::Passing(_) => "passing",
        };
        found.into_iter().map(|(_, became)| word(became.unwrap())).collect()
    }

    /// One chart that loops must not take a minute of a core for each of a thousand combinations.
    #[test]
    fn what_passes_stops_the_bundle_and_no_other() {
        let defect = || Defect { file: "f".into(), line: 0, message: "too long".into(), bundle: None, note: false };
        let begun = AtomicUsize::new(0);
        let round = Round::default();
        let render = |input: &RenderInput| {
            begun.fetch_add(1, Ordering::Relaxed);
            Ok(match &*input.bundle {
                "slow" => Became::Passing(vec![defect()]),
                "bad" => Became::Defective(vec![defect()]),
                _ => Became::Rendered(Rendering { variant: Digest::default(), meta: Arc::default() }, Vec::new()),
            })
        };
        let inputs: Vec<_> =
            ["slow", "bad", "good"].iter().flat_map(|name| (0..3).map(|at| input(name, at, None))).collect();
        let found = inputs.iter().map(|one| round.one(one, |_| Ok(()), render)).enumerate().collect();
        let expected = ["passing", "not begun", "not begun", "defective", "defective", "defective"];
        assert_eq!(words(found), [&expected[..], &["rendered"; 3]].concat());
        assert_eq!(begun.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_chart_is_asked_for_once_in_a_round() {
        let asked = AtomicUsize::new(0);
        let fetch = |_: &RenderInput| {
            asked.fetch_add(1, Ordering::Relaxed);
            Err("no answer".to_owned())
        };
        let render = |_: &RenderInput| -> Result<Became, String> { Err("nothing is there to render".into()) };
        let inputs: Vec<_> = (0..20).map(|at| input(&format!("b{at}"), 0, Some("web"))).collect();
        let all_of = |inputs: &[RenderInput]| {
            let round = Round::default();
            side_by_side(inputs.len(), |at| round.one(&inputs[at], fetch, render))
        };
        assert_eq!(words(all_of(&inputs)), ["passing"; 20]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        all_of(&[input("b", 0, Some("web")), input("b", 1, Some("db")), input("c", 0, Some("db"))]);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }
}
