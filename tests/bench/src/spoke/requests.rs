//! The requests of one program at an API server, out of its audit log: how many of what, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests_tools::Cluster;
use tests_tools::audit::Entry;

use super::content::PREFIX;

/// What the spoke calls itself, before its version.
pub(super) const SPOKE: &str = "drover-spoke/";

/// A moment, as audit logs write it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Path of a request, without its query.
pub(super) fn path(uri: &str) -> &str {
    uri.split('?').next().unwrap_or_default()
}

/// A request about an object of a bundle, to be made again.
pub(super) struct Call {
    /// Path and query.
    pub(super) uri: String,
    /// An apply or dry-run; otherwise a look.
    pub(super) is_apply: bool,
}

/// Some requests, in the order of the log.
pub(super) struct Requests(Vec<Entry>);

impl Requests {
    /// Those of a program that arrived since a moment.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn since(cluster: &Cluster, agent: &str, moment: &str) -> Result<Self> {
        let mut entries = cluster.audit()?;
        entries.retain(|entry| entry.user_agent.starts_with(agent) && entry.at.as_str() >= moment);
        Ok(Self(entries))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Those that renew the Lease.
    pub(super) fn renewals(&self) -> usize {
        self.0.iter().filter(|entry| is_renewal(entry)).count()
    }

    /// Whether nothing happened but what an idle spoke does: renewals, watches that go on, single looks.
    pub(super) fn is_idle(&self) -> bool {
        self.0.iter().all(|entry| is_renewal(entry) || entry.verb == "watch" || is_look(entry))
    }

    /// Applies, without dry-runs.
    pub(super) fn applies(&self) -> usize {
        self.0.iter().filter(|entry| is_apply(entry) && !is_dry(entry)).count()
    }

    /// All looks, dry-runs and applies of objects, in order of their arrival.
    pub(super) fn calls(&self) -> Vec<Call> {
        let mut calls: Vec<&Entry> = self.0.iter().filter(|entry| is_apply(entry) || is_look(entry)).collect();
        calls.sort_by(|one, other| one.at.cmp(&other.at));
        calls.into_iter().map(|entry| Call { uri: entry.uri.clone(), is_apply: is_apply(entry) }).collect()
    }

    /// From the arrival of the first look, dry-run or apply to that of the last.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn span(&self) -> Result<Duration> {
        let about = self.0.iter().filter(|entry| is_apply(entry) || is_look(entry));
        let mut times = about.map(|entry| entry.at.as_str());
        let first = times.clone().min().context("nothing was asked for")?;
        let last = times.by_ref().max().context("nothing was asked for")?;
        let (first, last): (jiff::Timestamp, jiff::Timestamp) = (first.parse()?, last.parse()?);
        Ok(last.duration_since(first).try_into()?)
    }

    /// Path and query of each watch, by path.
    pub(super) fn watches(&self) -> Vec<String> {
        let watches = self.0.iter().filter(|entry| entry.verb == "watch");
        let by_path: BTreeMap<&str, &str> = watches.map(|entry| (path(&entry.uri), entry.uri.as_str())).collect();
        by_path.into_values().map(str::to_owned).collect()
    }

    /// How many of each verb and resource; objects of bundles are counted together. Refused ones are told apart.
    pub(super) fn counts(&self) -> String {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for entry in &self.0 {
            *counts.entry(what(entry)).or_default() += 1;
        }
        let all: Vec<String> = counts.into_iter().map(|(what, count)| format!("{count} {what}")).collect();
        if all.is_empty() { "none".to_owned() } else { all.join(", ") }
    }
}

fn what(entry: &Entry) -> String {
    if is_apply(entry) && is_ok(entry) {
        return if is_dry(entry) { "dry-runs".to_owned() } else { "applies".to_owned() };
    }
    if is_look(entry) {
        let found = if is_ok(entry) { "" } else { " that is not there" };
        return format!("looks at an object{found}");
    }
    let resource = if entry.resource.is_empty() { path(&entry.uri) } else { &entry.resource };
    let refused = if is_ok(entry) { String::new() } else { format!(" ({})", entry.code) };
    format!("{} {resource}{refused}", entry.verb)
}

