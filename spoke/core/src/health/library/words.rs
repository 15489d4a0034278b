//! The library in words, for the page for operators: it is made of the rules themselves.

use super::rule::{Bad, Good, Phase, Rest, Rule, WhenFalse};
use super::table::{LIBRARY, Row};
use super::{Known, table};

/// The kinds of Kubernetes: kinds, when they are Healthy, when Degraded, when at rest.
const BUILT_IN: &[[&str; 4]] = &[
    [
        "Deployment.apps",
        "all replicas are updated, available and ready, and no old one is left",
        "condition Progressing has reason ProgressDeadlineExceeded",
        "`spec.paused`, no replicas",
    ],
    [
        "StatefulSet.apps",
        "all replicas are ready, and those from `partition` on are updated; with OnDelete none need be",
        "",
        "no replicas",
    ],
    [
        "DaemonSet.apps",
        "it is updated and ready on every node that it wants; with OnDelete none need be updated",
        "",
        "",
    ],
    ["ReplicaSet.apps, ReplicationController", "all replicas are available and ready", "", "no replicas"],
    [
        "Pod",
        "phase Succeeded, or condition Ready is True",
        "phase Failed, or a container waits with CrashLoopBackOff, ImagePullBackOff, ErrImagePull, InvalidImageName, CreateContainerConfigError or CreateContainerError",
        "",
    ],
    ["Job.batch", "condition Complete is True", "condition Failed is True", "`spec.suspend`"],
    ["PersistentVolumeClaim", "phase Bound, or it waits for its first consumer", "phase Lost", ""],
    ["PersistentVolume", "any other phase", "phase Failed", ""],
    ["Service", "at once; of type LoadBalancer once it has an address", "", ""],
    [
        "CustomResourceDefinition.apiextensions.k8s.io",
        "condition Established is True",
        "condition NamesAccepted is False, or Established is, with a reason other than Installing",
        "",
    ],
    ["APIService.apiregistration.k8s.io", "condition Available is True", "", ""],
    ["PodDisruptionBudget.policy", "its pods were counted", "condition DisruptionAllowed has reason SyncFailed", ""],
    ["HorizontalPodAutoscaler.autoscaling", "otherwise", "condition AbleToScale is False", ""],
    [
        "ConfigMap, Secret, ServiceAccount, Namespace, Ingress, NetworkPolicy, CronJob, roles, classes and webhooks of Kubernetes",
        "at once",
        "",
        "",
    ],
];

/// What a function of the library asks of a kind: when Healthy, when Degraded, when at rest.
fn by_hand(kind: &str) -> [&'static str; 3] {
    match kind {
        "Rollout" => [
            "all replicas are updated and available, no old one is left of a canary, and the newest is the stable one",
            "condition InvalidSpec is True, condition Progressing has reason RolloutAborted or ProgressDeadlineExceeded, or phase is Degraded",
            "`spec.paused`, or it waits at a pause",
        ],
        "Application" => [
            "`health` is Healthy",
            "`health` is Degraded, or not Healthy with a condition whose name ends in Error",
            "`health` is Suspended",
        ],
        "MachineDeployment" | "MachineSet" | "KubeadmControlPlane" => [
            "all machines are there, up to date and ready, and none is going",
            "`failureMessage` or `failureReason` is there",
            "",
        ],
        "MachineHealthCheck" => ["all its machines are healthy", "some are not", ""],
        "ClusterExternalSecret" => {
            ["condition Ready is True", "the last of Ready, PartiallyReady, NotReady says that it is not ready", ""]
        }
        "Pooler" => ["all instances are there", "", ""],
        "Database" => ["`applied` is true", "`applied` is false", ""],
        "StrimziPodSet" => ["all pods are current and ready", "", ""],
        _ => ["", "a validation message has level Error", ""],
    }
}

/// The tables of the page.
pub(super) fn page() -> String {
    let mut page = String::from("### Kubernetes\n\n");
    page.push_str(HEAD);
    for row in BUILT_IN {
        line(&mut page, &row.map(ToOwned::to_owned));
    }
    for family in LIBRARY {
        page.push_str(&format!("\n### {}\n\n{HEAD}", family.name));
        family.rows.iter().for_each(|row| line(&mut page, &cells(row)));
    }
    page
}

const HEAD: &str = "| kinds | Healthy when | Degraded when | at rest, so Healthy |\n|---|---|---|---|\n";

fn line(page: &mut String, cells: &[String; 4]) {
    page.push_str(&format!("| {} |\n", cells.join(" | ")).replace("|  |", "| |").replace("|  |", "| |"));
}

