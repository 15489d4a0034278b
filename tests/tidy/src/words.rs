//! What no file may hold: work left undone, paths of one machine, and, in pure crates, the world.

/// Largest file, in bytes.
pub const FILE_BYTES_MAX: usize = 512 * 1024;

/// Words for work left undone; cut in two, so that this file does not hold them.
const UNDONE: &[(&str, &str)] = &[("TO", "DO"), ("FIX", "ME"), ("XX", "X:"), ("HA", "CK:")];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[(&str, &str)] =
    &[("/work", "/"), ("/ro", "ot/"), ("/ho", "me/"), ("/Us", "ers/"), ("/tmp/no", "tes")];

/// What a pure crate may not name.
const WORLD: &[&str] = &[
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "std::os",
    "SystemTime",
    "Instant::now",
    "tokio::",
    "rand::",
    "HashMap",
    "HashSet",
];

/// Complaints about the words of one file.
#[must_use]
pub fn complaints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (start, end) in UNDONE {
            if line.contains(&format!("{start}{end}")) {
                complaints.push(format!("{path}:{number}: {start}{end}: finish it, or file it where work is planned"));
            }
        }
        for (start, end) in MACHINE_PATHS {
            if begins_word(line, &format!("{start}{end}")) {
                complaints.push(format!("{path}:{number}: {start}{end} is a path of one machine"));
            }
        }
    }
    complaints
}

/// Complaints about a file of a pure crate. Its tests may do as they please.
#[must_use]
pub fn impurities(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        for word in WORLD.iter().filter(|word| begins_word(code, word)) {
            complaints.push(format!("{path}:{number}: a pure crate names {word}"));
        }
    }
    complaints
}

/// Whether a line holds the text, and not as the rest of a longer word or path.
fn begins_word(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|letter| letter.is_alphanumeric() || "_-./:".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_file_may_hold_is_found() {
        let undone = format!("a\n// {}{}: later\n", UNDONE[0].0, UNDONE[0].1);
        assert_eq!(complaints("a.rs", &undone).len(), 1);
        let path = format!("see {}{}x\n", MACHINE_PATHS[0].0, MACHINE_PATHS[0].1);
        assert_eq!(complaints("a.md", &path).len(), 1);
        assert_eq!(complaints("a.rs", "the network of a home, spiffe://x/root/y\n"), Vec::<String>::new());
    }

    #[test]
    fn the_world_is_found_in_code_before_the_tests() {
        assert_eq!(impurities("a.rs", "use std::fs;\n").len(), 1);
        assert_eq!(impurities("a.rs", "operand::f()\n"), Vec::<String>::new());
        assert_eq!(impurities("a.rs", "// std::fs is not for us\n#[cfg(test)]\nuse std::fs;\n"), Vec::<String>::new());
    }
}
