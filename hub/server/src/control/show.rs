//! What `hub_core::view` works out, in the words of the wire.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::catalog::spec::BundleSpec;
use hub_core::catalog::{Catalog, Declared, Defect};
use hub_core::fleet::{Cluster, Fleet, Source};
use hub_core::release::{ClusterFacts, Common, Resolved, layers};
use hub_core::select::Index;
use hub_core::view::{self, BundleView, ClusterView, Hold, Memory as _};
use proto_model::bind::CLUSTER;
use proto_model::{Digest, Variables};
use proto_wire::control as wire;
use proto_wire::control::get_request::What;
use tonic::Status;

use crate::hub::Hub;
use crate::leader::Defects;
use crate::log::State;
use crate::source::ROOT;

pub(super) fn status(hub: &Hub, state: &State, request: &wire::StatusRequest) -> wire::StatusResponse {
    let clusters = view::clusters(state.fleet(), &*hub.node, &request.clusters, &request.bundles);
    wire::StatusResponse {
        applied_index: state.index,
        sources: sources(hub, state.fleet()),
        clusters: clusters.into_iter().map(cluster).collect(),
    }
}

pub(super) fn explain(
    hub: &Hub,
    state: &State,
    request: &wire::ExplainRequest,
) -> Result<wire::ExplainResponse, Status> {
    let fleet = state.fleet();
    let bundles: Vec<String> = Some(&request.bundle).filter(|name| !name.is_empty()).into_iter().cloned().collect();
    let only = std::slice::from_ref(&request.cluster);
    let found = view::clusters(fleet, &*hub.node, only, &bundles).pop();
    let (Some(shown), Some(known)) = (found, fleet.clusters.get(&request.cluster)) else {
        return Err(Status::not_found(format!(
            "there is no cluster {:?}; `drover cluster list` shows all",
            request.cluster
        )));
    };
    if !request.bundle.is_empty() && shown.bundles.is_empty() {
        return Err(Status::not_found(format!(
            "{} neither runs nor should run {:?}; `drover get bundles` shows all, `drover get sources -o json` what is \
             wrong in Git",
            request.cluster, request.bundle
        )));
    }
    let variables = variables(hub, fleet, &request.cluster, known, &shown);
    let notes = notes(hub, fleet, &shown);
    Ok(wire::ExplainResponse { applied_index: state.index, cluster: Some(cluster(shown)), variables, notes })
}

pub(super) fn get(hub: &Hub, state: &State, request: &wire::GetRequest) -> Result<wire::GetResponse, Status> {
    let fleet = state.fleet();
    let mut answer = wire::GetResponse { applied_index: state.index, ..Default::default() };
    match &request.what {
        Some(What::Clusters(_)) => {
            let all = view::clusters(fleet, &*hub.node, &[], &[]);
            answer.clusters = all.into_iter().map(cluster).collect();
        }
        Some(What::Bundles(_)) => {
            answer.bundles = view::bundles(fleet, &*hub.node).into_iter().map(summary).collect();
        }
        Some(What::Sources(_)) => answer.sources = sources(hub, fleet),
        Some(What::Tokens(_)) => answer.tokens = tokens(fleet),
        Some(What::Audit(_)) => {
            let lines = fleet.audit.iter().map(|line| wire::Audit {
                unix_millis: line.at_unix_millis,
                who: line.who.clone(),
                what: line.what.clone(),
                why: line.why.clone(),
            });
            answer.audit = lines.collect();
        }
        None => {
            return Err(Status::invalid_argument("name what to get: clusters, bundles, sources, tokens or audit"));
        }
    }
    Ok(answer)
}

fn cluster(shown: ClusterView) -> wire::Cluster {
    let connection = shown.connection.unwrap_or_default();
    wire::Cluster {
        cluster: shown.cluster,
        connected: shown.connected,
        generation: shown.generation,
        bundles: shown.bundles.into_iter().map(bundle).collect(),
        labels: shown.labels.into_iter().collect(),
        hold: shown.hold.map(|hold| hold.message).unwrap_or_default(),
        seen_unix_millis: connection.seen_unix_millis,
        version: connection.version,
        declared: shown.declared,
        revoked: shown.revoked,
        incarnation: shown.incarnation,
        sent_delta_bytes: connection.sent_delta_bytes,
        acked_generation: connection.acked_generation,
        leaving: shown.leaving,
    }
}

