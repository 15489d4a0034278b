//! Tables for people, and the ConfigMap that shows how a cluster stands.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proto_model::limits;

use super::{Bundle, Status, Suspended, time};

/// Lines with columns that stand under each other. The last column may be long; nothing follows it.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|at| width(at).unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a text has no way to fail.
            let _ = write!(line, "{cell:<width$}   ");
        }
        // Blanks at the end of a line make YAML print it as one unreadable string.
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A text on one line, without anything that would move a cursor.
#[must_use]
pub fn line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

/// One suspension in words: `main/web until 2026-05-01T02:13:00Z by hub: reason`.
#[must_use]
pub fn suspended(one: &Suspended) -> String {
    let what = one.bundle.as_deref().unwrap_or("the whole cluster");
    let place = if one.at_hub { " at the hub" } else { "" };
    let by = if one.by.is_empty() { place.to_owned() } else { format!(" by {}{place}", line(&one.by)) };
    let why = if one.reason.is_empty() { String::new() } else { format!(": {}", line(&one.reason)) };
    format!("{what} until {}{by}{why}", time::utc(one.until_unix_millis))
}

/// How many bundles are how: `12 bundles: 10 Applied and Healthy, 1 Failed, 1 Degraded`.
#[must_use]
pub fn count(status: &Status) -> String {
    let total = status.bundles.len() as u64 + status.bundles_more;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for bundle in &status.bundles {
        *counts.entry(word(bundle)).or_default() += 1;
    }
    let well = counts.remove(WELL).unwrap_or(0);
    let mut parts = vec![format!("{well} {WELL}")];
    parts.extend(counts.into_iter().map(|(word, count)| format!("{count} {word}")));
    let bundles = if total == 1 { "bundle" } else { "bundles" };
    format!("{total} {bundles}: {}", parts.join(", "))
}

const WELL: &str = "Applied and Healthy";

/// The one word that matters of a bundle.
fn word(bundle: &Bundle) -> &str {
    match (bundle.sync.as_str(), bundle.health.as_str()) {
        ("Applied", "Healthy") => WELL,
        ("Applied", health) => health,
        (sync, _) => sync,
    }
}

/// Drift and suspension of a bundle beside its words.
#[must_use]
pub fn flags(bundle: &Bundle) -> String {
    let drifted = bundle.drifted.then_some("drifted");
    let suspended = bundle.suspended_until_unix_millis.map(|_| "suspended");
    drifted.into_iter().chain(suspended).collect::<Vec<_>>().join(",")
}

/// The ConfigMap's data. It has no time that passes: what does not change reads the same.
#[must_use]
pub fn summary(status: &Status) -> BTreeMap<String, String> {
    let since = |millis: Option<u64>| millis.map_or_else(String::new, |at| format!(" since {}", time::utc(at)));
    let hub = match (status.hub.is_attached, status.hub.since_unix_millis) {
        (true, at) => format!("attached{}", since(at)),
        (false, at) => format!("not reached{}; the cluster is kept as it was last assigned", since(at)),
    };
    let hub = match status.hub.id.as_str() {
        "" => "none: this cluster is in no fleet now".to_owned(),
        id => format!("{}, {hub}", line(id)),
    };
    let mut head = vec![
        vec!["cluster".to_owned(), line(&status.cluster)],
        vec!["spoke".to_owned(), line(&status.version)],
        vec!["hub".to_owned(), hub],
        vec!["generation".to_owned(), status.generation.to_string()],
        vec!["state".to_owned(), count(status)],
    ];
    head.extend(status.suspended.iter().map(|one| vec!["suspended".to_owned(), suspended(one)]));
    if let Some(trouble) = &status.ledger_trouble {
        head.push(vec!["ledger".to_owned(), format!("can't be written: {}", line(&trouble.message))]);
    }
    if !status.search_trouble.is_empty() {
        head.push(vec!["search".to_owned(), line(&status.search_trouble)]);
    }
    let titles = ["BUNDLE", "SYNC", "HEALTH", "FLAGS", "OBJECTS", "VARIANT", "SINCE"].map(str::to_owned);
    let mut rows = vec![titles.to_vec()];
    rows.extend(status.bundles.iter().map(|one| {
        vec![
            one.bundle.clone(),
            one.sync.clone(),
            one.health.clone(),
            flags(one),
            one.objects.to_string(),
            one.variant.clone(),
            if one.since_unix_millis == 0 { String::new() } else { time::utc(one.since_unix_millis) },
        ]
    }));
    let ailing = status.bundles.iter().filter(|one| !one.problem.is_empty());
    let problems: String = ailing.map(|one| format!("{}: {}\n", one.bundle, line(&one.problem))).collect();
    let third = limits::STATUS_BYTES_MAX / 3;
    let mut data = BTreeMap::from([
        ("cluster".to_owned(), bounded(&table(&head), third, 0)),
        ("bundles".to_owned(), bounded(&table(&rows), third, status.bundles_more)),
    ]);
    if !problems.is_empty() {
        data.insert("problems".to_owned(), bounded(&problems, third, 0));
    }
    data
}

