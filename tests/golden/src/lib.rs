//! Text in, text out: what a source declares, and what the hub makes of it.
//!
//! A case is a text of sections, each begun by a line `=== …`:
//!
//! - `=== commit WORDS` begins a commit, which keeps the files of the one before;
//! - `=== file PATH` gives a file, `=== link PATH` a symbolic link, `=== submodule PATH` a submodule,
//!   `=== unnamed PATH` something with a name that is none;
//! - `=== remove PATH` takes a file away.
//!
//! What stands before the first section is for people. The clusters are those that the case
//! declares. The output is the same text for the same case on every machine.

mod case;
mod print;

pub use case::{Case, Commit};
pub use print::print;

use hub_core::catalog::Catalog;
use hub_render::offline::Offline;

/// What the hub makes of a case: each commit in turn, after the last good catalog of the one
/// before.
///
/// # Errors
/// The case is not written as it should be.
pub fn run(text: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut last: Option<Catalog> = None;
    for commit in Case::parse(text)?.commits {
        let tree = Offline::after(&commit.snapshot, last.as_ref());
        print(&commit.words, &tree, &mut out);
        // What is stored must read back as what it was, so the way through bytes is taken here.
        last = Some(Catalog::decode(&tree.catalog().encode())?);
        anyhow::ensure!(last.as_ref() == Some(tree.catalog()), "a catalog changed on its way through bytes");
    }
    Ok(out)
}
