//! The files of the checkout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The checkout.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A file of the checkout.
pub struct File {
    /// Relative to the root.
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl File {
    /// The content, if it is text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.bytes).ok()
    }

    /// Whether it is a file of Rust.
    #[must_use]
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

/// Every file that is or would be committed.
///
/// # Errors
/// `git` cannot be run, or a file not be read.
pub fn files() -> Result<Vec<File>> {
    let root = root();
    let mut command = Command::new("git");
    command.current_dir(&root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let output = command.output().context("cannot run git")?;
    if !output.status.success() {
        bail!("git ls-files failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut files = Vec::new();
    for name in names.split('\0').filter(|name| !name.is_empty()) {
        let path = root.join(name);
        // One that was deleted and not yet committed is no longer there.
        if path.is_file() {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
            files.push(File { path: name.to_owned(), bytes });
        }
    }
    Ok(files)
}
