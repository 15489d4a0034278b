//! As which source a tree is read: the root source, or a further one within what the root lets it do.

use std::collections::BTreeSet;
use std::path::Path;

use hub_core::catalog::spec::May;
use hub_core::catalog::{Cache, Catalog, parse};
use hub_core::snapshot::is_declaration;
use hub_core::yaml::unknown;

use super::tree::{self, TreeError};

/// The name that a source has where no hub gives it one.
pub const SOURCE: &str = "main";

/// As which source a tree is read.
#[derive(Clone, Debug, PartialEq)]
pub struct Role {
    pub(super) source: String,
    /// What the root declares; `None` where the tree is the root's own.
    pub(super) root: Option<Box<Catalog>>,
    pub(super) may: Option<May>,
}

/// Why a tree cannot be read as that source.
#[derive(Debug, thiserror::Error)]
pub enum RoleError {
    /// The root's tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The root declares no such source, or in a way that counts for nothing.
    #[error("{0}")]
    Undeclared(String),
}

impl Default for Role {
    /// The root source.
    fn default() -> Self {
        Self { source: SOURCE.into(), root: None, may: None }
    }
}

impl Role {
    /// The source of that name which the declarations below the folder `root` declare.
    ///
    /// # Errors
    /// The folder cannot be read, or declares no such source.
    pub fn of(root: &Path, name: &str) -> Result<Self, RoleError> {
        let mut snapshot = tree::paths(root)?;
        let declarations: BTreeSet<String> =
            snapshot.files.keys().filter(|path| is_declaration(path)).cloned().collect();
        tree::read(root, &mut snapshot, declarations)?;
        let parsed = parse(&snapshot, SOURCE, None, &mut Cache::default());
        if let Some(item) = parsed.catalog.sources.get(name) {
            let may = Some(item.spec.may.clone());
            return Ok(Self { source: name.to_owned(), may, root: Some(Box::new(parsed.catalog)) });
        }
        let known: Vec<&str> = parsed.catalog.sources.keys().map(String::as_str).collect();
        let mut why = format!("{}: {}", root.display(), unknown("source", name, &known));
        // It may be one of those that could not be read.
        for defect in parsed.defects.iter().filter(|defect| !defect.note && defect.bundle.is_none()) {
            why += &format!("\n{defect}");
        }
        Err(RoleError::Undeclared(why))
    }

    /// It in words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        match self.root {
            None => "read as the root source".to_owned(),
            Some(_) => format!("read as source {}, within its `may`", self.source),
        }
    }

    /// What says which clusters there are: the root, or the tree itself.
    pub(super) fn fleet<'a>(&'a self, own: &'a Catalog) -> &'a Catalog {
        self.root.as_deref().unwrap_or(own)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::offline::Offline;
    use crate::renderer::Renderer;

    const CLUSTERS: &str = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a, labels: {team: a}}\n---\n\
                            apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: b, labels: {team: b}}\n---\n";
    const TEAM: &str = "apiVersion: drover.dev/v1alpha1\nkind: Source\nmetadata: {name: team}\nspec:\n  \
                        url: https://git.example.com/team.git\n  may:\n    namespaces: [team-a]\n    \
                        clusters: {selector: {matchLabels: {team: a}}}\n";

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        files.iter().for_each(|(path, text)| std::fs::write(dir.path().join(path), text).unwrap());
        dir
    }

    fn team(namespace: &str) -> tempfile::TempDir {
        let bundle =
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {name: app}\nspec: {targets: [{selector: {}}]}\n";
        let object = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: app, namespace: {namespace}}}\n");
        tree(&[("drover.yaml", bundle), ("app.yaml", &object)])
    }

    fn read(folder: &tempfile::TempDir, role: &Role) -> (Offline, Vec<String>) {
        let offline = Offline::load(folder.path(), role, &Renderer::default()).unwrap();
        let wrong = offline.lint().into_iter().filter(|one| !one.note).map(|one| one.to_string()).collect();
        (offline, wrong)
    }

    #[test]
    fn what_the_root_may_a_further_source_may_not() {
        let (mine, theirs) = (team("team-a"), team("kube-system"));
        assert!(read(&theirs, &Role::default()).1.is_empty(), "the root source may do everything");
        // Whether the clusters are known or not, the same is refused.
        for root in [tree(&[("drover.yaml", &(CLUSTERS.to_owned() + TEAM))]), tree(&[("drover.yaml", TEAM)])] {
            let role = Role::of(root.path(), "team").unwrap();
            assert!(read(&mine, &role).1.is_empty());
            let found = read(&theirs, &role).1;
            assert!(found.len() == 1 && found[0].starts_with("drover.yaml:1: defect: "), "{found:?}");
            assert!(found[0].contains("namespace kube-system is none that this source may use"), "{found:?}");
        }
    }

    #[test]
    fn clusters_are_those_of_the_root_that_the_source_sees() {
        let root = tree(&[("drover.yaml", &(CLUSTERS.to_owned() + TEAM))]);
        let (offline, wrong) = read(&team("team-a"), &Role::of(root.path(), "team").unwrap());
        assert!(wrong.is_empty(), "{wrong:?}");
        assert_eq!(offline.render("app", "a").map(|objects| objects.len()).unwrap(), 1);
        let unseen = offline.render("app", "b").unwrap_err().to_string();
        assert_eq!(unseen, "bundle team/app has no target that matches cluster b");
        let (root_itself, _) = read(&root, &Role::default());
        assert_eq!(root_itself.clusters().len(), 2);
    }

    #[test]
    fn a_source_that_the_root_does_not_declare() {
        let root = tree(&[("drover.yaml", &TEAM.replace("url: ", "uri: "))]);
        let why = Role::of(root.path(), "team").unwrap_err().to_string();
        assert!(why.contains("\"team\"") && why.contains("drover.yaml:5: defect: "), "{why}");
        let missing = Role::of(&root.path().join("absent"), "team").unwrap_err();
        assert!(matches!(missing, RoleError::Tree(_)), "{missing}");
    }
}
