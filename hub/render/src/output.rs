//! What a program printed, as manifests: each with the file it comes from, as far as that is known.

use hub_core::catalog::Defect;
use hub_core::yaml::{Data, Node};

use crate::document::{self, Placed};

/// Reads a stream of documents that a program printed; `file_of` names the file that the document
/// at a line of the stream comes from.
pub(crate) fn read(program: &str, printed: &[u8], file_of: impl Fn(u32) -> String) -> Result<Vec<Placed>, Vec<Defect>> {
    let renamed = |line: u32| (file_of(line), 0);
    match document::read("", printed) {
        Ok(placed) => Ok(placed
            .into_iter()
            .map(|one| {
                let (file, line) = renamed(one.line);
                Placed { file, line, node: without_lines(one.node) }
            })
            .collect()),
        Err(defects) => Err(defects
            .into_iter()
            .map(|defect| {
                let (file, line) = renamed(defect.line);
                // It speaks of a file to exclude, which there is none of.
                let message = defect.message.split("; ").next().unwrap_or_default();
                let message = format!("{program} rendered something that {message}");
                Defect { file, line, message, ..defect }
            })
            .collect()),
    }
}

/// Lines of what was printed are no lines of a file that anybody has.
fn without_lines(node: Node) -> Node {
    let data = match node.data {
        Data::List(items) => Data::List(items.into_iter().map(without_lines).collect()),
        Data::Map(entries) => Data::Map(
            entries
                .into_iter()
                .map(|(mut key, value)| {
                    key.line = 0;
                    (key, without_lines(value))
                })
                .collect(),
        ),
        other => other,
    };
    Node { line: 0, data }
}

/// A complaint for people: one line, without control characters, of a length that can be read.
pub(crate) fn shown(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    hub_core::catalog::shown(&text, proto_model::limits::RENDER_COMPLAINT_SHOWN_BYTES_MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_stream_name_files() {
        let placed =
            read("helm", b"---\na: b\nkind: X\napiVersion: v1\nmetadata: {name: x}\n", |line| format!("f{line}"))
                .unwrap();
        assert_eq!((placed[0].file.as_str(), placed[0].line), ("f2", 0));
        assert_eq!(placed[0].defect(["metadata"], "").line, 0);
        let defects = read("helm", b"---\na: [\n", |_| "f".into()).unwrap_err();
        assert!(defects[0].message.starts_with("helm rendered something that "), "{defects:?}");
    }

    #[test]
    fn long_complaints_keep_both_ends() {
        let text = format!("begin {} end", "x\u{1b} ".repeat(10_000));
        let shown = shown(&text);
        assert!(
            shown.starts_with("begin") && shown.ends_with("end") && shown.len() < 1_000 && !shown.contains('\u{1b}')
        );
    }
}
