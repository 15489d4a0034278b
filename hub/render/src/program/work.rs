//! The folder of one rendering: what the program reads, and where it may write.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};

use tempfile::TempDir;

/// A private folder, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Work {
    input: PathBuf,
    home: PathBuf,
    folder: TempDir,
}

impl Work {
    pub(super) fn new(place: &Path, prefix: &str) -> io::Result<Self> {
        let folder = TempDir::with_prefix_in(prefix, place)?;
        let (input, home) = (folder.path().join("in"), folder.path().join("home"));
        fs::create_dir(&input)?;
        fs::create_dir(&home)?;
        Ok(Self { input, home, folder })
    }

    /// What the program may read.
    pub(crate) fn input(&self) -> &Path {
        &self.input
    }

    /// What it may write to.
    pub(super) fn home(&self) -> &Path {
        &self.home
    }

    /// Writes one file for the program to read; its path is relative and stays below the folder.
    pub(crate) fn lay_out(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let stays = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        if !stays || path.is_empty() {
            return Err(io::Error::other("the path leaves its folder"));
        }
        let target = self.input.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(target, bytes)
    }

    /// Writes one file for the program's own eyes, beside what it writes itself; gives its path.
    pub(super) fn keep(&self, path: &str, bytes: &[u8]) -> io::Result<PathBuf> {
        let target = self.home.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
        file.write_all(bytes)?;
        Ok(target)
    }

    /// Takes the folder's own path out of what a program says, so that paths are those of the source.
    pub(crate) fn strip(&self, text: &str) -> String {
        let input = self.input.to_string_lossy();
        let text = text.replace(&format!("{input}/"), "").replace(&*input, ".");
        text.replace(&*self.folder.path().to_string_lossy(), "")
    }
}

/// Removes what an earlier process left.
pub(super) fn empty(place: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(place)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn files_stay_below_the_folder() {
        let place = tempfile::tempdir().unwrap();
        let work = Work::new(place.path(), "work-").unwrap();
        work.lay_out("a/b.yaml", b"x").unwrap();
        assert_eq!(fs::read(work.input().join("a/b.yaml")).unwrap(), b"x");
        for path in ["../x", "/x", "a/../../x", ""] {
            assert!(work.lay_out(path, b"x").is_err(), "{path}");
        }
        drop(work);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_goes() {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("work-1/in")).unwrap();
        fs::create_dir(place.path().join("other")).unwrap();
        empty(place.path(), "work-").unwrap();
        assert!(place.path().join("other").exists() && !place.path().join("work-1").exists());
    }
}
