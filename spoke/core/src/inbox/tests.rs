//! Changes put together from parts, good and bad.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use proto_model::assign::{Assignment, RuleVersions};
use proto_model::{Fence, Permit, Variables};
use serde_json::json;

use super::*;
use crate::unpack::tests::pack;

fn object(name: &str, padding: usize) -> Object {
    Object::new(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name},
        "data": {"padding": "x".repeat(padding)}}))
    .unwrap()
}

fn variant(objects: &[&Object]) -> Variant {
    Variant { objects: objects.iter().map(|object| object.digest).collect(), ..Variant::default() }
}

fn entry(variant: &Variant) -> Entry {
    Entry::Run(Assignment {
        variant: variant.digest(),
        variables: Variables::default(),
        permit: Permit::default(),
        rules: RULES,
    })
}

fn delta(ledger: &Ledger, set: &[(&str, Entry)]) -> Delta {
    let mut entries = ledger.entries.clone();
    let set: BTreeMap<String, Entry> = set.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone())).collect();
    entries.extend(set.clone());
    let generation = ledger.fence.generation + 1;
    Delta {
        fence: Fence { hub_id: "h".into(), epoch: 1, incarnation: 1, generation },
        fence_mac: vec![1],
        base: ledger.root(),
        root: ledger::root(&entries),
        set,
        forget: Vec::new(),
    }
}

fn open(delta: Delta, ledger: &Ledger, contents: &Contents) -> Inbox {
    Inbox::open(delta, ledger, contents).unwrap().unwrap()
}

fn variant_part(variant: &Variant, base: Option<&Variant>) -> VariantPart {
    let prefix = base.map(Variant::encode).unwrap_or_default();
    VariantPart {
        digest: variant.digest(),
        base: base.map(Variant::digest),
        bytes: pack(&variant.encode(), &prefix).into(),
    }
}

fn body_part(object: &Object, base: Option<&Object>) -> BodyPart {
    let prefix = base.map_or(&[][..], |base| &base.body);
    BodyPart { digest: object.digest, base: base.map(|base| base.digest), bytes: pack(&object.body, prefix).into() }
}

/// A ledger that holds `main/web` with these objects.
fn holding(objects: &[&Object]) -> (Ledger, Contents) {
    let (ledger, contents) = (Ledger::default(), Contents::new());
    let variant = variant(objects);
    let mut inbox = open(delta(&ledger, &[("main/web", entry(&variant))]), &ledger, &contents);
    inbox.take_variant(&variant_part(&variant, None), &contents).unwrap();
    for object in objects {
        inbox.take_body(&body_part(object, None), &contents).unwrap();
    }
    let change = inbox.close(&ledger, &contents).unwrap();
    (change.ledger, change.fresh)
}

#[test]
fn differences_build_on_what_is_held() {
    let (one, two) = (object("a", 500), object("a", 600));
    let kept = object("b", 10);
    let (ledger, contents) = holding(&[&one, &kept]);
    let (old, new) = (variant(&[&one, &kept]), variant(&[&two, &kept]));
    let mut inbox = open(delta(&ledger, &[("main/web", entry(&new))]), &ledger, &contents);
    inbox.take_variant(&variant_part(&new, Some(&old)), &contents).unwrap();
    assert_eq!(inbox.missing(), (vec![], vec![two.digest]), "what is held is not asked for");
    inbox.take_body(&body_part(&two, Some(&one)), &contents).unwrap();
    assert!(inbox.is_complete());
    let change = inbox.close(&ledger, &contents).unwrap();
    assert_eq!(change.fresh["main/web"].body(&two.digest), Some(&two.body));
    assert_eq!(change.ledger.fence.generation, 2);
}

#[test]
fn bodies_may_come_before_their_variant() {
    let one = object("a", 1);
    let (ledger, contents) = (Ledger::default(), Contents::new());
    let variant = variant(&[&one]);
    let mut inbox = open(delta(&ledger, &[("main/web", entry(&variant))]), &ledger, &contents);
    inbox.take_body(&body_part(&one, None), &contents).unwrap();
    assert!(!inbox.is_complete());
    inbox.take_variant(&variant_part(&variant, None), &contents).unwrap();
    assert!(inbox.is_complete());
}

#[test]
fn a_base_that_does_not_fit_is_asked_for_whole_once() {
    let (one, two, other) = (object("a", 500), object("a", 600), object("c", 700));
    let (ledger, contents) = holding(&[&one]);
    let new = variant(&[&two]);
    let mut inbox = open(delta(&ledger, &[("main/web", entry(&new))]), &ledger, &contents);
    inbox.take_variant(&variant_part(&new, None), &contents).unwrap();
    let part = body_part(&two, Some(&other));
    assert_eq!(inbox.take_body(&part, &contents), Ok(()));
    assert_eq!(inbox.missing().1, [two.digest]);
    assert!(inbox.take_body(&part, &contents).is_err(), "a second time it is refused");
    inbox.take_body(&body_part(&two, None), &contents).unwrap();
    assert!(inbox.is_complete());
}

#[test]
fn unknown_rules_and_settings_are_too_much_for_this_spoke() {
    let one = object("a", 1);
    let (ledger, contents) = (Ledger::default(), Contents::new());
    let Entry::Run(mut assignment) = entry(&variant(&[&one])) else { unreachable!() };
    assignment.rules = RuleVersions { ordering: RULES.ordering + 1, ..RULES };
    let refused = Inbox::open(delta(&ledger, &[("main/web", Entry::Run(assignment.clone()))]), &ledger, &contents);
    assert!(refused.unwrap_err().starts_with("spoke too old: bundle main/web"));

    let text = br#"{"settings":{"magic":true},"objects":[]}"#;
    let part = VariantPart { digest: Digest::of(text), base: None, bytes: pack(text, b"").into() };
    assignment.rules = RULES;
    assignment.variant = part.digest;
    let mut inbox = open(delta(&ledger, &[("main/web", Entry::Run(assignment))]), &ledger, &contents);
    assert!(inbox.take_variant(&part, &contents).unwrap_err().starts_with("spoke too old"));
}

#[test]
fn a_change_for_another_root_or_to_another_root_is_refused() {
    let one = object("a", 1);
    let (ledger, contents) = holding(&[&one]);
    let mut other_base = delta(&ledger, &[]);
    other_base.base = Digest::of(b"x");
    assert!(Inbox::open(other_base, &ledger, &contents).unwrap_err().contains("is for root"));
    let mut other_root = delta(&ledger, &[]);
    other_root.root = Digest::of(b"x");
    assert!(Inbox::open(other_root, &ledger, &contents).unwrap_err().contains("leads to root"));
}

#[test]
fn a_body_that_is_no_canonical_object_is_refused() {
    let text = br#"{"b": 1}"#;
    let part = BodyPart { digest: Digest::of(text), base: None, bytes: pack(text, b"").into() };
    let (ledger, contents) = (Ledger::default(), Contents::new());
    let variant = Variant { objects: vec![part.digest], ..Variant::default() };
    let mut inbox = open(delta(&ledger, &[("main/web", entry(&variant))]), &ledger, &contents);
    inbox.take_variant(&variant_part(&variant, None), &contents).unwrap();
    assert!(inbox.take_body(&part, &contents).is_err());
}
