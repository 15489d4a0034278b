//! The example fleet, in a Git repository of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::output::shell_word;

/// `examples/retail`: path and content of each file.
const FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/example.rs"));
/// The branch of the repository.
pub const BRANCH: &str = "main";
/// A file whose change is seen at once.
const FILE_TO_EDIT: &str = "storefront/config.yaml";
/// Commits of the example name nobody.
const AUTHOR: &[(&str, &str)] =
    &[("user.name", "Drover example"), ("user.email", "example@drover.invalid"), ("commit.gpgsign", "false")];

/// A fleet to try things on.
pub struct Example {
    repository: PathBuf,
}

impl Example {
    /// Writes the example into a new repository and commits it. One that is there already, perhaps with commits of
    /// its user, stays as it is.
    ///
    /// # Errors
    /// Files cannot be written, or `git` cannot be run.
    pub fn create(repository: &Path, files: Option<&Path>) -> Result<Self> {
        let example = Self { repository: repository.to_path_buf() };
        if repository.join(".git").exists() {
            return Ok(example);
        }
        fs::create_dir_all(repository).with_context(|| format!("cannot make {}", repository.display()))?;
        match files {
            Some(folder) => copy(folder, repository)?,
            None => {
                for (name, content) in FILES {
                    write(&repository.join(name), content)?;
                }
            }
        }
        // Made elsewhere and moved into place last: a run that is killed in between leaves no half repository.
        let made = format!("--separate-git-dir={}", repository.join(".git.new").display());
        example.git(&["init", "--quiet", "--initial-branch", BRANCH, &made])?;
        fs::remove_file(repository.join(".git")).context("cannot move the new repository into place")?;
        let unlinked = ["--git-dir=.git.new", "--work-tree=."];
        for (name, value) in AUTHOR {
            example.git(&[&unlinked[..], &["config", name, value]].concat())?;
        }
        example.git(&[&unlinked[..], &["add", "--all", "--", ".", ":!.git.new"]].concat())?;
        example.git(&[&unlinked[..], &["commit", "--quiet", "--message", "the retail example"]].concat())?;
        fs::rename(repository.join(".git.new"), repository.join(".git"))
            .context("cannot move the new repository into place")?;
        Ok(example)
    }

    /// The file to edit and the command that commits it.
    #[must_use]
    pub fn hint(&self) -> (PathBuf, String) {
        let commit = format!("git -C {} commit -am \"storefront: a new banner\"", shell_word(&self.repository));
        (self.repository.join(FILE_TO_EDIT), commit)
    }

    fn git(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new("git");
        command.current_dir(&self.repository).args(arguments);
        // What the user configured, such as hooks or signatures, is about their own repositories.
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env_remove("GIT_DIR").env_remove("GIT_WORK_TREE").env_remove("GIT_INDEX_FILE");
        let output = command.output().context("cannot run git; install it, the example is a Git repository")?;
        if !output.status.success() {
            bail!("`git {}` failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, content)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == ".git" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            let content = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            write(&target, &content)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn git(folder: &Path, arguments: &[&str]) -> String {
        let output = Command::new("git").current_dir(folder).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    #[test]
    fn the_example_is_committed_and_its_user_can_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("source");
        let (file, _) = Example::create(&repository, None).unwrap().hint();
        assert_eq!(git(&repository, &["status", "--porcelain"]), "");
        assert_eq!(git(&repository, &["log", "--format=%an", "main"]), "Drover example");
        assert_eq!(git(&repository, &["ls-files"]).lines().count(), FILES.len());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("banner: "), "the hint speaks of a banner");
        fs::write(&file, text.replace("Welcome", "Hello")).unwrap();
        git(&repository, &["commit", "-qam", "storefront: a new banner"]);
        Example::create(&repository, None).unwrap();
        assert_eq!(git(&repository, &["rev-list", "--count", "main"]), "2");
    }

    #[test]
    fn a_folder_can_take_the_place_of_the_built_in_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        write(&files.join("a/b.yaml"), b"x: 1\n").unwrap();
        let repository = folder.path().join("source");
        Example::create(&repository, Some(&files)).unwrap();
        assert_eq!(git(&repository, &["ls-files"]), "a/b.yaml");
    }
}
