//! Lines, limits and spellings. What scalars mean is compared with kubectl itself, elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use super::*;

fn error(text: &str) -> (u32, String) {
    let error = read(text.as_bytes()).unwrap_err();
    (error.line, error.message)
}

#[test]
fn every_node_knows_its_line() {
    let documents = read(b"# words\n---\na: 1\nb:\n- x\n-\n  c: y\n---\n---\nd: 1\n").unwrap();
    let lines: Vec<u32> = documents.iter().map(|document| document.line).collect();
    assert_eq!(documents.len(), 3);
    assert_eq!((lines[0], lines[2]), (3, 10));
    assert!(documents[1].root.is_null());
    let root = &documents[0].root;
    assert_eq!(root.line_at(["b"]), 4);
    assert_eq!(root.line_at(["b", "1", "c"]), 7);
    assert_eq!(root.line_at(["b", "0", "nothing", "there"]), 5);
    assert_eq!(root.at(["b", "0"]).and_then(Node::text), Some("x"));
}

#[test]
fn keys_keep_how_they_are_written() {
    let documents = read(b"n: 1\n0644: 2\n").unwrap();
    let Data::Map(entries) = &documents[0].root.data else { unreachable!() };
    let keys: Vec<_> = entries.iter().map(|(key, _)| (&*key.text, &*key.written)).collect();
    assert_eq!(keys, [("false", "n"), ("420", "0644")]);
}

#[test]
fn what_occurs_twice_is_refused_with_both_lines() {
    assert_eq!(error("a: 1\nb: 2\na: 3\n"), (3, "key \"a\" occurs twice, first in line 1".into()));
    assert_eq!(error("x:\n  on: 1\n  yes: 2\n").0, 3);
    assert!(error("{\"a\": 1,\n \"a\": 2}").1.contains("occurs twice"));
    // Merged keys may be written again.
    assert!(read(b"a: &a {x: 1}\nb: {<<: *a, x: 2}\n").is_ok());
}

#[test]
fn aliases_of_aliases_end() {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let last = format!("*a{}", level - 1);
        let items = vec![last; 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    assert!(error(&text).1.contains("nodes"));
}

#[test]
fn nesting_ends() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(deep(limits::DOCUMENT_DEPTH_MAX).as_bytes()).is_ok());
    assert!(error(&deep(limits::DOCUMENT_DEPTH_MAX + 2)).1.contains("nested"));
    let json = |levels: usize| format!("{{\"a\":{}}}", deep(levels));
    assert!(error(&json(limits::DOCUMENT_DEPTH_MAX + 2)).1.contains("nested"));
    // An alias does not hide depth.
    let half = deep(limits::DOCUMENT_DEPTH_MAX / 2);
    let open = "[".repeat(limits::DOCUMENT_DEPTH_MAX / 2 + 2);
    let text = format!("a: &a {half}\nb: {open}*a{}\n", "]".repeat(limits::DOCUMENT_DEPTH_MAX / 2 + 2));
    assert!(error(&text).1.contains("nested"));
    assert!(read(b"a: &a [*a]\n").is_err(), "an alias inside itself");
}

#[test]
fn bytes_that_are_no_text_have_a_line() {
    assert_eq!(read(b"a: 1\nb: \xff\n").unwrap_err().line, 2);
}

#[test]
fn near_names_are_proposed_and_far_ones_are_not() {
    assert!(unknown("field", "lables", &["name", "labels"]).contains("did you mean \"labels\""));
    assert!(unknown("bundle", "b10", &["b6", "web"]).contains("known are b6, web"));
    assert!(unknown("bundle", "x", &[]).contains("none"));
}

#[test]
fn what_is_tidied_keeps_its_lines() {
    let text = "\u{feff}# words\r\r\n---#c\na: 1\n---\n\u{feff}b: |\n  x\r\r\n  y\nc: 1\nc: 2\n";
    assert_eq!(error(text), (9, "key \"c\" occurs twice, first in line 8".into()));
    let utf16: Vec<u8> = "\u{feff}a: 1\na: 2\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(read(&utf16).unwrap_err().line, 2);
    assert!(read(&utf16[..utf16.len() - 1]).unwrap_err().message.contains("UTF-16"));
    assert_eq!(error("a: !!binary /w==\n").0, 1);
}
