//! Asking before writing: before the first write of new content, every object that it changes is
//! dry-run. What the API server refuses for good there stops the bundle with nothing changed.
//!
//! An object is not asked about where its kind or namespace comes with the same bundle and is not
//! there yet, and an answer counts as a refusal only where nothing that comes before the object
//! explains it. Once the first write was made, the writes themselves tell.

use proto_model::wishes::Replace;
use proto_model::{Digest, Identity, limits, name as names};
use serde_json::Value as Json;

use super::Agent;
use super::act::Step;
use super::bundle::{Attempt, Bundle, Plan, Trouble};
use super::done::{Errand, failure_of};
use super::draft::{Draft, Then};
use super::slot::Slot;
use crate::diff::{Sight, Verdict, Why};
use crate::order;
use crate::owner;
use crate::port::{Failure, Op, Outcome, Reason};

/// What is still to be asked.
#[derive(Debug, Default)]
pub(super) struct Rehearsal {
    /// Whether everything was asked and nothing refused.
    pub(super) is_over: bool,
    /// What to ask now.
    pub(super) steps: Vec<Step>,
    /// When to ask again.
    pub(super) wake: Option<u64>,
}

/// What an answer says.
enum Answer {
    /// It may be written, or only the write can tell.
    Fine,
    /// It may be changed only by making it anew: whether that would do is the next question.
    Anew,
    Refused(Failure),
    /// Nothing; ask again.
    None(Failure),
}

/// A question that was asked.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) bundle: String,
    pub(super) identity: Identity,
    /// What it was about.
    pub(super) bound: Digest,
    /// Whether another name was put in, as if the object were made for the first time.
    pub(super) is_anew: bool,
    /// Why a write was refused, where that is why it is asked.
    pub(super) refused: Option<String>,
}

/// Looks through what a bundle wants for what must be asked before anything is written.
pub(super) fn decide(bundle: &Bundle, now: u64, steps_max: usize) -> Rehearsal {
    let mut rehearsal = Rehearsal { is_over: true, ..Rehearsal::default() };
    let Plan::Ready(ready) = &bundle.plan else {
        return rehearsal;
    };
    for (identity, slot) in ready.in_order(&bundle.slots) {
        let next = match place(bundle, identity) {
            Place::Missing => Next::Clear,
            Place::Unknown if slot.is_applied() => Next::Clear,
            Place::Unknown => Next::Wait,
            Place::There => decide_object(slot, now),
        };
        match next {
            Next::Clear => continue,
            Next::Wait => {}
            Next::At(at) => rehearsal.wake = Some(rehearsal.wake.map_or(at, |before| before.min(at))),
            Next::Ask => rehearsal.steps.push(Step::Rehearse(identity.clone())),
            Next::Look => rehearsal.steps.push(Step::Look(identity.clone())),
        }
        rehearsal.is_over = false;
        // What comes after is asked about when there is room for more.
        if rehearsal.steps.len() >= steps_max {
            break;
        }
    }
    rehearsal
}

enum Next {
    /// It is not in the way of writing.
    Clear,
    Wait,
    At(u64),
    Look,
    Ask,
}

fn decide_object(slot: &Slot, now: u64) -> Next {
    if slot.is_applied() || slot.is_taken_as_made() {
        return Next::Clear;
    }
    // What is not in the durable inventory may already be what somebody else made.
    if slot.is_busy || !slot.is_durable {
        return Next::Wait;
    }
    let trouble = slot.trouble.as_ref();
    match slot.verdict() {
        Verdict::Look => match trouble {
            // A right that is missing fails the bundle with nothing changed.
            Some(trouble) if trouble.reason == Some(Reason::Forbidden) => match trouble.retry_at > now {
                true => Next::At(trouble.retry_at),
                false => Next::Look,
            },
            // It says so by itself, and stops no other object.
            Some(trouble) if trouble.is_final || trouble.reason == Some(Reason::NoSuchKind) => Next::Clear,
            Some(trouble) if trouble.retry_at > now => Next::At(trouble.retry_at),
            _ => Next::Look,
        },
        Verdict::Apply(Why::Content) if slot.is_rehearsed => Next::Clear,
        Verdict::Apply(Why::Content) => match trouble.filter(|one| one.attempt == Attempt::Rehearse) {
            Some(trouble) if trouble.retry_at > now => Next::At(trouble.retry_at),
            _ => Next::Ask,
        },
        _ => Next::Clear,
    }
}

/// Whether there can be an answer about an object.
enum Place {
    There,
    /// The bundle itself brings its kind or namespace, and it must be looked at first.
    Unknown,
    /// The bundle itself is still to bring its kind or namespace.
    Missing,
}

