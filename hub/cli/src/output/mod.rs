//! How answers are shown: tables for people, JSON and YAML with fixed schemas for programs.

pub mod detail;
pub mod document;
pub mod plan;
pub mod ranking;
pub mod record;
pub mod screen;
pub mod table;
pub mod time;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::ValueEnum;
use serde::Serialize;

use table::Look;

/// The forms that an answer can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// A table with more columns, cut nowhere
    Wide,
    /// For programs; docs/schemas/cli describes it
    Json,
    /// The same as JSON, written as YAML
    Yaml,
}

/// The option that chooses the form.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Output {
    /// How to show the answer
    #[arg(short = 'o', long = "output", value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: Format,
}

impl Output {
    /// Writes an answer to stdout: as tables if they are wanted, else as the document.
    ///
    /// # Errors
    /// Stdout is closed.
    pub fn show<T: Serialize>(self, document: &T, tables: impl FnOnce(Look) -> String) -> Result<()> {
        let look = Look::of_stdout();
        let text = self.text(document, tables, look)?;
        write(&text)?;
        if self.format == Format::Table && look.width.is_some() && text.contains(table::CUT) {
            tell("Cut to the width of the terminal; -o wide shows all of it.");
        }
        Ok(())
    }

    /// The answer as text.
    ///
    /// # Errors
    /// The document cannot be written in this form.
    pub fn text<T: Serialize>(self, document: &T, tables: impl FnOnce(Look) -> String, look: Look) -> Result<String> {
        match self.format {
            Format::Table => Ok(tables(look)),
            // Who asks for all columns wants to read them: a terminal wraps what it has no room for.
            Format::Wide => Ok(tables(Look { is_wide: true, width: None, ..look })),
            Format::Json => json(document),
            Format::Yaml => yaml(document),
        }
    }
}

/// A document as indented JSON with a line break at the end.
///
/// # Errors
/// It holds something that JSON has no word for.
pub fn json<T: Serialize>(document: &T) -> Result<String> {
    let mut text = serde_json::to_string_pretty(document).context("cannot write JSON")?;
    text.push('\n');
    Ok(text)
}

/// A document as YAML with a line break at the end.
///
/// # Errors
/// It holds something that YAML has no word for.
pub fn yaml<T: Serialize>(document: &T) -> Result<String> {
    let mut text = serde_saphyr::to_string(document).context("cannot write YAML")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A count with its word: `1 object`, `2 objects`.
#[must_use]
pub fn count(number: u64, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

/// A path as a shell reads it back.
#[must_use]
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+=:@%,".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Writes data to stdout.
///
/// # Errors
/// Stdout is closed.
pub fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to stdout")
}

/// Writes what is not data to stderr. Where stderr is closed nobody wants to know.
pub fn tell(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Shows what a command did.
///
/// # Errors
/// Stdout is closed.
pub fn done(output: Output, done: document::Done) -> Result<ExitCode> {
    output.show(&done, |_| format!("{}\n", done.message))?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_paths_read_well() {
        assert_eq!((count(1, "object"), count(0, "object")), ("1 object".into(), "0 objects".into()));
        assert_eq!(shell_word(Path::new("/tmp/a-b_1")), "/tmp/a-b_1");
        assert_eq!(shell_word(Path::new("a dir/it's")), r"'a dir/it'\''s'");
    }
}
