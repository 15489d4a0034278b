//! The conversation with the hub.

use proto_model::delta::{Refusal, ToHub, ToSpoke, VariantPart};
use proto_model::limits;
use proto_model::variant::Settings;

use super::fake::{World, body_part, config, parts, permit, run, variant_part};
use crate::agent::Event;
use crate::unpack::tests::pack;

#[test]
fn a_spoke_that_is_current_says_hello_and_nothing_else() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.step(Event::Disconnected);
    world.log();
    world.connect();
    assert_eq!(world.log(), ["send Hello at 1"]);
    let Some(ToHub::Hello(hello)) = world.said.last() else { panic!("no Hello") };
    assert_eq!(hello.session_token, b"token");
    assert_eq!(hello.fence_mac, [7]);
    assert_eq!(hello.cluster_uid, "cluster");
    assert_eq!(hello.root, crate::ledger::root(&world.entries));
}

#[test]
fn what_happened_while_the_hub_was_away_is_told_and_the_rest_only_when_asked_for() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.assign("main/db", Settings::default(), &[config("b", "1")]);
    world.step(Event::Disconnected);
    world.log();
    world.step(Event::Connected);
    world.welcome(true);
    assert_eq!(
        world.log(),
        ["send Hello at 2", "send Report main/db Applied Healthy", "send Report main/web Applied Healthy",]
    );
}

#[test]
fn a_new_session_token_is_durable() {
    let mut world = World::new();
    world.hub(ToSpoke::Welcome { session_token: b"second".to_vec(), want_holding: true, want_reports: false });
    // Nothing is said before the hub can know this spoke by it.
    assert_eq!(world.log(), ["store ledger", "send Holding "]);
    world.restart();
    world.connect();
    let Some(ToHub::Hello(hello)) = world.said.first() else { panic!("no Hello") };
    assert_eq!(hello.session_token, b"second");
}

#[test]
fn reports_of_untouched_bundles_keep_their_generation_unless_one_was_skipped() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.log();
    world.assign("main/db", Settings::default(), &[config("b", "1")]);
    assert!(!world.log().iter().any(|line| line.contains("Report main/web")));
    world.fence.generation += 3;
    world.assign("main/db", Settings::default(), &[config("b", "2")]);
    assert_eq!(world.report("main/web").generation, 6);
}

#[test]
fn what_does_not_come_by_itself_is_asked_for() {
    let mut world = World::new();
    let content = parts(Settings::default(), &[config("a", "1"), config("b", "1")]);
    let delta = world.delta(&[("main/web", run(&content.variant, permit(0)))], &[]);
    world.hub(ToSpoke::Delta(delta));
    world.pass(limits::NEED_MILLIS_MIN - 1);
    assert!(world.log().is_empty());
    world.pass(1);
    assert_eq!(world.log(), ["send Need 1 variants, 0 bodies"]);
    world.hub(variant_part(&content.variant));
    world.hub(body_part(&content.bodies[0]));
    world.pass(limits::NEED_MILLIS_MIN);
    assert_eq!(world.log(), ["send Need 0 variants, 1 bodies"]);
    world.hub(body_part(&content.bodies[1]));
    assert_eq!(world.words("main/web"), "Applied Healthy");
}

#[test]
fn a_part_that_is_not_what_it_says_is_refused() {
    let mut world = World::new();
    let content = parts(Settings::default(), &[config("a", "1")]);
    let delta = world.delta(&[("main/web", run(&content.variant, permit(0)))], &[]);
    world.hub(ToSpoke::Delta(delta));
    world.hub(ToSpoke::Variant(VariantPart {
        digest: content.variant.digest(),
        base: None,
        bytes: pack(b"other", b"").into(),
    }));
    let log = world.log();
    assert!(log[0].starts_with("send Nack 1: variant "), "{log:?}");
    assert!(log[0].ends_with("is not what its digest says"), "{log:?}");
    assert!(world.records.keys().all(|key| key == "ledger"));
}

#[test]
fn a_change_that_comes_while_one_is_written_waits_for_it() {
    let mut world = World::new();
    world.stores_fail = true;
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    world.assign("main/web", Settings::default(), &[config("a", "2")]);
    world.log();
    world.stores_fail = false;
    world.pass(1_000);
    let acks: Vec<String> = world.log().into_iter().filter(|line| line.starts_with("send Ack")).collect();
    assert_eq!(acks, ["send Ack 1", "send Ack 2"]);
    assert_eq!(world.thing_mut("a").manifest["data"]["value"], "2");
}

#[test]
fn a_refusal_ends_the_session_and_a_stream_that_ended_is_not_listened_to() {
    let mut world = World::new();
    world.hub(ToSpoke::Refused(Refusal::Displaced));
    assert_eq!(world.log(), ["end session: a newer stream of this spoke took over"]);
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    assert!(world.log().is_empty());
}

#[test]
fn details_of_reports_are_said_once_in_a_while() {
    let mut world = World::new();
    let many: Vec<_> = (0..40).map(|n| config(&format!("c{n}"), "1")).collect();
    world.assign("main/web", Settings::default(), &many);
    let reports = world.log().iter().filter(|line| line.contains("Report")).count();
    assert_eq!(reports, 2, "begun and done");
}