fn bundle(shown: BundleView) -> wire::Bundle {
    let text = |digest: Option<Digest>| digest.map(|one| one.to_string()).unwrap_or_default();
    let report = shown.report.as_deref();
    let problems = report.into_iter().flat_map(|report| &report.problems);
    wire::Bundle {
        bundle: shown.bundle,
        commit: shown.commit.unwrap_or_default(),
        variant: text(shown.variant),
        sync: shown.sync.to_string(),
        health: shown.health.to_string(),
        drifted: shown.drifted,
        suspended: shown.suspended,
        hold: shown.hold.map(hold),
        objects: shown.objects,
        since_unix_millis: shown.since_unix_millis.unwrap_or_default(),
        problems: problems
            .map(|problem| wire::Problem {
                object: problem.object.as_ref().map(ToString::to_string).unwrap_or_default(),
                r#final: problem.is_final,
                message: problem.message.clone(),
            })
            .collect(),
        problems_more: report.map_or(0, |report| report.problems_more),
        goal_variant: text(shown.goal_variant),
        suspensions: shown.suspensions.into_iter().map(suspension).collect(),
    }
}

fn suspension(shown: view::Suspended) -> wire::Suspension {
    wire::Suspension {
        at_hub: shown.at_hub,
        whole_cluster: shown.whole_cluster,
        until_unix_millis: shown.until_unix_millis.unwrap_or_default(),
        by: shown.by,
        reason: shown.reason,
        message: shown.message,
    }
}

fn hold(hold: Hold) -> wire::Hold {
    wire::Hold {
        kind: hold.kind.as_str().into(),
        message: hold.message,
        since_unix_millis: hold.since_unix_millis.unwrap_or_default(),
        objects: hold.objects,
        objects_total: hold.objects_total,
    }
}

fn summary(shown: view::BundleSummary) -> wire::BundleSummary {
    let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    wire::BundleSummary {
        bundle: shown.bundle,
        commit: shown.commit,
        clusters: count(shown.clusters),
        current: count(shown.current),
        applied: count(shown.applied),
        healthy: count(shown.healthy),
        held: count(shown.held),
        failed: count(shown.failed),
        held_digest: shown.held_digest.map(|digest| digest.0.to_vec().into()).unwrap_or_default(),
        path: shown.path,
    }
}

fn tokens(fleet: &Fleet) -> Vec<wire::Token> {
    let tokens = fleet.tokens.values().map(|state| {
        let used = u32::try_from(state.used.len()).unwrap_or(u32::MAX);
        wire::Token {
            id: state.token.id.clone(),
            names: state.token.names.clone(),
            labels: state.token.labels.clone().into_iter().collect(),
            uses_left: state.token.uses.saturating_sub(used),
            expires_unix_millis: state.token.expires_unix_millis,
            used,
        }
    });
    tokens.collect()
}

fn sources(hub: &Hub, fleet: &Fleet) -> Vec<wire::Source> {
    let sources = fleet.sources.iter().map(|(name, source)| {
        let head = source.head.as_ref();
        let found = head.and_then(|head| defects(hub, &head.defects)).unwrap_or_default();
        wire::Source {
            source: name.clone(),
            commit: head.map(|head| head.commit.clone()).unwrap_or_default(),
            defects: found.defects.into_iter().map(defect).collect(),
            url: source.url.clone(),
            r#ref: source.reference.clone(),
            path: source.path.clone(),
            error: hub.node.source_error(name).unwrap_or_default(),
            rewind_commit: source.rewind.as_ref().map(|rewind| rewind.commit.clone()).unwrap_or_default(),
            defects_more: found.more,
            fetched_unix_millis: hub.node.fetched_unix_millis(name).unwrap_or_default(),
        }
    });
    // Those that are declared and not in the log, which has no room for them, say so.
    let others = hub.node.source_names().into_iter().filter(|name| !fleet.sources.contains_key(name));
    let others = others.filter_map(|source| {
        let error = hub.node.source_error(&source)?;
        Some(wire::Source { source, error, ..wire::Source::default() })
    });
    sources.chain(others).collect()
}