/// The kinds of a row.
pub(super) fn kinds(row: &Row) -> String {
    if row.kinds == table::ANY {
        return format!("every kind of {}", row.group);
    }
    row.kinds.iter().map(|kind| format!("{kind}.{}", row.group)).collect::<Vec<_>>().join(", ")
}

fn cells(row: &Row) -> [String; 4] {
    let Known::By(rule) = row.known else {
        return [kinds(row), "at once: nobody writes how it is".into(), String::new(), String::new()];
    };
    let asked = rule.by_hand.map(|_| by_hand(row.kinds.first().copied().unwrap_or_default())).unwrap_or_default();
    [kinds(row), joined(healthy(rule), asked[0]), joined(degraded(rule), asked[1]), joined(rest(rule), asked[2])]
}

fn joined(mut parts: Vec<String>, asked: &str) -> String {
    parts.extend((!asked.is_empty()).then(|| asked.to_owned()));
    parts.join("; ")
}

fn healthy(rule: &Rule) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(phase) = &rule.phase {
        said.push(words_of(phase, phase.healthy));
    }
    let (needed, may): (Vec<&Good>, Vec<&Good>) = rule.good.iter().partition(|good| good.is_needed);
    said.extend(needed.iter().map(|good| format!("condition {} is True", good.name)));
    if !may.is_empty() {
        let names: Vec<&str> = may.iter().map(|good| good.name).collect();
        said.push(format!("{}, where there, {} True", names.join(", "), if may.len() == 1 { "is" } else { "are" }));
    }
    let busy: Vec<&str> = rule.busy.iter().chain(rule.finishing).copied().collect();
    if !busy.is_empty() {
        let none =
            if busy.len() == 1 { format!("{} is not", busy[0]) } else { format!("none of {} is", busy.join(", ")) };
        said.push(format!("{none} True"));
    }
    if let Some(parts) = &rule.parts {
        let names: Vec<&str> = parts.good.iter().map(|good| good.name).collect();
        if parts.is_needed {
            said.push(format!("it has {}", one(parts.called)));
        }
        said.push(format!("of each {} {}, where there, are True", parts.called, names.join(", ")));
    }
    if rule.may_stay_silent {
        said.push(if said.is_empty() { "at once".into() } else { "at once where it has no status".into() });
    }
    said
}

/// A thing with its article.
fn one(thing: &str) -> String {
    format!("{} {thing}", if thing.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" })
}

fn degraded(rule: &Rule) -> Vec<String> {
    let mut said: Vec<String> = rule.bad.iter().map(bad).collect();
    said.extend(rule.phase.as_ref().map(|phase| words_of(phase, phase.degraded)));
    said.extend(rule.good.iter().filter_map(|good| when_false(good, "")));
    if let Some(parts) = &rule.parts {
        let of = format!("of {} ", one(parts.called));
        said.extend(parts.bad.iter().map(|one| format!("{of}{}", bad(one))));
        said.extend(parts.good.iter().filter_map(|good| when_false(good, &of)));
    }
    said
}

fn bad(bad: &Bad) -> String {
    let unless =
        if bad.unless.is_empty() { String::new() } else { format!(" (not with reason {})", bad.unless.join(", ")) };
    format!("{} is True{unless}", bad.name)
}

fn when_false(good: &Good, of: &str) -> Option<String> {
    let reasons = good.unless.join(", ");
    Some(match (good.when_false, good.unless.is_empty()) {
        (WhenFalse::Degraded, true) => format!("{of}{} is False", good.name),
        (WhenFalse::Degraded, false) => format!("{of}{} is False (not with reason {reasons})", good.name),
        (WhenFalse::Progressing, true) => return None,
        (WhenFalse::Progressing, false) => format!("{of}{} is False with reason {reasons}", good.name),
        (WhenFalse::AsSevere, _) => format!("{of}{} is False with severity Error", good.name),
    })
}

fn words_of(phase: &Phase, words: &[&str]) -> String {
    format!("`{}` is {}", phase.called(), words.join(", "))
}

fn rest(rule: &Rule) -> Vec<String> {
    let say = |rest: &Rest| match rest {
        Rest::Flag(at) => format!("`{}`", at.trim_start_matches('/').replace('/', ".")),
        Rest::Is(at, value) => format!("`{}: {value}`", at.trim_start_matches('/').replace('/', ".")),
        Rest::Annotation(name, "") => format!("annotation `{name}`"),
        Rest::Annotation(name, value) => format!("annotation `{name}: {value}`"),
        Rest::Condition(name) => format!("condition {name} is True"),
    };
    rule.rest.iter().map(say).collect()
}
