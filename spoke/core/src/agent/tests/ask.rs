//! Asks: what is live against what is bound, within the spoke's policy.

use proto_model::ask::{Answer, BundleDiff, Change, FieldDiff};
use proto_model::delta::{ToHub, ToSpoke};
use proto_model::{Settings, limits};

use super::fake::{World, config, failure, permit};
use crate::agent::{AskPolicy, Event};
use crate::port::Reason;

impl World {
    fn ask(&mut self, id: u64, bundle: &str) -> Option<Result<BundleDiff, String>> {
        self.hub(ToSpoke::Ask { id, bundle: bundle.into() });
        self.answered(id)
    }

    fn answered(&self, id: u64) -> Option<Result<BundleDiff, String>> {
        let mut answers = self.said.iter().filter_map(|said| match said {
            ToHub::Answer(Answer { id: of, outcome }) if *of == id => Some(outcome.clone()),
            _ => None,
        });
        let first = answers.next();
        assert!(answers.next().is_none(), "one answer for each ask");
        first
    }
}

fn words(diff: &BundleDiff) -> Vec<String> {
    let say = |change: &Change| match change {
        Change::Missing => "missing".to_owned(),
        Change::Unwanted => "unwanted".to_owned(),
        Change::Unknown(why) => format!("unknown: {why}"),
        Change::Fields { fields, more } => {
            let fields: Vec<String> = fields
                .iter()
                .map(|FieldDiff { pointer, live, bound }| {
                    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
                    format!("{pointer} {} -> {}", text(live), text(bound))
                })
                .collect();
            format!("{} and {more} more", fields.join(", "))
        }
    };
    diff.objects.iter().map(|one| format!("{}: {}", one.object, say(&one.change))).collect()
}

#[test]
fn nothing_differs_after_an_apply() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.log();
    let diff = world.ask(7, "main/web").unwrap().unwrap();
    assert_eq!((words(&diff), diff.same, diff.unseen, diff.generation), (Vec::new(), 2, 0, 1));
    let log = world.log();
    assert!(!log.iter().any(|line| line.starts_with("apply") || line.starts_with("store")), "{log:?}");
}

#[test]
fn what_differs_is_told_object_by_object() {
    let mut world = World::new();
    let all = [config("a", "1"), config("b", "1"), config("c", "1"), config("d", "1")];
    world.assign("main/web", Settings::default(), &all);
    // Nothing may go, and nothing is put right while requests fail.
    world.assign_with("main/web", Settings::default(), &all[..3], permit(0));
    world.thing_mut("a").manifest["data"]["value"] = "theirs".into();
    let identity = world.find("b");
    world.things.remove(&identity);
    world.failures.insert("dry-run ConfigMap shop/c".into(), failure(Reason::Forbidden, "may not patch"));
    let diff = world.ask(1, "main/web").unwrap().unwrap();
    assert_eq!(
        words(&diff),
        [
            "ConfigMap shop/d: unwanted",
            "ConfigMap shop/a: /data/value \"theirs\" -> \"1\" and 0 more",
            "ConfigMap shop/b: missing",
            "ConfigMap shop/c: unknown: may not patch",
        ]
    );
}

#[test]
fn what_cannot_be_answered_says_why() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1")]);
    assert_eq!(world.ask(1, "main/other").unwrap().unwrap_err(), "bundle main/other was not assigned to it yet");
    world.agent.set_ask_policy(AskPolicy::None);
    assert!(world.ask(2, "main/web").unwrap().unwrap_err().contains("--ask none"));
    world.restart();
    world.connect();
    world.agent.set_ask_policy(AskPolicy::Diff);
    assert!(world.ask(3, "main/web").unwrap().is_ok());
}

#[test]
fn an_ask_ends_in_time_and_with_its_session() {
    let mut world = World::new();
    world.assign("main/web", Settings::default(), &[config("a", "1"), config("b", "1")]);
    world.is_held = true;
    assert_eq!(world.ask(1, "main/web"), None);
    assert!(world.ask(2, "main/web").unwrap().unwrap_err().contains("another ask"));
    world.pass(limits::ASK_MILLIS_MAX);
    let diff = world.answered(1).unwrap().unwrap();
    assert_eq!((diff.same, diff.unseen), (0, 2));
    assert_eq!(world.ask(3, "main/web"), None);
    world.step(Event::Disconnected);
    world.connect();
    world.release();
    assert_eq!(world.answered(3), None, "nobody waits for it any more");
    assert_eq!(world.ask(4, "main/web").unwrap().unwrap().same, 2);
}
