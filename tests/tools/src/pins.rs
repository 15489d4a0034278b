//! The pinned versions: Go modules that are part of this program, so that it builds the tools without the checkout.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Raised when the way of building changes while the pins stay.
const RECIPE: &str = "2";

/// A Go module whose `tool` directives name the programs to build. What cannot share its dependencies has its own.
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
    /// Build tags.
    pub(crate) tags: &'static str,
}

pub(crate) const KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../go/kubernetes/go.mod"),
    go_sum: include_str!("../go/kubernetes/go.sum"),
    tags: "",
};

/// The fake kubelet; its stages are rendered by the Kustomize of the module before.
pub(crate) const KWOK: Module = Module {
    name: "kwok",
    go_mod: include_str!("../go/kwok/go.mod"),
    go_sum: include_str!("../go/kwok/go.sum"),
    tags: "",
};

pub(crate) const HELM: Module = Module {
    name: "helm",
    go_mod: include_str!("../go/helm/go.mod"),
    go_sum: include_str!("../go/helm/go.sum"),
    tags: "",
};

pub(crate) const GITEA: Module = Module {
    name: "gitea",
    go_mod: include_str!("../go/gitea/go.mod"),
    go_sum: include_str!("../go/gitea/go.sum"),
    tags: "sqlite sqlite_unlock_notify",
};

/// The modules, in the order in which they are built.
pub(crate) const MODULES: [&Module; 4] = [&KUBERNETES, &KWOK, &HELM, &GITEA];

/// Where kwok's stages lie in its source.
pub(crate) const STAGES: (&str, &str) = ("sigs.k8s.io/kwok", "kustomize/stage/fast");

/// What Gitea reads of its own source while it runs.
pub(crate) const GITEA_FILES: (&str, [&str; 3]) = ("code.gitea.io/gitea", ["options", "public", "templates"]);

impl Module {
    /// The linker flags: no symbols, and the version that a program reports, which its own build sets this way.
    pub(crate) fn ldflags(&self) -> Result<String> {
        if let Some(version) = self.required("helm.sh/helm/v4") {
            return Ok(format!("-s -w -X helm.sh/helm/v4/internal/version.version={version}"));
        }
        let Some(version) = self.required("k8s.io/kubernetes") else {
            return Ok("-s -w".into());
        };
        let mut numbers = version.trim_start_matches('v').split('.');
        let (major, minor) = numbers.next().zip(numbers.next()).with_context(|| {
            format!("go/{}/go.mod: k8s.io/kubernetes {version} is not vMAJOR.MINOR.PATCH", self.name)
        })?;
        let base = "k8s.io/component-base/version";
        Ok(format!("-s -w -X {base}.gitVersion={version} -X {base}.gitMajor={major} -X {base}.gitMinor={minor}"))
    }

    /// The version of a module that go.mod requires.
    fn required(&self, module: &str) -> Option<&'static str> {
        self.go_mod.lines().find_map(|line| {
            let mut words = line.trim().trim_start_matches("require ").split_whitespace();
            (words.next() == Some(module)).then(|| words.next()).flatten().filter(|version| version.starts_with('v'))
        })
    }

    /// A short name for exactly these pins: another version of anything is another name.
    pub(crate) fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for text in [RECIPE, self.name, self.go_mod, self.go_sum, self.tags, &self.ldflags()?] {
            hash.update(text.len().to_le_bytes());
            hash.update(text);
        }
        Ok(hex::encode(&hash.finalize()[..8]))
    }

    /// The oldest Go release that can build it, as (major, minor).
    pub(crate) fn go_version(&self) -> Option<(u32, u32)> {
        self.go_mod.lines().find_map(|line| parse_go_version(line.strip_prefix("go ")?))
    }
}

/// The oldest Go release that builds everything.
pub(crate) fn go_version() -> Option<(u32, u32)> {
    MODULES.iter().filter_map(|module| module.go_version()).max()
}

/// Reads `1.26.3`, `1.26rc1` or `1.26` as (1, 26).
pub(crate) fn parse_go_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim().split('.');
    let major = parts.next()?.parse().ok()?;
    let minor: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
    Some((major, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_versions() {
        assert_eq!(parse_go_version("1.26.8"), Some((1, 26)));
        assert_eq!(parse_go_version("1.27rc1"), Some((1, 27)));
        assert_eq!(parse_go_version("devel"), None);
        assert_eq!(go_version(), Some((1, 26)));
    }

    #[test]
    fn programs_report_their_pinned_versions() {
        let flags = KUBERNETES.ldflags().unwrap_or_default();
        assert!(flags.contains("gitVersion=v1.") && flags.contains("gitMajor=1"), "{flags}");
        assert_eq!(KWOK.ldflags().ok().as_deref(), Some("-s -w"));
        let flags = HELM.ldflags().unwrap_or_default();
        assert!(flags.contains("version.version=v4."), "{flags}");
    }

    #[test]
    fn a_module_has_a_cache_of_its_own() {
        let digests: Vec<String> = MODULES.iter().filter_map(|module| module.digest().ok()).collect();
        let distinct: std::collections::BTreeSet<&String> = digests.iter().collect();
        assert_eq!(distinct.len(), MODULES.len());
    }
}
