//! `drover lint PATH`: what the hub would say of these files.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use hub_core::catalog::Defect;
use hub_render::offline::Offline;

use crate::checkout::{Renders, Seen, hint};
use crate::fleet::status::defect_line;
use crate::output::table::{Look, Tone};
use crate::output::{self, Output, document};

/// Arguments of `drover lint`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The folder that the source reads
    #[arg(default_value = ".")]
    path: PathBuf,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    renders: Renders,
    #[command(flatten)]
    output: Output,
}

/// Lists what is wrong and what is worth knowing; exit code 1 if anything is wrong.
///
/// # Errors
/// The folder cannot be read.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let role = arguments.seen.role()?;
    let offline = Offline::load(&arguments.path, &role, &arguments.renders.renderer())?;
    let found = offline.lint();
    let lint = document::Lint {
        bundles: offline.catalog().bundles.len() + offline.catalog().held.len(),
        clusters: offline.clusters().len(),
        defects: found.iter().map(defect).collect(),
    };
    arguments.output.show(&lint, |look| text(&lint, look))?;
    output::tell(&format!("{}; {}", summary(&lint), role.words()));
    hint(&role, &offline);
    let is_fine = lint.defects.iter().all(|defect| defect.note);
    Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A defect as it is shown.
pub(super) fn defect(defect: &Defect) -> document::SourceDefect {
    document::SourceDefect {
        file: defect.file.clone(),
        line: (defect.line != 0).then_some(defect.line),
        message: defect.message.clone(),
        bundle: defect.bundle.clone(),
        note: defect.note,
    }
}

/// A line each, as editors understand it; what is wrong comes first.
fn text(lint: &document::Lint, look: Look) -> String {
    let (notes, wrong): (Vec<_>, Vec<_>) = lint.defects.iter().partition(|defect| defect.note);
    let line = |defect: &document::SourceDefect| {
        let (word, tone) = if defect.note { ("note", Tone::Faint) } else { ("defect", Tone::Bad) };
        let message = format!("{}: {}", tone.paint(word, look.has_colour), defect.message);
        defect_line(&defect.file, defect.line, &message) + "\n"
    };
    wrong.into_iter().chain(notes).map(line).collect()
}

fn summary(lint: &document::Lint) -> String {
    let notes = lint.defects.iter().filter(|defect| defect.note).count();
    let wrong = lint.defects.len() - notes;
    if lint.bundles + lint.clusters + lint.defects.len() == 0 {
        return "nothing is declared here: declarations lie in drover.yaml or *.drover.yaml".to_owned();
    }
    let count = |number: usize, word| output::count(number as u64, word);
    let (bundles, clusters) = (count(lint.bundles, "bundle"), count(lint.clusters, "cluster"));
    format!("{bundles}, {clusters}: {}, {}", count(wrong, "defect"), count(notes, "note"))
}
