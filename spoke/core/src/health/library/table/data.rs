//! Data: CloudNativePG, Strimzi.

use super::super::by_hand;
use super::super::rule::{Bad, Phase, Rest, Rule};
use super::{ANY, Row, by, good, silent};

const APPLIED: Rule = Rule { by_hand: Some(by_hand::applied), ..Rule::NONE };

pub(super) const CLOUD_NATIVE_PG: &[Row] = &[
    by(
        "postgresql.cnpg.io",
        &["Cluster"],
        &Rule {
            rest: &[Rest::Annotation("cnpg.io/reconciliationLoop", "disabled"), Rest::Condition("cnpg.io/hibernation")],
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["Cluster in healthy state"],
                degraded: &[
                    "Failing over",
                    "Waiting for user action",
                    "Unable to create required cluster objects",
                    "Cluster cannot proceed to reconciliation due to an unknown plugin being required",
                    "Cluster cannot proceed to reconciliation due to an error while interacting with plugins",
                    "Cluster cannot execute instance online upgrade due to missing architecture binary",
                    "Cluster has incomplete or invalid image catalog",
                    "Cluster is unrecoverable and needs manual intervention",
                    "Cluster is in an unrecoverable state, needs manual intervention",
                ],
                why: &["/status/phaseReason"],
            }),
            good: &[good("Ready").mild().if_there(), good("cnpg.io/hibernation").mild().if_there()],
            ..Rule::NONE
        },
    ),
    by(
        "postgresql.cnpg.io",
        &["Backup"],
        &Rule {
            phase: Some(Phase {
                at: "/status/phase",
                healthy: &["completed"],
                degraded: &["failed", "walArchivingFailing"],
                why: &["/status/error"],
            }),
            ..Rule::NONE
        },
    ),
    silent("postgresql.cnpg.io", &["ScheduledBackup", "ImageCatalog", "ClusterImageCatalog"]),
    by("postgresql.cnpg.io", &["Pooler"], &Rule { by_hand: Some(by_hand::pooler), ..Rule::NONE }),
    by("postgresql.cnpg.io", &["Database", "Publication", "Subscription"], &APPLIED),
    silent("barmancloud.cnpg.io", &["ObjectStore"]),
];

const STRIMZI_REST: &[Rest] =
    &[Rest::Annotation("strimzi.io/pause-reconciliation", "true"), Rest::Condition("ReconciliationPaused")];
const STRIMZI_BAD: &[Bad] = &[Bad { name: "NotReady", unless: &["Creating"] }];

pub(super) const STRIMZI: &[Row] = &[
    by(
        "kafka.strimzi.io",
        &["KafkaNodePool"],
        &Rule {
            rest: STRIMZI_REST,
            bad: STRIMZI_BAD,
            busy: &["NotReady"],
            good: &[good("Ready").if_there()],
            ..Rule::NONE
        },
    ),
    // A proposal waits for a person, and one that was stopped is meant to be.
    by(
        "kafka.strimzi.io",
        &["KafkaRebalance"],
        &Rule {
            rest: &[
                Rest::Annotation("strimzi.io/pause-reconciliation", "true"),
                Rest::Condition("ReconciliationPaused"),
                Rest::Condition("ProposalReady"),
                Rest::Condition("Stopped"),
            ],
            bad: STRIMZI_BAD,
            busy: &["NotReady"],
            good: &[good("Ready")],
            ..Rule::NONE
        },
    ),
    by(
        "kafka.strimzi.io",
        ANY,
        &Rule { rest: STRIMZI_REST, bad: STRIMZI_BAD, busy: &["NotReady"], good: &[good("Ready")], ..Rule::NONE },
    ),
    by("core.strimzi.io", &["StrimziPodSet"], &Rule { by_hand: Some(by_hand::pod_set), ..Rule::NONE }),
];
