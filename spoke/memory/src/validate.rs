//! What API servers refuse: a useful part of the validation of built-in kinds. Messages name
//! fields, never values that a manifest holds.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use proto_model::GroupKind;
use serde_json::Value as Json;

use crate::kinds::Builtin;

/// Base64 as Go reads it: what the last character holds too much does not matter.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&alphabet::STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// Refuses a manifest whose fields the kind does not have, or has otherwise; where and why.
pub(crate) fn types(builtin: &Builtin, object: &Json) -> Result<(), String> {
    for (name, value) in object.as_object().into_iter().flatten() {
        let known = matches!(name.as_str(), "apiVersion" | "kind" | "metadata") || builtin.top.contains(&name.as_str());
        if !known {
            return Err(format!(".{name}: field not declared in schema"));
        }
        if matches!(name.as_str(), "data" | "stringData" | "binaryData") {
            strings(value, &format!(".{name}"))?;
        }
    }
    match builtin.kind {
        "Secret" => bytes(object, "data")?,
        "ConfigMap" => bytes(object, "binaryData")?,
        _ => {}
    }
    for key in ["labels", "annotations"] {
        if let Some(map) = object.pointer(&format!("/metadata/{key}")) {
            strings(map, &format!(".metadata.{key}"))?;
        }
    }
    if builtin.group == "apps" || builtin.group == "batch" {
        for key in ["replicas", "parallelism", "completions", "backoffLimit"] {
            if object.get("spec").and_then(|s| s.get(key)).is_some_and(|v| !v.is_number() && !v.is_null()) {
                return Err(format!(".spec.{key}: expected numeric (int or float)"));
            }
        }
    }
    spec_fields(builtin, object)
}

const DEPLOYMENT: &[&str] = &[
    "minReadySeconds",
    "paused",
    "progressDeadlineSeconds",
    "replicas",
    "revisionHistoryLimit",
    "selector",
    "strategy",
    "template",
];
const JOB: &[&str] = &[
    "activeDeadlineSeconds",
    "backoffLimit",
    "backoffLimitPerIndex",
    "completionMode",
    "completions",
    "managedBy",
    "manualSelector",
    "maxFailedIndexes",
    "parallelism",
    "podFailurePolicy",
    "podReplacementPolicy",
    "selector",
    "successPolicy",
    "suspend",
    "template",
    "ttlSecondsAfterFinished",
];
const SERVICE: &[&str] = &[
    "allocateLoadBalancerNodePorts",
    "clusterIP",
    "clusterIPs",
    "externalIPs",
    "externalName",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "internalTrafficPolicy",
    "ipFamilies",
    "ipFamilyPolicy",
    "loadBalancerClass",
    "loadBalancerIP",
    "loadBalancerSourceRanges",
    "ports",
    "publishNotReadyAddresses",
    "selector",
    "sessionAffinity",
    "sessionAffinityConfig",
    "trafficDistribution",
    "type",
];

fn bytes(object: &Json, field: &str) -> Result<(), String> {
    let values = object.get(field).and_then(Json::as_object).into_iter().flatten();
    for text in values.filter_map(|(_, value)| value.as_str()) {
        check(decode(text).is_some(), &format!(".{field}: illegal base64 data"))?;
    }
    Ok(())
}

/// What base64 stands for. Line feeds do not count: many a Secret is written as `base64` prints it.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text.replace(['\n', '\r'], "")).ok()
}

fn spec_fields(builtin: &Builtin, object: &Json) -> Result<(), String> {
    let known = match builtin.kind {
        "Deployment" => DEPLOYMENT,
        "Job" => JOB,
        "Service" => SERVICE,
        _ => return Ok(()),
    };
    let spec = object.get("spec").and_then(Json::as_object);
    match spec.and_then(|spec| spec.keys().find(|key| !known.contains(&key.as_str()))) {
        Some(name) => Err(format!(".spec.{name}: field not declared in schema")),
        None => Ok(()),
    }
}

fn strings(map: &Json, at: &str) -> Result<(), String> {
    for (key, value) in map.as_object().into_iter().flatten() {
        if !value.is_string() && !value.is_null() {
            return Err(format!("{at}.{key}: expected string"));
        }
    }
    Ok(())
}

