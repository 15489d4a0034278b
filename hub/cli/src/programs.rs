//! The other programs of Drover, which lie beside this one.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

/// One of the other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// The hub.
    Hub,
    /// The spoke.
    Spoke,
}

impl Program {
    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hub => "drover-hub",
            Self::Spoke => "drover-spoke",
        }
    }

    /// Its path: beside this program, where an archive, a package and a build all put it.
    ///
    /// # Errors
    /// It is not there.
    pub fn path(self) -> Result<PathBuf> {
        let own = env::current_exe().context("cannot tell where this program lies")?;
        let path = own.with_file_name(self.name());
        if !path.is_file() {
            bail!(
                "there is no {name} beside {}\ninstall it there; in a checkout, run `make build`",
                own.display(),
                name = self.name()
            );
        }
        Ok(path)
    }
}

/// The full name of a bundle: a name without source is of the root source.
#[must_use]
pub fn full_bundle(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("{ROOT_SOURCE}/{name}") }
}

/// What the hub was started with.
const ROOT_SOURCE: &str = "main";
