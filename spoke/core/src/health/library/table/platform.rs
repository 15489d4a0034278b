//! Platforms: Cluster API, the Prometheus operator, KEDA, External Secrets.

use super::super::by_hand;
use super::super::rule::{Phase, Rest, Rule};
use super::{ANY, READY, Row, bad, by, good, silent};

/// Cluster API pauses by field, by annotation, and tells it in a condition.
const PAUSED: &[Rest] =
    &[Rest::Flag("/spec/paused"), Rest::Annotation("cluster.x-k8s.io/paused", ""), Rest::Condition("Paused")];

pub(super) const CLUSTER_API: &[Row] = &[
    by(
        "cluster.x-k8s.io",
        &["Cluster"],
        &Rule {
            rest: PAUSED,
            // Ready up to v1beta1, Available since v1beta2.
            good: &[
                good("Ready").by_severity().if_there(),
                good("Available").mild().if_there(),
                good("TopologyReconciled").mild().if_there(),
            ],
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Provisioned"],
                degraded: &["Failed", "Unknown"],
                why: &["/status/failureMessage", "/status/failureReason"],
            }),
            finishing: &["RollingOut", "Updating"],
            ..Rule::NONE
        },
    ),
    by(
        "cluster.x-k8s.io",
        &["Machine"],
        &Rule {
            rest: PAUSED,
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Running"],
                degraded: &["Failed"],
                why: &["/status/failureMessage", "/status/failureReason"],
            }),
            good: &[good("Ready").by_severity().if_there(), good("Available").mild().if_there()],
            ..Rule::NONE
        },
    ),
    by(
        "cluster.x-k8s.io",
        &["MachineDeployment"],
        &Rule {
            rest: PAUSED,
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Running"],
                degraded: &["Failed"],
                why: &["/status/failureMessage", "/status/failureReason"],
            }),
            by_hand: Some(by_hand::machines),
            ..Rule::NONE
        },
    ),
    by("cluster.x-k8s.io", &["MachineSet"], &Rule { rest: PAUSED, by_hand: Some(by_hand::machines), ..Rule::NONE }),
    by(
        "cluster.x-k8s.io",
        &["MachinePool"],
        &Rule {
            rest: PAUSED,
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Running", "Scaling"],
                degraded: &["Failed", "Unknown"],
                why: &["/status/failureMessage", "/status/failureReason"],
            }),
            ..Rule::NONE
        },
    ),
    by(
        "cluster.x-k8s.io",
        &["MachineHealthCheck"],
        &Rule { rest: PAUSED, by_hand: Some(by_hand::machine_health_check), ..Rule::NONE },
    ),
    by(
        "cluster.x-k8s.io",
        &["ClusterClass"],
        &Rule { good: &[good("VariablesReady").if_there(), good("VariablesReconciled").if_there()], ..Rule::NONE },
    ),
    by(
        "controlplane.cluster.x-k8s.io",
        &["KubeadmControlPlane"],
        &Rule {
            rest: PAUSED,
            good: &[good("Ready").by_severity().if_there(), good("Available").mild().if_there()],
            by_hand: Some(by_hand::machines),
            finishing: &["RollingOut"],
            ..Rule::NONE
        },
    ),
    by(
        "bootstrap.cluster.x-k8s.io",
        &["KubeadmConfig"],
        &Rule { rest: PAUSED, good: &[good("Ready").by_severity()], ..Rule::NONE },
    ),
    by(
        "addons.cluster.x-k8s.io",
        &["ClusterResourceSet"],
        &Rule { rest: PAUSED, good: &[good("ResourcesApplied").if_there()], ..Rule::NONE },
    ),
    silent("controlplane.cluster.x-k8s.io", &["KubeadmControlPlaneTemplate"]),
    silent("bootstrap.cluster.x-k8s.io", &["KubeadmConfigTemplate"]),
];

pub(super) const PROMETHEUS: &[Row] = &[
    by(
        "monitoring.coreos.com",
        &["Prometheus", "PrometheusAgent", "Alertmanager", "ThanosRuler"],
        &Rule {
            rest: &[Rest::Flag("/spec/paused")],
            good: &[good("Reconciled").if_there(), good("Available").unless(&["SomePodsNotReady"])],
            ..Rule::NONE
        },
    ),
    silent(
        "monitoring.coreos.com",
        &["ServiceMonitor", "PodMonitor", "PrometheusRule", "Probe", "ScrapeConfig", "AlertmanagerConfig"],
    ),
];

const SCALER_PAUSED: &[Rest] = &[
    Rest::Annotation("autoscaling.keda.sh/paused", "true"),
    Rest::Annotation("autoscaling.keda.sh/paused-replicas", ""),
    Rest::Condition("Paused"),
];

pub(super) const KEDA: &[Row] = &[
    by(
        "keda.sh",
        &["ScaledObject", "ScaledJob"],
        &Rule {
            rest: SCALER_PAUSED,
            bad: &[bad("Fallback")],
            good: &[good("Ready").unless(&["HPAMetricsUnavailable"])],
            ..Rule::NONE
        },
    ),
    silent("keda.sh", &["TriggerAuthentication", "ClusterTriggerAuthentication"]),
    by("http.keda.sh", &["HTTPScaledObject"], &READY),
];

pub(super) const EXTERNAL_SECRETS: &[Row] = &[
    by("external-secrets.io", &["ExternalSecret", "SecretStore", "ClusterSecretStore", "PushSecret"], &READY),
    by(
        "external-secrets.io",
        &["ClusterExternalSecret", "ClusterPushSecret"],
        &Rule { by_hand: Some(by_hand::spread_secret), ..Rule::NONE },
    ),
    silent("generators.external-secrets.io", ANY),
];
