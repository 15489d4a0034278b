//! `drover get clusters|bundles|sources|tokens|audit`: one kind of thing, a line each.

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;
use proto_wire::control::get_request::What as Wanted;
use proto_wire::control::{GetAudit, GetBundles, GetClusters, GetSources, GetTokens};

use super::{records, short};
use crate::client::Client;
use crate::output::table::{Cell, Look, Table, Tone};
use crate::output::{Output, document, ranking, record, time};
use crate::view::{BundleSummary, Cluster, Source};

/// What to list.
#[derive(Subcommand)]
pub enum What {
    /// The clusters, with labels and connection
    Clusters {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// The bundles, and in how many clusters they are where they should be
    Bundles {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// The sources, with head and last fetch
    Sources {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// The join tokens, without their secrets
    Tokens {
        /// How to show them
        #[command(flatten)]
        output: Output,
    },
    /// What operators did, when and why, oldest first
    Audit {
        /// How to show it
        #[command(flatten)]
        output: Output,
    },
}

/// Lists it.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(mut client: Client, what: What) -> Result<ExitCode> {
    let wanted = match what {
        What::Clusters { .. } => Wanted::Clusters(GetClusters {}),
        What::Bundles { .. } => Wanted::Bundles(GetBundles {}),
        What::Sources { .. } => Wanted::Sources(GetSources {}),
        What::Tokens { .. } => Wanted::Tokens(GetTokens {}),
        What::Audit { .. } => Wanted::Audit(GetAudit {}),
    };
    let answer = client.get(wanted).await?;
    let applied_index = answer.applied_index;
    match what {
        What::Clusters { output } => {
            let mut list: Vec<Cluster> = answer.clusters.into_iter().map(Cluster::from).collect();
            list.sort_by(|a, b| a.cluster.cmp(&b.cluster));
            let clusters = list.iter().map(document::Cluster::from).collect();
            output
                .show(&document::Clusters { applied_index, clusters }, |look| clusters_table(&list, look).text(look))?;
        }
        What::Bundles { output } => {
            let mut list: Vec<BundleSummary> = answer.bundles.into_iter().map(BundleSummary::from).collect();
            list.sort_by(|a, b| a.bundle.cmp(&b.bundle));
            let bundles = list.iter().map(document::BundleSummary::from).collect();
            output.show(&document::Bundles { applied_index, bundles }, |look| bundles_table(&list).text(look))?;
        }
        What::Sources { output } => {
            let mut list: Vec<Source> = answer.sources.into_iter().map(Source::from).collect();
            list.sort_by(|a, b| a.source.cmp(&b.source));
            let sources = list.iter().map(document::Source::from).collect();
            output.show(&document::Sources { applied_index, sources }, |look| sources_table(&list, look).text(look))?;
        }
        What::Tokens { output } => {
            let tokens: Vec<_> = answer.tokens.into_iter().map(record::Token::from).collect();
            let table = |look: Look| records::tokens_table(&tokens, look).text(look);
            output.show(&record::Tokens { applied_index, tokens: tokens.clone() }, table)?;
        }
        What::Audit { output } => {
            let audit: Vec<_> = answer.audit.into_iter().map(record::Audit::from).collect();
            let table = |look: Look| records::audit_table(&audit, look).text(look);
            output.show(&record::AuditTrail { applied_index, audit: audit.clone() }, table)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The clusters, worst first.
#[must_use]
pub fn clusters_table(clusters: &[Cluster], look: Look) -> Table {
    let mut clusters: Vec<&Cluster> = clusters.iter().collect();
    clusters.sort_by_key(|cluster| ranking::of_cluster(cluster));
    let mut table = Table::new(match look.is_wide {
        true => &[
            "CLUSTER",
            "CONNECTED",
            "SEEN",
            "GENERATION",
            "ACKED",
            "INCARNATION",
            "SENT",
            "VERSION",
            "DECLARED",
            "LABELS",
            "WHY",
        ][..],
        false => &["CLUSTER", "CONNECTED", "SEEN", "LABELS", "WHY"][..],
    });
    for cluster in clusters {
        let (connected, tone) = if cluster.connected { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
        let seen = cluster.seen_unix_millis.map(|seen| time::age(seen, look.now_unix_millis));
        let mut row = vec![Cell::from(&cluster.cluster), Cell::new(connected, tone), Cell::or_dash(seen.as_deref())];
        if look.is_wide {
            row.push(Cell::from(cluster.generation.to_string()));
            row.push(Cell::from(cluster.acked_generation.to_string()));
            row.push(Cell::from(cluster.incarnation.to_string()));
            row.push(Cell::from(format!("{} B", cluster.sent_delta_bytes)));
            row.push(Cell::or_dash(cluster.version.as_deref()));
            row.push(Cell::from(if cluster.declared { "yes" } else { "no" }));
        }
        let labels: Vec<String> = cluster.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        row.push(Cell::or_dash(Some(&labels.join(","))));
        row.push(Cell::from(cluster.hold.as_deref().unwrap_or_default()));
        table.push(row);
    }
    table
}

/// The bundles, worst first.
#[must_use]
pub fn bundles_table(bundles: &[BundleSummary]) -> Table {
    let mut bundles: Vec<&BundleSummary> = bundles.iter().collect();
    bundles.sort_by_key(|bundle| (bundle.failed == 0, bundle.held == 0, bundle.healthy >= bundle.clusters));
    let mut table =
        Table::new(&["BUNDLE", "COMMIT", "CLUSTERS", "CURRENT", "APPLIED", "HEALTHY", "HELD", "FAILED", "PATH"]);
    for bundle in bundles {
        let all = |count: u32| {
            let tone = if count >= bundle.clusters { Tone::Good } else { Tone::Busy };
            Cell::new(count.to_string(), tone)
        };
        let none = |count: u32| {
            let tone = if count == 0 { Tone::Plain } else { Tone::Bad };
            Cell::new(count.to_string(), tone)
        };
        table.push(vec![
            Cell::from(&bundle.bundle),
            Cell::or_dash(bundle.commit.as_deref().map(short)),
            Cell::from(bundle.clusters.to_string()),
            all(bundle.current),
            all(bundle.applied),
            all(bundle.healthy),
            none(bundle.held),
            none(bundle.failed),
            Cell::or_dash(Some(&bundle.path)),
        ]);
    }
    table
}

/// The sources.
#[must_use]
pub fn sources_table(sources: &[Source], look: Look) -> Table {
    let mut table = Table::new(&["SOURCE", "COMMIT", "REF", "FETCHED", "DEFECTS", "URL", "PATH", "WHY"]);
    for source in sources {
        let defects = source.defects.iter().filter(|defect| !defect.note).count() as u64 + source.defects_more;
        let fetched = source.fetched_unix_millis.map(|fetched| time::age(fetched, look.now_unix_millis));
        let why = match (&source.error, &source.rewind_commit) {
            (Some(error), _) => error.clone(),
            (None, Some(commit)) => {
                format!("not a descendant: `drover source approve {} --head {commit}`", source.source)
            }
            (None, None) => String::new(),
        };
        table.push(vec![
            Cell::from(&source.source),
            Cell::or_dash(source.commit.as_deref().map(short)),
            Cell::from(&source.reference),
            Cell::or_dash(fetched.as_deref()),
            Cell::new(defects.to_string(), if defects == 0 { Tone::Plain } else { Tone::Bad }),
            Cell::from(&source.url),
            Cell::or_dash(Some(&source.path)),
            Cell::new(why, Tone::Bad),
        ]);
    }
    table
}
