//! Reading a case.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail, ensure};
use hub_core::snapshot::{File, GIT_MODULES, Mode, Modules, Snapshot};
use proto_model::{Digest, Health, Sync};

/// Commits, one after another.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// In their order.
    pub commits: Vec<Commit>,
    /// Whether a fleet follows them.
    pub has_fleet: bool,
    /// Whether each is shown as what it would change of the one before.
    pub has_plans: bool,
}

/// The files of one commit.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// What it is about.
    pub words: String,
    /// Its files.
    pub snapshot: Snapshot,
    /// Clusters whose spokes are not connected.
    pub silent: BTreeSet<String>,
    /// What spokes say instead of that all is well, by cluster and bundle.
    pub said: BTreeMap<(String, String), Word>,
    /// Bundles of which an operator lets go what the guard holds, once everything else has happened.
    pub approved: Vec<String>,
}

/// What a spoke says of a bundle.
#[derive(Clone, Debug)]
pub struct Word {
    /// Sync.
    pub sync: Sync,
    /// Health.
    pub health: Health,
    /// What is wrong.
    pub message: String,
}

impl Word {
    /// Of `CLUSTER BUNDLE SYNC HEALTH MESSAGE`.
    fn parse(text: &str) -> Option<((String, String), Self)> {
        let mut words = text.splitn(5, ' ');
        let mut next = || words.next();
        let key = (next()?.to_owned(), next()?.to_owned());
        let (sync, health) = (next()?, next()?);
        let sync = *Sync::ALL.iter().find(|one| one.to_string() == sync)?;
        let health = *Health::ALL.iter().find(|one| one.to_string() == health)?;
        Some((key, Self { sync, health, message: next()?.to_owned() }))
    }
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
                    commit.approved.clear();
                    case.commits.push(commit);
                    continue;
                }
                "remove" => {
                    let files = &mut case.last()?.snapshot.files;
                    files.remove(rest).with_context(|| format!("line {number}: no file {rest}"))?;
                    continue;
                }
                "fleet" => {
                    case.has_fleet = true;
                    continue;
                }
                "plan" => {
                    case.has_plans = true;
                    continue;
                }
                "silent" => {
                    case.last()?.silent.insert(rest.into());
                    continue;
                }
                "back" => {
                    let was_silent = case.last()?.silent.remove(rest);
                    ensure!(was_silent, "line {number}: {rest} is not silent");
                    continue;
                }
                "says" => {
                    let (key, word) =
                        Word::parse(rest).with_context(|| format!("line {number}: not what spokes say"))?;
                    case.last()?.said.insert(key, word);
                    continue;
                }
                "approve" => {
                    case.last()?.approved.push(rest.into());
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
            if path == GIT_MODULES {
                self.last()?.snapshot.modules = Modules::read(content.as_bytes(), "");
            }
            let bytes = Some(content.into_bytes().into());
            self.last()?.snapshot.files.insert(path, File { id, mode, bytes });
        }
        Ok(())
    }
}
