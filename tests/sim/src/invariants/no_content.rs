//! Rule 18: nothing that Drover says carries what is in an object. Every Secret and ConfigMap of the
//! simulation has a marker in its data; no report, refusal or log line may have it.

use proto_model::delta::ToHub;

use super::{Context, Invariant, Seen};
use crate::repo::{CONTENT_MARKER, SECRET_MARKER};

/// The marker of Secrets as base64.
const ENCODED_MARKER: &str = "UzNDUkVU";

/// Looks for markers.
#[derive(Debug, Default)]
pub struct NoContent;

impl Invariant for NoContent {
    fn name(&self) -> &'static str {
        "no_content"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Said { message: ToHub::Report(report), .. } => {
                report.problems.iter().try_for_each(|problem| check(&problem.message))
            }
            Seen::Said { message: ToHub::Nack { message, .. }, .. } => check(message),
            Seen::Logged { words, .. } => check(words),
            _ => Ok(()),
        }
    }
}

fn check(words: &str) -> Result<(), String> {
    let markers = [SECRET_MARKER, CONTENT_MARKER, ENCODED_MARKER];
    match markers.iter().find(|marker| words.contains(*marker)) {
        Some(_) => Err(format!("content in {words:?}")),
        None => Ok(()),
    }
}
