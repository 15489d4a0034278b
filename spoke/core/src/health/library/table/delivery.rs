//! Certificates and delivery: cert-manager, Argo, Flux.

use super::super::by_hand;
use super::super::rule::{Good, Phase, Rest, Rule};
use super::{READY, Row, bad, by, good, silent};

pub(super) const CERT_MANAGER: &[Row] = &[
    by(
        "cert-manager.io",
        &["Certificate"],
        &Rule { busy: &["Issuing"], good: &[good("Ready")], more: &["Issuing"], ..Rule::NONE },
    ),
    by(
        "cert-manager.io",
        &["CertificateRequest"],
        &Rule {
            bad: &[bad("Denied"), bad("InvalidRequest")],
            good: &[good("Ready").unless(&["Pending"])],
            ..Rule::NONE
        },
    ),
    by("cert-manager.io", &["Issuer", "ClusterIssuer"], &READY),
    by(
        "acme.cert-manager.io",
        &["Order", "Challenge"],
        &Rule {
            phase: Some(Phase {
                at: "/status/state",
                healthy: &["valid"],
                degraded: &["invalid", "expired", "errored"],
                why: &["/status/reason"],
            }),
            ..Rule::NONE
        },
    ),
    by("trust.cert-manager.io", &["Bundle"], &Rule { good: &[good("Synced")], ..Rule::NONE }),
];

/// What runs to an end, as Argo Rollouts does it.
const RUN: Rule = Rule {
    phase: Some(Phase {
        at: "/status/phase",
        healthy: &["Successful"],
        degraded: &["Failed", "Error", "Inconclusive"],
        why: &["/status/message"],
    }),
    ..Rule::NONE
};

pub(super) const ARGO: &[Row] = &[
    by("argoproj.io", &["Rollout"], &Rule { by_hand: Some(by_hand::rollout), ..Rule::NONE }),
    by("argoproj.io", &["AnalysisRun", "Experiment"], &RUN),
    silent("argoproj.io", &["AnalysisTemplate", "ClusterAnalysisTemplate"]),
    by("argoproj.io", &["Application"], &Rule { by_hand: Some(by_hand::application), ..Rule::NONE }),
    by(
        "argoproj.io",
        &["ApplicationSet"],
        &Rule {
            bad: &[bad("ErrorOccurred")],
            busy: &["RolloutProgressing"],
            good: &[good("ResourcesUpToDate")],
            ..Rule::NONE
        },
    ),
    silent("argoproj.io", &["AppProject"]),
    by(
        "argoproj.io",
        &["Workflow"],
        &Rule {
            rest: &[Rest::Flag("/spec/suspend")],
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Succeeded"],
                degraded: &["Failed", "Error"],
                why: &["/status/message"],
            }),
            ..Rule::NONE
        },
    ),
    by(
        "argoproj.io",
        &["CronWorkflow"],
        &Rule {
            rest: &[Rest::Flag("/spec/suspend")],
            may_stay_silent: true,
            bad: &[bad("SpecError"), bad("SubmissionError")],
            ..Rule::NONE
        },
    ),
    silent("argoproj.io", &["WorkflowTemplate", "ClusterWorkflowTemplate"]),
];

const FLUX_READY: &[Good] = &[good("Ready").unless(&["Progressing", "ProgressingWithRetry", "DependencyNotReady"])];

const FLUX_RULE: Rule = Rule {
    rest: &[Rest::Flag("/spec/suspend"), Rest::Annotation("fluxcd.controlplane.io/reconcile", "disabled")],
    bad: &[bad("Stalled")],
    good: FLUX_READY,
    finishing: &["Reconciling"],
    ..Rule::NONE
};

pub(super) const FLUX: &[Row] = &[
    by("kustomize.toolkit.fluxcd.io", &["Kustomization"], &FLUX_RULE),
    by("helm.toolkit.fluxcd.io", &["HelmRelease"], &FLUX_RULE),
    // One for an OCI registry is a name, and nobody writes a status.
    by(
        "source.toolkit.fluxcd.io",
        &["HelmRepository"],
        &Rule {
            rest: &[Rest::Flag("/spec/suspend"), Rest::Is("/spec/type", "oci")],
            bad: &[bad("Stalled")],
            good: FLUX_READY,
            finishing: &["Reconciling"],
            ..Rule::NONE
        },
    ),
    by(
        "source.toolkit.fluxcd.io",
        &["GitRepository", "OCIRepository", "HelmChart", "Bucket", "ExternalArtifact"],
        &FLUX_RULE,
    ),
    // What these depend on is a reference that leads nowhere.
    by(
        "image.toolkit.fluxcd.io",
        &["ImageRepository", "ImagePolicy", "ImageUpdateAutomation"],
        &Rule {
            rest: &[Rest::Flag("/spec/suspend")],
            bad: &[bad("Stalled")],
            good: &[good("Ready").unless(&["Progressing", "ProgressingWithRetry"])],
            finishing: &["Reconciling"],
            ..Rule::NONE
        },
    ),
    by("notification.toolkit.fluxcd.io", &["Receiver"], &FLUX_RULE),
    // Only old versions of these have a status.
    by(
        "notification.toolkit.fluxcd.io",
        &["Alert", "Provider"],
        &Rule {
            rest: &[Rest::Flag("/spec/suspend")],
            may_stay_silent: true,
            bad: &[bad("Stalled")],
            good: &[good("Ready").if_there()],
            ..Rule::NONE
        },
    ),
    by("fluxcd.controlplane.io", &["FluxInstance", "ResourceSet", "ResourceSetInputProvider"], &FLUX_RULE),
];