/// Refuses an object as a whole; the field and why.
pub(crate) fn object(kind: &GroupKind, object: &Json) -> Result<(), String> {
    names(kind, object)?;
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") => workload(object),
        ("batch", "Job") => {
            pod(object, "/spec/template/spec", "spec.template.spec")?;
            let restart = text(object, "/spec/template/spec/restartPolicy");
            check(
                matches!(restart, "OnFailure" | "Never"),
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
            )
        }
        ("batch", "CronJob") => {
            check(!text(object, "/spec/schedule").is_empty(), "spec.schedule: Required value")?;
            pod(object, "/spec/jobTemplate/spec/template/spec", "spec.jobTemplate.spec.template.spec")
        }
        ("", "Pod") => pod(object, "/spec", "spec"),
        ("", "Service") => service(object),
        ("", "ConfigMap" | "Secret") => data(kind, object),
        ("", "PersistentVolumeClaim") => check(
            object.pointer("/spec/accessModes").and_then(Json::as_array).is_some_and(|m| !m.is_empty()),
            "spec.accessModes: Required value: at least 1 access mode is required",
        ),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => {
            check(!text(object, "/roleRef/name").is_empty(), "roleRef.name: Required value")
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("autoscaling", "HorizontalPodAutoscaler") => check(
            object.pointer("/spec/maxReplicas").and_then(Json::as_u64).is_some_and(|n| n > 0),
            "spec.maxReplicas: Invalid value: must be greater than 0",
        ),
        _ => Ok(()),
    }
}

/// Refuses a change of what can't change; the field and why.
pub(crate) fn update(kind: &GroupKind, old: &Json, new: &Json) -> Result<(), String> {
    let fixed: &[&str] = match (kind.group.as_str(), kind.kind.as_str()) {
        ("apps", "Deployment" | "DaemonSet" | "ReplicaSet") => &["/spec/selector"],
        ("apps", "StatefulSet") => {
            &["/spec/selector", "/spec/serviceName", "/spec/volumeClaimTemplates", "/spec/podManagementPolicy"]
        }
        ("batch", "Job") => &["/spec/selector", "/spec/template", "/spec/completionMode"],
        ("", "Service") if old.pointer("/spec/type") == new.pointer("/spec/type") => &["/spec/clusterIP"],
        ("", "Secret") => &["/type"],
        ("", "PersistentVolumeClaim") => &["/spec/accessModes", "/spec/storageClassName"],
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => &["/roleRef"],
        ("apiextensions.k8s.io", "CustomResourceDefinition") => &["/spec/group", "/spec/scope"],
        ("storage.k8s.io", "StorageClass") => &["/provisioner", "/parameters", "/reclaimPolicy"],
        _ => &[],
    };
    let sealed: &[&str] = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ConfigMap" | "Secret") if old.get("immutable") == Some(&Json::Bool(true)) => {
            &["/data", "/binaryData", "/immutable"]
        }
        _ => &[],
    };
    for pointer in fixed.iter().chain(sealed) {
        if old.pointer(pointer) != new.pointer(pointer) {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            let why = match *pointer {
                "/roleRef" => "cannot change roleRef",
                _ if sealed.contains(pointer) => {
                    return Err(format!("{field}: Forbidden: field is immutable when `immutable` is set"));
                }
                _ => "field is immutable",
            };
            return Err(format!("{field}: Invalid value: {why}"));
        }
    }
    Ok(())
}

fn check(holds: bool, message: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(message.into()) }
}

fn text<'a>(object: &'a Json, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Json::as_str).unwrap_or_default()
}

fn names(kind: &GroupKind, object: &Json) -> Result<(), String> {
    let name = text(object, "/metadata/name");
    let rbac = kind.group == "rbac.authorization.k8s.io";
    let good = if rbac {
        !matches!(name, "." | "..") && !name.contains(['/', '%'])
    } else if kind.is("", "Namespace") || kind.is("", "Service") {
        is_label(name)
    } else {
        name.len() <= 253 && name.split('.').all(is_subdomain_part)
    };
    check(good, "metadata.name: Invalid value: must be a lower-case RFC 1123 name")?;
    let labels = object.pointer("/metadata/labels").and_then(Json::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        check(
            is_label_value(value),
            "metadata.labels: Invalid value: a valid label has at most 63 letters, digits, '-', '_' or '.', and begins and ends with a letter or digit",
        )?;
        let bare = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
        check(
            !bare.is_empty() && is_label_value(bare),
            "metadata.labels: Invalid value: name part must be a qualified name",
        )?;
    }
    Ok(())
}

fn is_label(name: &str) -> bool {
    name.len() <= 63 && is_subdomain_part(name)
}

fn is_subdomain_part(part: &str) -> bool {
    let bytes = part.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.first().is_some_and(plain) && bytes.last().is_some_and(plain) && bytes.iter().all(|b| plain(b) || *b == b'-')
}

fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.is_empty()
        || (bytes.len() <= 63
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')))
}

fn workload(object: &Json) -> Result<(), String> {
    let selector = object.pointer("/spec/selector").filter(|s| s.is_object());
    let Some(selector) = selector else {
        return Err("spec.selector: Required value".into());
    };
    let labels = object.pointer("/spec/template/metadata/labels");
    let wanted = selector.get("matchLabels").and_then(Json::as_object);
    let matches = wanted.into_iter().flatten().all(|(key, value)| labels.and_then(|l| l.get(key)) == Some(value));
    check(matches, "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`")?;
    if object.pointer("/spec/replicas").and_then(Json::as_i64).is_some_and(|n| n < 0) {
        return Err("spec.replicas: Invalid value: must be greater than or equal to 0".into());
    }
    pod(object, "/spec/template/spec", "spec.template.spec")
}

