//! What needs applying: the bound object against what was last applied and what is live.
//!
//! Drift is our field manager's set of fields differing from the set that the API server answered
//! our last apply with; nothing is asked or written to find it.

use proto_model::Digest;

use crate::health::{self, Assessment, Checks};
use crate::inventory::Tracked;
use crate::port::Live;

/// What is known of a live object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nothing yet: the watch has not told.
    #[default]
    Unknown,
    /// It is not there.
    Absent,
    /// It is there and not ours.
    Foreign,
    /// It is there.
    Live(Seen),
}

/// What was seen of a live object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its uid.
    pub uid: String,
    /// Its resourceVersion, as a number; 0 where it is none.
    pub resource_version: u64,
    /// Digest of the fields that our field manager owns.
    pub managed: Option<Digest>,
    /// Whether it is being deleted, and for which finalizers that waits.
    pub deleting: Option<Vec<String>>,
    /// Whether somebody asked, on the object, that hands are kept off it.
    pub hands_off: bool,
    /// Whether something that scales set its replicas.
    pub scaled: bool,
    /// How it is doing.
    pub assessment: Assessment,
}

impl Seen {
    /// What a live object shows to the bundle with this field manager. Where only metadata was
    /// read of a kind whose health lies in its status, `before` is kept if it is the same version.
    #[must_use]
    pub fn of(live: &Live, manager: &str, before: &Sight, checks: &Checks) -> Self {
        let resource_version = live.resource_version.parse().unwrap_or(0);
        let assessment = match (&live.object, before) {
            (Some(object), _) => health::assess(&live.identity.kind, object, checks),
            (None, _) if checks.depth(&live.identity.kind) == crate::port::Depth::Metadata => {
                if live.deleting {
                    Assessment::progressing("is being deleted")
                } else {
                    Assessment::healthy()
                }
            }
            (None, Sight::Live(seen)) if seen.uid == live.uid && seen.resource_version == resource_version => {
                seen.assessment.clone()
            }
            (None, _) => Assessment::unknown("its status was not seen yet"),
        };
        Self {
            uid: live.uid.clone(),
            resource_version,
            managed: live.managed.get(manager).copied(),
            deleting: live.deleting.then(|| live.finalizers.clone()),
            hands_off: live.hands_off,
            scaled: live.scaled,
            assessment,
        }
    }
}

/// Why an object is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was never applied, or with other content.
    Content,
    /// A field of ours was changed by somebody else.
    Drifted,
    /// It is gone.
    Missing,
}

/// What an object needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is as it was applied.
    Settled,
    /// Nothing yet: what was applied was not seen since the start.
    Unseen,
    /// A look at the live object.
    Look,
    /// An apply.
    Apply(Why),
    /// It is being deleted: it must be gone first.
    Going,
}

/// What an object needs. `bound` is the digest of what it should be, `look` that something
/// happened which only a look can tell.
#[must_use]
pub fn verdict(bound: Digest, tracked: &Tracked, sight: &Sight, look: bool) -> Verdict {
    if look {
        return Verdict::Look;
    }
    let is_applied = tracked.applied == Some(bound);
    match sight {
        Sight::Foreign => Verdict::Look,
        Sight::Live(seen) if seen.deleting.is_some() => Verdict::Going,
        Sight::Live(_) if tracked.uid.is_none() => Verdict::Look,
        Sight::Live(_) if !is_applied => Verdict::Apply(Why::Content),
        Sight::Live(seen) if Some(&seen.uid) != tracked.uid.as_ref() || seen.managed != tracked.managed => {
            Verdict::Apply(Why::Drifted)
        }
        Sight::Live(_) => Verdict::Settled,
        Sight::Absent if !is_applied => Verdict::Apply(Why::Content),
        // A Job that has come to its end may be cleaned away.
        Sight::Absent if tracked.finished.is_some() => Verdict::Settled,
        Sight::Absent => Verdict::Apply(Why::Missing),
        // It may have become somebody else's while nobody watched.
        Sight::Unknown if tracked.uid.is_none() || !is_applied => Verdict::Look,
        Sight::Unknown => Verdict::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tracked() -> Tracked {
        Tracked {
            version: "v1".into(),
            uid: Some("u".into()),
            managed: Some(Digest::of(b"m")),
            applied: Some(Digest::of(b"bound")),
            order: 0,
            ..Tracked::default()
        }
    }

    fn live() -> Seen {
        Seen {
            uid: "u".into(),
            resource_version: 1,
            managed: Some(Digest::of(b"m")),
            deleting: None,
            hands_off: false,
            scaled: false,
            assessment: Assessment::healthy(),
        }
    }

    fn judge(tracked: &Tracked, sight: Sight) -> Verdict {
        verdict(Digest::of(b"bound"), tracked, &sight, false)
    }

    #[test]
    fn nothing_is_applied_again_after_a_restart() {
        assert_eq!(judge(&tracked(), Sight::Unknown), Verdict::Unseen);
        assert_eq!(judge(&tracked(), Sight::Live(live())), Verdict::Settled);
    }

    #[test]
    fn content_drift_and_loss_are_told_apart() {
        let old = Tracked { applied: Some(Digest::of(b"old")), ..tracked() };
        assert_eq!(judge(&old, Sight::Live(live())), Verdict::Apply(Why::Content));
        assert_eq!(judge(&old, Sight::Unknown), Verdict::Look, "it may be somebody else's by now");
        let lost_field = Seen { managed: Some(Digest::of(b"less")), ..live() };
        assert_eq!(judge(&tracked(), Sight::Live(lost_field)), Verdict::Apply(Why::Drifted));
        let replaced = Seen { uid: "other".into(), ..live() };
        assert_eq!(judge(&tracked(), Sight::Live(replaced)), Verdict::Apply(Why::Drifted));
        assert_eq!(judge(&tracked(), Sight::Absent), Verdict::Apply(Why::Missing));
    }

    #[test]
    fn a_finished_job_may_vanish() {
        let finished = Tracked { finished: Some(true), ..tracked() };
        assert_eq!(judge(&finished, Sight::Absent), Verdict::Settled);
        let of_old_content = Tracked { applied: Some(Digest::of(b"old")), finished: Some(true), ..tracked() };
        assert_eq!(judge(&of_old_content, Sight::Absent), Verdict::Apply(Why::Content));
    }

    #[test]
    fn what_is_not_resolved_is_looked_at_first() {
        let unresolved = Tracked { uid: None, applied: None, ..tracked() };
        assert_eq!(judge(&unresolved, Sight::Unknown), Verdict::Look);
        assert_eq!(judge(&unresolved, Sight::Absent), Verdict::Apply(Why::Content));
        assert_eq!(judge(&tracked(), Sight::Foreign), Verdict::Look);
        let going = Seen { deleting: Some(Vec::new()), ..live() };
        assert_eq!(judge(&tracked(), Sight::Live(going)), Verdict::Going);
    }
}
