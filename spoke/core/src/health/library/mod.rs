//! What is known of kinds that people install: which of their conditions and phases mean what.
//!
//! A table ([`table`]) of small rules ([`rule`]) that are read, not run: nothing is compiled or allocated for a kind
//! before an object of it is judged, and what a rule finds is said in the words of the object's own conditions. The
//! few kinds that need counting have a function ([`by_hand`]). Versions do not count: a group and kind have one rule.

mod by_hand;
mod rule;
mod table;
#[cfg(test)]
mod words;

use proto_model::GroupKind;

pub(super) use rule::Rule;

/// What the library knows of a kind.
#[derive(Clone, Copy)]
pub(super) enum Known {
    /// No controller ever writes how it is: it is Healthy as soon as it is there.
    Silent,
    /// How to read its status.
    By(&'static Rule),
}

/// What is known of a kind; `None` where the library does not know it.
pub(super) fn known(kind: &GroupKind) -> Option<Known> {
    let rows = table::LIBRARY.iter().flat_map(|family| family.rows);
    let mut rows = rows.filter(|row| row.group == kind.group);
    let row = rows.find(|row| row.kinds.contains(&kind.kind.as_str()) || row.kinds == table::ANY)?;
    Some(row.known)
}

#[cfg(test)]
mod tests;
