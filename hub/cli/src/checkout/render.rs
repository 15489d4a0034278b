//! `drover render BUNDLE --cluster C`: the objects that a cluster would get.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::ValueEnum;
use hub_render::offline::{Offline, OfflineError};

use crate::checkout::lint::defect;
use crate::checkout::{Renders, Seen};
use crate::error::Error;
use crate::fleet::status::defect_line;
use crate::output::{self, yaml};

/// Arguments of `drover render`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle
    bundle: String,
    /// The cluster, as declared
    #[arg(long)]
    cluster: String,
    /// The folder that the source reads
    #[arg(long, value_name = "PATH", default_value = ".")]
    source: PathBuf,
    #[command(flatten)]
    seen: Seen,
    #[command(flatten)]
    renders: Renders,
    /// How to write the objects
    #[arg(short = 'o', long = "output", value_enum, default_value = "yaml", value_name = "FORMAT")]
    format: Form,
}

/// The forms of objects.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// YAML documents, as kubectl reads them
    Yaml,
    /// A List
    Json,
}

/// Renders, binds and writes the objects in the order in which they are applied.
///
/// # Errors
/// There is no such bundle or cluster, or the bundle has a defect.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (role, renderer) = (arguments.seen.role()?, arguments.renders.renderer());
    let offline = Offline::load_one(&arguments.source, &role, &arguments.bundle, &renderer)?;
    let objects = offline.render(&arguments.bundle, &arguments.cluster).map_err(|error| explain(error, &offline))?;
    let text = match arguments.format {
        Form::Yaml => {
            let documents: Result<Vec<String>> = objects.iter().map(yaml).collect();
            documents?.join("---\n")
        }
        Form::Json => output::json(&serde_json::json!({"apiVersion": "v1", "kind": "List", "items": objects}))?,
    };
    output::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn explain(error: OfflineError, offline: &Offline) -> anyhow::Error {
    match error {
        OfflineError::Unknown(message) if !offline.is_whole() => {
            let next = "some declarations are defective, it may be one of them: `drover lint` lists them";
            Error::NotFound(format!("{message}\n{next}")).into()
        }
        OfflineError::Unknown(message) => {
            let next = "--source names the folder that declares bundles and clusters; a cluster that has its labels from \
                        a token alone is known to the hub only";
            Error::NotFound(format!("{message}\n{next}")).into()
        }
        OfflineError::Held { ref defects, .. } => {
            let lines: String = defects
                .iter()
                .map(defect)
                .map(|one| format!("\n{}", defect_line(&one.file, one.line, &one.message)))
                .collect();
            anyhow::anyhow!("{error}{lines}\n`drover lint` lists all that is wrong")
        }
        error => error.into(),
    }
}