fn is_ok(entry: &Entry) -> bool {
    entry.code < 300
}

fn is_renewal(entry: &Entry) -> bool {
    entry.resource == "leases" && entry.verb == "update" && is_ok(entry)
}

fn is_look(entry: &Entry) -> bool {
    entry.verb == "get" && entry.name.starts_with(PREFIX)
}

/// Server-side applies are the only patches that force. The spoke's own records are written so, too.
fn is_apply(entry: &Entry) -> bool {
    entry.verb == "patch" && entry.uri.contains("force=true") && entry.name.starts_with(PREFIX)
}

fn is_dry(entry: &Entry) -> bool {
    entry.uri.contains("dryRun=All")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn entry(verb: &str, resource: &str, uri: &str, at: &str, code: u16) -> Entry {
        let text = str::to_owned;
        Entry { verb: text(verb), resource: text(resource), uri: text(uri), at: text(at), code, ..Entry::default() }
    }

    #[test]
    fn requests_are_told_apart() {
        let about = |verb, uri, at, code| Entry { name: "object-1".into(), ..entry(verb, "secrets", uri, at, code) };
        let requests = Requests(vec![
            about("patch", "/a?fieldManager=m&force=true&dryRun=All", "2026-01-01T00:00:01.600000Z", 200),
            about("patch", "/a?fieldManager=m&force=true", "2026-01-01T00:00:02.750000Z", 201),
            about("patch", "/b?fieldManager=m&force=true", "2026-01-01T00:00:02.700000Z", 409),
            about("get", "/a", "2026-01-01T00:00:01.500000Z", 404),
            entry("patch", "secrets", "/l?fieldManager=m&force=true", "2026-01-01T00:00:01.000000Z", 200),
            entry("update", "leases", "/l", "2026-01-01T00:00:09.000000Z", 200),
            entry("watch", "roles", "/roles?watch=true&resourceVersion=1", "2026-01-01T00:00:00.000000Z", 200),
            entry("watch", "roles", "/roles?watch=true&resourceVersion=2", "2026-01-01T00:00:03.000000Z", 200),
            entry("get", "", "/api", "2026-01-01T00:00:03.000000Z", 200),
        ]);
        assert_eq!(
            requests.counts(),
            "1 applies, 1 dry-runs, 1 get /api, 1 looks at an object that is not there, 1 patch secrets, \
             1 patch secrets (409), 1 update leases, 2 watch roles"
        );
        assert_eq!(requests.span().unwrap(), Duration::from_millis(1250));
        assert_eq!((requests.renewals(), requests.applies()), (1, 2));
        let calls: Vec<_> = requests.calls().into_iter().map(|call| (call.uri, call.is_apply)).collect();
        let expected = [
            ("/a", false),
            ("/a?fieldManager=m&force=true&dryRun=All", true),
            ("/b?fieldManager=m&force=true", true),
            ("/a?fieldManager=m&force=true", true),
        ];
        assert_eq!(calls, expected.map(|(uri, is_apply)| (uri.to_owned(), is_apply)));
        assert_eq!(requests.watches(), ["/roles?watch=true&resourceVersion=2"]);
        assert!(Requests(Vec::new()).span().is_err());
    }

    #[test]
    fn an_idle_spoke_writes_nothing_but_its_lease() {
        let of = |verb, resource, uri| entry(verb, resource, uri, "2026-01-01T00:00:01.000000Z", 200);
        let (renewal, watch) = (of("update", "leases", "/l"), of("watch", "roles", "/roles?watch=true"));
        assert!(Requests(vec![renewal.clone(), watch]).is_idle());
        for other in [of("list", "roles", "/roles"), of("patch", "configmaps", "/drover-status"), of("get", "", "/api")]
        {
            assert!(!Requests(vec![renewal.clone(), other]).is_idle());
        }
    }
}
