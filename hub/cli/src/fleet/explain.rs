//! `drover explain CLUSTER [BUNDLE]`: why it is not as Git says, down to the object.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::{Context, Result};
use proto_model::suspend::{WORDS_HERE, WORDS_HUB};

use super::status::defect_line;
use super::{short, tone};
use crate::client::Client;
use crate::output::table::{Cell, Look, Table, Tone};
use crate::output::{Output, count, detail, document, ranking, time};
use crate::programs::full_bundle;
use crate::view::{Bundle, Cluster, Defect, Given, Problem, Variable};

/// Arguments of `drover explain`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The cluster
    cluster: String,
    /// The bundle: SOURCE/BUNDLE, or BUNDLE of the source main [default: all]
    bundle: Option<String>,
    /// Show where the value of each variable comes from
    #[arg(long)]
    variables: bool,
    #[command(flatten)]
    output: Output,
}

/// Asks and shows the answer.
///
/// # Errors
/// What went wrong and what to do next.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let bundle = arguments.bundle.as_deref().map(full_bundle).unwrap_or_default();
    let answer = client.explain(&arguments.cluster, &bundle).await?;
    let mut cluster =
        answer.cluster.map(Cluster::from).context("the hub's answer names no cluster; its log may say why")?;
    for note in answer.notes.into_iter().map(Defect::from) {
        let bundle = cluster.bundles.iter_mut().find(|bundle| note.bundle.as_deref() == Some(&bundle.bundle));
        bundle.into_iter().for_each(|bundle| bundle.notes.push(note.clone()));
    }
    let variables: Option<Vec<Variable>> =
        arguments.variables.then(|| answer.variables.into_iter().map(Variable::from).collect());
    let document = document::Explain {
        applied_index: answer.applied_index,
        cluster: (&cluster).into(),
        bundles: cluster.bundles.iter().map(document::ExplainBundle::from).collect(),
        variables: variables.as_ref().map(|list| list.iter().map(detail::Variable::from).collect()),
    };
    arguments.output.show(&document, |look| text(&cluster, variables.as_deref(), look))?;
    Ok(ExitCode::SUCCESS)
}

/// The cluster, then each bundle with what keeps it, worst first.
#[must_use]
pub fn text(cluster: &Cluster, variables: Option<&[Variable]>, look: Look) -> String {
    let mut text = Tone::Heading.paint(&cluster.cluster, look.has_colour);
    text.push_str(&format!(", generation {}", cluster.generation));
    // Of a spoke that was not heard since the hub was started nobody knows what it has stored.
    let is_known = cluster.connected || cluster.acked_generation > 0;
    if is_known && cluster.acked_generation != cluster.generation {
        let _ = write!(text, " (its spoke has stored {})", cluster.acked_generation);
    }
    text.push_str(if cluster.connected { ", connected" } else { ", not connected" });
    if let Some(seen) = cluster.seen_unix_millis.filter(|_| !cluster.connected) {
        let _ = write!(text, ", last heard {} ago", time::age(seen, look.now_unix_millis));
    }
    text.push('\n');
    if let Some(hold) = &cluster.hold {
        let _ = writeln!(text, "  {hold}");
    }
    if cluster.bundles.is_empty() {
        text.push_str("  no bundle is assigned to it; `drover get bundles` lists what there is\n");
    }
    let mut bundles: Vec<&Bundle> = cluster.bundles.iter().collect();
    bundles.sort_by_key(|bundle| ranking::of_bundle(bundle, cluster.connected));
    for bundle in bundles {
        text.push('\n');
        explain_bundle(&mut text, bundle, look);
    }
    if let Some(variables) = variables {
        text.push('\n');
        text.push_str(&variables_table(variables).text(look));
    }
    text
}

