//! `drover status`: every bundle in every cluster, worst first.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use proto_wire::control::GetBundles;
use proto_wire::control::get_request::What;
use tokio_stream::StreamExt;

use super::{short, tone};
use crate::client::Client;
use crate::error::Error;
use crate::output::screen::Screen;
use crate::output::table::{Cell, Look, Table, Tone};
use crate::output::{self, Format, Output, document, ranking, time};
use crate::programs::full_bundle;
use crate::view::{Bundle, Cluster, Source, Status};

/// Arguments of `drover status`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Only this cluster; repeat for more
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<String>,
    /// Only this bundle; repeat for more
    #[arg(long = "bundle", value_name = "NAME")]
    bundles: Vec<String>,
    /// Show it again on each change, until Ctrl-C
    #[arg(long, short)]
    watch: bool,
    #[command(flatten)]
    output: Output,
}

/// Shows the status once or again and again.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let bundles: Vec<String> = arguments.bundles.iter().map(|name| full_bundle(name)).collect();
    let mut status = Status::from(client.status(&arguments.clusters, &bundles).await?);
    known(&status, &arguments.clusters)?;
    if !bundles.is_empty() {
        known_bundles(&mut client, &bundles).await?;
    }
    if arguments.watch {
        return watch(client, &arguments, &bundles).await;
    }
    narrow(&mut status, &bundles);
    if let Some(words) = nothing(&status, &arguments.clusters, &bundles) {
        output::tell(&words);
        if matches!(arguments.output.format, Format::Table | Format::Wide) {
            return Ok(ExitCode::SUCCESS);
        }
    }
    arguments.output.show(&document::Status::from(&status), |look| tables(&status, look))?;
    Ok(ExitCode::SUCCESS)
}

/// What to say where nothing of what was asked for is left.
fn nothing(status: &Status, clusters: &[String], bundles: &[String]) -> Option<String> {
    let asked = match (clusters, bundles) {
        ([], []) => return None,
        (_, []) => return status.clusters.is_empty().then(|| format!("{} left the fleet", clusters.join(" and "))),
        ([], _) => "no cluster".to_owned(),
        _ => "none of these clusters".to_owned(),
    };
    status.clusters.is_empty().then(|| format!("{asked} runs {} or should", bundles.join(" or ")))
}

/// A filter that names nothing is more likely a slip than a question.
fn known(status: &Status, clusters: &[String]) -> Result<(), Error> {
    match clusters.iter().find(|name| !status.clusters.iter().any(|cluster| cluster.cluster == **name)) {
        Some(name) => Err(Error::NotFound(format!("there is no cluster {name:?}; `drover cluster list` shows all"))),
        None => Ok(()),
    }
}

async fn known_bundles(client: &mut Client, bundles: &[String]) -> Result<()> {
    let all = client.get(What::Bundles(GetBundles {})).await?.bundles;
    match bundles.iter().find(|name| !all.iter().any(|bundle| bundle.bundle == **name)) {
        Some(name) => {
            Err(Error::NotFound(format!("there is no bundle {name:?}; `drover get bundles` shows all")).into())
        }
        None => Ok(()),
    }
}

/// Who asks for bundles wants to see no cluster that has nothing to do with them.
fn narrow(status: &mut Status, bundles: &[String]) {
    status.clusters.retain(|cluster| bundles.is_empty() || !cluster.bundles.is_empty());
}

/// A connection that ends is made again, as long as the hub can be reached at all.
async fn watch(mut client: Client, arguments: &Arguments, bundles: &[String]) -> Result<ExitCode> {
    let mut screen = Screen::of_stdout();
    loop {
        let mut stream = client.watch(&arguments.clusters, bundles).await?;
        while let Some(Ok(answer)) = stream.next().await {
            let mut status = Status::from(answer);
            narrow(&mut status, bundles);
            let document = document::Status::from(&status);
            let text = match arguments.output.format {
                // One document a line, so that a reader knows where each ends.
                Format::Json => serde_json::to_string(&document)? + "\n",
                Format::Yaml => format!("---\n{}", output::yaml(&document)?),
                Format::Table | Format::Wide => {
                    let tables = |look| match nothing(&status, &arguments.clusters, bundles) {
                        Some(words) => words + "\n",
                        None => tables(&status, look),
                    };
                    screen.draw(&arguments.output.text(&document, tables, Look::of_stdout())?)?;
                    continue;
                }
            };
            output::write(&text)?;
        }
    }
}

/// What is wrong with the sources, then a line for each bundle in each cluster.
#[must_use]
pub fn tables(status: &Status, look: Look) -> String {
    let mut text: String = status.sources.iter().map(troubles).collect();
    if !text.is_empty() {
        text.push('\n');
    }
    if status.clusters.is_empty() {
        text.push_str(
            "No cluster is known yet. Declare one in Git, or make a token with `drover cluster join-token`.\n",
        );
        return text;
    }
    text + &table(status, look).text(look)
}

