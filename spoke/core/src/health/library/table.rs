//! The kinds of the library, family by family.

mod data;
mod delivery;
mod network;
mod platform;

use super::Known;
use super::rule::{Bad, Good, Rule, WhenFalse};
use data::{CLOUD_NATIVE_PG, STRIMZI};
use delivery::{ARGO, CERT_MANAGER, FLUX};
use network::{GATEWAY, ISTIO, KNATIVE};
use platform::{CLUSTER_API, EXTERNAL_SECRETS, KEDA, PROMETHEUS};

/// Kinds of one project.
pub(super) struct Family {
    /// The project.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page for operators is made of it"))]
    pub(super) name: &'static str,
    pub(super) rows: &'static [Row],
}

/// Kinds that are judged alike. Where a kind stands in two rows, the first counts.
pub(super) struct Row {
    pub(super) group: &'static str,
    pub(super) kinds: &'static [&'static str],
    pub(super) known: Known,
}

/// Every kind of a group.
pub(super) const ANY: &[&str] = &["*"];

const fn by(group: &'static str, kinds: &'static [&'static str], rule: &'static Rule) -> Row {
    Row { group, kinds, known: Known::By(rule) }
}

const fn silent(group: &'static str, kinds: &'static [&'static str]) -> Row {
    Row { group, kinds, known: Known::Silent }
}

const fn bad(name: &'static str) -> Bad {
    Bad { name, unless: &[] }
}

/// It must be there and True; False means Degraded.
const fn good(name: &'static str) -> Good {
    Good { name, when_false: WhenFalse::Degraded, unless: &[], is_needed: true }
}

impl Good {
    /// With these reasons False means the other of Degraded and Progressing.
    const fn unless(self, reasons: &'static [&'static str]) -> Self {
        Self { unless: reasons, ..self }
    }

    /// It may be missing.
    const fn if_there(self) -> Self {
        Self { is_needed: false, ..self }
    }

    /// False means that it is on its way.
    const fn mild(self) -> Self {
        Self { when_false: WhenFalse::Progressing, ..self }
    }

    /// The condition says itself how bad it is.
    const fn by_severity(self) -> Self {
        Self { when_false: WhenFalse::AsSevere, ..self }
    }
}

/// What most projects do: Ready is True, or False where something is wrong, or Unknown in between.
const READY: Rule = Rule { good: &[good("Ready")], ..Rule::NONE };

/// The library.
pub(super) const LIBRARY: &[Family] = &[
    Family { name: "cert-manager", rows: CERT_MANAGER },
    Family { name: "Argo Rollouts, Argo CD, Argo Workflows", rows: ARGO },
    Family { name: "Flux", rows: FLUX },
    Family { name: "Gateway API", rows: GATEWAY },
    Family { name: "Cluster API", rows: CLUSTER_API },
    Family { name: "Prometheus operator", rows: PROMETHEUS },
    Family { name: "Knative", rows: KNATIVE },
    Family { name: "KEDA", rows: KEDA },
    Family { name: "External Secrets", rows: EXTERNAL_SECRETS },
    Family { name: "Istio", rows: ISTIO },
    Family { name: "CloudNativePG", rows: CLOUD_NATIVE_PG },
    Family { name: "Strimzi", rows: STRIMZI },
];
