//! What a bundle's objects add up to: sync, health, drift and problems.

use proto_model::report::cut;
use proto_model::{Health, Identity, ObjectProblem, Sync, limits};

/// What one wanted object adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectState<'a> {
    /// Which object.
    pub identity: &'a Identity,
    /// Whether what is assigned now was applied to it.
    pub is_applied: bool,
    /// How it is doing; counts only where it is applied.
    pub health: Health,
    /// Why it is not Healthy; empty where it is.
    pub message: &'a str,
    /// Whether somebody changed or removed it and it was not put right.
    pub is_drifted: bool,
    /// What failed, and whether for good.
    pub trouble: Option<(&'a str, bool)>,
}

/// What a bundle adds beside its wanted objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// What stops it, for good or for now.
    pub problems: Vec<ObjectProblem>,
    /// Whether its objects are not all known yet.
    pub is_unplanned: bool,
    /// Whether objects are still to be removed.
    pub is_pruning: bool,
}

/// The sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Sync.
    pub sync: Sync,
    /// Health.
    pub health: Health,
    /// Whether an object drifted.
    pub drifted: bool,
    /// The worst problems.
    pub problems: Vec<ObjectProblem>,
    /// Problems beyond those.
    pub problems_more: u64,
}

/// Adds up a bundle that runs.
#[must_use]
pub fn summarize(objects: &[ObjectState<'_>], circumstances: Circumstances) -> Summary {
    let mut failed = circumstances.problems;
    let mut ailing = Vec::new();
    for object in objects {
        if let Some((message, is_final)) = object.trouble {
            failed.push(problem(object.identity, is_final, message));
        } else if object.is_applied && !object.message.is_empty() {
            ailing.push((object.health, problem(object.identity, false, object.message)));
        }
    }
    let is_incomplete =
        circumstances.is_unplanned || circumstances.is_pruning || objects.iter().any(|object| !object.is_applied);
    let sync = if failed.iter().any(|problem| problem.is_final) {
        Sync::Failed
    } else if !failed.is_empty() {
        Sync::Waiting
    } else if is_incomplete {
        Sync::Applying
    } else {
        Sync::Applied
    };
    // What cannot be mended comes first, then what is in trouble, then what is on its way.
    failed.sort_by_key(|problem| !problem.is_final);
    ailing.sort_by_key(|(health, _)| *health != Health::Degraded);
    failed.extend(ailing.into_iter().map(|(_, problem)| problem));
    let (problems, problems_more) = cap(failed);
    Summary {
        sync,
        health: health(objects, circumstances.is_unplanned),
        drifted: objects.iter().any(|object| object.is_drifted),
        problems,
        problems_more,
    }
}

/// The worst problems and the number of the rest; the problems come worst first.
#[must_use]
pub fn cap(mut problems: Vec<ObjectProblem>) -> (Vec<ObjectProblem>, u64) {
    let more = problems.len().saturating_sub(limits::PROBLEMS_PER_REPORT_MAX);
    problems.truncate(limits::PROBLEMS_PER_REPORT_MAX);
    (problems, more as u64)
}

/// A problem of one object, its message cut to the limit.
#[must_use]
pub fn problem(identity: &Identity, is_final: bool, message: &str) -> ObjectProblem {
    ObjectProblem { object: Some(identity.clone()), is_final, message: cut(message) }
}

fn health(objects: &[ObjectState<'_>], is_unplanned: bool) -> Health {
    let applied = || objects.iter().filter(|object| object.is_applied);
    let any = |health| applied().any(|object| object.health == health);
    if any(Health::Degraded) {
        Health::Degraded
    } else if is_unplanned || applied().count() < objects.len() || any(Health::Progressing) {
        Health::Progressing
    } else if any(Health::Unknown) {
        Health::Unknown
    } else {
        Health::Healthy
    }
}

#[cfg(test)]
mod tests {
    use proto_model::GroupKind;

    use super::*;

    fn identity(name: &str) -> Identity {
        Identity { kind: GroupKind::of("v1", "ConfigMap"), namespace: "shop".into(), name: name.into() }
    }

    fn good(identity: &Identity) -> ObjectState<'_> {
        ObjectState {
            identity,
            is_applied: true,
            health: Health::Healthy,
            message: "",
            is_drifted: false,
            trouble: None,
        }
    }

    fn words(objects: &[ObjectState<'_>]) -> (Sync, Health) {
        let summary = summarize(objects, Circumstances::default());
        (summary.sync, summary.health)
    }

    #[test]
    fn all_good_or_nothing_at_all_is_applied_and_healthy() {
        let one = identity("a");
        assert_eq!(words(&[good(&one)]), (Sync::Applied, Health::Healthy));
        assert_eq!(words(&[]), (Sync::Applied, Health::Healthy));
    }

    #[test]
    fn health_of_what_is_not_applied_does_not_count() {
        let one = identity("a");
        let stale = ObjectState { is_applied: false, health: Health::Degraded, ..good(&one) };
        assert_eq!(words(&[stale]), (Sync::Applying, Health::Progressing));
    }

    #[test]
    fn trouble_is_waiting_or_failed_and_sorted() {
        let (a, b, c) = (identity("a"), identity("b"), identity("c"));
        let ailing = ObjectState { health: Health::Degraded, message: "crashes", ..good(&a) };
        let waiting = ObjectState { trouble: Some(("later", false)), ..good(&b) };
        assert_eq!(words(&[ailing.clone(), waiting.clone()]), (Sync::Waiting, Health::Degraded));
        let failed = ObjectState { trouble: Some(("never", true)), ..good(&c) };
        let summary = summarize(&[ailing, waiting, failed], Circumstances::default());
        assert_eq!(summary.sync, Sync::Failed);
        let messages: Vec<&str> = summary.problems.iter().map(|p| &*p.message).collect();
        assert_eq!(messages, ["never", "later", "crashes"]);
    }

    #[test]
    fn problems_are_capped_and_counted() {
        let identities: Vec<Identity> = (0..20).map(|n| identity(&n.to_string())).collect();
        let long = "x".repeat(1000);
        let objects: Vec<_> =
            identities.iter().map(|one| ObjectState { trouble: Some((&long, false)), ..good(one) }).collect();
        let summary = summarize(&objects, Circumstances::default());
        assert_eq!(summary.problems.len(), limits::PROBLEMS_PER_REPORT_MAX);
        assert_eq!(summary.problems_more, 20 - limits::PROBLEMS_PER_REPORT_MAX as u64);
        assert!(summary.problems.iter().all(|p| p.message.len() <= limits::PROBLEM_BYTES_MAX));
    }
}