fn table(status: &Status, look: Look) -> Table {
    let mut rows: Vec<(ranking::Rank, &Cluster, Option<&Bundle>)> = Vec::new();
    for cluster in &status.clusters {
        if cluster.bundles.is_empty() {
            rows.push((ranking::of_cluster(cluster), cluster, None));
        }
        let of_bundle = |bundle| (ranking::of_bundle(bundle, cluster.connected), cluster, Some(bundle));
        rows.extend(cluster.bundles.iter().map(of_bundle));
    }
    // The sort is stable, so within a rank the order by name stays.
    rows.sort_by_key(|(rank, ..)| *rank);
    let mut table = Table::new(match look.is_wide {
        true => {
            &["CLUSTER", "BUNDLE", "COMMIT", "SYNC", "HEALTH", "AGE", "GENERATION", "VARIANT", "OBJECTS", "WHY"][..]
        }
        false => &["CLUSTER", "BUNDLE", "COMMIT", "SYNC", "HEALTH", "AGE", "WHY"][..],
    });
    for (rank, cluster, bundle) in rows {
        table.push(match bundle {
            Some(bundle) => row(rank, cluster, bundle, look),
            None => empty_row(cluster, look),
        });
    }
    table
}

fn row(rank: ranking::Rank, cluster: &Cluster, bundle: &Bundle, look: Look) -> Vec<Cell> {
    let mut row = vec![
        Cell::from(&cluster.cluster),
        Cell::from(&bundle.bundle),
        Cell::or_dash(bundle.commit.as_deref().map(short)),
        Cell::new(&bundle.sync, tone(&bundle.sync)),
        Cell::new(&bundle.health, tone(&bundle.health)),
        age(bundle.since_unix_millis, look),
    ];
    if look.is_wide {
        row.push(Cell::from(cluster.generation.to_string()));
        row.push(Cell::or_dash(bundle.variant.as_deref().map(short)));
        row.push(Cell::from(bundle.objects.to_string()));
    }
    let why_tone = match rank {
        ranking::Rank::Failing | ranking::Rank::Held => Tone::Bad,
        _ => Tone::Plain,
    };
    row.push(Cell::new(ranking::why(bundle), why_tone));
    row
}

fn empty_row(cluster: &Cluster, look: Look) -> Vec<Cell> {
    let dashes = |count| std::iter::repeat_n(Cell::or_dash(None), count);
    let mut row = vec![Cell::from(&cluster.cluster)];
    row.extend(dashes(4));
    row.push(age(cluster.seen_unix_millis.filter(|_| !cluster.connected), look));
    if look.is_wide {
        row.push(Cell::from(cluster.generation.to_string()));
        row.extend(dashes(2));
    }
    row.push(Cell::from(match &cluster.hold {
        Some(hold) => hold.as_str(),
        None => "no bundle selects it",
    }));
    row
}

fn age(unix_millis: Option<u64>, look: Look) -> Cell {
    let age = unix_millis.map(|since| time::age(since, look.now_unix_millis));
    Cell::or_dash(age.as_deref())
}

/// What keeps a source from being read, and what is wrong in it.
fn troubles(source: &Source) -> String {
    let name = &source.source;
    let mut text = String::new();
    // Writing to a string has no way to fail.
    if let Some(error) = &source.error {
        let _ = writeln!(text, "source {name}: cannot be fetched: {error}");
    }
    if let Some(commit) = &source.rewind_commit {
        let _ = writeln!(
            text,
            "source {name}: {} does not descend from {}; look at it, then run `drover source approve {name} --head {commit}`",
            short(commit),
            source.commit.as_deref().map_or("the accepted head", short),
        );
    }
    for defect in source.defects.iter().filter(|defect| !defect.note) {
        let _ = writeln!(text, "source {name}: {}", defect_line(&defect.file, defect.line, &defect.message));
    }
    if source.defects_more > 0 {
        let _ =
            writeln!(text, "source {name}: and {} more; `drover lint` in a checkout lists them", source.defects_more);
    }
    text
}

/// `file:line: message`, as editors understand it.
#[must_use]
pub fn defect_line(file: &str, line: Option<u32>, message: &str) -> String {
    match line {
        Some(line) => format!("{file}:{line}: {message}"),
        None => format!("{file}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_and_is_not_there_is_named() {
        let words = |clusters: &[&str], bundles: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            nothing(&Status::default(), &owned(clusters), &owned(bundles)).unwrap_or_default()
        };
        assert_eq!(words(&[], &[]), "");
        assert_eq!(words(&["a", "b"], &[]), "a and b left the fleet");
        assert_eq!(words(&[], &["main/x"]), "no cluster runs main/x or should");
        assert_eq!(words(&["a"], &["main/x", "main/y"]), "none of these clusters runs main/x or main/y or should");
    }
}
