//! What Helm and Kustomize say, without what they quote of values, patches and literals: these may be
//! those of a Secret, and what is said here goes to logs, to files of results and to everybody who may
//! look.

use std::borrow::Cow;

/// In place of what was quoted.
const LEFT_OUT: &str = "…";

/// A complaint without the content that it quotes.
pub(crate) fn discreet(text: &str) -> String {
    let mut text = Cow::Borrowed(text);
    // Where the end is not found, all that follows goes: it could be anything.
    for (from, to) in [
        // The configuration of a transformer, with its patches, as YAML.
        ("with config: `", "\n`: "),
        ("[patch: ", "\"]"),
        ("literal source", ", expected key=value"),
        ("line [", "invalid utf8 bytes"),
        ("invalid utf8 bytes", "\u{0}"),
        ("node contents:", "\u{0}"),
        (" in object {", "}}"),
    ] {
        text = between(&text, from, to).map_or(text, Cow::Owned);
    }
    let text = inline_patch(&text);
    let text = quoted(&text);
    text.lines().map(of_schema).collect::<Vec<_>>().join("\n")
}

/// Leaves out what stands between a mark and the last of another.
fn between(text: &str, from: &str, to: &str) -> Option<String> {
    let start = text.find(from)? + from.len();
    let (head, rest) = text.split_at(start);
    let tail = rest.rfind(to).map_or("", |end| &rest[end..]);
    Some(format!("{head}{LEFT_OUT}{tail}"))
}

/// A patch that stands in a kustomization itself and cannot be read is taken for the name of a file.
fn inline_patch(text: &str) -> Cow<'_, str> {
    const MARK: &str = "evalsymlink failure on '";
    let name = text.split(MARK).nth(1).map(|rest| rest.split("' : ").next().unwrap_or(rest));
    match name.filter(|name| name.contains(['\n', '{'])) {
        Some(_) => "a patch that stands in the kustomization itself cannot be read; look at its YAML".into(),
        None => text.into(),
    }
}

/// Leaves out texts in quotes behind words that speak of parsing them, and all between backticks.
fn quoted(text: &str) -> String {
    const PARSED: [&str; 5] = ["parse ", "parsing ", "parsing time ", "parsing duration ", "parse template "];
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(['"', '`']) {
        let (head, tail) = rest.split_at(at);
        let quote = if tail.starts_with('"') { '"' } else { '`' };
        out.push_str(head);
        let is_parsed = PARSED.iter().any(|words| head.ends_with(words));
        let end = end_of_quote(tail, quote);
        if quote == '`' || is_parsed {
            out.extend([quote, LEFT_OUT.chars().next().unwrap_or(quote), quote]);
        } else {
            out.push_str(&tail[..end]);
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}

/// Where a quoted text ends, behind its quote.
fn end_of_quote(text: &str, quote: char) -> usize {
    let mut hidden = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if hidden => hidden = false,
            '\\' if quote == '"' => hidden = true,
            _ if letter == quote => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// What a schema says of a value, without the value: `- at '/password': 'x' does not match pattern …`.
fn of_schema(line: &str) -> Cow<'_, str> {
    let Some(start) = line.find("at '").filter(|at| line[..*at].trim_matches([' ', '-']).is_empty()) else {
        return line.into();
    };
    let Some(end) = line[start..].find("': ").map(|at| start + at + "': ".len()) else { return line.into() };
    let (head, said) = line.split_at(end);
    if said.starts_with('\'') {
        if said.ends_with("' failed") {
            return line.into();
        }
        let verdict =
            ["' does not match ", "' is not valid "].iter().find_map(|words| Some(&said[said.rfind(words)?..]));
        // Behind the format that it should have stands what is wrong with the value.
        let verdict = verdict.map(|words| words.split(": ").next().unwrap_or(words));
        return format!("{head}'{LEFT_OUT}{}", verdict.unwrap_or("'")).into();
    }
    match said.split_once(": got ") {
        Some((what, numbers)) if numbers.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            let wanted = numbers.split_once(", want ").map_or("", |(_, wanted)| wanted);
            format!("{head}{what}: got {LEFT_OUT}, want {wanted}").into()
        }
        _ => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_patches_and_literals_is_left() {
        let patch = "Error: trouble configuring builtin PatchTransformer with config: `\npatch: |\n  password: \"hunter2\"]\n   \
                     x: [`: [\n`: unable to parse SM or JSON patch from [patch: \"password: \\\"hunter2\\\"]\\n x: [\"]";
        for text in [
            patch,
            &patch[..80],
            "Error: loading KV pairs: literal sources [hunter2]: invalid literal source hunter2, expected key=value",
            "env source files: [e.env]: line [104 117] has invalid utf8 bytes : hun\u{fffd}=hunter2",
            "wrong node kind: expected MappingNode but got ScalarNode: node contents:\nhunter2\n",
            "evalsymlink failure on '/in/kind: Secret\ndata: {password: hunter2\n' : lstat /in/kind: Secret\nhunter2",
            "parsing time \"hunter2\" as \"2006\": cannot parse \"hunter2\" as \"2006\"",
            "cannot parse template \"{{ \\\"hunter2\\\" }}\": unclosed",
            "error parsing regexp: missing closing ): `(hunter2`",
            "- at '/password': 'hunter2' does not match pattern '^[0-9]+$'",
            "  - at '/a': 'hun\\'ter2' is not valid email: no '@' in hunter2",
            "- at '/a': 'hunter2' has another fault",
            "- at '/pin': maximum: got 123,456, want 4",
        ] {
            let said = discreet(text);
            assert!(!said.contains("hunter") && !said.contains("123,456") && !said.contains("ter2"), "{said}");
        }
        assert!(discreet(patch).ends_with("unable to parse SM or JSON patch from [patch: …\"]"), "{}", discreet(patch));
    }

    #[test]
    fn what_helps_stays() {
        for text in [
            "no matches for Id Secret.v1.[noGrp]/zzz.[noNs]; failed to find unique target",
            "remove operation does not apply: doc is missing path: \"/data/no\": missing value",
            "- at '/a': got string, want integer",
            "- at '/a': value must be one of 'a', 'b'",
            "- at '/a': 'anyOf' failed",
            "executing \"app/templates/a.yaml\" at <.Values.a>: nil pointer",
            "evalsymlink failure on 'o/nope.yaml' : lstat o/nope.yaml: no such file or directory",
        ] {
            assert_eq!(discreet(text), text);
        }
        assert_eq!(
            discreet("- at '/a': 'x' does not match pattern '^y'"),
            "- at '/a': '…' does not match pattern '^y'"
        );
        assert_eq!(discreet("- at '/a': maximum: got 12, want 4"), "- at '/a': maximum: got …, want 4");
    }
}
