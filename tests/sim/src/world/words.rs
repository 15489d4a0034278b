//! Events and effects in words, short enough for a story.

use proto_model::delta::{ToHub, ToSpoke};
use spoke_core::port::{Observation, Op, Outcome, Write};
use spoke_core::{Effect, Event};

/// An event of a spoke.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Started { records, .. } => {
            format!("Started with {:?}", records.keys().collect::<Vec<_>>())
        }
        Event::Hub(message) => to_spoke(message),
        Event::Done { id, outcome } => format!("Done {id}: {}", self::outcome(outcome)),
        Event::Observed(seen) => observation(seen),
        other => format!("{other:?}"),
    }
}

/// What a spoke has its shell do.
pub(super) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Send(message) => to_hub(message),
        Effect::Store { token, write } => format!("Store {token}: {}", self::write(write)),
        Effect::Execute { id, op } => format!("Execute {id}: {}", self::op(op)),
        Effect::Watch(kinds) => {
            let kinds: Vec<String> = kinds.keys().map(|kind| kind.kind.to_string()).collect();
            format!("Watch {}", kinds.join(", "))
        }
        other => format!("{other:?}"),
    }
}

fn to_spoke(message: &ToSpoke) -> String {
    match message {
        ToSpoke::Welcome { want_holding, want_reports, .. } => {
            format!("Welcome, wants holding {want_holding}, reports {want_reports}")
        }
        ToSpoke::Delta(delta) => format!(
            "Delta to {}/{} base {:?} root {:?} set {:?} forget {:?}",
            delta.fence.incarnation,
            delta.fence.generation,
            delta.base,
            delta.root,
            delta.set.keys().collect::<Vec<_>>(),
            delta.forget
        ),
        ToSpoke::Variant(part) => format!("Variant {:?} on {:?}", part.digest, part.base),
        ToSpoke::Body(part) => format!("Body {:?} on {:?}", part.digest, part.base),
        other => format!("{other:?}"),
    }
}

fn to_hub(message: &ToHub) -> String {
    match message {
        ToHub::Hello(hello) => format!(
            "Hello at {}/{} root {:?} token of {} bytes",
            hello.fence.incarnation,
            hello.fence.generation,
            hello.root,
            hello.session_token.len()
        ),
        ToHub::Report(report) => format!(
            "Report {} generation {} variant {:?} {} {} drifted {} objects {} {:?}",
            report.bundle,
            report.generation,
            report.variant,
            report.sync,
            report.health,
            report.drifted,
            report.objects,
            report.problems
        ),
        other => format!("{other:?}"),
    }
}

fn write(write: &Write) -> String {
    let puts: Vec<&String> = write.puts.iter().map(|(key, _)| key).collect();
    format!("puts {puts:?} deletes {:?}", write.deletes)
}

fn op(op: &Op) -> String {
    match op {
        Op::Apply { manifest, manager, dry_run } => {
            let identity = proto_model::object::identity(manifest);
            let identity = identity.map(|one| one.to_string()).unwrap_or_default();
            let dry = if *dry_run { " (dry)" } else { "" };
            format!("Apply {identity} as {} by {manager}{dry}", crate::bodies::payload(manifest))
        }
        Op::Get { identity, .. } => format!("Get {identity}"),
        Op::Delete { identity, uid, resource_version, .. } => {
            format!("Delete {identity} with uid {uid} at version {resource_version}")
        }
        other => format!("{other:?}"),
    }
}

fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Got(Some(live)) | Outcome::Applied(live) => format!(
            "{} uid {} version {} owners {:?}{}",
            live.identity,
            live.uid,
            live.resource_version,
            live.owners.iter().map(|mark| &mark.bundle).collect::<Vec<_>>(),
            if live.deleting { " deleting" } else { "" }
        ),
        other => format!("{other:?}"),
    }
}

fn observation(seen: &Observation) -> String {
    match seen {
        Observation::Seen(live) => format!(
            "Seen {} uid {} version {}{}",
            live.identity,
            live.uid,
            live.resource_version,
            if live.deleting { " deleting" } else { "" }
        ),
        Observation::Gone { identity, uid } => format!("Gone {identity} uid {uid}"),
        Observation::Listed(kind) => format!("Listed {}", kind.kind),
        Observation::Restarted(kind) => format!("Restarted {}", kind.kind),
        Observation::Lost { kind, failure } => format!("Lost {}: {failure}", kind.kind),
    }
}
