//! Suspensions: nothing is changed, everything is seen, and they end.

use proto_model::delta::{Refusal, ToSpoke};
use proto_model::suspend::Suspension as Told;
use proto_model::variant::Settings;
use proto_model::{Fence, Health, Permit, Sync, limits};
use serde_json::json;

use super::fake::{World, config, failure, manifest, permit};
use super::seeds::{BUNDLES, Dice, content, disturb, everything, heal};
use crate::agent::Event;
use crate::ledger::{Ledger, ROOT_KEY};
use crate::port::Reason;
use crate::suspend::{CLUSTER, Order};

const HOUR: u64 = 3_600_000;

fn web() -> World {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.assign("main/db", Settings::default(), &[config("c", "1")]);
    world.log();
    world
}

fn suspend(world: &mut World, bundle: Option<&str>, span_millis: u64) {
    let (reason, by) = ("night".to_owned(), "an operator".to_owned());
    let order = Order::Suspend { bundle: bundle.map(Into::into), span_millis, reason, by };
    world.step(Event::Order { id: 7, order });
}

fn resume(world: &mut World, bundle: Option<&str>) {
    world.step(Event::Order { id: 8, order: Order::Resume { bundle: bundle.map(Into::into) } });
}

/// What was written to objects since the last time.
fn writes(world: &mut World) -> Vec<String> {
    let mut log = world.log();
    log.retain(|line| ["apply", "delete", "dry-run", "ensure"].iter().any(|verb| line.starts_with(verb)));
    log
}

fn durable(world: &World) -> Vec<String> {
    Ledger::decode(&world.records[ROOT_KEY]).unwrap().suspensions.into_keys().collect()
}

#[test]
fn it_is_confirmed_once_it_is_durable_and_tells_the_hub() {
    let mut world = web();
    let since = world.report("main/web").since_unix_millis;
    world.pass(10_000);
    suspend(&mut world, Some("web"), HOUR);
    assert_eq!(world.log(), ["store ledger", "obeyed 7: 1 suspended", "send Report main/web Applied Healthy"]);
    assert!(world.report("main/web").suspended && !world.report("main/db").suspended);
    assert_eq!(world.report("main/web").since_unix_millis, since, "sync and health are as before");
    assert_eq!(durable(&world), ["main/web"]);
    resume(&mut world, Some("main/web"));
    assert_eq!(world.log(), ["store ledger", "obeyed 8: 0 suspended", "send Report main/web Applied Healthy"]);
    assert!(!world.report("main/web").suspended);
    assert!(durable(&world).is_empty());
}

#[test]
fn a_ledger_that_can_t_be_written_confirms_nothing_and_is_tried_again() {
    let mut world = web();
    world.stores_fail = true;
    suspend(&mut world, None, HOUR);
    assert!(!world.log().iter().any(|line| line.starts_with("obeyed")));
    // It is in force all the same.
    world.meddle("a");
    assert!(writes(&mut world).is_empty());
    world.stores_fail = false;
    world.pass(limits::RETRY_MILLIS_MAX);
    assert!(world.log().contains(&"obeyed 7: 1 suspended".to_owned()));
    assert_eq!(durable(&world), [CLUSTER]);
    // Another spoke may write now: what was not written is not confirmed.
    world.stores_fail = true;
    resume(&mut world, None);
    world.log();
    world.step(Event::Lease(false));
    let log = world.log();
    assert!(log.iter().any(|line| line.starts_with("refused 8: the lease of the cluster was lost")), "{log:?}");
    suspend(&mut world, None, HOUR);
    assert!(world.log()[0].starts_with("refused 7: this spoke does not hold the lease"));
}

