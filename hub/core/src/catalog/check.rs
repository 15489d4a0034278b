//! What the types alone cannot say: rules within one document, and what is not carried out yet.

mod applying;

use std::collections::BTreeMap;

use globset::GlobBuilder;
use proto_model::bind::check_name;
use proto_model::health_check::Expression;
use proto_model::{limits, name};

use super::Declared;
use super::scalar::Scalar;
use super::spec::{
    Approval, BundleSpec, ClusterSpec, HealthCheckSpec, Offline, OnFailure, RolloutPolicySpec, SourceSpec,
    VariableSetSpec, Verify, Window,
};
use crate::select::Selector;

/// Something wrong, or worth knowing, in a document of which the file is not known here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) line: u32,
    pub(super) message: String,
    pub(super) weight: Weight,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// The document is not taken.
    Defect,
    /// The document is taken.
    Note,
    /// The document is taken, and the bundles that use the policy are held.
    HoldsUsers,
}

impl Finding {
    pub(super) fn defect(line: u32, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), weight: Weight::Defect }
    }

    pub(super) fn is_defect(&self) -> bool {
        self.weight == Weight::Defect
    }
}

/// Collects findings about one declaration.
struct Findings<'a, S> {
    item: &'a Declared<S>,
    out: &'a mut Vec<Finding>,
}

impl<S> Findings<'_, S> {
    fn add(&mut self, path: &str, weight: Weight, message: impl Into<String>) {
        self.out.push(Finding { line: self.item.line_of(path), message: message.into(), weight });
    }

    fn defect(&mut self, path: &str, message: impl Into<String>) {
        self.add(path, Weight::Defect, message);
    }

    fn selector(&mut self, path: &str, selector: &Selector) {
        if let Err(error) = selector.check() {
            self.defect(path, error.to_string());
        }
    }

    fn variables(&mut self, path: &str, variables: &BTreeMap<String, Scalar>) {
        self.at_most(path, variables.len(), limits::VARIABLES_PER_SET_MAX);
        for (name, value) in variables {
            self.variable_name(path, name);
            self.value(path, name, value);
        }
    }

    fn variable_name(&mut self, path: &str, name: &str) {
        if name == "cluster" || name.starts_with("cluster.") {
            self.defect(&format!("{path}.{name}"), "`cluster` names the cluster itself and has no other value");
        } else if let Err(rule) = check_name(name) {
            self.defect(&format!("{path}.{name}"), format!("variable name {name:?} {rule}"));
        }
    }

    fn value(&mut self, path: &str, name: &str, value: &Scalar) {
        if value.0.text().len() > limits::VARIABLE_BYTES_MAX {
            let max = limits::VARIABLE_BYTES_MAX;
            self.defect(&format!("{path}.{name}"), format!("the value is longer than {max} bytes"));
        }
    }

    /// A health check that stands at a path.
    fn check(&mut self, path: &str, check: &HealthCheckSpec) {
        // Lines are known down to some depth.
        let at = |field: &str| match format!("{path}.{field}") {
            deep if self.item.lines.contains_key(&deep) => deep,
            _ => path.to_owned(),
        };
        if check.api_version.is_empty() || check.api_version.matches('/').count() > 1 {
            self.defect(&at("apiVersion"), format!("{:?} is no API version, such as apps/v1", check.api_version));
        }
        if check.kind.is_empty() {
            self.defect(&at("kind"), "names no kind");
        }
        self.at_most(&at("names"), check.names.len(), limits::HEALTH_CHECK_NAMES_MAX);
        if let Some(empty) = check.names.iter().position(String::is_empty) {
            self.defect(&at(&format!("names.{empty}")), "is an empty name; leave `names` out for all");
        }
        self.selector(&at("selector"), &check.selector);
        for (field, text) in [("healthy", Some(&check.healthy)), ("degraded", check.degraded.as_ref())] {
            if let Some(Err(error)) = text.map(|text| Expression::compile(text)) {
                self.defect(&at(field), format!("{field} {error}"));
            }
        }
    }

    fn at_most(&mut self, path: &str, found: usize, max: usize) {
        if found > max {
            self.defect(path, format!("{found} entries are more than {max}"));
        }
    }

    fn windows(&mut self, path: &str, windows: &[Window]) {
        for (at, window) in windows.iter().enumerate() {
            if window.schedule.split_whitespace().count() != 5 {
                self.defect(&format!("{path}.{at}"), "schedule needs the five fields of cron");
            }
            if !is_time_zone(&window.timezone) {
                self.defect(&format!("{path}.{at}"), format!("{:?} is no name of a time zone", window.timezone));
            }
        }
    }
}