fn pod(object: &Json, pointer: &str, at: &str) -> Result<(), String> {
    let containers = object.pointer(pointer).and_then(|spec| spec.get("containers")).and_then(Json::as_array);
    let containers = match containers {
        Some(list) if !list.is_empty() => list,
        _ => return Err(format!("{at}.containers: Required value")),
    };
    for (n, container) in containers.iter().enumerate() {
        check(
            is_label(text(container, "/name")),
            &format!("{at}.containers[{n}].name: Invalid value: must be a lower-case RFC 1123 label"),
        )?;
        check(!text(container, "/image").is_empty(), &format!("{at}.containers[{n}].image: Required value"))?;
        mounts(object, pointer, container, &format!("{at}.containers[{n}]"))?;
    }
    Ok(())
}

fn mounts(object: &Json, pointer: &str, container: &Json, at: &str) -> Result<(), String> {
    let list = |pointer: &str| object.pointer(pointer).and_then(Json::as_array).into_iter().flatten();
    let volumes: Vec<_> = list(&format!("{pointer}/volumes"))
        .map(|volume| volume.get("name"))
        .chain(list("/spec/volumeClaimTemplates").map(|claim| claim.pointer("/metadata/name")))
        .collect();
    let mounts = container.get("volumeMounts").and_then(Json::as_array);
    for (n, mount) in mounts.into_iter().flatten().enumerate() {
        let known = volumes.contains(&mount.get("name"));
        check(known, &format!("{at}.volumeMounts[{n}].name: Not found"))?;
    }
    Ok(())
}

fn service(object: &Json) -> Result<(), String> {
    let ports = object.pointer("/spec/ports").and_then(Json::as_array);
    let headless = text(object, "/spec/clusterIP") == "None";
    if text(object, "/spec/type") == "ExternalName" {
        return check(!text(object, "/spec/externalName").is_empty(), "spec.externalName: Required value");
    }
    check(headless || ports.is_some_and(|p| !p.is_empty()), "spec.ports: Required value")?;
    for (n, port) in ports.into_iter().flatten().enumerate() {
        let number = port.get("port").and_then(Json::as_u64).unwrap_or(0);
        check(
            (1..=65535).contains(&number),
            &format!("spec.ports[{n}].port: Invalid value: must be between 1 and 65535, inclusive"),
        )?;
        let many = ports.is_some_and(|p| p.len() > 1);
        check(!many || !text(port, "/name").is_empty(), &format!("spec.ports[{n}].name: Required value"))?;
    }
    Ok(())
}

/// Most that the values of a ConfigMap or Secret may have together, in bytes.
const DATA_BYTES_MAX: usize = 1024 * 1024;

fn data(kind: &GroupKind, object: &Json) -> Result<(), String> {
    let decoded = |text: &str| decode(text).map_or(0, |bytes| bytes.len());
    let mut total = 0usize;
    for (field, packed) in [("data", kind.kind == "Secret"), ("binaryData", true)] {
        let values = object.get(field).and_then(Json::as_object).into_iter().flatten();
        let values = values.filter_map(|(_, value)| value.as_str());
        total += values.map(|text| if packed { decoded(text) } else { text.len() }).sum::<usize>();
    }
    check(total <= DATA_BYTES_MAX, &format!("[]: Too long: may not be more than {DATA_BYTES_MAX} bytes"))?;
    data_keys(object)
}

fn data_keys(object: &Json) -> Result<(), String> {
    for field in ["data", "binaryData"] {
        for key in object.get(field).and_then(Json::as_object).into_iter().flat_map(|map| map.keys()) {
            let good = !key.is_empty()
                && key.len() <= 253
                && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
            check(
                good,
                &format!(
                    "{field}: Invalid value: a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
                ),
            )?;
        }
    }
    Ok(())
}

fn definition(object: &Json) -> Result<(), String> {
    let wanted = format!("{}.{}", text(object, "/spec/names/plural"), text(object, "/spec/group"));
    check(
        text(object, "/metadata/name") == wanted,
        "metadata.name: Invalid value: must be spec.names.plural+\".\"+spec.group",
    )?;
    check(matches!(text(object, "/spec/scope"), "Namespaced" | "Cluster"), "spec.scope: Required value")?;
    let versions = object.pointer("/spec/versions").and_then(Json::as_array);
    let versions = versions.map(Vec::as_slice).unwrap_or_default();
    let storage = versions.iter().filter(|v| v.get("storage") == Some(&Json::Bool(true))).count();
    check(storage == 1, "spec.versions: Invalid value: must have exactly one version marked as storage version")?;
    for (n, version) in versions.iter().enumerate() {
        check(
            version.pointer("/schema/openAPIV3Schema").is_some(),
            &format!("spec.versions[{n}].schema.openAPIV3Schema: Required value: schemas are required"),
        )?;
    }
    Ok(())
}
