//! The volume: packs for which the cluster has no room lie in files, named by the digest of what
//! is in them. A Secret names each (see `ledger`); a file that none names is nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use proto_model::{Digest, limits};
use spoke_core::port::{Failure, Reason};

use crate::failure::plain;

const EXTENSION: &str = ".pack";
/// A file that is being written.
const FRESH: &str = "fresh";

/// The name of the file for these bytes.
pub(crate) fn file_name(body: &[u8]) -> String {
    format!("{}{EXTENSION}", Digest::of(body))
}

/// A folder of the spoke's own, made when there is something to put into it.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    folder: PathBuf,
}

impl Volume {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Reads these files, and removes all others. What is missing, damaged or can't be read is
    /// absent.
    pub(crate) async fn read(&self, names: BTreeSet<String>) -> BTreeMap<String, Vec<u8>> {
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || {
            keep(&folder, &names);
            names.into_iter().filter_map(|name| read(&folder, &name).map(|body| (name, body))).collect()
        });
        read.await.unwrap_or_default()
    }

    /// Writes a file: afterwards it is durable.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub(crate) async fn write(&self, name: String, body: Vec<u8>) -> Result<(), Failure> {
        let folder = self.folder.clone();
        let bytes = body.len();
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &body)).await;
        let error = match written {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(ended) => ended.to_string(),
        };
        let folder = self.folder.display();
        Err(plain(
            Reason::Server,
            format!(
                "a pack of {bytes} bytes has no room beside the {} that the cluster holds, and {folder} does not take \
                 it: {error}; make room there",
                limits::LEDGER_CLUSTER_BYTES_MAX
            ),
        ))
    }

    /// Removes all files but these, best effort: what stays is removed by the next call.
    pub(crate) async fn keep(&self, names: BTreeSet<String>) {
        let folder = self.folder.clone();
        let _ = tokio::task::spawn_blocking(move || keep(&folder, &names)).await;
    }
}

fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let most = u64::try_from(limits::LEDGER_RECORD_BYTES_MAX).unwrap_or(u64::MAX);
    let mut body = Vec::new();
    let read = File::open(folder.join(name)).and_then(|file| file.take(most).read_to_end(&mut body));
    match read {
        Ok(_) if file_name(&body) == name => Some(body),
        Ok(_) => {
            tracing::warn!(file = name, "a pack of the ledger is damaged; the hub is asked for it");
            None
        }
        Err(error) => {
            tracing::warn!(file = name, %error, "a pack of the ledger can't be read; the hub is asked for it");
            None
        }
    }
}

fn write(folder: &Path, name: &str, body: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let fresh = folder.join(FRESH);
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&fresh)?;
    let written = file.write_all(body).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // So that a full disk gets back what did not fit.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    fs::rename(&fresh, folder.join(name))?;
    File::open(folder)?.sync_all()?;
    // The folder itself may be new.
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Removes what lies there and is none of these.
fn keep(folder: &Path, names: &BTreeSet<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_ours = name.ends_with(EXTENSION) || name == FRESH;
        if is_ours
            && !names.contains(&name)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!(file = name, %error, "a pack that nothing names stays for now");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn set(names: &[&String]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).clone()).collect()
    }

    #[tokio::test]
    async fn files_are_private_and_others_go() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("packs");
        let volume = Volume::new(folder.clone());
        assert!(volume.read(BTreeSet::new()).await.is_empty() && !folder.exists(), "made when needed");
        let (one, two) = (file_name(b"one"), file_name(b"two"));
        volume.write(one.clone(), b"one".to_vec()).await.unwrap();
        volume.write(two.clone(), b"two".to_vec()).await.unwrap();
        for (path, mode) in [(folder.clone(), 0o700), (folder.join(&one), 0o600)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        fs::write(folder.join("theirs"), "x").unwrap();
        fs::write(folder.join(FRESH), "half of so").unwrap();
        let read = volume.read(set(&[&one])).await;
        assert_eq!(read, BTreeMap::from([(one.clone(), b"one".to_vec())]));
        assert!(!folder.join(&two).exists() && !folder.join(FRESH).exists() && folder.join("theirs").exists());
        volume.keep(BTreeSet::new()).await;
        assert!(!folder.join(&one).exists());
    }

    #[tokio::test]
    async fn what_is_missing_or_damaged_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let volume = Volume::new(dir.path().to_owned());
        let (whole, damaged, missing) = (file_name(b"one"), file_name(b"two"), file_name(b"three"));
        volume.write(whole.clone(), b"one".to_vec()).await.unwrap();
        volume.write(damaged.clone(), b"two".to_vec()).await.unwrap();
        fs::write(dir.path().join(&damaged), "tw").unwrap();
        let read = volume.read(set(&[&whole, &damaged, &missing])).await;
        assert_eq!(read.into_keys().collect::<Vec<_>>(), [whole]);
    }

    #[tokio::test]
    async fn a_folder_that_takes_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("packs");
        fs::write(&folder, "in the way").unwrap();
        let refused = Volume::new(folder).write(file_name(b"one"), b"one".to_vec()).await.unwrap_err();
        assert!(refused.message.contains("make room") && !refused.reason.is_final(), "{refused}");
    }
}
