//! Calls of functions in templates, found without running them.

/// Which of the functions a template calls, each with its line. What stands in comments, in strings
/// and outside of actions is no call, and neither is a field or a variable of that name.
pub(super) fn calls<'w>(template: &str, words: &[&'w str]) -> Vec<(u32, &'w str)> {
    let mut found = Vec::new();
    let mut rest = Cursor { text: template, line: 1 };
    while rest.skip_past("{{") {
        action(&mut rest, words, &mut found);
    }
    found
}

struct Cursor<'a> {
    text: &'a str,
    line: u32,
}

impl<'a> Cursor<'a> {
    /// Goes behind the next occurrence; `false` at the end.
    fn skip_past(&mut self, mark: &str) -> bool {
        match self.text.find(mark) {
            Some(at) => {
                self.skip(at + mark.len());
                true
            }
            None => {
                self.text = "";
                false
            }
        }
    }

    /// Goes on by so many bytes.
    fn skip(&mut self, bytes: usize) -> &'a str {
        let (before, after) = self.text.split_at(bytes);
        self.line = self.line.saturating_add(u32::try_from(before.matches('\n').count()).unwrap_or(u32::MAX));
        self.text = after;
        before
    }

    /// Goes behind the end of a quoted text; backslashes hide quotes in all but raw ones.
    fn skip_quoted(&mut self, quote: char) {
        let mut hidden = false;
        for (at, letter) in self.text.char_indices().skip(1) {
            match letter {
                _ if hidden => hidden = false,
                '\\' if quote != '`' => hidden = true,
                _ if letter == quote => {
                    self.skip(at + letter.len_utf8());
                    return;
                }
                _ => {}
            }
        }
        self.skip(self.text.len());
    }
}

/// From behind `{{` to behind `}}`.
fn action<'w>(rest: &mut Cursor<'_>, words: &[&'w str], found: &mut Vec<(u32, &'w str)>) {
    let mut before = ' ';
    while let Some(letter) = rest.text.chars().next() {
        if rest.text.starts_with("}}") {
            rest.skip(2);
            return;
        }
        if rest.text.starts_with("/*") {
            rest.skip_past("*/");
        } else if matches!(letter, '"' | '\'' | '`') {
            rest.skip_quoted(letter);
        } else if letter == '_' || letter.is_alphabetic() {
            let end = rest.text.find(|one: char| one != '_' && !one.is_alphanumeric()).unwrap_or(rest.text.len());
            let line = rest.line;
            let word = rest.skip(end);
            if !matches!(before, '.' | '$')
                && let Some(known) = words.iter().find(|known| **known == word)
            {
                found.push((line, *known));
            }
        } else {
            rest.skip(letter.len_utf8());
        }
        before = letter;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookups(template: &str) -> Vec<u32> {
        calls(template, &["lookup", "now"]).into_iter().filter(|(_, word)| *word == "lookup").map(|(l, _)| l).collect()
    }

    #[test]
    fn calls_have_lines() {
        assert_eq!(lookups("a\n{{ $x := lookup \"v1\" \"Secret\" \"\" \"\" }}\n{{- if (lookup `v1`) }}"), [2, 3]);
        assert_eq!(lookups("{{ include \"x\" .\n | lookup }}"), [2]);
        assert_eq!(calls("{{now | date \"2006\"}}", &["lookup", "now"]), [(1, "now")]);
    }

    #[test]
    fn other_words_are_no_calls() {
        for template in [
            "lookup",
            "# lookup {{ .Values.a }}",
            "{{/* lookup \"v1\" */}}",
            "{{- /* {{ lookup */ -}} {{ .Values.lookup }}",
            "{{ $lookup := 1 }}{{ $.lookup }}",
            "{{ \"lookup }} \\\" lookup\" }}",
            "{{ `lookup` }}",
            "{{ lookups }}{{ my_lookup }}",
        ] {
            assert_eq!(lookups(template), [0; 0], "{template}");
        }
    }

    #[test]
    fn templates_that_do_not_end_are_read_to_their_end() {
        for template in ["{{", "{{ \"", "{{ /* ", "{{ lookup", "{{ 'ä"] {
            calls(template, &["lookup"]);
        }
        assert_eq!(lookups("{{ lookup"), [1]);
    }
}
