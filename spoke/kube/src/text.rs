//! What API servers say, without the values that they quote: those may be secret.

use proto_model::limits;

/// Cuts a text to what a failure may carry.
pub(crate) fn cut(mut text: String) -> String {
    if text.len() > limits::FAILURE_BYTES_MAX {
        let end = text.floor_char_boundary(limits::FAILURE_BYTES_MAX - '…'.len_utf8());
        text.truncate(end);
        text.push('…');
    }
    text
}

/// A message of several lines as one: the server says what is wrong with fields in another order each time, so that the
/// same refusal would seem to be another one.
pub(crate) fn in_one_line(text: &str) -> String {
    const SHOWN: usize = 3;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut rest: Vec<&str> = lines.collect();
    rest.sort_unstable();
    rest.dedup();
    let more = rest.len().saturating_sub(SHOWN);
    rest.truncate(SHOWN);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let gap = if rest.is_empty() { "" } else { " " };
    format!("{first}{gap}{}{more}", rest.join("; "))
}

/// The message of one field's refusal without the value: `Invalid value: "x": must be y` becomes
/// `Invalid value: must be y`.
pub(crate) fn without_value(message: &str) -> String {
    for kind in ["Invalid value", "Unsupported value", "Duplicate value", "Not found", "Too long", "Too many"] {
        let Some(rest) = message.strip_prefix(kind).and_then(|rest| rest.strip_prefix(": ")) else {
            continue;
        };
        let detail = match rest.strip_prefix('"') {
            Some(quoted) => after_quoted(quoted),
            None => rest.rsplit_once(": ").map(|(_, detail)| detail),
        };
        // What stands without a value is a detail: "Too long: may not be more than 63 bytes".
        let detail = match detail {
            None if kind.starts_with("Too") => Some(rest),
            detail => detail,
        };
        return detail.map_or_else(|| kind.to_owned(), |detail| format!("{kind}: {detail}"));
    }
    message.to_owned()
}

/// What follows a quoted text and `: `.
fn after_quoted(quoted: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, byte) in quoted.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return quoted[at + 1..].strip_prefix(": "),
            _ => {}
        }
    }
    None
}

/// A message as a whole, cut before what is known to quote an object.
pub(crate) fn without_excerpt(message: &str) -> &str {
    let ends = [", got ", ", error found in #", "...|", " Invalid value: ", "parsing time ", "cannot unmarshal "];
    let end = ends.iter().filter_map(|mark| message.find(mark)).min();
    end.map_or(message, |end| message[..end].trim_end_matches([' ', ':', ',']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_fields_is_one_line_in_one_order() {
        let said = |fields: [&str; 4]| {
            in_one_line(&format!("failed to create typed patch object: errors:\n  {}", fields.join("\n  ")))
        };
        let words = said([".data.b: expected string", ".data.a: expected string", ".data.d: x", ".data.c: x"]);
        let all = "failed to create typed patch object: errors: .data.a: expected string; .data.b: expected string; \
                   .data.c: x; and 1 more";
        assert_eq!(words, all);
        assert_eq!(said([".data.d: x", ".data.c: x", ".data.b: expected string", ".data.a: expected string"]), all);
        assert_eq!(in_one_line("plain"), "plain");
    }

    #[test]
    fn values_do_not_come_through() {
        for (message, wanted) in [
            ("Invalid value: \"a\\\": b\": must be y", "Invalid value: must be y"),
            (
                "Invalid value: 99999: must be between 1 and 65535, inclusive",
                "Invalid value: must be between 1 and 65535, inclusive",
            ),
            (
                "Invalid value: core.PodTemplateSpec{A: 1, B: \"x\"}: field is immutable",
                "Invalid value: field is immutable",
            ),
            (
                "Unsupported value: \"x\": supported values: \"a\", \"b\"",
                "Unsupported value: supported values: \"a\", \"b\"",
            ),
            ("Required value: must be set", "Required value: must be set"),
            ("Too long: may not be more than 63 bytes", "Too long: may not be more than 63 bytes"),
            ("Not found: \"x\"", "Not found"),
        ] {
            assert_eq!(without_value(message), wanted);
        }
    }

    #[test]
    fn an_excerpt_is_cut_off() {
        let message =
            "failed to create typed patch object: .data.x: expected string, got &value.valueUnstructured{Value:1}";
        assert_eq!(without_excerpt(message), "failed to create typed patch object: .data.x: expected string");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = cut("ä".repeat(2_000));
        assert!(text.len() <= limits::FAILURE_BYTES_MAX && text.ends_with('…'));
    }
}
