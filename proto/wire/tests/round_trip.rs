//! Everything that can be said arrives as it was said, in small messages; whatever else comes does
//! no harm.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use prost::Message as _;
use proto_model::ask::{Answer, BundleDiff, Change, FieldDiff, ObjectDiff};
use proto_model::assign::Entry;
use proto_model::delta::{BodyPart, Delta, HeldEntry, Hello, Refusal, ToHub, ToSpoke, VariantPart};
use proto_model::suspend::{self, Suspension, Suspensions};
use proto_model::{
    Assignment, Digest, Fence, GroupKind, Health, Identity, ObjectProblem, Permit, Report, RuleVersions, Sync, Value,
    Variables, limits,
};
use proto_wire::sync as msg;
use proto_wire::{WireError, to_hub, to_spoke};

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest)
}

fn bundle() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,8}/[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 1..max)
}

fn fence() -> impl Strategy<Value = Fence> {
    ("[0-9a-f]{32}", any::<u64>(), any::<u64>(), any::<u64>())
        .prop_map(|(hub_id, epoch, incarnation, generation)| Fence { hub_id, epoch, incarnation, generation })
}

fn rules() -> impl Strategy<Value = RuleVersions> {
    (1..u32::MAX, 1..u32::MAX, 1..u32::MAX).prop_map(|(binding, ordering, health)| RuleVersions {
        binding,
        ordering,
        health,
    })
}

fn group_kind() -> impl Strategy<Value = GroupKind> {
    ("[a-z.]{0,12}", "[A-Z][a-z]{1,12}").prop_map(|(group, kind)| GroupKind { group, kind })
}

fn permit() -> impl Strategy<Value = Permit> {
    (any::<u64>(), btree_set(group_kind(), 0..3), any::<bool>(), any::<bool>())
        .prop_map(|(deletions, protected, confirmed, orphan)| Permit { deletions, protected, confirmed, orphan })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,40}".prop_map(Value::Text),
        "-?[0-9]{1,10}(\\.[0-9]{1,4})?".prop_map(Value::Number),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let run = (digest(), btree_map("[a-z.]{1,12}", value(), 0..5), permit(), rules()).prop_map(
        |(variant, variables, permit, rules)| {
            Entry::Run(Assignment { variant, variables: Variables(variables), permit, rules })
        },
    );
    prop_oneof![run, permit().prop_map(Entry::Remove)]
}

fn delta() -> impl Strategy<Value = Delta> {
    let forget = "gone/[a-z]{1,9}";
    (
        fence(),
        bytes(limits::FENCE_MAC_BYTES_MAX),
        digest(),
        digest(),
        btree_map(bundle().prop_filter("kept apart", |name| !name.starts_with("gone/")), entry(), 0..40),
        btree_set(forget, 0..4),
    )
        .prop_map(|(fence, fence_mac, base, root, set, forget)| Delta {
            fence,
            fence_mac,
            base,
            root,
            set,
            forget: forget.into_iter().collect(),
        })
}

fn part() -> impl Strategy<Value = (Digest, Option<Digest>, Arc<[u8]>)> {
    (digest(), proptest::option::of(digest()), bytes(9_000))
        .prop_map(|(digest, base, bytes)| (digest, base, bytes.into()))
}

fn refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(vec![
        Refusal::Revoked,
        Refusal::DuplicateIdentity,
        Refusal::OtherCluster,
        Refusal::Displaced,
        Refusal::TooOld,
        Refusal::Removed,
        Refusal::Retry,
        Refusal::ForeignFence,
    ])
}

fn to_spoke_word() -> impl Strategy<Value = ToSpoke> {
    prop_oneof![
        (bytes(limits::SESSION_TOKEN_BYTES_MAX), any::<bool>(), any::<bool>()).prop_map(
            |(session_token, want_holding, want_reports)| ToSpoke::Welcome {
                session_token,
                want_holding,
                want_reports
            }
        ),
        delta().prop_map(ToSpoke::Delta),
        part().prop_map(|(digest, base, bytes)| ToSpoke::Variant(VariantPart { digest, base, bytes })),
        part().prop_map(|(digest, base, bytes)| ToSpoke::Body(BodyPart { digest, base, bytes })),
        bytes(limits::SYNC_CERTIFICATE_BYTES_MAX).prop_map(ToSpoke::Certificate),
        refusal().prop_map(ToSpoke::Refused),
        suspensions().prop_map(ToSpoke::Suspensions),
    ]
}

fn suspensions() -> impl Strategy<Value = Suspensions> {
    let scope = prop_oneof![bundle(), Just(suspend::CLUSTER.to_owned())];
    let one = (any::<u64>(), any::<u64>(), ".{0,80}", ".{0,80}").prop_map(|(id, left_millis, reason, by)| Suspension {
        id,
        left_millis,
        reason,
        by,
    });
    btree_map(scope, one, 0..limits::SUSPENSIONS_PER_CLUSTER_MAX)
}

