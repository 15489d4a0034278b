//! `drover plan --against REF`: what a change would do to the fleet, before it is merged.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use hub_render::offline::Offline;
use hub_render::offline::plan::{self, What};

use super::lint::defect;
use super::plan_text::{markdown, summary, text};
use super::{Renders, Seen, commit, hint};
use crate::output;
use crate::output::plan as document;
use crate::output::table::Look;

/// Exit code with `--exit-code` where something would change.
const CHANGES: u8 = 6;
/// Exit code with `--exit-code` where the guard would hold something.
const GUARDED: u8 = 7;

/// Arguments of `drover plan`.
#[derive(clap::Args)]
pub struct Arguments {
    /// What to compare with: the branch that a merge goes to, or any commit
    #[arg(long, value_name = "REF")]
    against: String,
    /// A commit instead of the files as they are now
    #[arg(long, value_name = "REF")]
    commit: Option<String>,
    /// The folder that the source reads
    #[arg(long, value_name = "PATH", default_value = ".")]
    source: PathBuf,
    /// How to write the answer
    #[arg(short = 'o', long = "output", value_enum, default_value = "text", value_name = "FORMAT")]
    format: Form,
    /// Exit with 6 if anything would change, with 7 if the guard would hold some of it
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    renders: Renders,
}

/// The forms of a plan.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For people
    Text,
    /// For a comment on a pull request
    Markdown,
    /// For programs; docs/schemas/cli describes it
    Json,
    /// The same as JSON, written as YAML
    Yaml,
}

/// Compares, and says what would be added, changed and removed, and where.
///
/// # Errors
/// The folder or the commits cannot be read.
pub async fn run(arguments: Arguments) -> Result<ExitCode> {
    let (role, renderer) = (arguments.seen.role()?, arguments.renders.renderer());
    let place = commit::place(&arguments.source)?;
    let (against, before) = commit::load(&place, &arguments.against, &role, None, &renderer).await?;
    let (commit, after) = match &arguments.commit {
        Some(reference) => {
            let (commit, tree) = commit::load(&place, reference, &role, Some(&before), &renderer).await?;
            (Some(commit), tree)
        }
        None => (None, Offline::load_after(&arguments.source, &role, Some(before.catalog()), &renderer)?),
    };
    let plan = document(plan::plan(&before, &after), against, commit);
    output::write(&match arguments.format {
        Form::Text => text(&plan, Look::of_stdout()),
        Form::Markdown => markdown(&plan),
        Form::Json => output::json(&plan)?,
        Form::Yaml => output::yaml(&plan)?,
    })?;
    match arguments.format {
        Form::Text => output::tell(&format!("{}; {}", summary(&plan), role.words())),
        Form::Markdown | Form::Json | Form::Yaml => output::tell(&role.words()),
    }
    hint(&role, &after);
    Ok(exit_code(&plan, arguments.exit_code))
}

fn exit_code(plan: &document::Plan, is_asked: bool) -> ExitCode {
    match plan {
        plan if !plan.defects.is_empty() => ExitCode::FAILURE,
        plan if is_asked && !plan.holds.is_empty() => ExitCode::from(GUARDED),
        plan if is_asked && !plan.changes.is_empty() => ExitCode::from(CHANGES),
        _ => ExitCode::SUCCESS,
    }
}

/// A plan in its fixed shape.
#[must_use]
pub fn document(plan: plan::Plan, against: String, commit: Option<String>) -> document::Plan {
    let object = |one: plan::ObjectChange| {
        let change = match one.what {
            What::Added => "added",
            What::Changed => "changed",
            What::Removed => "removed",
            What::Kept => "kept",
            What::HandedOver => "handedOver",
        };
        let fields = one.fields.into_iter();
        let fields = fields.map(|field| document::Field { path: field.path, before: field.before, after: field.after });
        document::Object {
            change: change.into(),
            object: one.object.to_string(),
            other: one.other,
            confirm: one.confirm,
            fields: fields.collect(),
        }
    };
    let change = |one: plan::Change| document::Change {
        bundle: one.bundle,
        clusters: one.clusters,
        objects: one.objects.into_iter().map(object).collect(),
    };
    let hold = |one: plan::GuardHold| document::GuardHold {
        bundle: one.bundle,
        clusters: one.clusters,
        objects: one.objects,
        empties: one.empties,
    };
    document::Plan {
        against,
        commit,
        changes: plan.changes.into_iter().map(change).collect(),
        holds: plan.holds.into_iter().map(hold).collect(),
        held: plan.held.into_iter().map(|(bundle, why)| document::Held { bundle, why }).collect(),
        defects: plan.defects.iter().map(defect).collect(),
        clusters_added: plan.clusters_added,
        clusters_removed: plan.clusters_removed,
    }
}