/// Whether a text has the form of an IANA name. The tables are not here: pure crates read none.
fn is_time_zone(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/_+-".contains(&byte))
}

pub(super) fn cluster(item: &Declared<ClusterSpec>, out: &mut Vec<Finding>) {
    let mut findings = Findings { item, out };
    findings.variables("spec.variables", &item.spec.variables);
    findings.windows("spec.maintenance", &item.spec.maintenance);
    if !item.spec.maintenance.is_empty() {
        findings.add("spec.maintenance", Weight::Note, "maintenance: not carried out yet; moves start at any time");
    }
}

pub(super) fn variable_set(item: &Declared<VariableSetSpec>, out: &mut Vec<Finding>) {
    let mut findings = Findings { item, out };
    findings.selector("spec.selector", &item.spec.selector);
    findings.variables("spec.variables", &item.spec.variables);
}

pub(super) fn health_check(item: &Declared<HealthCheckSpec>, out: &mut Vec<Finding>) {
    let mut findings = Findings { item, out };
    findings.check("spec", &item.spec);
}

pub(super) fn policy(item: &Declared<RolloutPolicySpec>, out: &mut Vec<Finding>) {
    let spec = &item.spec;
    let mut findings = Findings { item, out };
    findings.at_most("spec.waves", spec.waves.len(), limits::WAVES_PER_POLICY_MAX);
    let kinds = spec.guard.protected_kinds.iter().flatten();
    findings.at_most("spec.guard.protectedKinds", kinds.clone().count(), limits::PROTECTED_KINDS_MAX);
    for kind in kinds.filter(|kind| kind.len() > 253) {
        findings.defect(
            "spec.guard.protectedKinds",
            format!("{:?}… is longer than a kind can be", kind.chars().take(40).collect::<String>()),
        );
    }
    for (at, wave) in spec.waves.iter().enumerate() {
        let path = format!("spec.waves.{at}");
        findings.selector(&format!("{path}.selector"), &wave.selector);
        if let Some(super::spec::Windows::Own(windows)) = &wave.windows {
            findings.windows(&format!("{path}.windows"), windows);
        }
        if wave.approval == Approval::Required {
            findings.add(
                &format!("{path}.approval"),
                Weight::HoldsUsers,
                "approval: required is not carried out yet, so bundles with this policy are held",
            );
        }
    }
    let paces = [
        ("waves", !spec.waves.is_empty()),
        ("deadline", true),
        ("failureBudget", true),
        ("onFailure", spec.on_failure != OnFailure::default()),
        ("offline", spec.offline != Offline::default()),
    ];
    for (field, set) in paces {
        let path = format!("spec.{field}");
        if set && item.lines.contains_key(&path) {
            let message = format!("{field}: not carried out yet; all clusters move at once");
            findings.add(&path, Weight::Note, message);
        }
    }
}

