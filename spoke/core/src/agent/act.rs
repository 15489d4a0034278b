//! What a bundle does next: in order, stage by stage, as far as requests allow.

use proto_model::assign::{Assignment, Entry};
use proto_model::variant::{Dependency, Drift, Until};
use proto_model::{Health, Identity, ObjectProblem, Sync, limits};

use super::Agent;
use super::bundle::{Bundle, Plan, Ready, Trouble, holds_up};
use super::done::Errand;
use super::draft::{Draft, Then};
use super::rehearse;
use super::remove::Which;
use super::slot::Slot;
use super::suspend::looks;
use crate::diff::{Sight, Verdict, Why};
use crate::order::Stage;
use crate::owner::{self, Ownership};
use crate::port::{Kind, Op, Reason};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Namespace(String),
    Look(Identity),
    /// Ask what would come of applying it.
    Rehearse(Identity),
    Apply(Identity, Why),
    /// Ask whether what it calls answers.
    Await(Identity),
    /// Look at it and take our marks off it.
    Release(Identity),
    /// Look at it and delete it, if what is seen allows that.
    Remove(Identity),
}

impl Step {
    /// The object that it is about.
    fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Namespace(_) => None,
            Self::Look(identity)
            | Self::Rehearse(identity)
            | Self::Apply(identity, _)
            | Self::Await(identity)
            | Self::Release(identity)
            | Self::Remove(identity) => Some(identity),
        }
    }
}

/// What of the rest of the machine a bundle's decisions depend on.
struct Circumstances {
    now: u64,
    drift: Drift,
    /// Whether new content may be applied at all.
    is_open: bool,
    /// Whether another bundle brings the namespace that this one needs.
    is_namespace_brought: bool,
    /// Steps that can be carried out now, and one more to know that there is more.
    steps_max: usize,
}

impl Agent {
    /// Looks at a bundle and does what is next.
    pub(super) fn advance(&mut self, name: &str) {
        if self.is_suspended(name) {
            return self.advance_suspended(name);
        }
        match self.ledger.entries.get(name).cloned() {
            Some(Entry::Run(assignment)) => self.advance_run(name, &assignment),
            Some(Entry::Remove(permit)) => self.advance_removal(name, &permit),
            // Unknown to the hub: kept as it is.
            None => self.look_at_unknown(name),
        }
    }

    /// What is gone of a bundle that is unknown to the hub leaves its inventory, lest it stands in the way of others.
    fn look_at_unknown(&mut self, name: &str) {
        let (now, steps_max) = (self.now.mono_millis, self.steps_max());
        let Some(bundle) = self.bundles.get_mut(name) else { return };
        let steps = looks(bundle, now, steps_max, |slot| slot.look);
        self.perform(name, steps);
    }

    fn advance_run(&mut self, name: &str, assignment: &Assignment) {
        let Some(content) = self.contents.get(name) else {
            return;
        };
        let settings = content.variant().settings.clone();
        self.mind_unwatched(name);
        let mut problems = self.unmet(&settings.depends_on);
        let are_dependencies_met = problems.is_empty();
        let are_kinds_clear = self.discover(name, &mut problems);
        let circumstances = Circumstances {
            now: self.now.mono_millis,
            drift: settings.drift,
            is_open: are_kinds_clear && are_dependencies_met,
            is_namespace_brought: self.is_brought_elsewhere(name, settings.namespace.as_deref()),
            steps_max: self.steps_max(),
        };
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        if let Plan::Failed(found) = &bundle.plan {
            problems.extend(found.iter().cloned());
        }
        bundle.problems = problems;
        bundle.may_remove = false;
        bundle.forget_mended();
        bundle.mind_statuses(self.now.mono_millis);
        bundle.mind_hooks(self.now.mono_millis);
        bundle.is_pruning = bundle.slots.values().any(|slot| slot.target.is_none());
        let (mut steps, comes_first) = decide(bundle, &circumstances);
        let may_prune = bundle.is_pruning && bundle.is_healthy();
        if may_prune || comes_first {
            let which = if may_prune { Which::All } else { Which::First };
            steps.extend(self.decide_removal(name, &assignment.permit, which));
        }
        self.perform(name, steps);
        self.save_memory(name);
        self.summarize(name);
    }

    /// Carries out steps, as far as requests allow.
    pub(super) fn perform(&mut self, name: &str, steps: Vec<Step>) {
        for step in steps {
            // One request about an object at a time: the answer to the first would free it for a third.
            let slot = step.identity().and_then(|identity| self.slot_mut(name, identity));
            if slot.is_some_and(|slot| slot.is_busy) {
                continue;
            }
            let is_started = match step {
                Step::Namespace(namespace) => self.ensure_namespace(name, namespace),
                Step::Look(identity) => self.look(name, &identity, false),
                Step::Remove(identity) => self.look(name, &identity, true),
                Step::Rehearse(identity) => self.rehearse(name, &identity),
                Step::Apply(identity, why) => self.apply(name, &identity, why),
                Step::Await(identity) => self.ask_services(name, &identity, 0),
                Step::Release(identity) => self.release(name, &identity),
            };
            if !is_started {
                break;
            }
        }
    }

