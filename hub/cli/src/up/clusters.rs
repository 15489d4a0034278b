//! Which clusters a run starts spokes for. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::output::count as count_of;
use crate::view::Status;

/// The label of clusters that no source declares.
pub const LOCAL_LABEL: (&str, &str) = ("drover.dev/local", "true");
/// Their names: this and a number, from 1 on.
const LOCAL_PREFIX: &str = "local-";
/// Clusters of a source that declares none.
pub const CLUSTERS_DEFAULT: u16 = 3;

/// A real cluster to use in place of an in-memory one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The file.
    pub file: PathBuf,
    /// The context in it; `None`: its current one.
    pub context: Option<String>,
}

impl Kubeconfig {
    /// Reads `FILE[:CONTEXT]`; a file whose name has a colon wins over a context.
    ///
    /// # Errors
    /// There is no such file.
    pub fn parse(text: &str) -> Result<Self> {
        let existing = |text: &str| Path::new(text).is_file().then(|| std::path::absolute(text)).transpose();
        if let Some(file) = existing(text)? {
            return Ok(Self { file, context: None });
        }
        if let Some((name, context)) = text.rsplit_once(':')
            && !context.is_empty()
            && let Some(file) = existing(name)?
        {
            return Ok(Self { file, context: Some(context.to_owned()) });
        }
        bail!("there is no file {text}; write FILE or FILE:CONTEXT")
    }
}

/// Whether a cluster is one of those that are made up where no source declares any.
fn is_local(name: &str) -> bool {
    name.strip_prefix(LOCAL_PREFIX).is_some_and(|number| number.parse::<u16>().is_ok())
}

/// What a spoke is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The cluster that answers; `None`: one in memory.
    pub kubeconfig: Option<Kubeconfig>,
    /// Whether a source declares the cluster. If not, its token carries [`LOCAL_LABEL`].
    pub is_declared: bool,
}

/// The clusters to start spokes for, by name; `None` as long as no head of the source was accepted, since nobody knows
/// yet what it declares. `has_joined`: whether a spoke of this run's folder joined under a name.
///
/// # Errors
/// There are more real clusters than declared ones.
pub fn wanted(
    status: &Status,
    has_joined: impl Fn(&str) -> bool,
    count: Option<u16>,
    kubeconfigs: &[Kubeconfig],
) -> Result<Option<BTreeMap<String, Start>>> {
    if !status.sources.iter().any(|source| source.commit.is_some()) {
        return Ok(None);
    }
    // A cluster whose declaration is gone keeps what it has, and so its spoke.
    let was_declared = |name: &str| has_joined(name) && !is_local(name);
    let declared: Vec<&str> = status
        .clusters
        .iter()
        .filter(|cluster| cluster.declared || was_declared(&cluster.cluster))
        .map(|cluster| cluster.cluster.as_str())
        .collect();
    let is_declared = !declared.is_empty();
    let names: Vec<String> = if is_declared {
        declared.into_iter().map(str::to_owned).collect()
    } else {
        let count =
            if kubeconfigs.is_empty() { usize::from(count.unwrap_or(CLUSTERS_DEFAULT)) } else { kubeconfigs.len() };
        (1..=count).map(|number| format!("{LOCAL_PREFIX}{number}")).collect()
    };
    if kubeconfigs.len() > names.len() {
        bail!(
            "there are {} kubeconfigs and the source declares {}: {}\n\
             declare more clusters or leave out kubeconfigs",
            kubeconfigs.len(),
            count_of(names.len() as u64, "cluster"),
            names.join(", ")
        );
    }
    let wanted = if kubeconfigs.is_empty() {
        names.into_iter().map(|name| (name, Start { kubeconfig: None, is_declared })).collect()
    } else {
        let start = |(name, kubeconfig): (String, &Kubeconfig)| {
            (name, Start { kubeconfig: Some(kubeconfig.clone()), is_declared })
        };
        names.into_iter().zip(kubeconfigs).map(start).collect()
    };
    Ok(Some(wanted))
}