#[test]
fn nothing_is_changed_and_drift_and_health_are_seen() {
    let mut world = web();
    suspend(&mut world, Some("main/web"), HOUR);
    world.log();
    world.thing_mut("a").manifest["metadata"]["managedFields"] =
        json!([{"manager": "kubectl-edit", "operation": "Update", "time": "1"}]);
    world.meddle("a");
    world.destroy("b");
    world.meddle("c");
    assert_eq!(writes(&mut world), ["apply ConfigMap shop/c"]);
    let explained = world.agent.explain(Some("web"), world.clock()).unwrap();
    assert_eq!(explained[0].objects[0].changed_by.as_deref(), Some("kubectl-edit"));
    assert_eq!(world.words("main/web"), "Applied Progressing drifted [ConfigMap shop/b is missing]");
    // New content is taken and acknowledged, and waits.
    world.assign_with("main/web", Settings::default(), &[config("a", "2")], permit(5));
    let log = world.log();
    assert!(log.contains(&format!("send Ack {}", world.fence.generation)), "{log:?}");
    assert!(!log.iter().any(|line| line.starts_with("dry-run") || line.starts_with("apply")), "{log:?}");
    let report = world.report("main/web");
    assert_eq!((report.sync, report.suspended), (Sync::Waiting, true));
    assert!(report.problems[0].message.starts_with("is suspended until 2023-11-14T23:13"), "{report:?}");
    assert!(report.problems[0].message.ends_with("by an operator: night"), "{report:?}");
    world.pass(HOUR - 10_000);
    assert!(writes(&mut world).is_empty());
    world.pass(20_000);
    assert_eq!(writes(&mut world), ["dry-run ConfigMap shop/a", "apply ConfigMap shop/a"]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert!(durable(&world).is_empty());
}

#[test]
fn deletions_wait_and_so_does_a_bundle_that_goes() {
    let mut world = web();
    world.is_held = true;
    world.remove("main/web", permit(5));
    // The look before a deletion is answered when nothing may be deleted any more.
    suspend(&mut world, None, HOUR);
    world.release();
    world.pass(HOUR / 2);
    assert!(writes(&mut world).is_empty());
    assert_eq!(world.report("main/web").sync, Sync::Removing);
    assert!(world.report("main/web").suspended);
    resume(&mut world, None);
    assert_eq!(writes(&mut world), ["delete ConfigMap shop/a", "delete ConfigMap shop/b"]);
}

#[test]
fn a_first_bundle_is_not_begun() {
    let mut world = World::new();
    suspend(&mut world, None, HOUR);
    let mut namespaced = Settings { namespace: Some("new".into()), ..Settings::default() };
    namespaced.depends_on.clear();
    world.log();
    world.assign("main/web", namespaced, &[manifest("v1", "ConfigMap", "a"), manifest("v1", "Secret", "s")]);
    let asked: Vec<String> =
        world.log().into_iter().filter(|line| line.starts_with("get") || line.starts_with("discover")).collect();
    assert!(asked.is_empty() && writes(&mut world).is_empty(), "{asked:?}");
    assert!(world.things.is_empty());
    assert_eq!(world.report("main/web").sync, Sync::Waiting);
    resume(&mut world, None);
    assert_eq!(world.report("main/web").health, Health::Healthy);
}

#[test]
fn it_survives_a_restart_and_ends_at_its_time() {
    let mut world = web();
    suspend(&mut world, None, HOUR);
    world.restart();
    world.step(Event::Connected);
    world.welcome(true);
    assert!(world.report("main/web").suspended);
    world.pass(HOUR / 2);
    world.meddle("a");
    assert!(writes(&mut world).is_empty());
    // Nobody is there to see its end, and it ends all the same.
    world.now += HOUR;
    world.restart();
    assert_eq!(writes(&mut world), ["apply ConfigMap shop/a"]);
}

#[test]
fn no_clock_makes_it_longer() {
    // Set back while the spoke runs: it ends by the clock that never goes back, and a restart goes by that.
    let mut world = web();
    suspend(&mut world, None, HOUR);
    world.pass(HOUR / 2);
    world.wall = -(30 * HOUR as i64);
    world.step(Event::Tick);
    world.restart();
    world.pass(HOUR / 2 + 1);
    assert!(durable(&world).is_empty());
    // Set back while it does not: at most its span from then on.
    suspend(&mut world, None, HOUR);
    world.wall = -(60 * HOUR as i64);
    world.restart();
    world.pass(HOUR - 1_000);
    assert_eq!(durable(&world), [CLUSTER]);
    world.pass(1_001);
    assert!(durable(&world).is_empty());
    // Set forward: it ends early, at the next thing that happens.
    suspend(&mut world, None, HOUR);
    world.wall = 0;
    world.step(Event::Tick);
    assert!(durable(&world).is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut world = web();
    let refused = |world: &mut World, order| {
        world.step(Event::Order { id: 1, order });
        let log = world.log();
        assert_eq!(log.len(), 1, "{log:?}");
        log[0].strip_prefix("refused 1: ").unwrap().to_owned()
    };
    let order = |bundle: &str, span_millis, reason: &str| Order::Suspend {
        bundle: Some(bundle.into()),
        span_millis,
        reason: reason.into(),
        by: String::new(),
    };
    let unknown = refused(&mut world, order("main/nothing", HOUR, ""));
    assert_eq!(unknown, "there is no bundle main/nothing in this cluster; it has main/db, main/web");
    assert!(refused(&mut world, order("web", 31 * 24 * HOUR, "")).contains("at most 30 days"));
    assert!(refused(&mut world, order("web", HOUR, "a\nb")).contains("one line"));
    let resume = refused(&mut world, Order::Resume { bundle: Some("web".into()) });
    assert_eq!(resume, "main/web is not suspended; suspended is: nothing");
}

#[test]
fn a_pending_change_does_not_undo_it() {
    let mut world = web();
    world.remove("main/db", permit(5));
    world.is_held = true;
    world.assign_with("main/web", Settings::default(), &[config("a", "2")], permit(5));
    suspend(&mut world, Some("main/web"), HOUR);
    world.release();
    world.pass(10_000);
    assert_eq!(durable(&world), ["main/web"]);
    world.restart();
    assert!(writes(&mut world).iter().all(|line| !line.contains("shop/a")));
}

#[test]
fn what_cannot_be_looked_at_is_tried_again_in_its_time() {
    let mut world = web();
    suspend(&mut world, None, HOUR);
    world.failures.insert("get".into(), failure(Reason::Server, "away"));
    world.destroy("a");
    world.log();
    world.pass(10 * limits::RETRY_MILLIS_MAX);
    let looks = world.log().iter().filter(|line| line.starts_with("get")).count();
    assert!((5..30).contains(&looks), "{looks}");
    world.failures.clear();
    world.pass(2 * limits::RETRY_MILLIS_MAX);
    assert!(world.report("main/web").drifted);
    assert!(writes(&mut world).is_empty());
}

/// Writes about objects of the first bundle, whose names begin with `b0-`.
fn writes_of_first(world: &mut World) -> Vec<String> {
    writes(world).into_iter().filter(|line| line.contains("/b0-")).collect()
}

#[test]
fn whatever_happens_a_suspended_bundle_is_not_touched() {
    for seed in 0..60 {
        let mut dice = Dice(seed);
        let mut world = World::new();
        world.is_batched = seed % 2 == 1;
        let mut wanted = vec![Vec::new(); BUNDLES.len()];
        for (which, bundle) in BUNDLES.iter().enumerate() {
            wanted[which] = content(&mut dice, which);
            world.assign_with(bundle, Settings::default(), &wanted[which], everything());
        }
        let scope = if seed % 3 == 0 { None } else { Some(BUNDLES[0]) };
        suspend(&mut world, scope, HOUR);
        world.log();
        for _ in 0..30 {
            if dice.roll(3) == 0 {
                let which = dice.roll(BUNDLES.len() as u64) as usize;
                wanted[which] = content(&mut dice, which);
                world.assign_with(BUNDLES[which], Settings::default(), &wanted[which], everything());
            }
            disturb(&mut world, &mut dice);
            assert_eq!(writes_of_first(&mut world), [""; 0], "seed {seed}");
        }
        world.failures.clear();
        world.stores_fail = false;
        world.pass(2 * HOUR);
        heal(&mut world, &wanted);
        for bundle in BUNDLES {
            let report = world.report(bundle);
            let is_fine = report.sync == Sync::Applied && report.health == Health::Healthy && !report.suspended;
            assert!(is_fine, "seed {seed} {report:?}");
        }
    }
}

/// What the hub says, by scope: the id, and how much is left of it.
fn from_hub(all: &[(&str, u64, u64)]) -> ToSpoke {
    let one = |(scope, id, left_millis): &(&str, u64, u64)| {
        let (reason, by) = ("an audit".to_owned(), "ada".to_owned());
        ((*scope).to_owned(), Told { id: *id, left_millis: *left_millis, reason, by })
    };
    ToSpoke::Suspensions(all.iter().map(one).collect())
}

fn durable_from_hub(world: &World) -> Vec<String> {
    Ledger::decode(&world.records[ROOT_KEY]).unwrap().hub_suspensions.into_keys().collect()
}

#[test]
fn the_hub_s_suspensions_are_kept_apart_from_those_made_here() {
    let mut world = web();
    world.hub(from_hub(&[("main/web", 3, HOUR)]));
    assert_eq!(world.log(), ["store ledger", "send Report main/web Applied Healthy"]);
    assert_eq!(durable_from_hub(&world), ["main/web"]);
    let report = world.report("main/web");
    assert!(report.suspended && report.problems.is_empty(), "the hub knows its own: {report:?}");
    world.meddle("a");
    assert!(writes(&mut world).is_empty());
    // It can't be ended here.
    resume(&mut world, Some("web"));
    assert!(world.log()[0].contains("was suspended at the hub, until 2023"), "said where to end it");
    // One that was made here goes on when the hub ends its own, and the hub hears of it.
    suspend(&mut world, Some("web"), 2 * HOUR);
    world.pass(limits::REPORT_MILLIS_MIN);
    assert!(world.report("main/web").problems[0].message.starts_with("is suspended until "));
    world.hub(from_hub(&[]));
    assert!(durable_from_hub(&world).is_empty());
    assert_eq!(durable(&world), ["main/web"]);
    assert!(writes(&mut world).is_empty());
    resume(&mut world, Some("web"));
    assert_eq!(writes(&mut world), ["apply ConfigMap shop/a"]);
}

#[test]
fn what_the_hub_says_again_is_no_longer_and_ends_without_it() {
    let mut world = web();
    world.hub(from_hub(&[(CLUSTER, 3, HOUR)]));
    world.pass(HOUR / 2);
    // In another session, by a clock that is behind, and after a restart.
    world.hub(from_hub(&[(CLUSTER, 3, HOUR)]));
    world.restart();
    world.meddle("a");
    world.pass(HOUR / 2 - 10_000);
    assert!(writes(&mut world).is_empty());
    world.pass(20_000);
    assert_eq!(writes(&mut world), ["apply ConfigMap shop/a"]);
    assert!(durable_from_hub(&world).is_empty());
    // Another one begins anew.
    world.connect();
    world.welcome(false);
    world.hub(from_hub(&[(CLUSTER, 4, HOUR)]));
    assert_eq!(durable_from_hub(&world), [CLUSTER]);
}

#[test]
fn a_cluster_that_left_the_fleet_with_nothing_forgets_its_hub() {
    let mut world = web();
    world.hub(ToSpoke::Refused(Refusal::Removed));
    assert!(!Ledger::decode(&world.records[ROOT_KEY]).unwrap().fence.hub_id.is_empty(), "it holds something");
    world.connect();
    world.welcome(false);
    for bundle in ["main/web", "main/db"] {
        world.remove(bundle, Permit { orphan: true, ..Permit::default() });
        world.forget(bundle);
    }
    world.hub(from_hub(&[(CLUSTER, 4, HOUR)]));
    world.hub(ToSpoke::Refused(Refusal::Removed));
    let root = Ledger::decode(&world.records[ROOT_KEY]).unwrap();
    assert_eq!((root.fence, root.session_token), (Fence::default(), Vec::new()));
    assert!(root.entries.is_empty() && root.hub_suspensions.is_empty());
}
