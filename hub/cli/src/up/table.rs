//! The live table: as many bundles as there is room for, what matters first, the rest folded into a line for each
//! cluster. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::fleet::{short, tone};
use crate::output::ranking::{self, Rank};
use crate::output::table::{Cell, Look, Table, Tone};
use crate::output::time;
use crate::view::{Bundle, Cluster, Status};

/// The table of these clusters in at most `height` lines, if they have room for a line each.
#[must_use]
pub fn lines(status: &Status, clusters: &BTreeSet<String>, height: usize, look: Look) -> Vec<String> {
    let shown: Vec<&Cluster> = status.clusters.iter().filter(|cluster| clusters.contains(&cluster.cluster)).collect();
    let apart = shown_apart(&shown, height.saturating_sub(1), look.now_unix_millis);
    let mut table = Table::new(&["CLUSTER", "BUNDLE", "COMMIT", "SYNC", "HEALTH", "AGE", "WHY"]);
    for cluster in shown {
        let is_apart = |bundle: &&Bundle| {
            apart.get(cluster.cluster.as_str()).is_some_and(|names| names.contains(bundle.bundle.as_str()))
        };
        let (listed, folded): (Vec<&Bundle>, Vec<&Bundle>) = cluster.bundles.iter().partition(is_apart);
        for bundle in &listed {
            table.push(row(cluster, bundle, look));
        }
        if !folded.is_empty() || listed.is_empty() {
            table.push(folded_row(cluster, &folded, !listed.is_empty(), look));
        }
    }
    table.lines(look)
}

/// What changed within this time is not folded, in milliseconds, if there is room.
const NEWS_MILLIS: u64 = 30_000;

/// The bundles that get a line of their own, by cluster: all if they fit, else the worst and then the newest, as many
/// as there is room for beside one line for each cluster.
fn shown_apart<'a>(
    clusters: &[&'a Cluster],
    height: usize,
    now_unix_millis: u64,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut all: Vec<(Rank, u64, &Cluster, &Bundle)> = Vec::new();
    for cluster in clusters {
        let entry = |bundle: &'a Bundle| {
            let since = bundle.since_unix_millis.unwrap_or(0);
            (ranking::of_bundle(bundle, cluster.connected), u64::MAX - since, *cluster, bundle)
        };
        all.extend(cluster.bundles.iter().map(entry));
    }
    let lines_needed = all.len() + clusters.iter().filter(|cluster| cluster.bundles.is_empty()).count();
    let mut room = all.len();
    if lines_needed > height {
        room = height.saturating_sub(clusters.len());
        let news_begin = now_unix_millis.saturating_sub(NEWS_MILLIS);
        all.retain(|(rank, newest_first, ..)| *rank != Rank::Fine || u64::MAX - newest_first >= news_begin);
    }
    all.sort_by_key(|(rank, newest_first, ..)| (*rank, *newest_first));
    let mut apart: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, _, cluster, bundle) in all.into_iter().take(room) {
        apart.entry(&cluster.cluster).or_default().insert(&bundle.bundle);
    }
    apart
}

fn row(cluster: &Cluster, bundle: &Bundle, look: Look) -> Vec<Cell> {
    let age = bundle.since_unix_millis.map(|since| time::age(since, look.now_unix_millis));
    vec![
        name(cluster),
        Cell::from(&bundle.bundle),
        Cell::or_dash(bundle.commit.as_deref().map(short)),
        Cell::new(&bundle.sync, tone(&bundle.sync)),
        Cell::new(&bundle.health, tone(&bundle.health)),
        Cell::or_dash(age.as_deref()),
        Cell::from(ranking::why(bundle)),
    ]
}

/// What the folded bundles have in common; where they differ, the worst of them.
fn folded_row(cluster: &Cluster, folded: &[&Bundle], has_others: bool, look: Look) -> Vec<Cell> {
    let worst = folded.iter().min_by_key(|bundle| ranking::of_bundle(bundle, cluster.connected));
    let Some(worst) = worst else {
        let why = cluster.hold.as_deref().unwrap_or(if cluster.connected { "no bundle selects it" } else { "" });
        let dash = || Cell::or_dash(None);
        return vec![name(cluster), dash(), dash(), dash(), dash(), dash(), Cell::from(why)];
    };
    let what = match (folded.len(), has_others) {
        (1, _) => worst.bundle.clone(),
        (count, true) => format!("{count} others"),
        (count, false) => format!("{count} bundles"),
    };
    let commit = worst.commit.as_deref().filter(|_| folded.iter().all(|bundle| bundle.commit == worst.commit));
    let newest = folded.iter().filter_map(|bundle| bundle.since_unix_millis).max();
    vec![
        name(cluster),
        Cell::new(what, Tone::Faint),
        Cell::or_dash(commit.map(short)),
        Cell::new(&worst.sync, tone(&worst.sync)),
        Cell::new(&worst.health, tone(&worst.health)),
        Cell::or_dash(newest.map(|since| time::age(since, look.now_unix_millis)).as_deref()),
        Cell::from(ranking::why(worst)),
    ]
}

fn name(cluster: &Cluster) -> Cell {
    Cell::new(&cluster.cluster, if cluster.connected { Tone::Plain } else { Tone::Bad })
}