fn hello() -> impl Strategy<Value = Hello> {
    (
        prop_oneof![fence(), Just(Fence::default())],
        bytes(limits::FENCE_MAC_BYTES_MAX),
        digest(),
        digest(),
        bytes(limits::SESSION_TOKEN_BYTES_MAX),
        "[0-9a-f-]{1,36}",
        rules(),
        ".{0,16}",
        (any::<u32>(), any::<u32>(), any::<bool>()),
    )
        .prop_map(|(fence, fence_mac, root, level, session_token, cluster_uid, rules, version, words)| Hello {
            fence,
            fence_mac,
            root,
            level,
            session_token,
            cluster_uid,
            rules,
            version,
            asks: words.0,
            suspends: words.1,
            suspended: words.2,
        })
}

fn identity() -> impl Strategy<Value = Identity> {
    (group_kind(), "[a-z]{0,63}", "[a-z.-]{1,250}").prop_map(|(kind, namespace, name)| Identity {
        kind,
        namespace,
        name,
    })
}

fn problem() -> impl Strategy<Value = ObjectProblem> {
    (proptest::option::of(identity()), any::<bool>(), "[ -~]{1,240}")
        .prop_map(|(object, is_final, message)| ObjectProblem { object, is_final, message })
}

fn report() -> impl Strategy<Value = Report> {
    (
        (bundle(), any::<u64>(), proptest::option::of(digest()), digest()),
        (prop::sample::select(Sync::ALL), prop::sample::select(Health::ALL)),
        (any::<bool>(), any::<bool>(), any::<bool>()),
        (any::<u64>(), any::<u64>(), any::<u64>()),
        vec(problem(), 0..=limits::PROBLEMS_PER_REPORT_MAX),
    )
        .prop_map(|(about, (sync, health), bits, counts, problems)| Report {
            bundle: about.0,
            generation: about.1,
            variant: about.2,
            variables: about.3,
            sync,
            health,
            drifted: bits.0,
            suspended: bits.1,
            installed: bits.2,
            objects: counts.0,
            problems,
            problems_more: counts.1,
            since_unix_millis: counts.2,
        })
}

fn to_hub_word() -> impl Strategy<Value = ToHub> {
    let held = (digest(), proptest::option::of(digest())).prop_map(|(digest, variant)| HeldEntry { digest, variant });
    prop_oneof![
        hello().prop_map(ToHub::Hello),
        btree_map(bundle(), held, 0..80).prop_map(ToHub::Holding),
        (vec(digest(), 0..50), vec(digest(), 0..300)).prop_map(|(variants, bodies)| ToHub::Need { variants, bodies }),
        (any::<u64>(), digest()).prop_map(|(generation, root)| ToHub::Ack { generation, root }),
        (any::<u64>(), "[ -~]{0,240}").prop_map(|(generation, message)| ToHub::Nack { generation, message }),
        report().prop_map(ToHub::Report),
        bytes(limits::SYNC_CERTIFICATE_BYTES_MAX).prop_map(ToHub::Renew),
        (any::<u64>(), prop_oneof![diff().prop_map(Ok), "[ -~]{1,80}".prop_map(Err)])
            .prop_map(|(id, outcome)| ToHub::Answer(Answer { id, outcome })),
    ]
}

fn diff() -> impl Strategy<Value = BundleDiff> {
    let text = || proptest::option::of(".{0,100}");
    let field = (".{0,40}", text(), text()).prop_map(|(pointer, live, bound)| FieldDiff { pointer, live, bound });
    let change = prop_oneof![
        Just(Change::Missing),
        Just(Change::Unwanted),
        "[ -~]{1,80}".prop_map(Change::Unknown),
        (vec(field, 0..20), any::<u64>()).prop_map(|(fields, more)| Change::Fields { fields, more }),
    ];
    let object = (identity(), change).prop_map(|(object, change)| ObjectDiff { object, change });
    (any::<u64>(), proptest::option::of(digest()), vec(object, 0..10), any::<u64>(), any::<u64>()).prop_map(
        |(generation, variant, objects, same, unseen)| BundleDiff { generation, variant, objects, same, unseen },
    )
}

fn hear_at_spoke(messages: &[msg::HubMessage]) -> Vec<Result<to_spoke::FromHub, WireError>> {
    let mut reader = to_spoke::Reader::default();
    messages.iter().filter_map(|message| reader.accept(message.clone()).transpose()).collect()
}