// Writing to a string has no way to fail.
fn explain_bundle(text: &mut String, bundle: &Bundle, look: Look) {
    let paint = |word: &str, tone: Tone| tone.paint(word, look.has_colour);
    let _ = write!(
        text,
        "{}: {}, {}",
        paint(&bundle.bundle, Tone::Heading),
        paint(&bundle.sync, tone(&bundle.sync)),
        paint(&bundle.health, tone(&bundle.health))
    );
    // Where nothing was said of what is assigned, nobody knows how many objects there are.
    if let Some(since) = bundle.since_unix_millis {
        let age = time::age(since, look.now_unix_millis);
        let _ = write!(text, " for {age}, {}", count(bundle.objects, "object"));
    }
    let _ = writeln!(text, ", commit {}", bundle.commit.as_deref().map_or("none", short));
    if bundle.variant != bundle.goal_variant {
        let name = |variant: &Option<String>| variant.as_deref().map_or("nothing", short).to_owned();
        let _ = writeln!(text, "  assigned is {}, Git asks for {}", name(&bundle.variant), name(&bundle.goal_variant));
    }
    let held = bundle.hold.as_ref().map_or("", |hold| &hold.message);
    for one in bundle.suspensions.iter().filter(|one| one.message != held) {
        let _ = writeln!(text, "  {}", one.message);
    }
    if bundle.suspended && bundle.suspensions.is_empty() {
        text.push_str("  suspended: the spoke was told to keep its hands off\n");
    }
    if bundle.drifted {
        text.push_str("  drifted: somebody changed an object, and it was not put right yet\n");
    }
    if let Some(hold) = &bundle.hold {
        let since = hold.since_unix_millis.map(|since| format!(" for {}", time::age(since, look.now_unix_millis)));
        let _ = writeln!(text, "  held{} ({}): {}", since.unwrap_or_default(), hold.kind, hold.message);
        list(text, "    would go: ", &hold.objects, hold.objects_total);
    }
    // What the hold says already is not said twice.
    let is_said = |problem: &&Problem| {
        let is_suspension =
            problem.object.is_none() && [WORDS_HERE, WORDS_HUB].iter().any(|words| problem.message.starts_with(words));
        if is_suspension && !bundle.suspensions.is_empty() {
            return true;
        }
        let object = problem.object.as_deref().unwrap_or_default();
        held.starts_with(&problem.message) || held.starts_with(&format!("{object}: {}", problem.message))
    };
    for problem in bundle.problems.iter().filter(|problem| !is_said(problem)) {
        let object = problem.object.as_ref().map(|object| format!("{object}: ")).unwrap_or_default();
        let end = if problem.is_final { "; this will not change by waiting" } else { "; will be tried again" };
        let _ = writeln!(text, "  {object}{}{end}", problem.message);
    }
    if bundle.problems_more > 0 {
        let _ = writeln!(text, "  and {} more", bundle.problems_more);
    }
    for note in &bundle.notes {
        let word = paint("note", Tone::Faint);
        let _ = writeln!(text, "  {}", defect_line(&note.file, note.line, &format!("{word}: {}", note.message)));
    }
}

fn list(text: &mut String, prefix: &str, lines: &[String], total: u64) {
    for line in lines {
        let _ = writeln!(text, "{prefix}{line}");
    }
    let more = total.saturating_sub(lines.len() as u64);
    if more > 0 {
        let _ = writeln!(text, "{prefix}{more} more");
    }
}

/// A line for each value that is given: the one that counts, then those that it stands over.
fn variables_table(variables: &[Variable]) -> Table {
    let mut table = Table::new(&["BUNDLE", "VARIABLE", "VALUE", "FROM", "AT"]);
    for variable in variables {
        let (bundle, name) = (Cell::from(&variable.bundle), Cell::from(&variable.name));
        let Some((first, others)) = variable.values.split_first() else {
            table.push(vec![bundle, name, "-".into(), "nothing gives it a value".into(), "".into()]);
            continue;
        };
        table.push(vec![bundle, name, Cell::from(&first.value), Cell::from(&first.origin), at(first)]);
        for over in others {
            let origin = format!("(over {})", over.origin);
            table.push(vec!["".into(), "".into(), Cell::from(&over.value), Cell::from(&origin), at(over)]);
        }
    }
    table
}

fn at(given: &Given) -> Cell {
    match (&given.file, given.line) {
        (Some(file), Some(line)) => Cell::from(&format!("{file}:{line}")),
        (Some(file), None) => Cell::from(file),
        (None, _) => "".into(),
    }
}
