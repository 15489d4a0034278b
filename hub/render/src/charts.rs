//! Charts from elsewhere: fetched once, kept by the digest that the source's lock gives them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_core::release::lock::{LOCK_FILE, Origin};
use proto_model::Digest;

use crate::program::Programs;

/// Where archives are kept.
#[derive(Clone, Debug, Default)]
pub struct Charts {
    /// A folder of our own; `None` keeps nothing from one use to the next.
    folder: Option<PathBuf>,
}

impl Charts {
    /// Kept in a folder, which is made when it is needed.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// The archive of a chart, kept or fetched. Blocks.
    ///
    /// # Errors
    /// It cannot be fetched, or has other bytes than are pinned: what, and what to do.
    pub fn get(&self, programs: &Programs, origin: &Origin, digest: &Digest) -> Result<Arc<[u8]>, String> {
        let kept = self.path(digest);
        if let Some(bytes) = kept.as_ref().and_then(|path| fs::read(path).ok())
            && Digest::of(&bytes) == *digest
        {
            return Ok(bytes.into());
        }
        let words = origin.words();
        let bytes = programs.pull(origin).map_err(|why| format!("{words} cannot be fetched: {why}"))?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(format!(
                "{words} has other bytes than {LOCK_FILE} pins: sha256:{found}, not sha256:{digest}. Somebody \
                 published that version anew: look at it, then run `drover lock --update`"
            ));
        }
        if let Some(path) = kept {
            // Where it cannot be kept, it is fetched again.
            let _ = keep(&path, &bytes);
        }
        Ok(bytes.into())
    }

    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{digest}.tgz")))
    }
}

/// Writes a file whole or not at all: what is there has been checked.
fn keep(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}
