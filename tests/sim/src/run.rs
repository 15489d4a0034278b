//! One run: a rough time, then calm, rest, and the loss of the hub.

use crate::bug::Bug;
use crate::counts::Counts;
use crate::invariants::{Violation, hub_loss, liveness};
use crate::world::World;

/// How a run is made.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Everything follows from it.
    pub seed: u64,
    /// A planted bug.
    pub bug: Option<Bug>,
    /// Whether the story is kept.
    pub is_told: bool,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The first broken invariant.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub counts: Counts,
    /// The last of what happened, in words, where it was kept.
    pub story: String,
}

/// How long faults happen.
const ROUGH_MILLIS: u64 = 45_000;
/// How long everything may take to settle: the longest wait between two tries, a few times, and the
/// span after which a contested field is corrected again.
const SETTLE_MILLIS: u64 = 1_200_000;
/// How long nothing may happen after that.
const REST_MILLIS: u64 = 300_000;
/// How long clusters are left without a hub: longer than correction pauses for what somebody contested before.
const ALONE_MILLIS: u64 = 900_000;
/// Steps in which it is looked whether everything settled.
const LOOK_MILLIS: u64 = 2_000;

/// Runs a seed to its end, or to the first broken invariant.
#[must_use]
pub fn run(settings: Settings) -> Outcome {
    let mut world = World::new(settings.seed, settings.bug, settings.is_told);
    drive(&mut world);
    Outcome { violation: world.violation().cloned(), counts: world.counts().clone(), story: world.story() }
}

fn drive(world: &mut World) {
    world.run_until(ROUGH_MILLIS);
    world.calm_down();
    let deadline = world.now_millis() + SETTLE_MILLIS;
    // People look at the fleet, and spokes come back, before anything can have settled.
    world.run_until(ROUGH_MILLIS + 60_000);
    loop {
        if world.violation().is_some() {
            return;
        }
        let unsettled = liveness::unsettled(world);
        if unsettled.is_empty() {
            break;
        }
        if world.now_millis() >= deadline {
            return world.report("liveness", unsettled.join("\n  "));
        }
        world.run_until(world.now_millis() + LOOK_MILLIS);
    }
    // What is written late, such as what was learnt of objects, is written by then.
    world.run_until(world.now_millis() + 30_000);
    world.rest(true);
    world.run_until(world.now_millis() + REST_MILLIS);
    world.rest(false);
    let unsettled = liveness::unsettled(world);
    if !unsettled.is_empty() {
        return world.report("liveness", format!("it settled, and then {}", unsettled.join("; ")));
    }
    // What left the fleet need not have settled.
    let clusters = world.fleet().map(|fleet| fleet.clusters.keys().cloned().collect::<Vec<_>>());
    let ledgers = hub_loss::ledgers(world, &clusters.unwrap_or_default());
    world.lose_hub();
    world.meddle_everywhere();
    world.run_until(world.now_millis() + ALONE_MILLIS);
    if let Err(what) = hub_loss::check(world, &ledgers) {
        world.report("hub_loss", what);
    }
}
