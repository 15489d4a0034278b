//! `.helmignore`: which files of a chart Helm does not load, by Helm's own rules.

use globset::{GlobBuilder, GlobMatcher};

/// The file with the rules, in the folder of the chart.
const FILE: &str = ".helmignore";
/// A rule that Helm adds.
const HIDDEN_TEMPLATES: &str = "templates/.?*";

/// What a chart leaves out.
pub(super) struct Ignored {
    rules: Vec<Rule>,
}

struct Rule {
    glob: GlobMatcher,
    /// Leaves out what does not match.
    negated: bool,
    only_folders: bool,
    /// The whole path counts rather than the last part of it.
    whole: bool,
}

impl Ignored {
    /// The rules of a chart, whose files are found by their path in it.
    pub(super) fn of<'a>(read: impl FnOnce(&str) -> Option<&'a [u8]>) -> Self {
        let text = read(FILE).map(String::from_utf8_lossy).unwrap_or_default();
        // What Helm refuses as a rule, it says itself.
        Self { rules: text.lines().chain([HIDDEN_TEMPLATES]).filter_map(rule).collect() }
    }

    /// Whether a file is left out, or a folder that it lies in.
    pub(super) fn has(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        folders.chain([(path, false)]).any(|(path, is_folder)| self.matches(path, is_folder))
    }

    fn matches(&self, path: &str, is_folder: bool) -> bool {
        self.rules.iter().any(|rule| {
            let name = if rule.whole { path } else { path.rsplit('/').next().unwrap_or(path) };
            let fits = rule.glob.is_match(name);
            match (rule.negated, rule.only_folders && !is_folder) {
                (true, not_for_files) => not_for_files || !fits,
                (false, true) => false,
                (false, false) => fits,
            }
        })
    }
}

fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (negated, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
    let (only_folders, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
    let whole = line.contains('/');
    let line = line.strip_prefix('/').unwrap_or(line);
    let glob = GlobBuilder::new(line).literal_separator(true).backslash_escape(true).build().ok()?;
    Some(Rule { glob: glob.compile_matcher(), negated, only_folders, whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(rules: &str, paths: &[&'static str]) -> Vec<&'static str> {
        let ignored = Ignored::of(|_| Some(rules.as_bytes()));
        paths.iter().filter(|path| ignored.has(path)).copied().collect()
    }

    #[test]
    fn rules_are_those_of_helm() {
        let paths = ["Chart.yaml", "a.png", "img/b.png", "img/deep/c.png", "docs/x.md", "templates/.swp"];
        assert_eq!(left_out("# nothing\n\n", &paths), ["templates/.swp"]);
        assert_eq!(left_out("*.png", &paths), ["a.png", "img/b.png", "img/deep/c.png", "templates/.swp"]);
        assert_eq!(left_out("/*.png", &paths), ["a.png", "templates/.swp"]);
        assert_eq!(left_out("img/*.png\ndocs/", &paths), ["img/b.png", "docs/x.md", "templates/.swp"]);
        assert_eq!(left_out("img", &paths), ["img/b.png", "img/deep/c.png", "templates/.swp"]);
        assert_eq!(left_out("Chart.yaml/", &paths), ["templates/.swp"], "a file is no folder");
        assert_eq!(left_out("[", &paths), ["templates/.swp"]);
    }
}
