//! Effects in words.

use proto_model::delta::ToHub;
use proto_model::object;

use super::fake::World;
use crate::agent::Effect;
use crate::port::Op;

impl World {
    pub(super) fn note(&mut self, effect: &Effect) {
        let text = match effect {
            Effect::Load { .. } => "load".into(),
            Effect::Send(message) => self.say_message(message),
            Effect::Store { write, .. } => {
                let key = |key: &str| match key.split('/').collect::<Vec<_>>()[..] {
                    ["bundle", source, bundle, _] => format!("bundle/{source}/{bundle}"),
                    _ => key.to_owned(),
                };
                let puts = write.puts.iter().map(|(name, _)| key(name));
                let deletes = write.deletes.iter().map(|name| format!("-{}", key(name)));
                format!("store {}", puts.chain(deletes).collect::<Vec<_>>().join(" "))
            }
            Effect::Execute { op, .. } => say(op),
            Effect::Recover { .. } => "recover".into(),
            Effect::Watch(kinds) => {
                let kinds: Vec<String> = kinds.keys().map(|kind| kind.kind.to_string()).collect();
                format!("watch {}", kinds.join(" "))
            }
            Effect::EndSession { why } => format!("end session: {why}"),
            Effect::Halt { why } => format!("halt: {why}"),
            Effect::Obeyed { id, result } => match result {
                Ok(suspended) => format!("obeyed {id}: {} suspended", suspended.len()),
                Err(why) => format!("refused {id}: {why}"),
            },
            // Timers and what people are told are looked at where they matter.
            Effect::Wake { .. } | Effect::Tell(_) | Effect::Publish { .. } => return,
        };
        self.log.push(text);
    }

    fn say_message(&self, message: &ToHub) -> String {
        match message {
            ToHub::Hello(hello) => {
                format!("send Hello at {}", hello.fence.generation)
            }
            ToHub::Holding(entries) => {
                format!("send Holding {}", entries.keys().cloned().collect::<Vec<_>>().join(" "))
            }
            ToHub::Need { variants, bodies } => {
                format!("send Need {} variants, {} bodies", variants.len(), bodies.len())
            }
            ToHub::Ack { generation, .. } => format!("send Ack {generation}"),
            ToHub::Nack { generation, message } => format!("send Nack {generation}: {message}"),
            ToHub::Report(report) => {
                format!("send Report {} {} {}", report.bundle, report.sync, report.health)
            }
            ToHub::Renew(_) => "send Renew".into(),
            ToHub::Answer(answer) => format!("send Answer {}", answer.id),
        }
    }
}

pub(super) fn say(op: &Op) -> String {
    match op {
        Op::Discover(kind) => format!("discover {}", kind.kind),
        Op::Get { identity, .. } => format!("get {identity}"),
        Op::Apply { manifest, dry_run, .. } => {
            let verb = if *dry_run { "dry-run" } else { "apply" };
            format!("{verb} {}", object::identity(manifest).unwrap())
        }
        Op::Contents { of, .. } => format!("contents of {of}"),
        Op::Delete { identity, .. } => format!("delete {identity}"),
        Op::EnsureNamespace(name) => format!("ensure namespace {name}"),
        Op::Patch { identity, .. } => format!("patch {identity}"),
        Op::List { kind, .. } => format!("list {}", kind.kind),
        Op::As(account, op) => format!("as {}: {}", account.name, say(op)),
    }
}
