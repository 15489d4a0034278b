//! Every case under `cases/` gives the text that stands beside it. `UPDATE=1 cargo test -p
//! tests-golden` writes those texts anew; read the difference before it is committed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

#[test]
fn every_case_gives_its_text() -> Result<()> {
    let update = std::env::var_os("UPDATE").is_some();
    let (mut seen, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(folder())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        seen += 1;
        let text = std::fs::read_to_string(&path)?;
        let found = tests_golden::run(&text).with_context(|| path.display().to_string())?;
        let beside = path.with_extension("out");
        if update {
            std::fs::write(&beside, found)?;
            continue;
        }
        let expected = std::fs::read_to_string(&beside).unwrap_or_default();
        if found != expected {
            let line = found.lines().zip(expected.lines()).position(|(a, b)| a != b);
            let line = line.unwrap_or_else(|| found.lines().count().min(expected.lines().count()));
            let at = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
            wrong.push(format!(
                "{} line {}:\n  expected {}\n  found    {}",
                beside.display(),
                line + 1,
                at(&expected),
                at(&found)
            ));
        }
    }
    ensure!(seen >= 10, "only {seen} cases were found");
    ensure!(wrong.is_empty(), "{}\nUPDATE=1 writes what is found", wrong.join("\n"));
    Ok(())
}
