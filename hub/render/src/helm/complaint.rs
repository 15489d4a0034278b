//! What Helm says when it fails: the template and the line, out of the many that it names.

use crate::discreet::discreet;

/// A file as Helm calls it, and the line, from 1; 0 where it names none. `None` where it names no
/// file of a chart.
pub(super) fn place(text: &str) -> Option<(String, u32)> {
    let mut words = text.split_whitespace().filter_map(file_and_line);
    // The last is the innermost: templates include each other.
    let with_line = words.clone().rfind(|(_, line)| *line > 0);
    with_line.or_else(|| words.next_back())
}

fn file_and_line(word: &str) -> Option<(String, u32)> {
    let word = word.trim_matches(|letter: char| "()<>\"',;:".contains(letter));
    let mut parts = word.split(':');
    let path = parts.next()?;
    let is_template = [".yaml", ".yml", ".tpl", ".json", ".txt"].iter().any(|end| path.ends_with(end));
    if !is_template || !path.contains("/templates/") && !path.contains("/crds/") {
        return None;
    }
    Some((path.to_owned(), parts.next().and_then(|line| line.parse().ok()).unwrap_or_default()))
}

/// The line that a reader of YAML names.
pub(super) fn yaml_line(text: &str) -> u32 {
    let after = text.split("yaml: line ").nth(1).unwrap_or_default();
    after.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|line| line.parse().ok()).unwrap_or_default()
}

/// Without what is for people at a terminal.
pub(super) fn words(text: &str) -> String {
    let text = discreet(text);
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("Use --debug flag") && !line.starts_with("level=WARN")
    });
    let text = lines.collect::<Vec<_>>().join(" ");
    crate::output::shown(text.trim_start_matches("Error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(String, u32)> {
        place(text)
    }

    #[test]
    fn the_innermost_template_is_named() {
        let at = |path: &str, line| Some((path.to_owned(), line));
        assert_eq!(
            found(
                "Error: app/templates/a.yaml:1:6\n executing \"app/templates/a.yaml\" at <include \"x\" .>:\n error calling \
                   include:\napp/templates/_h.tpl:2:10\n executing \"x\" at <.Values.a.b>"
            ),
            at("app/templates/_h.tpl", 2)
        );
        assert_eq!(
            found("Error: parse error at (app/templates/a.yaml:7): missing value"),
            at("app/templates/a.yaml", 7)
        );
        assert_eq!(
            found("Error: template: app/templates/a.yaml:3:6: executing \"app/templates/a.yaml\" at <fail>: x"),
            at("app/templates/a.yaml", 3)
        );
        assert_eq!(found("Error: YAML parse error on app/templates/a.yaml: error"), at("app/templates/a.yaml", 0));
        assert_eq!(found("Error: chart requires kubeVersion: >=1.99"), None);
    }

    #[test]
    fn lines_of_yaml() {
        assert_eq!(yaml_line("error converting YAML to JSON: yaml: line 12: did not find"), 12);
        assert_eq!(yaml_line("no line"), 0);
    }

    #[test]
    fn words_are_for_people() {
        assert_eq!(words("Error: it is\n bad\n\nUse --debug flag to render out invalid YAML\n"), "it is bad");
    }
}
