//! Months without the hub, and then it comes back.

use proto_model::limits;
use proto_model::variant::Settings;

use super::fake::{World, config};
use crate::agent::Event;

const DAY: u64 = 24 * 3_600_000;

/// Everything that could grow.
fn size(world: &World) -> usize {
    let agent = &world.agent;
    let sets = [agent.dirty.len(), agent.hungry.len(), agent.claims_changed.len(), agent.reports_changed.len()];
    let maps = [agent.errands.len(), agent.asked.len(), agent.watched.len(), agent.watches.len(), agent.scopes.len()];
    let slots: usize = agent.bundles.values().map(|bundle| bundle.slots.len()).sum();
    sets.iter().chain(&maps).sum::<usize>() + slots + agent.out.len() + world.records.len()
}

#[test]
fn ninety_days_alone_and_then_back() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.assign("main/db", Settings::default(), &[config("c", "1")]);
    world.pass(60_000);
    let before = size(&world);
    world.step(Event::Disconnected);
    let mut stores = 0;
    for day in 0..90 {
        world.log();
        // Now and then a process ends; an address answers and the stream breaks; somebody meddles.
        match day % 9 {
            3 => world.restart(),
            5 => {
                world.step(Event::Connected);
                world.step(Event::Disconnected);
            }
            _ => {}
        }
        world.meddle("a");
        world.destroy("c");
        world.pass(DAY);
        let log = world.log();
        let applies = log.iter().filter(|line| line.starts_with("apply")).count();
        assert_eq!(applies, 2, "day {day}: {log:?}");
        stores += log.iter().filter(|line| line.starts_with("store")).count();
        assert!(log.len() < 30, "day {day}: {log:?}");
        assert!(world.agent.voice.size() <= limits::NOTES_REMEMBERED_MAX, "day {day}");
    }
    assert!(stores <= 6 * 90, "{stores} writes of the ledger");
    // Reports that nobody took wait once each, not once a day.
    assert!(size(&world) <= before + 2, "{} after {before}", size(&world));
    assert!(world.notes.iter().filter(|note| note.reason == "HubLost").count() <= 11);

    world.said.clear();
    world.log();
    world.fence.generation += 41;
    world.connect();
    world.assign("main/web", Settings::default(), &[config("a", "2"), config("b", "1")]);
    assert_eq!(world.words("main/web"), "Applied Healthy");
    assert_eq!(world.words("main/db"), "Applied Healthy");
    let log = world.log();
    assert!(log.contains(&"send Hello at 2".to_owned()) && log.contains(&"send Ack 44".to_owned()), "{log:?}");
    world.pass(60_000);
    let told: Vec<&str> = world.notes.iter().rev().take(2).map(|note| note.reason).collect();
    assert!(told.contains(&"HubBack"), "{told:?}");
}

#[test]
fn clocks_at_their_end_stop_nothing() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.step(Event::Disconnected);
    // A machine that ran for half a million years, or whose clock says so.
    world.now = 1 << 53;
    world.meddle("a");
    world.pass(DAY);
    assert!(world.log().contains(&"apply ConfigMap shop/a".to_owned()));
}
