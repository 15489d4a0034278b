//! The checkout, held against each rule.

use anyhow::Result;
use tests_tidy::{edges, expect_none, shape, tree, words};

#[test]
fn crates_use_only_what_lies_below_them() -> Result<()> {
    expect_none(&edges::complaints(&edges::crates()?))
}

#[test]
fn files_and_functions_are_short_and_say_what_they_are_for() -> Result<()> {
    let complaints: Vec<String> = tree::files()?
        .iter()
        .filter(|file| file.is_rust())
        .flat_map(|file| shape::complaints(&file.path, file.text().unwrap_or_default()))
        .collect();
    expect_none(&complaints)
}

#[test]
fn nothing_is_left_undone_and_no_machine_is_named() -> Result<()> {
    let complaints: Vec<String> =
        tree::files()?.iter().filter_map(|file| Some(words::complaints(&file.path, file.text()?))).flatten().collect();
    expect_none(&complaints)
}

#[test]
fn pure_crates_do_not_name_the_world() -> Result<()> {
    let folders: Vec<String> = edges::PURE.iter().map(|name| format!("{}/src/", name.replacen('-', "/", 1))).collect();
    let is_pure = |path: &str| {
        // Files of tests alone are named so.
        folders.iter().any(|folder| path.starts_with(folder))
            && !path.ends_with("tests.rs")
            && !path.contains("/tests/")
    };
    let complaints: Vec<String> = tree::files()?
        .iter()
        .filter(|file| file.is_rust() && is_pure(&file.path))
        .flat_map(|file| words::impurities(&file.path, file.text().unwrap_or_default()))
        .collect();
    expect_none(&complaints)
}

#[test]
fn no_file_is_large() -> Result<()> {
    let complaints: Vec<String> = tree::files()?
        .iter()
        .filter(|file| file.bytes.len() > words::FILE_BYTES_MAX)
        .map(|file| format!("{}: {} bytes, more than {}", file.path, file.bytes.len(), words::FILE_BYTES_MAX))
        .collect();
    expect_none(&complaints)
}

#[test]
fn every_crate_takes_the_shared_lints() -> Result<()> {
    let complaints: Vec<String> = tree::files()?
        .iter()
        .filter(|file| file.path.ends_with("/Cargo.toml"))
        .filter(|file| !file.text().is_some_and(|text| text.contains("[lints]\nworkspace = true")))
        .map(|file| format!("{}: lacks `[lints] workspace = true`", file.path))
        .collect();
    expect_none(&complaints)
}