fn defect(defect: Defect) -> wire::Defect {
    let Defect { file, line, message, bundle, note } = defect;
    wire::Defect { file, line, message, bundle: bundle.unwrap_or_default(), note }
}

/// What was noted on renderings of the bundles that are shown, by the heads of their sources.
fn notes(hub: &Hub, fleet: &Fleet, shown: &ClusterView) -> Vec<wire::Defect> {
    let head = |name: &str| fleet.sources.get(name)?.head.as_ref();
    let stored: BTreeMap<&str, Defects> =
        fleet.sources.keys().filter_map(|name| Some((&**name, defects(hub, &head(name)?.defects)?))).collect();
    let of_bundle = |one: &BundleView| {
        let stored = one.bundle.split('/').next().and_then(|name| stored.get(name));
        stored.map(|stored| stored.notes_of(&one.bundle)).unwrap_or_default().into_iter().cloned().collect::<Vec<_>>()
    };
    shown.bundles.iter().flat_map(of_bundle).map(defect).collect()
}

fn defects(hub: &Hub, digest: &Digest) -> Option<Defects> {
    serde_json::from_slice(&hub.bodies.get(digest)?).ok()
}

/// Where each variable comes from that the cluster's bundles bind, and what it stands over.
fn variables(hub: &Hub, fleet: &Fleet, name: &str, known: &Cluster, shown: &ClusterView) -> Vec<wire::VariableOrigin> {
    let facts = ClusterFacts { number: known.number, name: name.to_owned(), labels: known.labels() };
    let index: Index = [(facts.number, &facts.labels)].into_iter().collect();
    let decode = |source: &Source| Catalog::decode(&hub.bodies.get(&source.head.as_ref()?.catalog)?).ok();
    let catalogs: BTreeMap<&str, Catalog> =
        fleet.sources.iter().filter_map(|(name, source)| Some((&**name, decode(source)?))).collect();
    let others = catalogs.iter().filter(|(name, _)| **name != ROOT).map(|(_, catalog)| catalog);
    let common = Common::of(catalogs.get(ROOT).into_iter().chain(others));
    let mut out = Vec::new();
    for one in &shown.bundles {
        let Some(catalog) = one.bundle.split('/').next().and_then(|name| catalogs.get(name)) else {
            continue;
        };
        let (Some(item), Some(bundle)) = (catalog.bundles.get(&one.bundle), fleet.bundles.get(&one.bundle)) else {
            continue;
        };
        let pair = fleet.goal(bundle, known.number).or_else(|| fleet.assigned(bundle, known.number));
        let table = pair.and_then(|pair| hub.bodies.variables(&pair.variables));
        let layers = layers(&common, item, &index);
        for name in bound_names(item, table.as_deref()) {
            out.push(origin(&one.bundle, &name, layers.resolve_all(&name, &facts)));
        }
    }
    out
}

/// The names that a bundle binds; those of `cluster` that its objects use.
fn bound_names(item: &Declared<BundleSpec>, table: Option<&Variables>) -> BTreeSet<String> {
    let (own, others): (Vec<&String>, Vec<&String>) = item.spec.variables.keys().partition(|name| *name == CLUSTER);
    let used = table.into_iter().flat_map(|table| table.0.keys());
    let of_cluster = used.filter(|name| !own.is_empty() && name.starts_with(&format!("{CLUSTER}.")));
    others.into_iter().chain(of_cluster).cloned().collect()
}

fn origin(bundle: &str, name: &str, all: Vec<Resolved>) -> wire::VariableOrigin {
    let mut all = all.into_iter().map(|one| wire::VariableValue {
        value: one.value.to_string(),
        origin: one.place,
        file: one.file,
        line: one.line,
    });
    let first = all.next();
    let missing = first.is_none();
    let wire::VariableValue { value, origin, file, line } = first.unwrap_or_default();
    let (bundle, name) = (bundle.to_owned(), name.to_owned());
    wire::VariableOrigin { bundle, name, value, origin, file, line, missing, overridden: all.collect() }
}