fn place(bundle: &Bundle, identity: &Identity) -> Place {
    let Plan::Ready(ready) = &bundle.plan else {
        return Place::There;
    };
    let definition = ready.defines.get(&identity.kind);
    let namespace = ready.brings.contains(&identity.namespace).then(|| namespace(&identity.namespace));
    for container in definition.into_iter().chain(&namespace) {
        let Some(slot) = bundle.slots.get(container) else {
            continue;
        };
        let is_settled = matches!(slot.sight, Sight::Absent | Sight::Foreign) || slot.trouble.is_some();
        if slot.tracked.uid.is_none() {
            return if is_settled { Place::Missing } else { Place::Unknown };
        }
    }
    Place::There
}

fn namespace(name: &str) -> Identity {
    Identity { kind: proto_model::GroupKind::of("v1", "Namespace"), namespace: String::new(), name: name.into() }
}

impl Agent {
    /// Asks what would come of applying an object.
    pub(super) fn rehearse(&mut self, name: &str, identity: &Identity) -> bool {
        // Asked before the manifest is made.
        if !self.has_turn(name) {
            return false;
        }
        if self.is_drafted(name, identity) {
            self.draft(Draft { bundle: name.to_owned(), identity: identity.clone(), then: Then::Rehearse });
        } else if let Some(manifest) = self.marked_manifest(name, identity) {
            self.rehearse_manifest(name, identity, manifest);
        }
        true
    }

    /// Asks what would come of applying a manifest.
    pub(super) fn rehearse_manifest(&mut self, name: &str, identity: &Identity, manifest: Json) {
        let Some(slot) = self.slot_mut(name, identity) else { return };
        let question = Question {
            bundle: name.to_owned(),
            identity: identity.clone(),
            bound: slot.bound,
            is_anew: false,
            refused: None,
        };
        self.ask_dry(question, manifest);
    }

    /// A write was refused, perhaps for a field that can't be changed: it is asked whether the object could be made
    /// anew, before it is deleted for that. What a policy refuses is refused there, too. Whether it could be asked.
    pub(super) fn ask_whether_anew(&mut self, name: &str, identity: &Identity, refused: &str) -> bool {
        let Some(bound) = self.slot_mut(name, identity).map(|slot| slot.bound) else { return false };
        let refused = Some(refused.to_owned());
        self.ask_anew(&Question { bundle: name.to_owned(), identity: identity.clone(), bound, is_anew: true, refused })
    }

