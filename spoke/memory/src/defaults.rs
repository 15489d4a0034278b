//! What API servers fill in: a useful part of the defaults of built-in kinds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value as Json, json};

use crate::validate;

/// Fills in the defaults of a built-in kind. Filling in twice changes nothing. `rank` tells
/// addresses apart.
pub(crate) fn fill(kind: &str, object: &mut Json, rank: u64) {
    match kind {
        "Namespace" => namespace(object),
        "Secret" => secret(object),
        "Service" => service(object, rank),
        "Deployment" => {
            set(object, "/spec", "replicas", json!(1));
            set(object, "/spec", "revisionHistoryLimit", json!(10));
            set(object, "/spec", "progressDeadlineSeconds", json!(600));
            set(object, "/spec", "strategy", json!({}));
            set(object, "/spec/strategy", "type", json!("RollingUpdate"));
            rolling(object, "/spec/strategy", &json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
            pod_template(object, "/spec/template", "Always");
        }
        "StatefulSet" => {
            set(object, "/spec", "replicas", json!(1));
            set(object, "/spec", "revisionHistoryLimit", json!(10));
            set(object, "/spec", "podManagementPolicy", json!("OrderedReady"));
            set(object, "/spec", "updateStrategy", json!({}));
            set(object, "/spec/updateStrategy", "type", json!("RollingUpdate"));
            rolling(object, "/spec/updateStrategy", &json!({"partition": 0}));
            pod_template(object, "/spec/template", "Always");
        }
        "DaemonSet" => {
            set(object, "/spec", "revisionHistoryLimit", json!(10));
            set(object, "/spec", "updateStrategy", json!({}));
            set(object, "/spec/updateStrategy", "type", json!("RollingUpdate"));
            rolling(object, "/spec/updateStrategy", &json!({"maxUnavailable": 1, "maxSurge": 0}));
            pod_template(object, "/spec/template", "Always");
        }
        "ReplicaSet" => {
            set(object, "/spec", "replicas", json!(1));
            pod_template(object, "/spec/template", "Always");
        }
        "Job" => job(object),
        "CronJob" => {
            set(object, "/spec", "concurrencyPolicy", json!("Allow"));
            set(object, "/spec", "suspend", json!(false));
            set(object, "/spec", "successfulJobsHistoryLimit", json!(3));
            set(object, "/spec", "failedJobsHistoryLimit", json!(1));
            pod_template(object, "/spec/jobTemplate/spec/template", "");
        }
        "Pod" => pod(object, "/spec", "Always"),
        "PersistentVolumeClaim" => {
            set(object, "/spec", "volumeMode", json!("Filesystem"));
            set(object, "", "status", json!({"phase": "Pending"}));
        }
        "HorizontalPodAutoscaler" => set(object, "/spec", "minReplicas", json!(1)),
        "NetworkPolicy" => set(object, "/spec", "policyTypes", json!(["Ingress"])),
        "RoleBinding" | "ClusterRoleBinding" => subjects(object),
        "StorageClass" => {
            set(object, "", "reclaimPolicy", json!("Delete"));
            set(object, "", "volumeBindingMode", json!("Immediate"));
        }
        _ => {}
    }
}

fn map_at<'v>(object: &'v mut Json, pointer: &str) -> Option<&'v mut Map<String, Json>> {
    object.pointer_mut(pointer)?.as_object_mut()
}

/// Sets a field of the map at `pointer` where the map exists and the field does not.
fn set(object: &mut Json, pointer: &str, key: &str, value: Json) {
    if let Some(map) = map_at(object, pointer) {
        map.entry(key).or_insert(value);
    }
}

fn rolling(object: &mut Json, pointer: &str, values: &Json) {
    let kind = object.pointer(pointer).and_then(|s| s.get("type")).and_then(Json::as_str);
    if kind != Some("RollingUpdate") {
        return;
    }
    set(object, pointer, "rollingUpdate", json!({}));
    let below = format!("{pointer}/rollingUpdate");
    for (key, value) in values.as_object().into_iter().flatten() {
        set(object, &below, key, value.clone());
    }
}

fn namespace(object: &mut Json) {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    set(object, "/metadata", "labels", json!({}));
    if let Some(labels) = map_at(object, "/metadata/labels") {
        labels.insert("kubernetes.io/metadata.name".into(), name);
    }
    set(object, "", "spec", json!({}));
    set(object, "/spec", "finalizers", json!(["kubernetes"]));
    set(object, "", "status", json!({"phase": "Active"}));
}

/// `data` loses its line feeds; `stringData` is written into it and not kept.
fn secret(object: &mut Json) {
    set(object, "", "type", json!("Opaque"));
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let data = map.get_mut("data").and_then(Json::as_object_mut);
    for (_, value) in data.into_iter().flatten() {
        if let Some(bytes) = value.as_str().and_then(validate::decode) {
            *value = STANDARD.encode(bytes).into();
        }
    }
    let Some(Json::Object(plain)) = map.remove("stringData") else {
        return;
    };
    let data = map.entry("data").or_insert_with(|| json!({}));
    for (key, value) in plain {
        if let (Some(data), Some(text)) = (data.as_object_mut(), value.as_str()) {
            data.insert(key, STANDARD.encode(text).into());
        }
    }
}

