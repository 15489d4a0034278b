//! What Kustomize says when it fails: nested sentences, with what matters at the end.

use crate::discreet::discreet;

/// What Kustomize asks for where a kustomization has charts.
const ENABLE_HELM: &str = "must specify --enable-helm";

/// Everything that is quoted, and what it does not say that it means, in the order of the text.
pub(super) fn names(text: &str) -> Vec<&str> {
    // Quotes nest without regard to that they do: what stands between any two of one kind counts.
    let mut names: Vec<&str> = Vec::new();
    for quote in ['\'', '"'] {
        let parts: Vec<&str> = text.split(quote).collect();
        names.extend(parts.get(1..parts.len().saturating_sub(1)).unwrap_or_default().iter().copied());
    }
    if text.contains(ENABLE_HELM) {
        names.extend(["helmChartInflationGenerator", "helmCharts"]);
    }
    names.retain(|name| !name.is_empty() && !name.contains(' '));
    names
}

/// The line that a reader of YAML names.
pub(super) fn yaml_line(text: &str) -> u32 {
    let after = text.split("Kustomization: yaml: line ").nth(1).unwrap_or_default();
    after.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|line| line.parse().ok()).unwrap_or_default()
}

/// What is wrong, for people.
pub(super) fn words(text: &str) -> String {
    let text = discreet(text);
    let text = text.trim().trim_start_matches("Error: ");
    let between = |from: &str, to: &str| text.split(from).nth(1)?.split(to).next().map(ToOwned::to_owned);
    let shown = if let Some(file) = between("security; file '", "'") {
        format!(
            "file {file} is outside of the kustomization's folder, from where Kustomize takes folders with a \
             kustomization.yaml only; move it, or make it a base"
        )
    } else if text.contains("cycle detected") {
        format!(
            "kustomizations name each other in a circle: {}",
            text.rsplit("cycle detected: ").next().unwrap_or(text)
        )
    } else if text.contains("external plugins disabled") || text.contains("alpha plugins") {
        format!(
            "needs a plugin, which would run a program and is not allowed here: {}",
            text.rsplit(": ").next().unwrap_or(text)
        )
    } else if text.contains("no 'git' program on path") || text.contains("URL is a git repository") {
        let address = between("accumulating resources from '", "'").unwrap_or_default();
        format!("{address} is remote: nothing is fetched while rendering; copy it into the repository")
    } else if text.contains(ENABLE_HELM) {
        "would have Kustomize fetch and run Helm, which is not carried out; make the chart a bundle of its own".into()
    } else if let Some(file) = between("evalsymlink failure on '", "'") {
        format!("names {file}, which is not in the source, or is a link")
    } else {
        text.to_owned()
    };
    crate::output::shown(&shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_said() {
        let missing = "Error: accumulating resources: accumulation err='accumulating resources from 'nope.yaml': evalsymlink \
                       failure on 'o/nope.yaml' : lstat o/nope.yaml: no such file or directory': must build at directory: \
                       not a valid directory: evalsymlink failure on 'o/nope.yaml' : lstat o/nope.yaml: no such file";
        assert_eq!(words(missing), "names o/nope.yaml, which is not in the source, or is a link");
        assert!(names(missing).contains(&"nope.yaml"));
        let outside = "Error: accumulating resources: accumulation err='accumulating resources from '../base/cm.yaml': \
                       security; file 'base/cm.yaml' is not in or below 'o'': must build at directory";
        assert!(words(outside).starts_with("file base/cm.yaml is outside"));
        let cycle = "Error: x: cycle detected: candidate root 'o' contains visited root 'o'";
        assert!(words(cycle).contains("circle: candidate root 'o'"));
        let plugin = "Error: external plugins disabled; unable to load external plugin 'Foo'";
        assert!(words(plugin).contains("not allowed here") && names(plugin) == ["Foo"]);
        assert_eq!(
            words("Error: invalid Kustomization: json: unknown field \"a\""),
            "invalid Kustomization: json: unknown field \"a\""
        );
    }

    #[test]
    fn lines_of_kustomizations() {
        assert_eq!(yaml_line("Error: invalid Kustomization: yaml: line 7: did not"), 7);
        assert_eq!(yaml_line("Error: MalformedYAMLError: yaml: line 2: did not"), 0);
    }
}
