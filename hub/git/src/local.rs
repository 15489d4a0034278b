//! Local sources: their ref is read where it lies, without a process.

use std::path::Path;

use crate::mirror;
use crate::source::Reference;

/// The commit that a local source's ref names, where it is the mirror's head already. `None` also
/// where anything is in the way: the child finds out what, and says it.
pub(crate) fn unchanged(repository: &Path, reference: &Reference, dir: &Path) -> Option<String> {
    let held = mirror::held(&mirror::open(dir).ok()?)?;
    let head = match reference {
        Reference::Commit(id) => *id,
        Reference::Names(names) => {
            let repository = gix::open_opts(repository, gix::open::Options::isolated()).ok()?;
            let found = names.iter().find_map(|name| repository.try_find_reference(name.as_str()).ok().flatten());
            found?.peel_to_commit().ok()?.id
        }
    };
    (head == held).then(|| held.to_string())
}
