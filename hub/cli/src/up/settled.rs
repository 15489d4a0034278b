//! Whether a fleet has settled, and what is missing. Pure.
//!
//! Settled means: what is assigned is what the head of its source asks for, Applied and Healthy, in every cluster of
//! this run, and every one of them is connected.

use std::collections::BTreeSet;

use crate::fleet::short;
use crate::fleet::status::defect_line;
use crate::output::{count, ranking};
use crate::view::{Bundle, Cluster, Source, Status};

/// Why the fleet has not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The cluster; `None` where it is not of one cluster.
    pub cluster: Option<String>,
    /// What is missing.
    pub message: String,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cluster {
            Some(cluster) => write!(f, "{cluster}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What is missing, source by source and cluster by cluster; empty: the fleet has settled.
///
/// `fetched_after_millis`: a head that was read before this moment may be an old one.
#[must_use]
pub fn missing(status: &Status, expected: &BTreeSet<String>, fetched_after_millis: u64) -> Vec<Reason> {
    let of_source = |source| {
        let message = source_lacks(source, fetched_after_millis)?;
        Some(Reason { cluster: None, message: format!("source {}: {message}", source.source) })
    };
    let mut reasons: Vec<Reason> = status.sources.iter().filter_map(of_source).collect();
    if status.sources.is_empty() {
        reasons.push(Reason { cluster: None, message: "the hub reads no source yet".into() });
    }
    if expected.is_empty() && reasons.is_empty() {
        reasons.push(Reason { cluster: None, message: "no cluster was started yet".into() });
    }
    for name in expected {
        let cluster = status.clusters.iter().find(|cluster| cluster.cluster == *name);
        let message = match cluster {
            None => Some("the hub does not know it yet".to_owned()),
            Some(cluster) => cluster_lacks(cluster, &status.sources),
        };
        reasons.extend(message.map(|message| Reason { cluster: Some(name.clone()), message }));
    }
    reasons
}

fn source_lacks(source: &Source, fetched_after_millis: u64) -> Option<String> {
    if let Some(error) = &source.error {
        return Some(format!("cannot be fetched: {error}"));
    }
    if let Some(commit) = &source.rewind_commit {
        return Some(format!("head {} waits for `drover source approve`", short(commit)));
    }
    let mut held = source.defects.iter().filter(|defect| !defect.note);
    if let Some(defect) = held.next() {
        let more = held.count() as u64 + source.defects_more;
        let line = defect_line(&defect.file, defect.line, &defect.message);
        return Some(if more == 0 { line } else { format!("{line} (and {more} more)") });
    }
    if source.commit.is_none() {
        return Some("no commit was accepted yet".to_owned());
    }
    let is_fresh = source.fetched_unix_millis.is_some_and(|fetched| fetched >= fetched_after_millis);
    (!is_fresh).then(|| "was not fetched yet".to_owned())
}

fn cluster_lacks(cluster: &Cluster, sources: &[Source]) -> Option<String> {
    if !cluster.connected {
        return Some(match &cluster.hold {
            Some(hold) => format!("not connected: {hold}"),
            None => "not connected".to_owned(),
        });
    }
    if let Some(hold) = &cluster.hold {
        return Some(hold.clone());
    }
    let mut late: Vec<(ranking::Rank, &Bundle, String)> = cluster
        .bundles
        .iter()
        .filter_map(|bundle| Some((ranking::of_bundle(bundle, true), bundle, bundle_lacks(bundle, sources)?)))
        .collect();
    late.sort_by_key(|(rank, ..)| *rank);
    if let Some((_, bundle, message)) = late.first() {
        let message = format!("{}: {message}", bundle.bundle);
        return Some(if late.len() == 1 {
            message
        } else {
            format!("{message}; and {}", count(late.len() as u64 - 1, "more bundle"))
        });
    }
    (cluster.acked_generation < cluster.generation)
        .then(|| format!("has stored generation {} of {}", cluster.acked_generation, cluster.generation))
}

fn bundle_lacks(bundle: &Bundle, sources: &[Source]) -> Option<String> {
    let why = ranking::why(bundle);
    let end = if why.is_empty() { String::new() } else { format!(": {why}") };
    if bundle.hold.is_some() || bundle.suspended {
        return Some(why);
    }
    if bundle.variant != bundle.goal_variant {
        return Some(format!("is not assigned yet what Git asks for{end}"));
    }
    if bundle.sync != "Applied" || bundle.health != "Healthy" {
        return Some(format!("{}, {}{end}", bundle.sync, bundle.health));
    }
    let name = bundle.bundle.split('/').next().unwrap_or_default();
    let head = sources.iter().find(|source| source.source == name).and_then(|source| source.commit.as_deref());
    (head.is_some() && bundle.commit.as_deref() != head).then(|| {
        format!(
            "runs commit {}, the head is {}",
            bundle.commit.as_deref().map_or("none", short),
            head.map_or("none", short)
        )
    })
}
