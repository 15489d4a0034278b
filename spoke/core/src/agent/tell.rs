//! What is said of bundles: reports, on change only.

use proto_model::assign::Entry;
use proto_model::delta::ToHub;
use proto_model::{Digest, Health, Report, Sync, Variables, limits};

use super::bundle::{Bundle, Plan};
use super::session::Sent;
use super::slot::Slot;
use super::{Agent, Effect};
use crate::diff::{Sight, Verdict};
use crate::port::Reason;
use crate::prune;
use crate::report::{self, Circumstances, ObjectState, Summary};

impl Agent {
    /// Works out a bundle's report anew.
    pub(super) fn summarize(&mut self, name: &str) {
        let Some(entry) = self.ledger.entries.get(name) else {
            return;
        };
        let Some(bundle) = self.bundles.get(name) else {
            return;
        };
        let (variant, variables, summary) = match entry {
            Entry::Run(assignment) => {
                (Some(assignment.variant), assignment.variables.digest(), self.summary_of_run(bundle))
            }
            Entry::Remove(_) => {
                // The variant is named until all of it is gone, as far as that is known.
                let variant = bundle.variant.unwrap_or_default();
                let variant = (!bundle.slots.is_empty() || self.is_to_be_searched()).then_some(variant);
                (variant, Variables::default().digest(), self.summary_of_removal(bundle))
            }
        };
        let mut summary = summary;
        if let Some(problem) = self.suspended_here(name).filter(|one| !summary.problems.contains(one))
            && summary.problems.len() < limits::PROBLEMS_PER_REPORT_MAX
        {
            summary.problems.push(problem);
        }
        let is_installed = summary.sync == Sync::Applied && summary.health == Health::Healthy || bundle.installed;
        let mut report = Report {
            bundle: name.to_owned(),
            generation: bundle.generation,
            variant,
            variables,
            sync: summary.sync,
            health: summary.health,
            drifted: summary.drifted,
            suspended: self.is_suspended(name),
            installed: is_installed,
            objects: bundle.slots.values().filter(|slot| slot.exists()).count() as u64,
            problems: summary.problems,
            problems_more: summary.problems_more,
            since_unix_millis: self.now.unix_millis,
        };
        if let Some(before) = &bundle.report
            && state(before) == state(&report)
        {
            report.since_unix_millis = before.since_unix_millis;
        }
        self.keep_report(name, report);
    }

    fn keep_report(&mut self, name: &str, report: Report) {
        let now = self.now.mono_millis;
        let Some(bundle) = self.bundles.get_mut(name) else {
            return;
        };
        if report.installed && !bundle.installed {
            bundle.installed = true;
            bundle.unsaved(now);
        }
        let health_now = bundle.is_healthy_now();
        let says = (report.installed, report.sync, report.health, health_now);
        let is_news = bundle.said != Some(says);
        bundle.said = Some(says);
        if bundle.report.as_ref() != Some(&report) {
            let before = bundle.report.replace(report.clone());
            self.tell_change(name, before.as_ref(), &report);
            self.reports_changed.insert(name.to_owned());
        }
        if is_news {
            self.wake_dependents(name);
        }
    }

    fn wake_dependents(&mut self, name: &str) {
        for (other, content) in &self.contents {
            let depends_on = &content.variant().settings.depends_on;
            if depends_on.iter().any(|dependency| dependency.bundle == name) {
                self.dirty.insert(other.clone());
            }
        }
    }

    fn summary_of_run(&self, bundle: &Bundle) -> Summary {
        // Few or none: with each of many objects the watch of its kind would be searched for.
        let lost: Vec<_> = self.watches.iter().filter(|(_, watch)| watch.lost.is_some()).collect();
        let lost = |identity: &proto_model::Identity, slot: &Slot| {
            let (_, watch) = lost.iter().find(|(kind, _)| **kind == identity.kind)?;
            // Where a right is missing, it is looked at instead.
            let is_looked_at = watch.lost_because == Some(Reason::Forbidden) && slot.sight != Sight::Unknown;
            watch.lost.as_deref().filter(|_| !is_looked_at)
        };
        let state = |(identity, slot)| object_state(identity, slot, lost(identity, slot));
        let objects: Vec<ObjectState<'_>> = bundle.targets().map(state).collect();
        let is_unplanned = match &bundle.plan {
            Plan::Ready(ready) => !ready.unknown.is_empty(),
            Plan::None | Plan::Failed(_) => true,
        };
        let mut problems = bundle.problems.clone();
        let is_unsaved = bundle.slots.values().any(|slot| !slot.is_durable);
        if is_unsaved && let Some(trouble) = &self.store.trouble {
            problems.push(proto_model::ObjectProblem {
                object: None,
                is_final: false,
                message: proto_model::report::cut(&format!(
                    "the inventory can't be written to the ledger: {}",
                    trouble.message
                )),
            });
        }
        problems.extend(removal_problems(bundle));
        report::summarize(&objects, Circumstances { problems, is_unplanned, is_pruning: bundle.is_pruning })
    }

