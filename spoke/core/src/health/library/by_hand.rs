//! Kinds whose health is counted or compared rather than read off a condition.
//!
//! Each function says what stands in the way of Healthy; `None` is no objection.

use proto_model::report::cut;
use serde_json::Value as Json;

use super::super::conditions::Conditions;
use super::super::{Assessment, generation_lag, number, text};

fn count(object: &Json, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or(0)
}

/// The first number that is below what is wanted, in words.
fn short_of(wanted: i64, what: &str, counts: &[(&str, i64)]) -> Option<Assessment> {
    let (done, have) = counts.iter().find(|(_, have)| *have < wanted)?;
    Some(Assessment::progressing(format!("{have} of {wanted} {what} {done}")))
}

/// A Rollout of Argo.
pub(super) fn rollout(object: &Json, conditions: &Conditions<'_>) -> Option<Assessment> {
    if let Some(lag) = rollout_lag(object) {
        return Some(lag);
    }
    if let Some(condition) = conditions.when_true("InvalidSpec") {
        return Some(Assessment::degraded(condition.say()));
    }
    let stopped = conditions.get("Progressing").filter(|condition| {
        ["RolloutAborted", "ProgressDeadlineExceeded"].contains(&condition.reason) && condition.status != "True"
    });
    if let Some(condition) = stopped {
        return Some(Assessment::degraded(condition.say()));
    }
    if text(object, "/status/phase") == "Degraded" {
        return Some(Assessment::degraded(cut(&format!("phase is Degraded: {}", text(object, "/status/message")))));
    }
    let is_paused = object.pointer("/spec/paused").and_then(Json::as_bool).unwrap_or(false)
        || object.pointer("/status/pauseConditions").and_then(Json::as_array).is_some_and(|all| !all.is_empty());
    if is_paused {
        return Some(Assessment::healthy());
    }
    match (rollout_step(object), rollout_count(object)) {
        (Some(step), Some(count)) => {
            Some(Assessment { message: format!("{}: {}", step.message, count.message), ..step })
        }
        (step, count) => step.or(count),
    }
}

/// Rollouts write the observed generation as text, and old ones a hash in its place.
fn rollout_lag(object: &Json) -> Option<Assessment> {
    let generation = number(object, "/metadata/generation")?;
    let written = object.pointer("/status/observedGeneration");
    let observed = match written {
        Some(Json::String(text)) => text.parse().ok(),
        other => other.and_then(Json::as_i64),
    };
    match (written, observed) {
        (None, _) => Some(Assessment::progressing("is not observed by its controller yet")),
        (_, Some(observed)) if observed < generation => Some(Assessment::progressing(format!(
            "generation {generation} is not observed by its controller yet (at {observed})"
        ))),
        _ => None,
    }
}

fn rollout_count(object: &Json) -> Option<Assessment> {
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let updated = count(object, "/status/updatedReplicas");
    let old = count(object, "/status/replicas") - updated;
    let is_canary = object.pointer("/spec/strategy/canary").is_some();
    short_of(wanted, "replicas", &[("updated", updated), ("available", count(object, "/status/availableReplicas"))])
        .or_else(|| (is_canary && old > 0).then(|| Assessment::progressing(format!("{old} old replicas are going"))))
}

/// Whether the newest pods are those that count.
fn rollout_step(object: &Json) -> Option<Assessment> {
    let newest = text(object, "/status/currentPodHash");
    let stable = match text(object, "/status/stableRS") {
        "" => text(object, "/status/canary/stableRS"),
        stable => stable,
    };
    let said = if object.pointer("/spec/strategy/blueGreen").is_some() {
        if text(object, "/status/blueGreen/activeSelector") != newest {
            "its active service leads to the old replicas"
        } else if !stable.is_empty() && stable != newest {
            "its analysis has not ended yet"
        } else {
            return None;
        }
    } else if stable != newest {
        let step = count(object, "/status/currentStepIndex");
        let steps = object.pointer("/spec/strategy/canary/steps").and_then(Json::as_array).map_or(0, Vec::len);
        return Some(Assessment::progressing(format!("is at step {step} of {steps}")));
    } else {
        return None;
    };
    Some(Assessment::progressing(said))
}

/// An Application of Argo CD: what it says of itself, and the error that keeps it from saying anything.
pub(super) fn application(object: &Json, conditions: &Conditions<'_>) -> Option<Assessment> {
    let health = text(object, "/status/health/status");
    if matches!(health, "Healthy" | "Suspended") {
        return None;
    }
    // Its conditions have no status: they are there or not.
    if let Some(error) = conditions.iter().find(|condition| condition.name.ends_with("Error")) {
        return Some(Assessment::degraded(cut(&format!("condition {}: {}", error.name, error.message()))));
    }
    let message = text(object, "/status/health/message");
    let said = match (health, message) {
        ("", _) => "has no health yet".to_owned(),
        (health, "") => format!("health is {health}"),
        (health, message) => cut(&format!("health is {health}: {message}")),
    };
    Some(if health == "Degraded" { Assessment::degraded(said) } else { Assessment::progressing(said) })
}

