//! Tests of a spoke's stream: what is sent, in which order, and what a peer can't make it do.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use proto_model::{Assignment, Permit, Variables};

use super::*;
use crate::fleet::Suspension;

struct List(BTreeMap<Digest, Arc<Vec<(Digest, String)>>>);

impl Variants for List {
    fn objects(&self, variant: &Digest) -> Option<Arc<Vec<(Digest, String)>>> {
        self.0.get(variant).cloned()
    }
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Variant `v1` has objects a1 and b1, `v2` has a2 (a newer a1) and b1.
fn list() -> List {
    let variant = |name: &str, objects: &[&str]| {
        let objects = objects.iter().map(|one| (digest(one), one[..1].to_owned())).collect();
        (digest(name), Arc::new(objects))
    };
    List(BTreeMap::from([variant("v1", &["a1", "b1"]), variant("v2", &["a2", "b1"])]))
}

fn target(generation: u64, variants: &[(&str, &str)]) -> Target {
    let entry = |variant: &str| {
        Entry::Run(Assignment {
            variant: digest(variant),
            variables: Variables::default(),
            permit: Permit::default(),
            rules: RULES,
        })
    };
    Target {
        fence: Fence { hub_id: "h".into(), epoch: 1, incarnation: 1, generation },
        entries: Arc::new(variants.iter().map(|(name, one)| ((*name).to_owned(), entry(one))).collect()),
    }
}

fn hello(fence: Fence, root: Digest) -> Hello {
    Hello {
        fence,
        fence_mac: Vec::new(),
        root,
        level: Digest::default(),
        session_token: Vec::new(),
        cluster_uid: "uid".into(),
        rules: RULES,
        version: "0".into(),
        asks: 0,
        suspends: 0,
        suspended: false,
    }
}

fn drain(session: &mut Session) -> Vec<Item> {
    std::iter::from_fn(|| session.next(&list())).collect()
}

fn open(held: Option<&Target>, target: Target) -> Session {
    let hello = match held {
        Some(held) => hello(held.fence.clone(), held.root()),
        None => hello(Fence::default(), assign::root(&BTreeMap::new())),
    };
    Session::open(&hello, target, Some(Digest::default())).unwrap()
}

fn head(items: &[Item]) -> &Delta {
    items.iter().find_map(|item| if let Item::Delta(delta) = item { Some(delta) } else { None }).unwrap()
}

#[test]
fn a_current_spoke_gets_a_welcome_and_nothing_else() {
    let now = target(3, &[("main/web", "v1")]);
    let mut session = open(Some(&now), now.clone());
    assert_eq!(drain(&mut session), [Item::Welcome { want_holding: false, want_reports: false }]);
    assert!(session.is_current());
}

#[test]
fn an_empty_spoke_gets_the_list_and_every_body() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    let items = drain(&mut session);
    assert_eq!(head(&items).set.len(), 1);
    assert_eq!(
        items[2..],
        [
            Item::Variant { digest: digest("v1"), base: None },
            Item::Body { digest: digest("a1"), base: None },
            Item::Body { digest: digest("b1"), base: None },
        ]
    );
}

#[test]
fn a_change_sends_what_differs_against_what_is_held() {
    let held = target(1, &[("main/web", "v1")]);
    let mut session = open(Some(&held), held.clone());
    drain(&mut session);
    session.retarget(target(2, &[("main/web", "v2")]));
    let items = drain(&mut session);
    assert_eq!(head(&items).base, held.root());
    assert_eq!(
        items[1..],
        [
            Item::Variant { digest: digest("v2"), base: Some(digest("v1")) },
            Item::Body { digest: digest("a2"), base: Some(digest("a1")) },
        ]
    );
}

#[test]
fn changes_during_a_delta_are_folded_into_the_next() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    let first = drain(&mut session);
    session.retarget(target(2, &[("main/web", "v2")]));
    session.retarget(target(3, &[("main/web", "v2"), ("main/db", "v1")]));
    assert_eq!(drain(&mut session), []);
    let root = head(&first).root;
    let news = session.receive(ToHub::Ack { generation: 1, root });
    assert_eq!(news, Some(News::Acked(1)));
    assert_eq!(head(&drain(&mut session)).fence.generation, 3);
}

#[test]
fn an_unknown_root_is_listed_first() {
    let held = target(1, &[("main/old", "v1")]);
    let mut session = open(Some(&held), target(4, &[("main/web", "v2")]));
    assert_eq!(drain(&mut session), [Item::Welcome { want_holding: true, want_reports: false }]);
    session.receive(ToHub::Holding(holding(&held.entries)));
    let items = drain(&mut session);
    assert_eq!(head(&items).forget, ["main/old"]);
    assert_eq!(head(&items).base, held.root());
}

#[test]
fn a_generation_with_the_same_content_is_a_head_alone() {
    let held = target(1, &[("main/web", "v1")]);
    let mut session = open(Some(&held), target(2, &[("main/web", "v1")]));
    let items = drain(&mut session);
    assert_eq!(items.len(), 2);
    assert!(head(&items).set.is_empty());
}