pub(super) fn source(item: &Declared<SourceSpec>, out: &mut Vec<Finding>) {
    let spec = &item.spec;
    let mut findings = Findings { item, out };
    if let Err(message) = url(&spec.url) {
        findings.defect("spec.url", message);
    }
    if spec.reference.is_empty() || spec.reference.chars().any(|c| c.is_control() || c.is_whitespace()) {
        findings.defect("spec.ref", "ref names a branch, a tag or a complete commit id");
    }
    if spec.path.starts_with('/') || spec.path.split('/').any(|part| part == "..") {
        findings.defect("spec.path", format!("path {:?} leads out of the repository", spec.path));
    }
    if let Some(name) = &spec.credentials
        && let Err(error) = name::check_label("credentials", name, 63)
    {
        findings.defect("spec.credentials", error.to_string());
    }
    let (min, max) = (limits::POLL_SECS_MIN, limits::POLL_SECS_MAX);
    if spec.poll.is_some_and(|poll| !(min..=max).contains(&poll.secs)) {
        findings.defect("spec.poll", format!("poll must be from {min}s to {max}s"));
    }
    if spec.verify == Verify::Required && spec.keys.is_empty() {
        findings.defect("spec.verify", "verify: required needs the keys that may sign; list them in keys");
    }
    findings.at_most("spec.keys", spec.keys.len(), limits::SIGNERS_PER_SOURCE_MAX);
    if let Some(limit) = &spec.may.clusters {
        findings.selector("spec.may.clusters", &limit.selector);
    }
    let globs = spec.may.namespaces.iter().flatten();
    findings.at_most("spec.may.namespaces", globs.clone().count(), limits::GLOBS_PER_SOURCE_MAX);
    for (at, glob) in globs.enumerate() {
        if super::may::matcher(glob).is_none() {
            findings.defect(&format!("spec.may.namespaces.{at}"), format!("{glob:?} is no glob"));
        }
    }
    findings.at_most("spec.may.namespacedKinds", spec.may.namespaced_kinds.len(), limits::GLOBS_PER_SOURCE_MAX);
    findings.at_most("spec.may.credentials", spec.may.credentials.len(), limits::CREDENTIALS_PER_SOURCE_MAX);
    for name in &spec.may.credentials {
        if let Err(error) = name::check_label("credentials", name, 63) {
            findings.defect("spec.may.credentials", error.to_string());
        }
    }
}

/// Whether a repository can be followed at a URL, or a path: one with a login would have it in every log, so that all
/// that `https` has before an `@` is refused, and for ssh a password.
///
/// # Errors
/// What is wrong with it, never with words of it.
pub fn url(url: &str) -> Result<(), &'static str> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("ssh", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let user = authority.split_once('@').map(|(user, _)| user);
    let is_ssh = scheme.to_ascii_lowercase().contains("ssh");
    if url.is_empty() || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Err("url names a repository, as https://HOST/PATH or ssh://USER@HOST/PATH")
    } else if url.len() > limits::URL_BYTES_MAX {
        Err("url is longer than any that is followed")
    } else if user.is_some_and(|user| !is_ssh || user.contains(':')) {
        Err("url holds a login, and Git and logs are no place for one: leave out what stands before the @, name \
             credentials instead, and change the token or password")
    } else {
        Ok(())
    }
}

pub(super) fn bundle(item: &Declared<BundleSpec>, out: &mut Vec<Finding>) {
    let mut findings = Findings { item, out };
    shape(item, &mut findings);
    variables(item, &mut findings);
    render(item, &mut findings);
    applying::check(item, &mut findings);
}

fn shape(item: &Declared<BundleSpec>, findings: &mut Findings<'_, BundleSpec>) {
    let spec = &item.spec;
    if let Some(namespace) = &spec.namespace
        && let Err(error) = name::check_label("namespace", namespace, 63)
    {
        findings.defect("spec.namespace", error.to_string());
    }
    for (field, globs) in [("include", &spec.include), ("exclude", &spec.exclude)] {
        for (at, glob) in globs.iter().enumerate() {
            if let Err(error) = GlobBuilder::new(glob).literal_separator(true).build() {
                findings.defect(&format!("spec.{field}.{at}"), format!("glob: {}", error.kind()));
            }
        }
    }
    let checks = spec.health.iter().flat_map(|health| &health.checks);
    findings.at_most("spec.health.checks", checks.clone().count(), limits::HEALTH_CHECKS_PER_BUNDLE_MAX);
    for (at, check) in checks.enumerate() {
        findings.check(&format!("spec.health.checks.{at}"), check);
    }
    findings.at_most("spec.targets", spec.targets.len(), limits::TARGETS_PER_BUNDLE_MAX);
    findings.at_most("spec.overrides", spec.overrides.len(), limits::TARGETS_PER_BUNDLE_MAX);
    for (at, target) in spec.targets.iter().enumerate() {
        findings.selector(&format!("spec.targets.{at}"), &target.selector);
    }
    for (at, over) in spec.overrides.iter().enumerate() {
        findings.selector(&format!("spec.overrides.{at}"), &over.selector);
    }
    for (at, dependency) in spec.depends_on.iter().enumerate() {
        let path = format!("spec.dependsOn.{at}");
        let full = super::full_name("x", &dependency.bundle);
        if let Err(error) = name::check_full_bundle(&full) {
            findings.defect(&path, error.to_string());
        } else if dependency.bundle == item.name {
            findings.defect(&path, "a bundle cannot come before itself");
        }
    }
}