    /// Steps worth deciding on: what is free, and one more to know that there is more.
    pub(super) fn steps_max(&self) -> usize {
        limits::API_REQUESTS_MAX.saturating_sub(self.errands.len()) + 1
    }

    fn ensure_namespace(&mut self, name: &str, namespace: String) -> bool {
        let errand = Errand::Namespace { bundle: name.to_owned() };
        let is_started = self.start(name, errand, Op::EnsureNamespace(namespace));
        if is_started && let Some(ready) = self.ready_mut(name) {
            ready.namespace_is_busy = true;
        }
        is_started
    }

    fn look(&mut self, name: &str, identity: &Identity, to_remove: bool) -> bool {
        if to_remove && self.removals_wait(name) {
            return true;
        }
        let Some(slot) = self.slot_mut(name, identity) else {
            return true;
        };
        let version = match &slot.target {
            Some(target) => target.version.clone(),
            None => slot.tracked.version.clone(),
        };
        let (bundle, about) = (name.to_owned(), identity.clone());
        let errand = if to_remove {
            Errand::Remove { bundle, identity: about }
        } else {
            Errand::Look { bundle, identity: about }
        };
        let is_started = self.start(name, errand, Op::Get { identity: identity.clone(), version });
        self.mark_busy(name, identity, is_started)
    }

    fn apply(&mut self, name: &str, identity: &Identity, why: Why) -> bool {
        // Asked before the manifest is made.
        if !self.has_turn(name) {
            return false;
        }
        if let Some(other) = self.owner_of(name, identity) {
            let (seed, now) = (format!("{name}{identity}"), self.now.mono_millis);
            let objection = owner::objection(&Ownership::OtherBundle(other), identity);
            if let Some(slot) = self.slot_mut(name, identity) {
                slot.stand_back(objection.unwrap_or_default(), &seed, now);
            }
            // When to try again is decided anew.
            self.dirty.insert(name.to_owned());
            return true;
        }
        let now = self.now.mono_millis;
        let Some(bundle) = self.bundles.get_mut(name) else {
            return true;
        };
        let Some(slot) = bundle.slots.get_mut(identity) else {
            return true;
        };
        let Some(target) = &slot.target else {
            return true;
        };
        // Should the answer be lost, nobody knows any more what is there: what was applied before
        // must not pass for it when it is wanted again, also after a restart.
        if why == Why::Content && slot.is_replaced() {
            let stage = target.stage;
            bundle.disown(identity, stage);
            bundle.is_begun = true;
            bundle.unsaved(now);
            return true;
        }
        // With another one of its stage it became one to write down first.
        if !slot.is_durable {
            return true;
        }
        if why != Why::Missing && self.is_drafted(name, identity) {
            self.draft(Draft { bundle: name.to_owned(), identity: identity.clone(), then: Then::Apply(why) });
        } else if let Some(manifest) = self.marked_manifest(name, identity) {
            self.send(name, identity, manifest, why);
        }
        true
    }

    /// Another bundle of this cluster that owns an object, is about to make it or, where nobody
    /// does, wants it and comes first: two that looked at the same moment both saw nothing there.
    fn owner_of(&self, name: &str, identity: &Identity) -> Option<String> {
        let own = self.bundles.get(name)?.slots.get(identity)?;
        if identity.kind.is_shared() || own.is_there_as_made() {
            return None;
        }
        let makes = |other: &String| {
            let is_it = |errand: &Errand| matches!(errand, Errand::Apply { bundle, identity: of, .. } if bundle == other && of == identity);
            self.errands.values().any(is_it)
        };
        let is_owner = |(other, bundle): (&String, &Bundle)| {
            let slot = bundle.slots.get(identity).filter(|_| other != name)?;
            let wants = slot.target.is_some() && slot.sight != Sight::Foreign && other.as_str() < name;
            (slot.exists() || wants || makes(other)).then(|| other.clone())
        };
        self.bundles.iter().find_map(is_owner)
    }

    pub(super) fn mark_busy(&mut self, name: &str, identity: &Identity, is_started: bool) -> bool {
        if is_started && let Some(slot) = self.slot_mut(name, identity) {
            slot.is_busy = true;
        }
        is_started
    }

