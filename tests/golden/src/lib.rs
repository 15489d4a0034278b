//! Text in, text out: what a source declares, and what the hub makes of it.
//!
//! A case is a text of sections, each begun by a line `=== …`:
//!
//! - `=== commit WORDS` begins a commit, which keeps the files of the one before;
//! - `=== file PATH` gives a file, `=== link PATH` a symbolic link, `=== submodule PATH` a submodule,
//!   `=== unnamed PATH` something with a name that is none;
//! - `=== remove PATH` takes a file away.
//!
//! With `=== fleet` a fleet follows the commits, which it calls c1, c2 and so on, and what people would see of it is printed in place of what the
//! commit asks for. Then there are
//!
//! - `=== silent CLUSTER`: its spoke is not connected, until `=== back CLUSTER`;
//! - `=== says CLUSTER BUNDLE SYNC HEALTH MESSAGE`: what its spoke reports instead of that all is well;
//! - `=== approve BUNDLE`: an operator lets go what the guard holds of it, once all else has happened.
//!
//! What stands before the first section is for people. The clusters are those that the case
//! declares. The output is the same text for the same case on every machine.

mod case;
mod fleet;
mod print;

pub use case::{Case, Commit, Word};
pub use print::print;

use std::sync::Arc;

use hub_core::catalog::Catalog;
use hub_render::offline::{Offline, Role};
use hub_render::{Options, Programs, Renderer};

/// What the hub makes of a case: each commit in turn, after the last good catalog of the one
/// before.
///
/// # Errors
/// The case is not written as it should be.
pub fn run(text: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut last: Option<Catalog> = None;
    let case = Case::parse(text)?;
    let mut before: Option<Offline> = None;
    let mut follower = case.has_fleet.then(fleet::Follower::new);
    for (number, commit) in (1_u32..).zip(case.commits) {
        let tree = Offline::after(&commit.snapshot, &Role::default(), last.as_ref(), &renderer());
        out.push_str(&format!("## commit {}\n", commit.words));
        match &mut follower {
            Some(follower) => follower.follow(&format!("c{number}"), &commit, &tree, &mut out)?,
            None if case.has_plans => {
                if let Some(before) = &before {
                    print::plan(before, &tree, &mut out);
                }
            }
            None => print(&tree, &mut out),
        }
        // What is stored must read back as what it was, so the way through bytes is taken here.
        last = Some(Catalog::decode(&tree.catalog().encode())?);
        anyhow::ensure!(last.as_ref() == Some(tree.catalog()), "a catalog changed on its way through bytes");
        before = Some(tree);
    }
    Ok(out)
}

/// A renderer without programs, so that a case gives the same text whatever is installed.
pub(crate) fn renderer() -> Renderer {
    let (helm, kustomize) = (Some("no-helm".into()), Some("no-kustomize".into()));
    let programs = Programs::new(Options { helm, kustomize, ..Options::default() });
    Renderer { programs: Arc::new(programs), ..Renderer::default() }
}
