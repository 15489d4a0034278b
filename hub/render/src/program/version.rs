//! Versions of the programs: how they print them, and which of them will do.

use super::Tool;

/// Oldest and newest versions that were tried, as (major, minor); of the newest, its whole major line.
const fn tried(tool: Tool) -> ((u64, u64), u64) {
    match tool {
        Tool::Helm => ((3, 14), 4),
        Tool::Kustomize => ((5, 0), 5),
    }
}

/// The arguments that make a program print its version.
pub(super) const fn question(tool: Tool) -> &'static [&'static str] {
    match tool {
        Tool::Helm => &["version", "--template", "{{.Version}}"],
        Tool::Kustomize => &["version"],
    }
}

/// The version in what a program printed, without its `v`: `4.3.1`.
///
/// # Errors
/// What is wrong with it, and what would do.
pub(super) fn check(tool: Tool, printed: &str) -> Result<String, String> {
    let ((major_min, minor_min), major_max) = tried(tool);
    let wanted = format!("{tool} {major_min}.{minor_min} up to {major_max}.x");
    let Some((text, (major, minor))) = printed.split_whitespace().find_map(parse) else {
        return Err(format!("does not say which version it is; install {wanted}"));
    };
    if (major, minor) < (major_min, minor_min) {
        return Err(format!("is {text}, which is too old; install {wanted}"));
    }
    if major > major_max {
        return Err(format!("is {text}, which is newer than what was tried; install {wanted}"));
    }
    Ok(text)
}

/// Reads `v4.3.1+g1234567` as `4.3.1`, 4 and 3.
fn parse(word: &str) -> Option<(String, (u64, u64))> {
    // Older ones of Kustomize print {kustomize/v5.0.0 …}.
    let text = word.trim_start_matches(['{', '(']);
    let text = text.strip_prefix("kustomize/").unwrap_or(text);
    let text = text.strip_prefix('v').unwrap_or(text);
    let text = text.split('+').next().unwrap_or(text);
    let mut numbers = text.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next()?.parse().ok()?;
    Some((text.to_owned(), (major, minor)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_they_are_printed() {
        assert_eq!(check(Tool::Helm, "v4.3.1").as_deref(), Ok("4.3.1"));
        assert_eq!(check(Tool::Helm, "v3.14.0+gc4e37b3\n").as_deref(), Ok("3.14.0"));
        assert_eq!(check(Tool::Kustomize, "v5.8.1\n").as_deref(), Ok("5.8.1"));
        assert_eq!(check(Tool::Kustomize, "{kustomize/v5.0.1  2023-01-01T00:00:00Z  }").as_deref(), Ok("5.0.1"));
    }

    #[test]
    fn versions_that_were_not_tried_are_refused() {
        for (tool, printed, word) in [
            (Tool::Helm, "v3.13.9", "too old; install helm 3.14"),
            (Tool::Helm, "v2.17.0", "too old"),
            (Tool::Helm, "v5.0.0", "newer than what was tried"),
            (Tool::Kustomize, "v4.5.7", "too old; install kustomize 5.0"),
            (Tool::Kustomize, "v6.0.0", "newer"),
            (Tool::Kustomize, "(devel)", "does not say"),
            (Tool::Helm, "", "does not say"),
        ] {
            let refused = check(tool, printed).err().unwrap_or_default();
            assert!(refused.contains(word), "{printed}: {refused}");
        }
    }
}