    /// Lets go of bound objects that nothing is about to be done with.
    pub(super) fn save_memory(&mut self, name: &str) {
        let is_hungry = self.hungry.contains(name);
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        let is_waiting = bundle.slots.values().any(|slot| !slot.is_durable);
        if is_hungry || is_waiting || bundle.is_busy() {
            return;
        }
        if let Plan::Ready(ready) = &mut bundle.plan
            && !ready.namespace_is_busy
        {
            ready.bound = None;
        }
    }

    /// Asks for kinds whose scope is not known. Whether new content may be applied: all kinds are
    /// known, or known not to exist yet.
    fn discover(&mut self, name: &str, problems: &mut Vec<ObjectProblem>) -> bool {
        let unknown = match self.bundles.get(name).map(|bundle| &bundle.plan) {
            Some(Plan::Ready(ready)) => ready.unknown.clone(),
            _ => return false,
        };
        let now = self.now.mono_millis;
        let mut is_clear = true;
        for (kind, identity) in unknown {
            if self.scopes.contains_key(&kind) {
                // Known by now; the bundle is bound anew once its other kinds are.
                is_clear = false;
                continue;
            }
            let trouble = match self.asked.get(&kind) {
                Some(Some(trouble)) => Some(trouble.clone()),
                Some(None) => {
                    is_clear = false;
                    continue;
                }
                None => None,
            };
            is_clear &= trouble.as_ref().is_some_and(|trouble| trouble.reason == Some(Reason::NoSuchKind));
            if let Some(trouble) = &trouble {
                problems.push(crate::report::problem(&identity, trouble.is_final, &trouble.message));
            }
            match trouble {
                Some(trouble) if trouble.retry_at > now => {
                    if let Some(bundle) = self.bundles.get_mut(name) {
                        bundle.wake_at(trouble.retry_at);
                    }
                }
                before => self.ask(name, kind, before),
            }
        }
        is_clear
    }

    fn ask(&mut self, name: &str, kind: Kind, before: Option<Trouble>) {
        let errand = Errand::Discover { kind: kind.clone(), before };
        if self.start(name, errand, Op::Discover(kind.clone())) {
            self.asked.insert(kind, None);
        }
    }

    /// What a bundle waits for, one problem for each dependency.
    fn unmet(&self, dependencies: &[Dependency]) -> Vec<ObjectProblem> {
        let waits = |dependency: &Dependency| {
            let until = match dependency.until {
                Until::Installed => "installed",
                Until::Healthy => "healthy",
                Until::Current => "current",
            };
            let name = &dependency.bundle;
            let message = if matches!(self.ledger.entries.get(name), Some(Entry::Run(_))) {
                format!("waits for bundle {name} ({until})")
            } else {
                format!("waits for bundle {name} ({until}), which is not assigned to this cluster")
            };
            ObjectProblem { object: None, is_final: false, message }
        };
        dependencies.iter().filter(|one| !self.is_met(one)).map(waits).collect()
    }

    fn is_met(&self, dependency: &Dependency) -> bool {
        let Some(bundle) = self.bundles.get(&dependency.bundle) else {
            return false;
        };
        if !matches!(self.ledger.entries.get(&dependency.bundle), Some(Entry::Run(_))) {
            return false;
        }
        let says = |sync: Option<Sync>| {
            bundle
                .report
                .as_ref()
                .is_some_and(|report| report.health == Health::Healthy && sync.is_none_or(|sync| report.sync == sync))
        };
        match dependency.until {
            Until::Installed => bundle.installed,
            // What it runs now may be the content before: that is healthy, too.
            Until::Healthy => bundle.installed && bundle.is_healthy_now(),
            Until::Current => says(Some(Sync::Applied)),
        }
    }

    fn is_brought_elsewhere(&self, name: &str, namespace: Option<&str>) -> bool {
        let Some(namespace) = namespace else {
            return false;
        };
        self.bundles.iter().any(|(other, bundle)| match &bundle.plan {
            Plan::Ready(ready) => other != name && ready.brings.contains(namespace),
            _ => false,
        })
    }

    pub(super) fn slot_mut(&mut self, name: &str, identity: &Identity) -> Option<&mut Slot> {
        self.bundles.get_mut(name)?.slots.get_mut(identity)
    }

    pub(super) fn ready_mut(&mut self, name: &str) -> Option<&mut Ready> {
        match &mut self.bundles.get_mut(name)?.plan {
            Plan::Ready(ready) => Some(ready),
            _ => None,
        }
    }
}