fn service(object: &mut Json, rank: u64) {
    set(object, "", "status", json!({"loadBalancer": {}}));
    set(object, "/spec", "type", json!("ClusterIP"));
    set(object, "/spec", "sessionAffinity", json!("None"));
    let kind = object.pointer("/spec/type").and_then(Json::as_str).unwrap_or_default().to_owned();
    if kind != "ExternalName" {
        let address = format!("10.{}.{}.{}", 64 + (rank >> 16) % 64, (rank >> 8) % 256, rank % 256);
        set(object, "/spec", "clusterIP", json!(address));
        let address = object.pointer("/spec/clusterIP").cloned().unwrap_or_default();
        set(object, "/spec", "clusterIPs", json!([address]));
        set(object, "/spec", "ipFamilies", json!(["IPv4"]));
        set(object, "/spec", "ipFamilyPolicy", json!("SingleStack"));
        set(object, "/spec", "internalTrafficPolicy", json!("Cluster"));
    }
    let ports = object.pointer_mut("/spec/ports").and_then(Json::as_array_mut);
    for port in ports.into_iter().flatten().filter_map(Json::as_object_mut) {
        port.entry("protocol").or_insert_with(|| json!("TCP"));
        let target = port.get("port").cloned().unwrap_or_default();
        port.entry("targetPort").or_insert(target);
    }
}

fn job(object: &mut Json) {
    for (key, value) in [
        ("parallelism", json!(1)),
        ("completions", json!(1)),
        ("backoffLimit", json!(6)),
        ("completionMode", json!("NonIndexed")),
        ("suspend", json!(false)),
        ("manualSelector", json!(false)),
        ("podReplacementPolicy", json!("TerminatingOrFailed")),
    ] {
        set(object, "/spec", key, value);
    }
    if object.pointer("/spec/manualSelector") == Some(&json!(false))
        && let (Some(uid), Some(name)) =
            (object.pointer("/metadata/uid").cloned(), object.pointer("/metadata/name").cloned())
    {
        set(object, "/spec", "selector", json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}));
        set(object, "/spec/template", "metadata", json!({}));
        set(object, "/spec/template/metadata", "labels", json!({}));
        for (key, value) in [
            ("batch.kubernetes.io/controller-uid", &uid),
            ("batch.kubernetes.io/job-name", &name),
            ("controller-uid", &uid),
            ("job-name", &name),
        ] {
            set(object, "/spec/template/metadata/labels", key, value.clone());
        }
    }
    pod_template(object, "/spec/template", "");
}

fn pod_template(object: &mut Json, pointer: &str, restart: &str) {
    set(object, pointer, "metadata", json!({}));
    pod(object, &format!("{pointer}/spec"), restart);
}

fn pod(object: &mut Json, pointer: &str, restart: &str) {
    if !restart.is_empty() {
        set(object, pointer, "restartPolicy", json!(restart));
    }
    for (key, value) in [
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
        ("terminationGracePeriodSeconds", json!(30)),
    ] {
        set(object, pointer, key, value);
    }
    if let Some(name) = object.pointer(&format!("{pointer}/serviceAccountName")).cloned() {
        set(object, pointer, "serviceAccount", name);
    }
    for list in ["containers", "initContainers"] {
        let found = object.pointer_mut(&format!("{pointer}/{list}")).and_then(Json::as_array_mut);
        for container in found.into_iter().flatten() {
            self::container(container);
        }
    }
}

fn container(container: &mut Json) {
    set(container, "", "resources", json!({}));
    set(container, "", "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "", "terminationMessagePolicy", json!("File"));
    let image = container.get("image").and_then(Json::as_str).unwrap_or_default();
    let tag = image.rsplit_once('/').map_or(image, |(_, last)| last);
    let pull =
        if tag.contains('@') || (tag.contains(':') && !tag.ends_with(":latest")) { "IfNotPresent" } else { "Always" };
    set(container, "", "imagePullPolicy", json!(pull));
    let ports = container.get_mut("ports").and_then(Json::as_array_mut);
    for port in ports.into_iter().flatten() {
        set(port, "", "protocol", json!("TCP"));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let at = format!("/{probe}");
        for (key, value) in
            [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
        {
            set(container, &at, key, json!(value));
        }
        set(container, &format!("{at}/httpGet"), "scheme", json!("HTTP"));
    }
}

fn subjects(object: &mut Json) {
    let subjects = object.get_mut("subjects").and_then(Json::as_array_mut);
    for subject in subjects.into_iter().flatten() {
        if matches!(subject.get("kind").and_then(Json::as_str), Some("User" | "Group")) {
            set(subject, "", "apiGroup", json!("rbac.authorization.k8s.io"));
        }
    }
    set(object, "/roleRef", "apiGroup", json!("rbac.authorization.k8s.io"));
}