/// What makes machines: a MachineDeployment, a MachineSet, a control plane.
pub(super) fn machines(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    if let Some(lag) = generation_lag(object) {
        return Some(lag);
    }
    for at in ["/status/failureMessage", "/status/failureReason"] {
        let failure = text(object, at);
        if !failure.is_empty() {
            return Some(Assessment::degraded(cut(&format!("failed: {failure}"))));
        }
    }
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let have = count(object, "/status/replicas");
    // Called otherwise since v1beta2; a MachineSet did not count them before.
    let updated =
        number(object, "/status/upToDateReplicas").or(number(object, "/status/updatedReplicas")).unwrap_or(have);
    short_of(wanted, "machines", &[("there", have), ("up to date", updated)])
        .or_else(|| (have > wanted).then(|| Assessment::progressing(format!("{} machines are going", have - wanted))))
        .or_else(|| short_of(wanted, "machines", &[("ready", count(object, "/status/readyReplicas"))]))
}

/// A MachineHealthCheck of Cluster API.
pub(super) fn machine_health_check(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    let Some(healthy) = number(object, "/status/currentHealthy") else {
        // Left out where it is zero.
        let is_counted = number(object, "/status/expectedMachines").is_some();
        return (!is_counted).then(|| Assessment::progressing("has not counted its machines yet"));
    };
    let expected = count(object, "/status/expectedMachines");
    (healthy < expected).then(|| Assessment::degraded(format!("{healthy} of {expected} machines are healthy")))
}

/// A secret for many namespaces, of External Secrets. Of its conditions the last counts.
pub(super) fn spread_secret(object: &Json, conditions: &Conditions<'_>) -> Option<Assessment> {
    let names = ["Ready", "PartiallyReady", "NotReady"];
    let Some(last) = conditions.iter().filter(|condition| names.contains(&condition.name)).last() else {
        return Some(Assessment::progressing("has no condition Ready yet"));
    };
    if (last.name, last.status) == ("Ready", "True") {
        return None;
    }
    if last.status == "Unknown" {
        return Some(Assessment::progressing(last.say()));
    }
    let failed = object.pointer("/status/failedNamespaces/0").map(|one| {
        let (namespace, reason) = (text(one, "/namespace"), text(one, "/reason"));
        format!("; namespace {namespace}: {reason}")
    });
    Some(Assessment::degraded(cut(&format!("{}{}", last.say(), failed.unwrap_or_default()))))
}

/// Istio's analysis of a piece of its configuration.
pub(super) fn istio(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    let messages = object.pointer("/status/validationMessages").and_then(Json::as_array)?;
    let error = messages.iter().find(|one| text(one, "/level").eq_ignore_ascii_case("error"))?;
    let said = ["/type/code", "/code", "/type/name", "/message", "/documentationUrl"];
    let said: Vec<&str> = said.iter().map(|at| text(error, at)).filter(|part| !part.is_empty()).collect();
    Some(Assessment::degraded(cut(&format!("validation message of level Error: {}", said.join(": ")))))
}

/// A Pooler of CloudNativePG.
pub(super) fn pooler(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    let wanted = number(object, "/spec/instances").unwrap_or(1);
    short_of(wanted, "instances", &[("there", count(object, "/status/instances"))])
}

/// What CloudNativePG puts into a database. It writes the observed generation only once it succeeded.
pub(super) fn applied(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    let lag = generation_lag(object);
    let is_observed = lag.is_none() && number(object, "/status/observedGeneration").is_some();
    let message = match text(object, "/status/message") {
        "" => String::new(),
        message => format!(": {message}"),
    };
    match object.pointer("/status/applied").and_then(Json::as_bool) {
        Some(true) => lag,
        Some(false) if is_observed => Some(Assessment::degraded(cut(&format!("applied is false{message}")))),
        Some(false) => Some(Assessment::progressing(cut(&format!("applied is false{message}")))),
        None => Some(Assessment::progressing("was not applied to its database yet")),
    }
}

/// The pods of a StrimziPodSet.
pub(super) fn pod_set(object: &Json, _: &Conditions<'_>) -> Option<Assessment> {
    let wanted = object.pointer("/spec/pods").and_then(Json::as_array).map_or(0, Vec::len);
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    let counts = [("current", count(object, "/status/currentPods")), ("ready", count(object, "/status/readyPods"))];
    generation_lag(object).or_else(|| short_of(wanted, "pods", &counts))
}
