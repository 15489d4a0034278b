//! The directory of one hub: what lies in it, and writing files so that a loss of power cannot
//! tear them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// The paths of a hub's directory.
#[derive(Clone, Debug)]
pub struct Dir {
    root: PathBuf,
}

/// How far `init` came in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is nothing of a hub in it.
    Empty,
    /// `init` began here and did not end.
    HalfMade,
    /// A hub may run here.
    Ready,
    /// Somebody else's files lie in it.
    Foreign,
}

impl Dir {
    /// The directory at a path, which need not exist yet.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The hub's description; it is written last by `init`, so its presence says that all is there.
    #[must_use]
    pub fn hub_file(&self) -> PathBuf {
        self.root.join("hub.json")
    }

    /// Present while `init` works.
    #[must_use]
    pub fn init_marker(&self) -> PathBuf {
        self.root.join("init.unfinished")
    }

    /// The key that seals the CA's key and the bodies of Secrets.
    #[must_use]
    pub fn sealing_key(&self) -> PathBuf {
        self.root.join("sealing.key")
    }

    /// The CA certificates to trust, PEM.
    #[must_use]
    pub fn authority_certificate(&self) -> PathBuf {
        self.root.join("ca.pem")
    }

    /// The CA's private key, sealed.
    #[must_use]
    pub fn authority_key(&self) -> PathBuf {
        self.root.join("ca.key.sealed")
    }

    /// The key for MACs over fences and session tokens, sealed.
    #[must_use]
    pub fn mac_key(&self) -> PathBuf {
        self.root.join("mac.key.sealed")
    }

    /// The first administrator's context, unless `init` was told another place.
    #[must_use]
    pub fn context(&self) -> PathBuf {
        self.root.join("admin.context.json")
    }

    /// The replicated log.
    #[must_use]
    pub fn raft(&self) -> PathBuf {
        self.root.join("raft")
    }

    /// Bodies by digest.
    #[must_use]
    pub fn bodies(&self) -> PathBuf {
        self.root.join("bodies")
    }

    /// Clones of the sources.
    #[must_use]
    pub fn sources(&self) -> PathBuf {
        self.root.join("sources")
    }

    /// What runs of Helm and Kustomize need while they last.
    #[must_use]
    pub fn renderings(&self) -> PathBuf {
        self.root.join("renderings")
    }

    /// Archives of charts from elsewhere, by digest.
    #[must_use]
    pub fn charts(&self) -> PathBuf {
        self.root.join("charts")
    }

    /// The port that was chosen at the first start.
    #[must_use]
    pub fn port(&self) -> PathBuf {
        self.root.join("port")
    }

    /// What `init` left here.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn state(&self) -> io::Result<State> {
        if self.hub_file().try_exists()? {
            return Ok(State::Ready);
        }
        if self.init_marker().try_exists()? {
            return Ok(State::HalfMade);
        }
        match fs::read_dir(&self.root) {
            Ok(mut entries) => Ok(if entries.next().is_none() { State::Empty } else { State::Foreign }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::Empty),
            Err(error) => Err(error),
        }
    }

    /// Makes the directory, readable by its owner alone.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.root)?;
        match self.root.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
            _ => Ok(()),
        }
    }

    /// Claims the directory for this process, for as long as the result lives.
    ///
    /// # Errors
    /// Another process holds it, or the lock file cannot be opened.
    pub fn lock(&self) -> io::Result<File> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.root.join("lock"))?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => io::Error::new(io::ErrorKind::WouldBlock, "another drover-hub runs in it"),
            fs::TryLockError::Error(error) => error,
        })?;
        Ok(file)
    }
}

/// Writes a file whole or not at all, readable by its owner alone, durable on return.
///
/// # Errors
/// It cannot be written.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Makes the names of a directory durable.
///
/// # Errors
/// The directory cannot be opened or synced.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn states_tell_what_init_left() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path().join("hub"));
        assert_eq!(dir.state().unwrap(), State::Empty);
        dir.create().unwrap();
        assert_eq!(dir.state().unwrap(), State::Empty);
        write_durably(&dir.root().join("notes"), b"mine").unwrap();
        assert_eq!(dir.state().unwrap(), State::Foreign);
        write_durably(&dir.init_marker(), b"").unwrap();
        assert_eq!(dir.state().unwrap(), State::HalfMade);
        write_durably(&dir.hub_file(), b"{}").unwrap();
        assert_eq!(dir.state().unwrap(), State::Ready);
    }

    #[test]
    fn files_are_the_owners_alone() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("key");
        write_durably(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read(&path).unwrap(), b"secret");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn one_process_holds_a_directory() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::new(temp.path());
        let held = dir.lock().unwrap();
        assert_eq!(dir.lock().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        dir.lock().unwrap();
    }
}
