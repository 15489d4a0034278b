//! `drover diff CLUSTER BUNDLE`: what is live against what is bound, as the cluster's spoke sees it now.

use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;

use crate::client::Client;
use crate::error::Error;
use crate::output::detail::{Diff, DiffObject};
use crate::output::table::{Look, Tone};
use crate::output::{Output, count};
use crate::programs::full_bundle;

/// Arguments of `drover diff`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The cluster
    cluster: String,
    /// The bundle: SOURCE/BUNDLE, or BUNDLE of the source main
    bundle: String,
    #[command(flatten)]
    output: Output,
}

/// Asks and shows the answer; the exit code says whether anything differs.
///
/// # Errors
/// What went wrong and what to do next. No answer has a code of its own: 1 means that something differs.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let bundle = full_bundle(&arguments.bundle);
    let answer = client.diff(&arguments.cluster, &bundle).await.map_err(|error| match error {
        Error::Refused(why) => Error::Unanswered(why),
        other => other,
    })?;
    let document = Diff::of(arguments.cluster, bundle, answer);
    arguments.output.show(&document, |look| text(&document, look))?;
    let is_clean = document.objects.is_empty() && document.unseen == 0;
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Object by object, then how many there are.
#[must_use]
pub fn text(diff: &Diff, look: Look) -> String {
    let mut text = String::new();
    for object in &diff.objects {
        write_object(&mut text, object, look);
    }
    if diff.objects.is_empty() {
        let _ = write!(text, "nothing differs: {} as bound", count(diff.same, "object"));
    } else {
        let differing = count(diff.objects.len() as u64, "object");
        let _ = write!(text, "{differing} not as bound, {} as bound", diff.same);
    }
    if diff.unseen > 0 {
        let _ = write!(text, ", {} not looked at: too many, or not in time", diff.unseen);
    }
    let _ = writeln!(text, ", generation {}", diff.generation);
    text
}

// Writing to a string has no way to fail.
fn write_object(text: &mut String, object: &DiffObject, look: Look) {
    let paint = |words: String, tone: Tone| tone.paint(&words, look.has_colour);
    let name = &object.object;
    match object.change.as_str() {
        "missing" => {
            let _ = writeln!(text, "{}", paint(format!("+ {name}: is missing, and would be made"), Tone::Good));
        }
        "unwanted" => {
            let _ = writeln!(text, "{}", paint(format!("- {name}: is no longer wanted, and would go"), Tone::Bad));
        }
        "unknown" => {
            let why = object.message.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}", paint(format!("? {name}: cannot be told: {why}"), Tone::Busy));
        }
        _ => {
            let _ = writeln!(text, "--- {name} live\n+++ {name} bound");
            for field in &object.fields {
                let _ = writeln!(text, "@@ {} @@", field.pointer);
                if let Some(live) = &field.live {
                    let _ = writeln!(text, "{}", paint(format!("-{live}"), Tone::Bad));
                }
                if let Some(bound) = &field.bound {
                    let _ = writeln!(text, "{}", paint(format!("+{bound}"), Tone::Good));
                }
            }
            if object.fields_more > 0 {
                let _ = writeln!(text, "and {}", count(object.fields_more, "more field"));
            }
        }
    }
    text.push('\n');
}