fn variables(item: &Declared<BundleSpec>, findings: &mut Findings<'_, BundleSpec>) {
    let spec = &item.spec;
    findings.at_most("spec.variables", spec.variables.len(), limits::VARIABLES_PER_BUNDLE_MAX);
    for (name, variable) in &spec.variables {
        if name == "cluster" {
            if variable.default.is_some() {
                findings.defect("spec.variables.cluster", "`cluster` names the cluster itself and takes no default");
            }
            continue;
        }
        findings.variable_name("spec.variables", name);
        if let Some(default) = &variable.default {
            findings.value("spec.variables", name, default);
        }
    }
    for (at, over) in spec.overrides.iter().enumerate() {
        let path = format!("spec.overrides.{at}");
        for (name, value) in &over.variables {
            findings.value(&path, name, value);
            if !spec.variables.contains_key(name) {
                let known: Vec<&str> = spec.variables.keys().map(String::as_str).collect();
                let message = crate::yaml::unknown("variable", name, &known);
                findings.defect(&path, format!("the override sets what the bundle does not bind: {message}"));
            }
        }
    }
}

/// How the bundle is rendered.
fn render(item: &Declared<BundleSpec>, findings: &mut Findings<'_, BundleSpec>) {
    let Some(render) = &item.spec.render else { return };
    let ways = [
        ("spec.render.manifests", render.manifests.is_some()),
        ("spec.render.helm", render.helm.is_some()),
        ("spec.render.kustomize", render.kustomize.is_some()),
    ];
    if let [_, (second, _), ..] = ways.into_iter().filter(|(_, set)| *set).collect::<Vec<_>>().as_slice() {
        findings.defect(second, "manifests, helm and kustomize exclude each other; write another bundle");
    }
    if let Some(version) = &render.kube_version
        && !is_kube_version(version)
    {
        findings
            .defect("spec.render.kubeVersion", format!("{version:?} is no Kubernetes version: write 1.33 or 1.33.1"));
    }
    for (at, one) in render.api_versions.iter().enumerate() {
        if one.is_empty() || one.split('/').count() > 3 || one.contains(|c: char| c.is_whitespace() || c == ',') {
            let message = format!("{one:?} is no API version: write group/version or group/version/Kind");
            findings.defect(&format!("spec.render.apiVersions.{at}"), message);
        }
    }
    if let Some(name) = render.helm.as_ref().and_then(|helm| helm.release_name.as_ref())
        && let Err(error) = name::check_label("releaseName", name, 53)
    {
        findings.defect("spec.render.helm.releaseName", error.to_string());
    }
    if let Some(name) = render.helm.as_ref().and_then(|helm| helm.credentials.as_ref())
        && let Err(error) = name::check_label("credentials", name, 63)
    {
        findings.defect("spec.render.helm.credentials", error.to_string());
    }
}

fn is_kube_version(text: &str) -> bool {
    let parts: Vec<&str> = text.trim_start_matches('v').split('.').collect();
    let is_number = |part: &&str| !part.is_empty() && part.len() <= 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    matches!(parts.len(), 2 | 3) && parts.iter().all(is_number)
}