/// The first lines that fit, and how many there are beside them.
fn bounded(text: &str, bytes_max: usize, more: u64) -> String {
    let (mut kept, mut left_out) = (String::new(), more);
    for line in text.lines() {
        if left_out > more || kept.len() + line.len() + 1 > bytes_max {
            left_out += 1;
        } else {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    if left_out > 0 {
        kept.push_str(&format!("and {left_out} more\n"));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::HubLink;
    use super::*;

    fn bundle(name: &str, sync: &str, health: &str) -> Bundle {
        Bundle {
            bundle: name.into(),
            sync: sync.into(),
            health: health.into(),
            objects: 3,
            variant: "0011223344".into(),
            since_unix_millis: 1_000,
            ..Bundle::default()
        }
    }

    fn status() -> Status {
        Status {
            cluster: "edge-1".into(),
            version: "1.2.3".into(),
            generation: 7,
            hub: HubLink { id: "h".into(), is_attached: true, since_unix_millis: Some(0), trouble: String::new() },
            bundles: vec![bundle("main/web", "Applied", "Healthy"), bundle("main/db", "Applied", "Degraded")],
            ..Status::default()
        }
    }

    #[test]
    fn it_reads_well_in_yaml() {
        let mut status = status();
        status.bundles[1].problem = "Deployment.apps db/pg is\nbroken".into();
        status.bundles[1].drifted = true;
        status.suspended = vec![Suspended {
            bundle: None,
            until_unix_millis: 0,
            reason: "night".into(),
            by: "hub".into(),
            at_hub: false,
        }];
        let data = summary(&status);
        assert_eq!(
            data["cluster"],
            "cluster      edge-1\nspoke        1.2.3\nhub          h, attached since 1970-01-01T00:00:00Z\n\
             generation   7\nstate        2 bundles: 1 Applied and Healthy, 1 Degraded\n\
             suspended    the whole cluster until 1970-01-01T00:00:00Z by hub: night\n"
        );
        assert_eq!(
            data["bundles"],
            "BUNDLE     SYNC      HEALTH     FLAGS     OBJECTS   VARIANT      SINCE\n\
             main/web   Applied   Healthy              3         0011223344   1970-01-01T00:00:01Z\n\
             main/db    Applied   Degraded   drifted   3         0011223344   1970-01-01T00:00:01Z\n"
        );
        assert_eq!(data["problems"], "main/db: Deployment.apps db/pg is broken\n");
        assert!(data.values().flat_map(|text| text.lines()).all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn it_is_bounded() {
        let mut status = status();
        let mut one = bundle(&"n".repeat(104), "Applied", "Degraded");
        one.problem = "p".repeat(limits::PROBLEM_BYTES_MAX);
        status.bundles = vec![one; limits::BUNDLES_PER_CLUSTER_MAX * 2];
        status.bundles_more = 5;
        let data = summary(&status);
        assert!(data.values().map(String::len).sum::<usize>() < limits::STATUS_BYTES_MAX + 100);
        let told = data["bundles"].lines().count() - 2;
        let more = limits::BUNDLES_PER_CLUSTER_MAX * 2 - told + 5;
        assert!(data["bundles"].ends_with(&format!("\nand {more} more\n")), "{told}");
    }

    #[test]
    fn what_is_not_there_is_said_so() {
        let mut status = status();
        status.hub = HubLink { id: "h".into(), ..HubLink::default() };
        assert!(summary(&status)["cluster"].contains("h, not reached; the cluster is kept"));
    }
}
