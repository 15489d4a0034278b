//! The reference: a program that pushes, fetches what it pushed, and applies it to every cluster at once, with nothing
//! decided, recorded or checked.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use tests_tools::fleet::Repo;
use tests_tools::gitea::Gitea;

use super::watched::client;
use super::{COUNTS, namespace};

/// Requests to one cluster at once.
const AT_ONCE: usize = 16;

/// The program and a repository of its own on the same Git server.
pub(super) struct Bare<'a> {
    gitea: &'a Gitea,
    repo: Repo,
    /// Where it fetches to.
    tree: Repo,
    clients: Vec<Client>,
    _dir: tempfile::TempDir,
}

impl<'a> Bare<'a> {
    /// Makes its repositories and namespaces.
    ///
    /// # Errors
    /// Git, the Git server or a cluster refuses.
    pub(super) async fn new(gitea: &'a Gitea, kubeconfigs: &[PathBuf]) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
        gitea.create("bare")?;
        let (repo, tree) = (Repo::new(dir.path().join("source"))?, Repo::new(dir.path().join("tree"))?);
        let mut clients = Vec::new();
        for kubeconfig in kubeconfigs {
            let client = client(kubeconfig).await?;
            for count in COUNTS {
                let metadata = ObjectMeta { name: Some(namespace("bare", count)), ..ObjectMeta::default() };
                let made = Namespace { metadata, ..Namespace::default() };
                Api::all(client.clone()).create(&PostParams::default(), &made).await?;
            }
            clients.push(client);
        }
        Ok(Self { gitea, repo, tree, clients, _dir: dir })
    }

    /// What it pushes.
    #[must_use]
    pub(super) fn repo(&self) -> &Repo {
        &self.repo
    }

    /// Pushes the last commit, fetches it, and applies the ConfigMaps of one folder everywhere.
    ///
    /// # Errors
    /// Git or a cluster refuses.
    pub(super) async fn push_and_apply(&self, namespace: &str, count: usize) -> Result<()> {
        let url = self.gitea.https("bare");
        self.gitea.git(self.repo.dir(), &["push", "--quiet", &url, "HEAD:main"])?;
        self.gitea.git(self.tree.dir(), &["fetch", "--quiet", &url, "main"])?;
        self.tree.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"])?;
        let objects = objects(&self.tree.dir().join(format!("of-{count}")))?;
        let params = PatchParams::apply("bare").force();
        stream::iter(&self.clients)
            .map(Ok)
            .try_for_each_concurrent(None, |client| {
                let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
                let (objects, params) = (&objects, &params);
                async move {
                    let applied = stream::iter(objects).map(|(name, object)| {
                        let api = api.clone();
                        async move { api.patch(name, params, &Patch::Apply(object)).await.map(drop) }
                    });
                    applied.buffer_unordered(AT_ONCE).try_collect::<()>().await
                }
            })
            .await
            .context("an object is refused")
    }
}

/// The objects of a folder by name.
fn objects(folder: &Path) -> Result<Vec<(String, ConfigMap)>> {
    let mut objects = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let object: ConfigMap = serde_saphyr::from_str(&std::fs::read_to_string(entry?.path())?)?;
        objects.push((object.metadata.name.clone().context("an object without a name")?, object));
    }
    Ok(objects)
}
