//! Charts from elsewhere: fetched once, kept by the digest that the source's lock gives them.

mod room;

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hub_core::access::Access;
use hub_core::release::lock::{LOCK_FILE, Origin};
use proto_model::{Digest, limits};

use crate::program::Programs;

/// Finds credentials by name; its error says which file is wrong, and what to do.
type Find = dyn Fn(&str) -> Result<Access, String> + Send + Sync;

/// Where archives are kept, and what they are fetched with.
#[derive(Clone, Default)]
pub struct Charts {
    /// A folder of our own; `None` keeps nothing from one use to the next.
    folder: Option<PathBuf>,
    /// `None` where nobody said where credentials lie.
    find: Option<Arc<Find>>,
}

impl fmt::Debug for Charts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charts").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Charts {
    /// Kept in a folder, which is made when it is needed.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()), ..Self::default() }
    }

    /// With credentials, which are asked for anew at each fetch.
    #[must_use]
    pub fn with_credentials(self, find: impl Fn(&str) -> Result<Access, String> + Send + Sync + 'static) -> Self {
        Self { find: Some(Arc::new(find)), ..self }
    }

    /// Fetches the archive of a chart, with the credentials of that name. Blocks.
    ///
    /// # Errors
    /// It cannot be fetched: what, and what to do.
    pub fn fetch(&self, programs: &Programs, origin: &Origin, credentials: Option<&str>) -> Result<Vec<u8>, String> {
        let fetched = credentials.map(|name| self.access(name)).transpose();
        let fetched = fetched.and_then(|access| programs.pull(origin, access.as_ref()));
        fetched.map_err(|why| format!("{} cannot be fetched: {why}", origin.words()))
    }

    fn access(&self, name: &str) -> Result<Access, String> {
        match &self.find {
            Some(find) => find(name),
            None => Err(format!("it needs credentials {name}: give --credentials-dir DIR, with a folder of that name")),
        }
    }

    /// The archive of a chart, kept or fetched. Blocks.
    ///
    /// # Errors
    /// It cannot be fetched, or has other bytes than are pinned: what, and what to do.
    pub fn get(
        &self,
        programs: &Programs,
        origin: &Origin,
        credentials: Option<&str>,
        digest: &Digest,
    ) -> Result<Arc<[u8]>, String> {
        let kept = self.path(digest);
        if let Some(bytes) = kept.as_ref().and_then(|path| fs::read(path).ok())
            && Digest::of(&bytes) == *digest
        {
            kept.iter().for_each(|path| room::used(path));
            return Ok(bytes.into());
        }
        let bytes = self.fetch(programs, origin, credentials)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            let words = origin.words();
            return Err(format!(
                "{words} has other bytes than {LOCK_FILE} pins: sha256:{found}, not sha256:{digest}. Somebody \
                 published that version anew: look at it, then run `drover lock --update`"
            ));
        }
        if let Some(path) = kept {
            // Where it cannot be kept, it is fetched again.
            let _ = keep(&path, &bytes).map(|()| room::make(&path, limits::CHARTS_KEPT_BYTES_MAX));
        }
        Ok(bytes.into())
    }

    /// Whether an archive is kept.
    pub(crate) fn keeps(&self, digest: &Digest) -> bool {
        self.path(digest).is_some_and(|path| path.is_file())
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
