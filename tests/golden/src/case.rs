//! Reading a case.

use anyhow::{Context, bail};
use hub_core::snapshot::{File, Mode, Snapshot};
use proto_model::Digest;

/// Commits, one after another.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// In their order.
    pub commits: Vec<Commit>,
}

/// The files of one commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What it is about.
    pub words: String,
    /// Its files.
    pub snapshot: Snapshot,
}

impl Case {
    /// Reads a case.
    ///
    /// # Errors
    /// A section that is not known, or stands where it may not.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let mut case = Self::default();
        let mut open: Option<(Mode, String, String)> = None;
        for (number, line) in (1..).zip(text.lines()) {
            let Some(section) = line.strip_prefix("=== ") else {
                if let Some((_, _, content)) = &mut open {
                    content.push_str(line);
                    content.push('\n');
                }
                continue;
            };
            case.close(&mut open)?;
            let (word, rest) = section.split_once(' ').unwrap_or((section, ""));
            let mode = match word {
                "commit" => {
                    let mut commit = case.commits.last().cloned().unwrap_or_default();
                    commit.words = rest.into();
                    case.commits.push(commit);
                    continue;
                }
                "remove" => {
                    let files = &mut case.last()?.snapshot.files;
                    files.remove(rest).with_context(|| format!("line {number}: no file {rest}"))?;
                    continue;
                }
                "file" => Mode::Regular,
                "link" => Mode::Symlink,
                "submodule" => Mode::Submodule,
                "unnamed" => Mode::Unnamed,
                _ => bail!("line {number}: unknown section {word:?}"),
            };
            open = Some((mode, rest.to_owned(), String::new()));
        }
        case.close(&mut open)?;
        Ok(case)
    }

    fn last(&mut self) -> anyhow::Result<&mut Commit> {
        if self.commits.is_empty() {
            self.commits.push(Commit::default());
        }
        self.commits.last_mut().context("no commit")
    }

    fn close(&mut self, open: &mut Option<(Mode, String, String)>) -> anyhow::Result<()> {
        if let Some((mode, path, content)) = open.take() {
            let id = Digest::of(content.as_bytes()).to_string();
            let bytes = Some(content.into_bytes().into());
            self.last()?.snapshot.files.insert(path, File { id, mode, bytes });
        }
        Ok(())
    }
}