fn hear_at_hub(messages: &[msg::SpokeMessage]) -> Vec<Result<ToHub, WireError>> {
    let mut reader = to_hub::Reader::default();
    messages.iter().filter_map(|message| reader.accept(message.clone()).transpose()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_the_hub_says_arrives(words in vec(to_spoke_word(), 1..4)) {
        let mut messages = Vec::new();
        for word in &words {
            messages.extend(to_spoke::encode(word).unwrap());
        }
        for message in &messages {
            prop_assert!(message.encoded_len() <= limits::SYNC_MESSAGE_BYTES_MAX);
            let through_bytes = msg::HubMessage::decode(&message.encode_to_vec()[..]).unwrap();
            prop_assert_eq!(&through_bytes, message);
        }
        let said: Vec<_> =
            words.into_iter().map(|word| Ok(to_spoke::FromHub::Word(word))).collect();
        prop_assert_eq!(hear_at_spoke(&messages), said);
    }

    #[test]
    fn what_a_spoke_says_arrives(words in vec(to_hub_word(), 1..4)) {
        let mut messages = Vec::new();
        for word in &words {
            messages.extend(to_hub::encode(word).unwrap());
        }
        for message in &messages {
            prop_assert!(message.encoded_len() <= limits::SYNC_MESSAGE_BYTES_MAX);
        }
        prop_assert_eq!(hear_at_hub(&messages), words.into_iter().map(Ok).collect::<Vec<_>>());
    }

    #[test]
    fn hostile_bytes_do_not_panic(pieces in vec((vec(any::<u8>(), 0..200), any::<bool>(), 0..7_u8), 0..8)) {
        use msg::{hub_message, spoke_message};
        let mut spoke = to_spoke::Reader::default();
        let mut hub = to_hub::Reader::default();
        for (data, last, kind) in pieces {
            if let Ok(message) = msg::HubMessage::decode(&data[..]) {
                let _ = spoke.accept(message);
            }
            if let Ok(message) = msg::SpokeMessage::decode(&data[..]) {
                let _ = hub.accept(message);
            }
            let chunk = msg::Chunk { data: data.into(), last };
            let down = match kind {
                0 => hub_message::Kind::Delta(chunk.clone()),
                1 => hub_message::Kind::Variant(chunk.clone()),
                2 => hub_message::Kind::Body(chunk.clone()),
                _ => hub_message::Kind::Certificate(chunk.clone()),
            };
            let up = match kind {
                0 => spoke_message::Kind::Holding(chunk),
                1 => spoke_message::Kind::Need(chunk),
                2 => spoke_message::Kind::Report(chunk),
                _ => spoke_message::Kind::Renew(chunk),
            };
            let _ = spoke.accept(msg::HubMessage { kind: Some(down) });
            let _ = hub.accept(msg::SpokeMessage { kind: Some(up) });
        }
    }

    // A delta that was damaged on its way is refused, or it reads as some other delta that writes
    // back to exactly these bytes: nothing in it was left out.
    #[test]
    fn nothing_in_a_damaged_delta_is_skipped(
        delta in delta(), at in any::<prop::sample::Index>(), to in any::<u8>()
    ) {
        let mut blob = msg::Delta::from(&delta).encode_to_vec();
        let at = at.index(blob.len());
        blob[at] = to;
        let chunk = msg::Chunk { data: blob.clone().into(), last: true };
        let message = msg::HubMessage { kind: Some(msg::hub_message::Kind::Delta(chunk)) };
        let heard = to_spoke::Reader::default().accept(message);
        if let Ok(Some(to_spoke::FromHub::Word(ToSpoke::Delta(read)))) = heard {
            prop_assert_eq!(msg::Delta::from(&read).encoded_len(), blob.len());
        }
    }

    #[test]
    fn compressed_bytes_come_back(
        new in vec(any::<u8>(), 0..3_000), old in vec(any::<u8>(), 0..3_000), with in any::<bool>()
    ) {
        use proto_wire::compress::{compress, decompress};
        let prefix = with.then_some(&old[..]);
        let packed = compress(&new, prefix).unwrap();
        prop_assert_eq!(decompress(&packed, prefix, new.len()).unwrap(), new);
        let _ = decompress(&old, prefix, 100);
    }
}

fn delta_message(change: impl FnOnce(&mut msg::Delta)) -> Result<(), WireError> {
    let run = Entry::Run(Assignment {
        variant: Digest::of(b"variant"),
        variables: Variables(BTreeMap::from([("a".into(), Value::Number("1.10".into()))])),
        permit: Permit::default(),
        rules: proto_model::assign::RULES,
    });
    let delta = Delta {
        fence: Fence { hub_id: "h".into(), epoch: 1, incarnation: 1, generation: 2 },
        fence_mac: vec![1],
        base: Digest::of(b"base"),
        root: Digest::of(b"root"),
        set: BTreeMap::from([("main/web".into(), run)]),
        forget: vec!["main/old".into()],
    };
    let mut message = msg::Delta::from(&delta);
    change(&mut message);
    Delta::try_from(message).map(|_| ())
}

fn run(delta: &mut msg::Delta) -> &mut msg::Assignment {
    match &mut delta.set[0].kind {
        Some(msg::entry::Kind::Run(run)) => run,
        other => panic!("not a run: {other:?}"),
    }
}

#[test]
fn what_is_missing_is_named() {
    let missing = |field| Err(WireError::Missing(field));
    assert_eq!(delta_message(|_| {}), Ok(()));
    assert_eq!(delta_message(|delta| delta.fence = None), missing("delta.fence"));
    assert_eq!(delta_message(|delta| delta.root.clear()), missing("delta.root"));
    assert_eq!(delta_message(|delta| delta.base = vec![1; 31].into()), Err(WireError::Digest("delta.base")));
    assert_eq!(delta_message(|delta| delta.set[0].kind = None), missing("entry.kind"));
    assert_eq!(delta_message(|delta| run(delta).permit = None), missing("assignment.permit"));
    assert_eq!(delta_message(|delta| run(delta).rules = None), missing("assignment.rules"));
    assert_eq!(delta_message(|delta| run(delta).variant.clear()), missing("assignment.variant"));
    assert_eq!(delta_message(|delta| run(delta).variables[0].value = None), missing("variable.value"));
}

#[test]
fn what_is_said_twice_is_refused() {
    let twice = |field, name: &str| Err(WireError::Twice { field, name: name.into() });
    assert_eq!(delta_message(|delta| delta.set.push(delta.set[0].clone())), twice("delta.set", "main/web"));
    assert_eq!(delta_message(|delta| delta.forget.push("main/web".into())), twice("delta.forget", "main/web"));
    let again = |delta: &mut msg::Delta| {
        let variable = run(delta).variables[0].clone();
        run(delta).variables.push(variable);
    };
    assert_eq!(delta_message(again), twice("assignment.variables", "a"));
}

#[test]
fn a_field_of_a_later_version_is_refused() {
    let body = msg::BodyPart { digest: vec![1; 32].into(), base: Vec::new().into(), data: vec![1].into() };
    let mut bytes = body.encode_to_vec();
    let hear = |bytes: &[u8]| {
        let chunk = msg::Chunk { data: bytes.to_vec().into(), last: true };
        let kind = Some(msg::hub_message::Kind::Body(chunk));
        to_spoke::Reader::default().accept(msg::HubMessage { kind })
    };
    assert!(hear(&bytes).is_ok());
    bytes.extend([15 << 3, 1]);
    assert_eq!(hear(&bytes), Err(WireError::UnknownField("body")));
}

#[test]
fn words_of_a_later_version_are_refused() {
    let refused = msg::Refused { reason: 99 };
    assert_eq!(Refusal::try_from(refused), Err(WireError::Unknown { field: "refused.reason", number: 99 }));
    assert_eq!(Refusal::try_from(msg::Refused { reason: 0 }), Err(WireError::Missing("refused.reason")));
    let hello = msg::Hello { protocol: 2, ..msg::Hello::default() };
    assert_eq!(Hello::try_from(hello), Err(WireError::Protocol { theirs: 2 }));
}

#[test]
fn a_spoke_cannot_make_the_hub_hold_much() {
    let mut hub = to_hub::Reader::default();
    let data = vec![0; limits::SYNC_CHUNK_BYTES_MAX];
    let mut taken = 0;
    let refused = loop {
        let chunk = msg::Chunk { data: data.clone().into(), last: false };
        let kind = Some(msg::spoke_message::Kind::Report(chunk));
        match hub.accept(msg::SpokeMessage { kind }) {
            Ok(None) => taken += data.len(),
            Ok(Some(word)) => panic!("nothing was complete: {word:?}"),
            Err(error) => break error,
        }
        assert!(taken <= limits::SYNC_REPORT_BYTES_MAX);
    };
    assert!(matches!(refused, WireError::Chunk(_)), "{refused}");
}

#[test]
fn the_end_of_a_stream_may_cut_off_a_blob() {
    let chunk = msg::Chunk { data: vec![1].into(), last: false };
    let kind = Some(msg::hub_message::Kind::Delta(chunk));
    let mut reader = to_spoke::Reader::default();
    assert_eq!(reader.accept(msg::HubMessage { kind }), Ok(None));
    let end = to_spoke::encode_move(vec!["hub-2:7000".into()]).unwrap();
    assert_eq!(reader.accept(end), Ok(Some(to_spoke::FromHub::Move(vec!["hub-2:7000".into()]))));
}
