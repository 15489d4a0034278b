//! The spoke's own directory: one process at a time, files written whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// Another process holds it.
    #[error("{0} is in use by another drover-spoke: give each its own --dir")]
    InUse(PathBuf),
    /// Reading or writing failed.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file was changed by another hand.
    #[error("{path} is damaged ({reason}): remove it and join again with a new token")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong. Never content.
        reason: String,
    },
    /// Enrolled under another name.
    #[error("{dir} belongs to cluster {found}, not {wanted}: give each cluster its own --dir")]
    OtherCluster {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        found: String,
        /// What was asked for.
        wanted: String,
    },
    /// Enrolled with another hub than the token's.
    #[error("{0} is enrolled with another hub than the token's: use an empty --dir to join that hub")]
    OtherHub(PathBuf),
    /// Not enrolled, and no token.
    #[error("{0} holds no enrolment: give a --token, made with `drover cluster join-token`")]
    NoToken(PathBuf),
    /// The system gave no key.
    #[error("the system gave no key: {0}")]
    Key(#[from] rcgen::Error),
}

/// The directory, held by this process until it is dropped.
#[derive(Debug)]
pub(crate) struct Dir {
    path: PathBuf,
    _lock: File,
}

impl Dir {
    /// Makes the directory where it is missing, and takes it.
    pub(crate) fn open(path: &Path) -> Result<Self, DirError> {
        let file = |source| DirError::File { path: path.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(file)?;
        let lock = path.join("lock");
        let handle = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|source| DirError::File { path: lock.clone(), source })?;
        match handle.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: handle }),
            Err(TryLockError::WouldBlock) => Err(DirError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(DirError::File { path: lock, source }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file's bytes; `None` where there is none.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, DirError> {
        let path = self.path.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(DirError::File { path, source }),
        }
    }

    /// Writes a file for this user alone: afterwards it is durable, or as it was before.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirError> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        self.replace(&fresh, &path, bytes).map_err(|source| DirError::File { path, source })
    }

    fn replace(&self, fresh: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(fresh, path)?;
        File::open(&self.path)?.sync_all()
    }

    /// An error about a file that does not read.
    pub(crate) fn damaged(&self, name: &str, reason: impl Into<String>) -> DirError {
        DirError::Damaged { path: self.path.join(name), reason: reason.into() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn one_process_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("spoke");
        let dir = Dir::open(&path).unwrap();
        assert!(matches!(Dir::open(&path), Err(DirError::InUse(_))));
        drop(dir);
        assert!(Dir::open(&path).is_ok());
    }

    #[test]
    fn files_are_private_and_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = Dir::open(&root.path().join("spoke")).unwrap();
        assert!(dir.read("a").unwrap().is_none());
        dir.write("a", b"one").unwrap();
        dir.write("a", b"two").unwrap();
        assert_eq!(dir.read("a").unwrap().unwrap(), b"two");
        let mode = fs::metadata(dir.path().join("a")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
