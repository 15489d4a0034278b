//! The context file: where the hub is, and the certificate that opens it. `drover-hub init` writes it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Deserialize, Serialize};

/// The version of the file that this program reads.
const VERSION: u32 = 1;
/// The variable that names the file.
pub const VARIABLE: &str = "DROVER_CONTEXT";

/// What it takes to talk to a hub. No `Debug`: it holds a private key.
#[derive(Clone, Deserialize, Serialize)]
pub struct Context {
    version: u32,
    /// The hub: 32 hexadecimal digits.
    pub hub_id: String,
    /// Addresses of its replicas, `HOST:PORT`.
    pub addresses: Vec<String>,
    /// The CA certificates to trust, PEM.
    pub ca: String,
    /// The operator's certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    pub key: String,
    /// The file it was read from.
    #[serde(skip)]
    pub path: PathBuf,
}

impl Context {
    /// Reads the file that is named, else that of the configuration folder.
    ///
    /// # Errors
    /// There is no such file, or it is no context.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = match named {
            Some(path) => path.to_path_buf(),
            None => default_path()?,
        };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(
                "there is no context at {}\nname one with --context FILE or ${VARIABLE}; \
                 `drover hub init` makes a hub and the first, `drover up` a whole local fleet",
                path.display()
            ),
            Err(error) => bail!("cannot read {}: {error}\nname another with --context FILE", path.display()),
        };
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: PathBuf) -> Result<Self> {
        // The parser's own words could quote the key.
        let context: Self = serde_json::from_str(text).map_err(|error| {
            anyhow!(
                "{}, line {}: this is no context of Drover\nname another with --context FILE",
                path.display(),
                error.line()
            )
        })?;
        if context.version != VERSION {
            bail!(
                "{} has version {}, and this program reads version {VERSION}\nuse the drover of the hub's own version",
                path.display(),
                context.version
            );
        }
        if context.addresses.is_empty() {
            bail!("{} names no address of the hub\nadd HOST:PORT to its addresses", path.display());
        }
        Ok(Self { path, ..context })
    }

    /// Replaces the addresses in the file, leaving it readable by its owner alone. Says whether they are others.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn move_to(&mut self, addresses: Vec<String>) -> Result<bool> {
        if self.addresses == addresses {
            return Ok(false);
        }
        self.addresses = addresses;
        let folder = self.path.parent().context("a context lies in a folder")?;
        let write = || -> io::Result<()> {
            // Such a file is made with mode 0600, and a rename keeps the mode.
            let file = tempfile::NamedTempFile::new_in(folder)?;
            serde_json::to_writer_pretty(&file, self)?;
            file.persist(&self.path)?;
            Ok(())
        };
        write().with_context(|| format!("cannot write {}", self.path.display()))?;
        Ok(true)
    }
}

/// Where the context lies when nobody names one: `$XDG_CONFIG_HOME/drover/context.json`, or below `~/.config`.
///
/// # Errors
/// Neither variable nor home folder is set.
pub fn default_path() -> Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")));
    let folder = folder.with_context(|| {
        format!("neither $HOME nor $XDG_CONFIG_HOME is set\nname a context with --context FILE or ${VARIABLE}")
    })?;
    Ok(folder.join("drover").join("context.json"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    const GOOD: &str =
        r#"{"version": 1, "hub_id": "00", "addresses": ["127.0.0.1:7443"], "ca": "C", "certificate": "P", "key": "K"}"#;

    #[test]
    fn a_context_of_another_version_or_without_an_address_is_refused() {
        assert!(Context::parse(GOOD, "f".into()).is_ok());
        let later = GOOD.replace("\"version\": 1", "\"version\": 2");
        let error = Context::parse(&later, "f".into()).err().unwrap().to_string();
        assert!(error.starts_with("f has version 2"), "{error}");
        let nowhere = GOOD.replace("\"127.0.0.1:7443\"", "");
        assert!(Context::parse(&nowhere, "f".into()).is_err());
    }

    #[test]
    fn an_error_never_quotes_the_file() {
        let broken = GOOD.replace("\"K\"}", "{\"SECRET\": 1}}");
        let error = format!("{:#}", Context::parse(&broken, "f".into()).err().unwrap());
        assert!(error.contains("f, line 1") && !error.contains("SECRET"), "{error}");
    }

    #[test]
    fn a_moved_context_is_read_back_and_stays_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("context.json");
        fs::write(&path, GOOD).unwrap();
        let mut context = Context::load(Some(&path)).unwrap();
        assert!(context.move_to(vec!["127.0.0.1:1".into()]).unwrap());
        assert!(!context.move_to(vec!["127.0.0.1:1".into()]).unwrap());
        assert_eq!(Context::load(Some(&path)).unwrap().addresses, ["127.0.0.1:1"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
