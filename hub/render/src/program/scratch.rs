//! Where runs have their folders: one of the hub's own, or a temporary one that goes with the process.
//!
//! A process that is ended by a signal leaves its temporary folder behind, with values in it. So nobody
//! else may look into one, and the next process removes those that no process holds any more.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{WORK_PREFIX, work};

const PREFIX: &str = "drover-render-";
/// The file in a temporary folder that its process holds locked.
const HELD: &str = "held";
/// Younger ones may be those of a process that is about to lock them.
const AGE_MIN: Duration = Duration::from_secs(60);

/// Where runs have their folders.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) folder: PathBuf,
    /// Keeps a temporary folder, locked, as long as it is needed.
    _temporary: Option<(TempDir, File)>,
}

impl Scratch {
    /// What an earlier process left there goes.
    pub(super) fn make(given: Option<&Path>) -> Result<Self, String> {
        let place = std::env::temp_dir();
        let made = match given {
            Some(folder) => Self::given(folder),
            None => Self::temporary(&place),
        };
        made.map_err(|error| {
            format!("the folder {} for renderings cannot be used: {error}", given.unwrap_or(&place).display())
        })
    }

    fn given(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        work::empty(folder, WORK_PREFIX)?;
        // Programs are given absolute paths without links in them.
        Ok(Self { folder: folder.canonicalize()?, _temporary: None })
    }

    fn temporary(place: &Path) -> io::Result<Self> {
        sweep(place);
        let mut builder = tempfile::Builder::new();
        let made = builder.prefix(PREFIX).permissions(Permissions::from_mode(0o700)).tempdir_in(place)?;
        let held = File::create_new(made.path().join(HELD))?;
        held.try_lock()?;
        Ok(Self { folder: made.path().canonicalize()?, _temporary: Some((made, held)) })
    }
}

/// Removes the folders of this user that no process holds. What cannot be looked at is left.
fn sweep(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else { return };
    let own = rustix::process::geteuid().as_raw();
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX)
            && entry.metadata().is_ok_and(|found| found.is_dir() && found.uid() == own && is_old(&found));
        if is_ours && !is_held(&entry.path()) {
            // Another process may be doing the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_old(found: &fs::Metadata) -> bool {
    found.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age > AGE_MIN))
}

fn is_held(folder: &Path) -> bool {
    match File::open(folder.join(HELD)) {
        Ok(file) => file.try_lock().is_err(),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn age(folder: &Path) {
        File::open(folder).unwrap().set_modified(SystemTime::now() - 2 * AGE_MIN).unwrap();
    }

    #[test]
    fn what_an_ended_process_left_goes_and_what_another_uses_stays() {
        let place = tempfile::tempdir().unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        let fresh = place.path().join(format!("{PREFIX}fresh"));
        for folder in [&left, &fresh] {
            fs::create_dir_all(folder.join("work-1/in")).unwrap();
        }
        fs::write(left.join(HELD), "").unwrap();
        age(&left);
        let used = Scratch::temporary(place.path()).unwrap();
        age(&used.folder);
        let other = Scratch::temporary(place.path()).unwrap();
        assert!(!left.exists() && fresh.exists() && used.folder.exists() && other.folder.exists());
        assert_eq!(fs::metadata(&other.folder).unwrap().mode() & 0o777, 0o700, "nobody else may look into it");
    }
}