#[test]
fn a_refused_generation_is_sent_once_more_and_then_after_a_while() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    drain(&mut session);
    let nack = || ToHub::Nack { generation: 1, message: "no".into() };
    assert_eq!(session.receive(nack()), Some(News::Nacked(1, "no".into())));
    assert_eq!(drain(&mut session), [Item::Welcome { want_holding: true, want_reports: false }]);
    session.receive(ToHub::Holding(BTreeMap::new()));
    assert_eq!(drain(&mut session).len(), 4);
    session.receive(nack());
    assert_eq!(drain(&mut session), []);
    assert!(!session.is_under_way());
    session.try_again();
    assert_eq!(head(&drain(&mut session)).fence.generation, 1, "the reason may have passed");
    session.receive(nack());
    session.receive(ToHub::Holding(BTreeMap::new()));
    session.receive(nack());
    session.retarget(target(2, &[("main/web", "v2")]));
    assert_eq!(head(&drain(&mut session)).fence.generation, 2);
}

#[test]
fn a_spoke_ahead_of_its_hub_is_not_served() {
    let ahead = target(9, &[]);
    let refused = Session::open(&hello(ahead.fence.clone(), ahead.root()), target(3, &[]), None);
    assert_eq!(refused.err(), Some(Refusal::ForeignFence));
    let mut foreign = ahead;
    foreign.fence.hub_id = "x".into();
    let refused = Session::open(&hello(foreign.fence.clone(), foreign.root()), target(9, &[]), None);
    assert_eq!(refused.err(), Some(Refusal::ForeignFence));
}

#[test]
fn an_ack_of_something_else_ends_the_stream() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    let news = session.receive(ToHub::Ack { generation: 1, root: digest("x") });
    assert!(matches!(news, Some(News::Protocol(_))));
    assert!(!session.is_current());
}

#[test]
fn a_spoke_gets_nothing_that_is_not_assigned_to_it() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    drain(&mut session);
    for _ in 0..2 {
        session.receive(ToHub::Need {
            variants: vec![digest("v2"), digest("v1")],
            bodies: vec![digest("nobody's"), digest("b1")],
        });
    }
    let whole = drain(&mut session);
    assert_eq!(
        whole,
        [Item::Variant { digest: digest("v1"), base: None }, Item::Body { digest: digest("b1"), base: None },],
        "once, however often it asks"
    );
}

#[test]
fn what_the_spoke_lacks_is_sent_whole() {
    let mut session = open(None, target(1, &[("main/web", "v1")]));
    drain(&mut session);
    session.receive(ToHub::Need { variants: vec![], bodies: vec![digest("b1")] });
    assert_eq!(drain(&mut session), [Item::Body { digest: digest("b1"), base: None }]);
}

fn suspended(id: u64) -> Suspensions {
    let (who, why) = ("ada".to_owned(), "an audit".to_owned());
    let one = Suspension { id, who, why, at_unix_millis: 1_000, until_unix_millis: 9_000 };
    [("main/web".to_owned(), one)].into()
}

#[test]
fn a_spoke_is_told_what_is_suspended_before_any_delta_and_once() {
    let heeds = |suspended| Hello { suspends: 1, suspended, ..hello(Fence::default(), assign::root(&BTreeMap::new())) };
    let session = |hello: &Hello| Session::open(hello, target(1, &[("main/web", "v1")]), None).unwrap();
    let mut told_first = session(&heeds(false));
    told_first.suspend(&suspended(3));
    let items = drain(&mut told_first);
    assert!(matches!(&items[..3], [Item::Welcome { .. }, Item::Suspensions(_), Item::Delta(_)]), "{items:?}");
    told_first.suspend(&suspended(3));
    assert_eq!(drain(&mut told_first), []);
    told_first.suspend(&suspended(4));
    assert_eq!(drain(&mut told_first), [Item::Suspensions(suspended(4))], "a delta under way does not hold it up");
    // Where there is nothing to say, nothing is said; but what the spoke holds still must end.
    let nothing = Suspensions::new();
    for (holds, count) in [(false, 0), (true, 1)] {
        let mut fresh = session(&heeds(holds));
        fresh.suspend(&nothing);
        let said = drain(&mut fresh).iter().filter(|item| matches!(item, Item::Suspensions(_))).count();
        assert_eq!(said, count);
    }
    // An older spoke does not know the message.
    let mut old = session(&hello(Fence::default(), assign::root(&BTreeMap::new())));
    old.suspend(&suspended(3));
    assert!(!drain(&mut old).iter().any(|item| matches!(item, Item::Suspensions(_))));
}

#[test]
fn what_is_told_is_how_much_is_left() {
    let told = told(&suspended(3), 4_000);
    assert_eq!(told["main/web"].left_millis, 5_000);
    assert!(super::told(&suspended(3), 9_000).is_empty(), "what is over is not told");
    assert_eq!(super::told(&suspended(3), 0)["main/web"].left_millis, 8_000, "a clock that was set back");
}