/// What to do about the objects that a bundle wants, in order; and whether others must go first.
fn decide(bundle: &mut Bundle, circumstances: &Circumstances) -> (Vec<Step>, bool) {
    let mut is_open = circumstances.is_open;
    let (mut steps, mut wake) = (Vec::new(), None);
    if is_open && !bundle.is_begun {
        let rehearsal = rehearse::decide(bundle, circumstances.now, circumstances.steps_max);
        is_open = rehearsal.is_over;
        (steps, wake) = (rehearsal.steps, rehearsal.wake);
    }
    let Plan::Ready(ready) = &mut bundle.plan else {
        return (steps, false);
    };
    // What holds a port or a volume that its successor needs. What is of a kind that is not known may be named still.
    let may_be_named = |identity: &Identity| ready.unknown.keys().any(|kind| kind.kind == identity.kind);
    let goes_first = |(identity, slot): (&Identity, &Slot)| slot.goes_first() && !may_be_named(identity);
    let must_wait = is_open && bundle.slots.iter().any(goes_first);
    let comes_first = must_wait && ready.unknown.is_empty();
    is_open &= !must_wait;
    let mut before: Option<Stage> = None;
    let (mut is_done, mut is_healthy) = (true, true);
    for (identity, slot) in ready.in_order(&bundle.slots) {
        // What comes after is decided when there is room for more.
        if steps.len() >= circumstances.steps_max {
            break;
        }
        let Some(target) = &slot.target else { continue };
        if let Some(before) = before.filter(|before| *before != target.stage) {
            is_open &= is_done && (is_healthy || !target.stage.is_after_border(&before));
        }
        before = Some(target.stage);
        // Whoever asked for hands off answers for what comes after.
        let is_applied = slot.is_applied() || slot.is_hands_off();
        is_done &= is_applied && !holds_up(identity, slot);
        is_healthy &= is_applied && slot.health().0 == Health::Healthy;
        match decide_object(identity, slot, is_open, circumstances) {
            Next::Nothing => {}
            Next::At(at) => wake = Some(wake.map_or(at, |before| before.min(at))),
            Next::Step(step) => steps.push(step),
        }
    }
    let needs_namespace = |step: &Step| match step {
        Step::Apply(identity, _) => Some(&identity.namespace) == ready.namespace.as_ref(),
        _ => false,
    };
    let is_there = ready.namespace_is_there || circumstances.is_namespace_brought;
    if !is_there && steps.iter().any(needs_namespace) {
        steps.retain(|step| !needs_namespace(step));
        let retry_at = ready.namespace_trouble.as_ref().map_or(0, |trouble| trouble.retry_at);
        if retry_at > circumstances.now {
            wake = Some(wake.map_or(retry_at, |before| before.min(retry_at)));
        } else if !ready.namespace_is_busy {
            steps.extend(ready.namespace.clone().map(Step::Namespace));
        }
    }
    if let Some(at) = wake {
        bundle.wake_at(at);
    }
    (steps, comes_first)
}

enum Next {
    Nothing,
    At(u64),
    Step(Step),
}

fn decide_object(identity: &Identity, slot: &Slot, is_open: bool, circumstances: &Circumstances) -> Next {
    // What is not in the durable inventory is not touched.
    if slot.is_busy || !slot.is_durable {
        return Next::Nothing;
    }
    if let Some(trouble) = slot.trouble.as_ref().filter(|one| one.retry_at > circumstances.now) {
        return Next::At(trouble.retry_at);
    }
    if slot.is_hands_off() && !slot.look {
        return Next::Nothing;
    }
    let is_going = slot.verdict() == Verdict::Going;
    let is_to_go = slot.recreate || slot.is_to_be_cleaned();
    if is_to_go && matches!(slot.sight, Sight::Live(_)) && !slot.look && !is_going {
        return Next::Step(Step::Remove(identity.clone()));
    }
    match slot.verdict() {
        // It was looked at and was still there; its watch may tell sooner that it is gone.
        Verdict::Going if slot.trouble.is_some() => Next::Step(Step::Look(identity.clone())),
        Verdict::Look if is_open || slot.tracked.uid.is_some() => Next::Step(Step::Look(identity.clone())),
        // Since it was seen to be missing somebody may have made one.
        Verdict::Apply(why)
            if slot.is_long_absent(circumstances.now)
                && if why == Why::Content { is_open } else { circumstances.drift == Drift::Correct } =>
        {
            Next::Step(Step::Look(identity.clone()))
        }
        Verdict::Apply(Why::Content) if is_open && slot.waits_for_services() => {
            Next::Step(Step::Await(identity.clone()))
        }
        Verdict::Apply(Why::Content) if is_open => Next::Step(Step::Apply(identity.clone(), Why::Content)),
        Verdict::Apply(why @ (Why::Drifted | Why::Missing)) if circumstances.drift == Drift::Correct => {
            let at = slot.correct_at(why, &identity.name);
            if slot.is_contested() && slot.contest.is_none() {
                Next::Step(Step::Look(identity.clone()))
            } else if at > circumstances.now {
                Next::At(at)
            } else {
                Next::Step(Step::Apply(identity.clone(), why))
            }
        }
        _ => Next::Nothing,
    }
}
