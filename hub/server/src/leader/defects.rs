//! What is wrong with a head: as much of it as is kept, and since when.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::catalog::Defect;
use proto_model::{Digest, limits};
use serde::{Deserialize, Serialize};

/// What is wrong with a head, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defects {
    /// At most `limits::DEFECTS_MAX`.
    pub defects: Vec<Defect>,
    /// Those beyond.
    pub more: u64,
    /// When a head first had each bundle defective that they hold, milliseconds since 1970; a
    /// bundle is missing where nobody remembers.
    #[serde(default)]
    pub since: BTreeMap<String, u64>,
    /// At most `limits::RENDER_NOTES_MAX`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Noted>,
}

/// What is worth knowing of a rendering. It is kept beside what is wrong, since what was rendered
/// once is not rendered again, and a hub that was started anew would have nothing to say.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    /// The note, with its bundle.
    pub note: Defect,
    /// The digest of the rendering's input.
    pub rendering: Digest,
}

impl Defects {
    /// `before`: those of the head before. What was defective there is so since then.
    pub(super) fn of(all: Vec<Defect>, before: Option<&Self>, now_unix_millis: u64) -> Self {
        let (all, more) = cut(all.into_iter().map(Defect::shown).collect());
        let mut found = Self { defects: all, more, ..Self::default() };
        let was_held: BTreeSet<&String> = before.iter().flat_map(|before| before.holding()).collect();
        let since = |bundle: &&String| match was_held.contains(bundle) {
            true => before.and_then(|before| before.since.get(*bundle)).copied(),
            false => Some(now_unix_millis),
        };
        found.since = found.holding().filter_map(|bundle| Some((bundle.clone(), since(&bundle)?))).collect();
        found
    }

    /// With as many notes on renderings as are kept.
    #[must_use]
    pub(super) fn with_notes(self, mut notes: Vec<Noted>) -> Self {
        notes.sort();
        notes.dedup();
        notes.truncate(limits::RENDER_NOTES_MAX);
        Self { notes, ..self }
    }

    /// What was noted on the renderings of a bundle, each once.
    #[must_use]
    pub fn notes_of(&self, bundle: &str) -> BTreeSet<&Defect> {
        let of_it = |noted: &&Noted| noted.note.bundle.as_deref() == Some(bundle);
        self.notes.iter().filter(of_it).map(|noted| &noted.note).collect()
    }

    /// The bundles that they hold.
    fn holding(&self) -> impl Iterator<Item = &String> {
        self.defects.iter().filter(|defect| !defect.note).filter_map(|defect| defect.bundle.as_ref())
    }
}

/// As many defects as are kept, those that hold something first, and how many there are beside. One of
/// each bundle is always among them, since holds are told from what is kept.
fn cut(mut all: Vec<Defect>) -> (Vec<Defect>, u64) {
    let in_order = |a: &Defect, b: &Defect| (a.note, a).cmp(&(b.note, b));
    all.sort_by(in_order);
    all.dedup();
    let mut named = BTreeSet::new();
    let is_first = |one: &Defect| !one.note && one.bundle.as_ref().is_some_and(|name| named.insert(name.clone()));
    let (mut kept, rest): (Vec<Defect>, Vec<Defect>) = all.into_iter().partition(is_first);
    let room = limits::DEFECTS_MAX.saturating_sub(kept.len());
    let more = rest.len().saturating_sub(room) as u64;
    kept.extend(rest.into_iter().take(room));
    kept.sort_by(in_order);
    (kept, more)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defect(bundle: &str, line: u32, note: bool) -> Defect {
        Defect { file: "a".into(), line, message: "wrong".into(), bundle: Some(bundle.into()), note }
    }

    #[test]
    fn no_bundle_hides_the_defects_of_another() {
        let lines = (1..).take(limits::DEFECTS_MAX + 10);
        let mut all: Vec<Defect> = lines.map(|line| defect("main/a", line, false)).collect();
        all.push(defect("main/z", 1, false));
        all.push(defect("main/z", 2, true));
        let found = Defects::of(all, None, 1000);
        assert_eq!(found.defects.len(), limits::DEFECTS_MAX);
        assert_eq!(found.more, 12);
        assert!(found.defects.contains(&defect("main/z", 1, false)));
        assert_eq!(found.since.len(), 2);
    }

    #[test]
    fn notes_are_kept_within_a_limit_and_told_once() {
        let noted = |rendering: &[u8], bundle, line| Noted {
            note: defect(bundle, line, true),
            rendering: Digest::of(rendering),
        };
        let notes = vec![noted(b"2", "main/a", 1), noted(b"1", "main/a", 1), noted(b"1", "main/b", 2)];
        let found = Defects::default().with_notes(notes.clone());
        assert_eq!(found.notes_of("main/a"), BTreeSet::from([&defect("main/a", 1, true)]));
        assert_eq!(found, Defects::default().with_notes(notes.into_iter().rev().collect()), "in whatever order");
        let many = (1..).take(limits::RENDER_NOTES_MAX + 1).map(|line| noted(b"1", "main/a", line)).collect();
        assert_eq!(Defects::default().with_notes(many).notes.len(), limits::RENDER_NOTES_MAX);
        // What an older hub stored has none.
        assert_eq!(serde_json::from_str(r#"{"defects":[],"more":0}"#).ok(), Some(Defects::default()));
    }

    #[test]
    fn what_a_file_says_makes_none_so_long_that_it_cannot_be_stored() {
        let long = |at: u32| Defect { message: "x\n".repeat(10_000_000), ..defect("main/a", at, false) };
        let found = Defects::of((1..4).map(long).collect(), None, 1000);
        assert!(found.defects.iter().all(|one| one.message.len() <= limits::DEFECT_BYTES_MAX));
        assert!(found.defects.iter().all(|one| !one.message.contains('\n')));
        // Those that are kept of one source, and one of each of its bundles beside them, fit into one body.
        let all = limits::DEFECTS_MAX + limits::BUNDLES_PER_SOURCE_MAX;
        assert!(all * (2 * limits::DEFECT_BYTES_MAX + 512) < limits::BODY_BYTES_MAX);
    }

    #[test]
    fn a_bundle_is_defective_since_the_first_head_that_had_it_so() {
        let first = Defects::of(vec![defect("main/a", 1, false), defect("main/b", 1, true)], None, 1000);
        assert_eq!(first.since, BTreeMap::from([("main/a".to_owned(), 1000)]));
        let both = vec![defect("main/a", 9, false), defect("main/b", 1, false)];
        let second = Defects::of(both.clone(), Some(&first), 2000);
        assert_eq!(second.since, BTreeMap::from([("main/a".to_owned(), 1000), ("main/b".to_owned(), 2000)]));
        assert_eq!(Defects::of(both.clone(), Some(&second), 3000), second, "the same head says the same");
        let corrected = Defects::of(Vec::new(), Some(&second), 4000);
        assert!(corrected.since.is_empty());
        // One that was stored without times was defective before anybody wrote that down.
        let old = Defects { since: BTreeMap::new(), ..second };
        assert!(Defects::of(both, Some(&old), 5000).since.is_empty());
    }
}