    /// Whether an object whose write was refused could be made anew. Only a plain yes lets it be deleted.
    fn told_whether_anew(&mut self, name: &str, identity: &Identity, refused: &str, outcome: Outcome) {
        let (now, seed) = (self.now.mono_millis, format!("{name}{identity}"));
        let Some(slot) = self.slot_mut(name, identity) else { return };
        if matches!(outcome, Outcome::Applied(_)) {
            slot.trouble = None;
            slot.recreate = true;
            slot.look = !matches!(slot.sight, Sight::Live(_));
            return;
        }
        let mut failure = failure_of(outcome);
        failure.message = format!("{refused}; it is not deleted to be made anew: {failure}");
        let before = slot.trouble.take();
        slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Apply, &failure, &seed, now));
    }

    fn ask_dry(&mut self, question: Question, manifest: Json) {
        let manager = names::field_manager(&question.bundle);
        if let Some(slot) = self.slot_mut(&question.bundle, &question.identity) {
            slot.is_busy = true;
        }
        self.start_now(Errand::Rehearse(question), Op::Apply { manifest, manager, dry_run: true });
    }

    pub(super) fn rehearsed(&mut self, question: Question, outcome: Outcome) {
        let Question { bundle: name, identity, bound, is_anew, refused } = &question;
        let now = self.now.mono_millis;
        let Some(slot) = self.free_slot(name, identity) else {
            return;
        };
        // Newer content may have come between question and answer.
        if slot.bound != *bound || slot.target.is_none() {
            return;
        }
        if let Some(refused) = refused {
            self.told_whether_anew(name, identity, refused, outcome);
            return;
        }
        let attempts = slot.trouble.as_ref().map_or(0, |trouble| trouble.attempts);
        let may_be_made_anew =
            !is_anew && slot.tracked.uid.is_some() && slot.wishes().replacing(&identity.kind) != Replace::Never;
        let is_nowhere = matches!(&outcome, Outcome::Failed(failure) if failure.reason == Reason::NoSuchNamespace);
        let answer = read(outcome, may_be_made_anew, attempts);
        match answer {
            Answer::Fine if is_nowhere => self.clear_namespace(name, &identity.namespace),
            Answer::Refused(_) if self.is_explained(name, identity) => self.clear(name, identity),
            Answer::Fine => self.clear(name, identity),
            Answer::Anew => drop(self.ask_anew(&question)),
            Answer::Refused(mut failure) => {
                failure.message = format!("refused beforehand, in a dry-run: {}", advised(&failure));
                self.not_rehearsed(name, identity, &failure, now);
            }
            Answer::None(failure) => self.not_rehearsed(name, identity, &failure, now),
        }
    }

    fn clear(&mut self, name: &str, identity: &Identity) {
        if let Some(slot) = self.slot_mut(name, identity) {
            slot.is_rehearsed = true;
            slot.trouble = slot.trouble.take().filter(|trouble| trouble.attempt != Attempt::Rehearse);
        }
    }

    /// Where one object of a namespace that is still to be made was asked about, no other need be.
    fn clear_namespace(&mut self, name: &str, namespace: &str) {
        let Some(bundle) = self.bundles.get(name) else {
            return;
        };
        let is_there = |(identity, slot): &(&Identity, &Slot)| identity.namespace == namespace && !slot.is_busy;
        let cleared: Vec<Identity> = bundle.targets().filter(is_there).map(|(identity, _)| identity.clone()).collect();
        for identity in &cleared {
            self.clear(name, identity);
        }
    }

    fn not_rehearsed(&mut self, name: &str, identity: &Identity, failure: &Failure, now: u64) {
        let seed = format!("{name}{identity}");
        if let Some(slot) = self.slot_mut(name, identity) {
            let before = slot.trouble.take();
            slot.trouble = Some(Trouble::next(before.as_ref(), Attempt::Rehearse, failure, &seed, now));
        }
    }

    /// Asks whether an object could be made anew: what can't be changed is deleted before it is
    /// made again, and then it is too late to find that it is refused. Whether it could be asked.
    fn ask_anew(&mut self, question: &Question) -> bool {
        if !self.may_act() {
            return false;
        }
        let Question { bundle: name, identity, .. } = question;
        let Some(mut manifest) = self.marked_manifest(name, identity) else {
            return false;
        };
        let digest = Digest::of_parts([name.as_bytes(), identity.name.as_bytes()]);
        manifest["metadata"]["name"] = format!("drover-{}", digest.short()).into();
        self.ask_dry(Question { is_anew: true, ..question.clone() }, manifest);
        true
    }

    /// Whether a refusal may come of something else that is still to be changed before.
    fn is_explained(&self, name: &str, identity: &Identity) -> bool {
        self.bundles.get(name).is_some_and(|bundle| {
            let mut changed = bundle.targets().filter(|(_, slot)| !slot.is_applied());
            changed.any(|(other, _)| other != identity && order::leans_on(identity, other))
        })
    }

    /// The bound object as it is applied, marks included.
    pub(super) fn marked_manifest(&mut self, name: &str, identity: &Identity) -> Option<Json> {
        let mut bundle = self.bundles.remove(name)?;
        let manifest = self.manifest(name, &mut bundle, identity);
        self.bundles.insert(name.to_owned(), bundle);
        let (label, annotation) = self.marks(name, identity);
        let mut manifest = manifest?;
        owner::mark(&mut manifest, &label, &annotation);
        Some(manifest)
    }
}

/// What a refusal says, and where there is a way out, which: first, since the rest may be long and is cut.
pub(super) fn advised(failure: &Failure) -> String {
    let message = &failure.message;
    let cannot_change = ["immutable", "may not change", "updates to", "can not be changed"];
    if failure.reason == Reason::Invalid && cannot_change.iter().any(|words| message.contains(words)) {
        return format!("annotate it drover.dev/replace: recreate to have it made anew; {message}");
    }
    message.clone()
}

fn read(outcome: Outcome, may_be_made_anew: bool, attempts: u32) -> Answer {
    if matches!(outcome, Outcome::Applied(_)) {
        return Answer::Fine;
    }
    let failure = failure_of(outcome);
    match failure.reason {
        Reason::Invalid if may_be_made_anew => Answer::Anew,
        Reason::Invalid | Reason::Forbidden => Answer::Refused(failure),
        // Of these the write tells, and waits for what it lacks.
        Reason::NoSuchKind
        | Reason::NoSuchNamespace
        | Reason::Terminating
        | Reason::Quota
        | Reason::Conflict
        | Reason::Gone
        | Reason::Webhook => Answer::Fine,
        Reason::Server if attempts + 1 >= limits::DRY_RUNS_MAX => Answer::Fine,
        Reason::Server | Reason::Unauthorized | Reason::Throttled | Reason::Unreachable => Answer::None(failure),
    }
}
