//! The pinned versions: Go modules that are part of this program, so that it builds the tools without the checkout.

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Raised when the way of building changes while the pins stay.
const RECIPE: &str = "1";

/// A Go module whose `tool` directives name the programs to build. What cannot share its dependencies has its own.
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) go_mod: &'static str,
    pub(crate) go_sum: &'static str,
}

const KUBERNETES: Module = Module {
    name: "kubernetes",
    go_mod: include_str!("../go/kubernetes/go.mod"),
    go_sum: include_str!("../go/kubernetes/go.sum"),
};

const KWOK: Module =
    Module { name: "kwok", go_mod: include_str!("../go/kwok/go.mod"), go_sum: include_str!("../go/kwok/go.sum") };

/// The modules, in the order in which they are built.
pub(crate) const MODULES: [&Module; 2] = [&KUBERNETES, &KWOK];

/// The module that holds kwok's stages, and its folder in there.
pub(crate) const STAGES: (&Module, &str, &str) = (&KWOK, "sigs.k8s.io/kwok", "kustomize/stage/fast");

impl Module {
    /// The linker flags: no symbols, and for Kubernetes the version that it reports, which its own build sets this way.
    pub(crate) fn ldflags(&self) -> Result<String> {
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

/// A short name for exactly these pins: another version of anything is another name.
pub(crate) fn digest() -> Result<String> {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update(text.len().to_le_bytes());
        hash.update(text);
    };
    add(RECIPE);
    for module in MODULES {
        for text in [module.name, module.go_mod, module.go_sum, &module.ldflags()?] {
            add(text);
        }
    }
    Ok(hex::encode(&hash.finalize()[..8]))
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
    fn kubernetes_reports_its_pinned_version() {
        let flags = KUBERNETES.ldflags().unwrap_or_default();
        assert!(flags.contains("gitVersion=v1.") && flags.contains("gitMajor=1"), "{flags}");
        assert_eq!(KWOK.ldflags().ok().as_deref(), Some("-s -w"));
    }
}
