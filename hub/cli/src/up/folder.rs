//! The work folder of a run: the hub, the spokes, the logs, and the example's Git repository.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// What is told of the log of a program that died.
const TAIL_LINES: usize = 12;
/// What is read of it.
const TAIL_BYTES: u64 = 16 * 1024;

/// A work folder that this run alone uses.
pub struct Folder {
    path: PathBuf,
    // Released when the run ends, however it ends.
    _lock: File,
    temporary: Option<TempDir>,
}

impl Folder {
    /// The folder that is named, made where it is missing, else a temporary one.
    ///
    /// # Errors
    /// It cannot be made, or another run uses it.
    pub fn open(named: Option<&Path>) -> Result<Self> {
        let (path, temporary) = match named {
            Some(path) => (std::path::absolute(path).context("cannot tell the current folder")?, None),
            None => {
                let folder = tempfile::Builder::new().prefix("drover-up-").tempdir();
                let folder = folder.context("cannot make a temporary folder; name one with --dir")?;
                (folder.path().to_path_buf(), Some(folder))
            }
        };
        let make = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        make(&path.join("logs")).with_context(|| format!("cannot make {}", path.display()))?;
        make(&path.join("spokes")).with_context(|| format!("cannot make {}", path.display()))?;
        let lock = lock(&path.join("lock"))?;
        Ok(Self { path, _lock: lock, temporary })
    }

    /// Whether the folder goes with the run.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The hub's directory.
    #[must_use]
    pub fn hub(&self) -> PathBuf {
        self.path.join("hub")
    }

    /// The administrator's context.
    #[must_use]
    pub fn context(&self) -> PathBuf {
        self.path.join("context.json")
    }

    /// A spoke's directory.
    #[must_use]
    pub fn spoke(&self, cluster: &str) -> PathBuf {
        self.path.join("spokes").join(cluster)
    }

    /// Whether a spoke has joined from its directory.
    #[must_use]
    pub fn has_joined(&self, cluster: &str) -> bool {
        self.spoke(cluster).join("enrolment.json").exists()
    }

    /// The repository with the example.
    #[must_use]
    pub fn source(&self) -> PathBuf {
        self.path.join("source")
    }

    /// The log of a program.
    #[must_use]
    pub fn log(&self, name: &str) -> PathBuf {
        self.path.join("logs").join(format!("{name}.log"))
    }

    /// Removes a temporary folder.
    ///
    /// # Errors
    /// Something in it cannot be removed.
    pub fn close(self) -> Result<()> {
        match self.temporary {
            Some(folder) => folder.close().with_context(|| format!("cannot remove {}", self.path.display())),
            None => Ok(()),
        }
    }
}

fn lock(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "another `drover up` uses {}\nend it, or name another folder with --dir",
            path.parent().unwrap_or(path).display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The last lines of a log, for people; empty where there are none.
#[must_use]
pub fn tail(path: &Path) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let bytes = file.metadata()?.len();
        file.seek(SeekFrom::Start(bytes.saturating_sub(TAIL_BYTES)))?;
        let mut text = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut text)?;
        Ok(text)
    };
    // A log that cannot be read has nothing to tell.
    let text = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines.get(first..).unwrap_or_default().iter().map(|line| format!("  {line}\n")).collect()
}

/// The last warning or error in a log, without its time; `None` where there is none.
#[must_use]
pub fn last_words(path: &Path) -> Option<String> {
    let text = tail(path);
    let of_line = |line: &str| {
        let levels = [" WARN ", " ERROR "];
        levels.iter().find_map(|level| Some(line.split_once(level)?.1.trim().to_owned()))
    };
    text.lines().rev().find_map(of_line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_folder_has_one_run_and_a_temporary_one_goes_with_it() {
        let named = tempfile::tempdir().unwrap();
        let folder = Folder::open(Some(named.path())).unwrap();
        assert!(Folder::open(Some(named.path())).is_err());
        folder.close().unwrap();
        assert!(named.path().is_dir());
        let temporary = Folder::open(None).unwrap();
        let path = temporary.path().to_path_buf();
        assert!(path.is_dir());
        temporary.close().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_tail_is_the_end_of_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        assert_eq!(tail(&path), "");
        let text: String = (0..3000).map(|number| format!("line {number}\n")).collect();
        fs::write(&path, text).unwrap();
        let tail = tail(&path);
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("  line 2999\n"));
    }

    #[test]
    fn the_last_words_are_those_of_the_last_trouble() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        assert_eq!(last_words(&path), None);
        fs::write(&path, "2023-11-14T22:13:20Z  WARN one\n2023-11-14T22:13:21Z ERROR two: 3\n… INFO three\n").unwrap();
        assert_eq!(last_words(&path).as_deref(), Some("two: 3"));
    }
}
