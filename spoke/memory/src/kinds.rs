//! The kinds that every API server has.

use proto_model::GroupKind;

/// A built-in kind.
#[derive(Debug)]
pub(crate) struct Builtin {
    /// API group; empty for the core group.
    pub(crate) group: &'static str,
    /// Versions that are served; objects are the same in each.
    pub(crate) versions: &'static [&'static str],
    /// Kind.
    pub(crate) kind: &'static str,
    /// Plural, as in messages and paths.
    pub(crate) plural: &'static str,
    /// Whether its objects live in namespaces.
    pub(crate) namespaced: bool,
    /// Whether a change of `spec` raises `metadata.generation`.
    pub(crate) generation: bool,
    /// Fields at the top beside apiVersion, kind and metadata; empty where they are not known.
    pub(crate) top: &'static [&'static str],
}

/// Finds a built-in kind.
pub(crate) fn find(kind: &GroupKind) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|b| b.group == kind.group && b.kind == kind.kind)
}

impl Builtin {
    /// Its group and kind.
    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind { group: self.group.into(), kind: self.kind.into() }
    }
}

const SPEC: &[&str] = &["spec", "status"];
const V1: &[&str] = &["v1"];

const fn of(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    namespaced: bool,
    generation: bool,
    top: &'static [&'static str],
) -> Builtin {
    Builtin { group, versions: V1, kind, plural, namespaced, generation, top }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// All of them, the core group first.
pub(crate) const BUILTINS: &[Builtin] = &[
    of("", "ConfigMap", "configmaps", true, false, &["data", "binaryData", "immutable"]),
    of("", "Endpoints", "endpoints", true, false, &["subsets"]),
    of(
        "",
        "Event",
        "events",
        true,
        false,
        &[
            "action",
            "count",
            "eventTime",
            "firstTimestamp",
            "involvedObject",
            "lastTimestamp",
            "message",
            "reason",
            "related",
            "reportingComponent",
            "reportingInstance",
            "series",
            "source",
            "type",
        ],
    ),
    of("", "LimitRange", "limitranges", true, false, &["spec"]),
    of("", "Namespace", "namespaces", false, false, SPEC),
    of("", "Node", "nodes", false, false, SPEC),
    of("", "PersistentVolume", "persistentvolumes", false, false, SPEC),
    of("", "PersistentVolumeClaim", "persistentvolumeclaims", true, false, SPEC),
    of("", "Pod", "pods", true, true, SPEC),
    of("", "PodTemplate", "podtemplates", true, true, &["template"]),
    of("", "ReplicationController", "replicationcontrollers", true, true, SPEC),
    of("", "ResourceQuota", "resourcequotas", true, false, SPEC),
    of("", "Secret", "secrets", true, false, &["data", "stringData", "type", "immutable"]),
    of("", "Service", "services", true, false, SPEC),
    of(
        "",
        "ServiceAccount",
        "serviceaccounts",
        true,
        false,
        &["automountServiceAccountToken", "imagePullSecrets", "secrets"],
    ),
    of(ADMISSION, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", false, true, &["webhooks"]),
    of(ADMISSION, "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false, true, SPEC),
    of(ADMISSION, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false, true, &["spec"]),
    of(ADMISSION, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", false, true, &["webhooks"]),
    of("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", false, true, SPEC),
    of("apiregistration.k8s.io", "APIService", "apiservices", false, false, SPEC),
    of("apps", "DaemonSet", "daemonsets", true, true, SPEC),
    of("apps", "Deployment", "deployments", true, true, SPEC),
    of("apps", "ReplicaSet", "replicasets", true, true, SPEC),
    of("apps", "StatefulSet", "statefulsets", true, true, SPEC),
    Builtin {
        group: "autoscaling",
        versions: &["v2", "v1"],
        kind: "HorizontalPodAutoscaler",
        plural: "horizontalpodautoscalers",
        namespaced: true,
        generation: false,
        top: SPEC,
    },
    of("batch", "CronJob", "cronjobs", true, true, SPEC),
    of("batch", "Job", "jobs", true, true, SPEC),
    of("coordination.k8s.io", "Lease", "leases", true, false, &["spec"]),
    of("discovery.k8s.io", "EndpointSlice", "endpointslices", true, true, &["addressType", "endpoints", "ports"]),
    of("networking.k8s.io", "Ingress", "ingresses", true, true, SPEC),
    of("networking.k8s.io", "IngressClass", "ingressclasses", false, true, &["spec"]),
    of("networking.k8s.io", "NetworkPolicy", "networkpolicies", true, true, &["spec"]),
    of("policy", "PodDisruptionBudget", "poddisruptionbudgets", true, true, SPEC),
    of(RBAC, "ClusterRole", "clusterroles", false, false, &["aggregationRule", "rules"]),
    of(RBAC, "ClusterRoleBinding", "clusterrolebindings", false, false, &["roleRef", "subjects"]),
    of(RBAC, "Role", "roles", true, false, &["rules"]),
    of(RBAC, "RoleBinding", "rolebindings", true, false, &["roleRef", "subjects"]),
    of(
        "scheduling.k8s.io",
        "PriorityClass",
        "priorityclasses",
        false,
        false,
        &["description", "globalDefault", "preemptionPolicy", "value"],
    ),
    of("storage.k8s.io", "CSIDriver", "csidrivers", false, false, &["spec"]),
    of(
        "storage.k8s.io",
        "StorageClass",
        "storageclasses",
        false,
        false,
        &[
            "allowVolumeExpansion",
            "allowedTopologies",
            "mountOptions",
            "parameters",
            "provisioner",
            "reclaimPolicy",
            "volumeBindingMode",
        ],
    ),
];
