//! What a bundle says of how it is applied, and of what it leaves alone.

use proto_model::{limits, name};

use super::Findings;
use crate::catalog::spec::{BundleSpec, Ignore};
use crate::catalog::{Declared, full_name, service_account};

/// What tells which object it is: a manifest without it is none.
const IDENTITY: [&[&str]; 4] = [&["apiVersion"], &["kind"], &["metadata", "name"], &["metadata", "namespace"]];

pub(super) fn check(item: &Declared<BundleSpec>, findings: &mut Findings<'_, BundleSpec>) {
    findings.at_most("spec.ignore", item.spec.ignore.len(), limits::IGNORES_PER_BUNDLE_MAX);
    for (at, ignore) in item.spec.ignore.iter().enumerate() {
        ignored(ignore, &format!("spec.ignore.{at}"), findings);
    }
    if let Some(text) = &item.spec.service_account
        && let Err(message) = service_account(text, item.spec.namespace.as_deref())
    {
        findings.defect("spec.serviceAccount", message);
    }
    replaces(item, findings);
}

fn ignored(ignore: &Ignore, path: &str, findings: &mut Findings<'_, BundleSpec>) {
    let target = &ignore.target;
    for (field, text) in [("kind", &target.kind), ("namespace", &target.namespace), ("name", &target.name)] {
        if text.as_deref() == Some("") {
            findings.defect(&format!("{path}.target.{field}"), format!("is empty; leave `{field}` out for any"));
        }
    }
    if let Some(selector) = &target.label_selector {
        findings.selector(&format!("{path}.target.labelSelector"), selector);
    }
    let at = format!("{path}.fields");
    if ignore.fields.is_empty() {
        findings.defect(&at, "lists no field; name what is left alone, such as /spec/replicas");
    }
    findings.at_most(&at, ignore.fields.len(), limits::IGNORED_FIELDS_MAX);
    for (number, pointer) in ignore.fields.iter().enumerate() {
        if let Err(why) = field(pointer) {
            findings.defect(&format!("{at}.{number}"), why);
        }
    }
}

/// Whether a text is a pointer to what may be left alone.
fn field(pointer: &str) -> Result<(), String> {
    const MAX: usize = limits::IGNORED_FIELD_BYTES_MAX;
    if pointer.len() > MAX {
        return Err(format!("the pointer is longer than {MAX} bytes"));
    }
    let bad = |why: &str| Err(format!("{pointer:?} {why}"));
    if pointer.is_empty() {
        return bad("is the whole object; leave the object out of the bundle instead");
    }
    let Some(rest) = pointer.strip_prefix('/') else {
        return bad("is no JSON pointer (RFC 6901): write /spec/replicas, with ~1 for a slash within a key");
    };
    let steps: Vec<&str> = rest.split('/').collect();
    if steps.contains(&"") {
        return bad("has a step without a name; write it as /spec/replicas");
    }
    if steps.iter().any(|step| step.replace("~0", "").replace("~1", "").contains('~')) {
        return bad("has a ~ that is neither ~0 (for ~) nor ~1 (for /)");
    }
    let covers = |one: &&&[&str]| {
        steps.len() <= one.len() && steps.iter().zip(one.iter()).all(|(step, key)| *step == "*" || step == key)
    };
    match IDENTITY.iter().find(covers) {
        Some(one) => bad(&format!("leaves /{} alone, which tells the object from others; name less", one.join("/"))),
        None => Ok(()),
    }
}

fn replaces(item: &Declared<BundleSpec>, findings: &mut Findings<'_, BundleSpec>) {
    findings.at_most("spec.replaces", item.spec.replaces.len(), limits::REPLACES_PER_BUNDLE_MAX);
    for (at, old) in item.spec.replaces.iter().enumerate() {
        if let Err(error) = name::check_full_bundle(&full_name("x", old)) {
            findings.defect(&format!("spec.replaces.{at}"), error.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn fields_are_pointers_to_less_than_an_object() {
        for good in [
            "/spec/replicas",
            "/data/*",
            "/spec/template/spec/containers/*/resources",
            "/metadata/annotations/a~1b~0c",
            "/metadata/labels",
            "/status",
            "/kinds",
        ] {
            assert_eq!(field(good), Ok(()), "{good}");
        }
        for (bad, word) in [
            ("", "whole object"),
            ("spec/replicas", "no JSON pointer"),
            ("/", "without a name"),
            ("/spec//replicas", "without a name"),
            ("/spec/", "without a name"),
            ("/a~2b", "neither"),
            ("/a~", "neither"),
            ("/kind", "/kind alone"),
            ("/apiVersion", "/apiVersion alone"),
            ("/metadata", "/metadata/name alone"),
            ("/metadata/name", "/metadata/name alone"),
            ("/metadata/namespace", "/metadata/namespace alone"),
            ("/metadata/*", "/metadata/name alone"),
            ("/*", "/apiVersion alone"),
            ("/*/namespace", "/metadata/namespace alone"),
        ] {
            assert!(field(bad).is_err_and(|why| why.contains(word)), "{bad}: {:?}", field(bad));
        }
    }
}