    fn summary_of_removal(&self, bundle: &Bundle) -> Summary {
        let mut problems = bundle.problems.clone();
        problems.extend(removal_problems(bundle));
        if self.is_to_be_searched() {
            problems.push(proto_model::ObjectProblem {
                object: None,
                is_final: false,
                message: "its inventory was lost: what it made here is searched for by its marks first".into(),
            });
        }
        problems.sort_by_key(|problem| !problem.is_final);
        let is_stopped = problems.iter().any(|problem| problem.is_final);
        let (problems, problems_more) = report::cap(problems);
        Summary {
            sync: if is_stopped { Sync::Failed } else { Sync::Removing },
            health: Health::Unknown,
            drifted: false,
            problems,
            problems_more,
        }
    }

    /// Says Hello where it is due, and reports that the hub does not have.
    pub(super) fn tell(&mut self) {
        self.maybe_hello();
        if !self.may_speak() {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.tell_at = None;
        let now = self.now.mono_millis;
        for name in std::mem::take(&mut self.reports_changed) {
            let report = self.bundles.get(&name).and_then(|bundle| bundle.report.as_ref());
            let Some(report) = report else { continue };
            let (digest, essence) = (report.digest(), essence(report));
            let before = session.sent.get(&name);
            if before.is_some_and(|before| before.digest == digest) {
                continue;
            }
            // Counts and words may change with each object: they are said once in a while.
            if let Some((said, at)) = before.and_then(|before| before.last)
                && said == essence
                && now < at + limits::REPORT_MILLIS_MIN
            {
                let due = at + limits::REPORT_MILLIS_MIN;
                session.tell_at = Some(session.tell_at.map_or(due, |at| at.min(due)));
                self.reports_changed.insert(name);
                continue;
            }
            session.sent.insert(name, Sent { digest, last: Some((essence, now)) });
            self.out.push(Effect::Send(ToHub::Report(report.clone())));
        }
    }
}

/// Generation, variant, variables, sync, health and drift of a report.
type State = (u64, Option<Digest>, Digest, Sync, Health, bool);
/// The same, and whether the bundle is suspended.
pub(super) type Essence = (State, bool);

/// What a change of which makes a report a new one to people.
fn essence(report: &Report) -> Essence {
    (state(report), report.suspended)
}

/// What it says of the bundle, whatever is wanted of the spoke. Since when it is so is told.
fn state(report: &Report) -> State {
    (report.generation, report.variant, report.variables, report.sync, report.health, report.drifted)
}

fn object_state<'a>(identity: &'a proto_model::Identity, slot: &'a Slot, lost: Option<&'a str>) -> ObjectState<'a> {
    let (health, message) = match lost {
        Some(message) => (Health::Unknown, message),
        None => slot.health(),
    };
    let contested = slot.contest.as_deref();
    let contested = contested.unwrap_or("is contested: somebody keeps changing it back; correction pauses");
    let trouble = slot.trouble.as_ref().map(|trouble| (&*trouble.message, trouble.is_final));
    let is_in_the_way = slot.is_hands_off() && slot.verdict() != Verdict::Settled;
    let trouble = trouble.or(is_in_the_way.then_some((prune::HANDS_OFF, false)));
    let message = match () {
        () if slot.is_contested() => contested,
        () if slot.is_hands_off() && message.is_empty() => prune::HANDS_OFF,
        () => message,
    };
    ObjectState { identity, is_applied: slot.is_applied(), health, message, is_drifted: slot.is_drifted(), trouble }
}

/// Why objects that shall go are still there.
fn removal_problems(bundle: &Bundle) -> Vec<proto_model::ObjectProblem> {
    let going = bundle.slots.iter().filter(|(_, slot)| slot.target.is_none());
    going
        .filter_map(|(identity, slot)| {
            let trouble = slot.trouble.as_ref()?;
            Some(report::problem(identity, trouble.is_final, &trouble.message))
        })
        .collect()
}
