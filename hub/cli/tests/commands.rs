//! docs/commands.md against the command line: what exists is listed, and what is listed exists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use clap::{Command, CommandFactory};
use hub_cli::arguments::Arguments;

const PAGE: &str = include_str!("../../../docs/commands.md");
/// The section on the other programs, whose options this program does not know.
const OTHERS: &str = "## The hub and the spoke";

/// The options in a text, without their dashes.
fn options(text: &str) -> BTreeSet<String> {
    let name =
        |rest: &str| -> String { rest.chars().take_while(|one| one.is_ascii_lowercase() || *one == '-').collect() };
    text.split("--").skip(1).map(name).filter(|name| !name.is_empty() && !name.starts_with('-')).collect()
}

/// The commands that have no commands of their own, with the words that lead to them.
fn leaves(command: &Command, words: &str, found: &mut Vec<(String, Command)>) {
    if !command.has_subcommands() {
        found.push((words.to_owned(), command.clone()));
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        leaves(inner, &format!("{words} {}", inner.get_name()), found);
    }
}

#[test]
fn the_page_lists_what_exists_and_nothing_else() {
    let (page, others) = PAGE.split_once(OTHERS).unwrap();
    let (others, rest) = others.split_once("\n## ").unwrap();
    let page = format!("{page}{rest}");
    let listed = options(&page);
    let mut commands = Vec::new();
    leaves(&Arguments::command(), "drover", &mut commands);
    let mut known: BTreeSet<String> = ["context", "help"].map(str::to_owned).into();
    for (words, command) in commands {
        // The nouns of `get` share a line.
        let is_listed = match words.strip_prefix("drover get ") {
            Some(noun) => page.lines().any(|line| line.starts_with("| `drover get ") && line.contains(noun)),
            None => page.contains(&format!("`{words}")) || page.contains(&words),
        };
        assert!(is_listed, "{words} is not listed");
        for long in command.get_arguments().filter(|one| !one.is_hide_set()).filter_map(|one| one.get_long()) {
            // Options that many commands have are told once.
            let is_told = listed.contains(long) || long == "output" && page.contains("`-o ");
            assert!(is_told, "--{long} of {words} is not listed");
            known.insert(long.to_owned());
        }
    }
    let others = options(others);
    let unknown: Vec<&String> = listed.iter().filter(|one| !known.contains(*one) && !others.contains(*one)).collect();
    assert!(unknown.is_empty(), "listed and nowhere to be found: {unknown:?}");
}
