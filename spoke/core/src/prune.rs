//! The one place through which every deletion passes.
//!
//! Nothing here looks at what is convenient: an object goes only if its identity is in the
//! inventory, the live object just read has the uid and the owner mark on record, a complete variant
//! no longer names it (or the bundle itself is to go, or it is made anew at once), and the permit
//! lets it.

use std::collections::BTreeMap;

use proto_model::wishes::{Prune, Replace};
use proto_model::{GroupKind, Identity, Permit, Wishes, assign};

use crate::contents::Contents;
use crate::inventory::Tracked;
use crate::owner::{self, Owner, Ownership};
use crate::port::Live;

/// What gives the right to delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warrant<'a> {
    /// A complete, verified variant was bound without a gap; whether it still names the object.
    Complete {
        /// Whether the variant names it.
        is_named: bool,
        /// What the assignment lets go.
        permit: &'a Permit,
    },
    /// The bundle is to be removed.
    Tombstone {
        /// What the removal lets go.
        permit: &'a Permit,
    },
    /// It has a field that can't be changed, and is applied again as soon as it is gone.
    Recreate,
    /// It is a hook that came to its end and asks to be deleted then.
    Finished,
}

/// What a deletion may not do, whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Others<'a> {
    /// A bundle of this cluster that still needs it: another claimant of a shared kind, or the
    /// owner of something that lives in it.
    pub needed_by: Option<&'a str>,
    /// Whether that bundle claims the object itself.
    pub is_claimed: bool,
    /// A bundle of this cluster that wants the object: it is handed over, never deleted.
    pub heir: Option<&'a str>,
}

/// An object that shall go.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Whose it is.
    pub owner: Owner<'a>,
    /// Which object.
    pub identity: &'a Identity,
    /// Its line of the inventory, if it has one.
    pub tracked: Option<&'a Tracked>,
    /// What was read just now.
    pub live: Option<&'a Live>,
    /// By what right.
    pub warrant: Warrant<'a>,
    /// What it asks for, as it is wanted or was applied.
    pub wishes: Wishes,
    /// Who else has to do with it.
    pub others: Others<'a>,
    /// What a namespace or a definition would take along, looked up just now; `None`: not yet.
    pub contents: Option<&'a Contents>,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delete it, if it still is what was judged.
    Delete {
        /// The uid.
        uid: String,
        /// The resourceVersion.
        resource_version: String,
    },
    /// First it must be known what would go along with it.
    Survey,
    /// Nothing is there: it leaves the inventory.
    Gone,
    /// It is not ours (any more): it leaves the inventory and stays in the cluster.
    Release,
    /// It asks to be kept: our marks are taken off, and it stays.
    Keep,
    /// Not now, and why.
    Wait(String),
    /// Not with this assignment, and why.
    Refuse(String),
}

/// Judges one deletion.
#[must_use]
pub fn judge(request: &Request<'_>) -> Verdict {
    let Some(tracked) = request.tracked else {
        return Verdict::Refuse("is not in the inventory".into());
    };
    let Some(live) = request.live else {
        return Verdict::Gone;
    };
    let is_recorded = tracked.uid.as_ref().is_none_or(|uid| *uid == live.uid);
    if !is_recorded || owner::ownership(live, request.owner) != Ownership::Ours {
        return Verdict::Release;
    }
    let Others { needed_by, is_claimed, heir } = request.others;
    if let Some(bundle) = heir {
        return Verdict::Wait(format!("goes over to bundle {bundle}, which has not taken it yet"));
    }
    if let Some(bundle) = needed_by {
        if is_claimed {
            return Verdict::Release;
        }
        return Verdict::Wait(format!("is still needed by objects of bundle {bundle}"));
    }
    if live.hands_off {
        return Verdict::Wait(HANDS_OFF.into());
    }
    let kind = &request.identity.kind;
    let is_recreated = matches!(request.warrant, Warrant::Recreate | Warrant::Finished);
    match careful(&request.wishes, live) {
        Prune::Keep if is_recreated => return Verdict::Refuse("asks to be kept, and can't be changed as it is".into()),
        Prune::Keep => return Verdict::Keep,
        Prune::Confirm if !is_confirmed(&request.warrant) => {
            return Verdict::Refuse(
                "asks for somebody's word before it goes: `drover rollout approve BUNDLE --deletions`".into(),
            );
        }
        _ => {}
    }
    match request.warrant {
        Warrant::Complete { is_named: true, .. } => {
            return Verdict::Refuse("is named by the variant".into());
        }
        Warrant::Complete { permit, .. } | Warrant::Tombstone { permit } => {
            if permit.orphan {
                return Verdict::Keep;
            }
            if let Some(refusal) = refuse_protected(kind, permit) {
                return Verdict::Refuse(refusal);
            }
            if permit.deletions == 0 {
                return Verdict::Refuse("the assignment lets nothing go".into());
            }
        }
        Warrant::Recreate if request.wishes.replacing(kind) == Replace::Never => {
            return Verdict::Refuse(format!("{kind} is not made anew"));
        }
        Warrant::Finished if assign::is_protected(kind) => {
            return Verdict::Refuse(format!("a {kind} is not deleted because a hook ended"));
        }
        Warrant::Recreate | Warrant::Finished => {}
    }
    match request.contents {
        None if kind.is_shared() => Verdict::Survey,
        Some(contents) if !contents.is_empty() => Verdict::Wait(contents.say()),
        _ => Verdict::Delete { uid: live.uid.clone(), resource_version: live.resource_version.clone() },
    }
}

/// Why nothing is done to an object on which somebody asked for it.
pub const HANDS_OFF: &str = "is left alone, as its annotation drover.dev/reconcile: disabled asks";

/// What it asks for when it shall go: where Git and the live object differ, the more careful word counts.
fn careful(wishes: &Wishes, live: &Live) -> Prune {
    let on_it = live.object.as_ref().map_or(Prune::Delete, |object| Wishes::read_live(object).prune);
    wishes.prune.max(on_it)
}

fn is_confirmed(warrant: &Warrant<'_>) -> bool {
    match warrant {
        Warrant::Complete { permit, .. } | Warrant::Tombstone { permit } => permit.confirmed,
        Warrant::Recreate | Warrant::Finished => false,
    }
}

/// Whether a permit allows all of these to go; counted before the first of them goes.
///
/// # Errors
/// What the permit lacks, for people.
pub fn allow<'a>(permit: &Permit, going: impl IntoIterator<Item = &'a Identity>) -> Result<(), String> {
    let mut count = 0_u64;
    let mut protected: BTreeMap<&GroupKind, u64> = BTreeMap::new();
    for identity in going {
        count += 1;
        if refuse_protected(&identity.kind, permit).is_some() {
            *protected.entry(&identity.kind).or_default() += 1;
        }
    }
    if count > permit.deletions {
        return Err(format!(
            "{count} objects would be deleted, and the assignment lets {} go; nothing was deleted",
            permit.deletions
        ));
    }
    match protected.iter().next() {
        Some((kind, count)) => Err(format!(
            "{count} of the protected kind {kind} would be deleted, and the assignment does not \
             let them go; nothing was deleted"
        )),
        None => Ok(()),
    }
}

fn refuse_protected(kind: &GroupKind, permit: &Permit) -> Option<String> {
    (assign::is_protected(kind) && !permit.protected.contains(kind))
        .then(|| format!("the assignment does not let the protected kind {kind} go"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::port::OwnerMark;

    const OWNER: Owner<'_> = Owner { hub_id: "h", bundle: "main/web" };

    struct Case {
        identity: Identity,
        tracked: Option<Tracked>,
        live: Option<Live>,
        permit: Permit,
        is_named: bool,
        wishes: Wishes,
        others: Others<'static>,
        contents: Option<Contents>,
    }

    fn case(kind: &str) -> Case {
        let identity = Identity { kind: GroupKind::of("v1", kind), namespace: "shop".into(), name: "x".into() };
        let live = Live {
            identity: identity.clone(),
            version: "v1".into(),
            uid: "u".into(),
            resource_version: "1".into(),
            deleting: false,
            finalizers: Vec::new(),
            owners: vec![OwnerMark { hub: "h".into(), bundle: "main/web".into(), incarnation: 1 }],
            managed: BTreeMap::new(),
            hands_off: false,
            scaled: false,
            changed_by: None,
            has_status: false,
            object: None,
        };
        Case {
            identity,
            tracked: Some(Tracked { uid: Some("u".into()), ..Tracked::default() }),
            live: Some(live),
            permit: Permit { deletions: 1, protected: BTreeSet::new(), ..Permit::default() },
            is_named: false,
            wishes: Wishes::default(),
            others: Others::default(),
            contents: None,
        }
    }

    fn judged(case: &Case) -> Verdict {
        judge(&Request {
            owner: OWNER,
            identity: &case.identity,
            tracked: case.tracked.as_ref(),
            live: case.live.as_ref(),
            warrant: Warrant::Complete { is_named: case.is_named, permit: &case.permit },
            wishes: case.wishes,
            others: case.others,
            contents: case.contents.as_ref(),
        })
    }

    #[test]
    fn everything_must_hold() {
        let delete = Verdict::Delete { uid: "u".into(), resource_version: "1".into() };
        assert_eq!(judged(&case("ConfigMap")), delete);

        let mut named = case("ConfigMap");
        named.is_named = true;
        assert!(matches!(judged(&named), Verdict::Refuse(_)));

        // Whatever else it lets go: what is to stay stays.
        let mut orphaned = case("ConfigMap");
        orphaned.permit.orphan = true;
        assert_eq!(judged(&orphaned), Verdict::Keep);

        let mut untracked = case("ConfigMap");
        untracked.tracked = None;
        assert!(matches!(judged(&untracked), Verdict::Refuse(_)));

        let mut other_uid = case("ConfigMap");
        other_uid.tracked = Some(Tracked { uid: Some("old".into()), ..Tracked::default() });
        assert_eq!(judged(&other_uid), Verdict::Release);

        let mut unmarked = case("ConfigMap");
        if let Some(live) = &mut unmarked.live {
            live.owners.clear();
        }
        assert_eq!(judged(&unmarked), Verdict::Release);

        let mut gone = case("ConfigMap");
        gone.live = None;
        assert_eq!(judged(&gone), Verdict::Gone);

        let mut forbidden = case("ConfigMap");
        forbidden.permit = Permit::default();
        assert!(matches!(judged(&forbidden), Verdict::Refuse(_)));
    }

    #[test]
    fn protected_kinds_need_their_own_word() {
        let mut claim = case("PersistentVolumeClaim");
        assert!(matches!(judged(&claim), Verdict::Refuse(_)));
        claim.permit.protected.insert(claim.identity.kind.clone());
        assert!(matches!(judged(&claim), Verdict::Delete { .. }));
    }

    #[test]
    fn shared_objects_stay_for_those_who_need_them() {
        let mut shared = case("Namespace");
        shared.permit.protected.insert(shared.identity.kind.clone());
        shared.others.needed_by = Some("main/db");
        assert!(matches!(judged(&shared), Verdict::Wait(_)));
        shared.others.is_claimed = true;
        assert_eq!(judged(&shared), Verdict::Release);
    }

    #[test]
    fn what_takes_others_along_goes_only_when_nothing_foreign_is_in_it() {
        for kind in ["Namespace", "CustomResourceDefinition"] {
            let mut shared = case(kind);
            if kind != "Namespace" {
                shared.identity.kind.group = "apiextensions.k8s.io".into();
            }
            shared.permit.protected.insert(shared.identity.kind.clone());
            assert_eq!(judged(&shared), Verdict::Survey);
            let foreign = vec![case("ConfigMap").identity];
            shared.contents = Some(Contents { foreign, ..Contents::default() });
            assert!(matches!(judged(&shared), Verdict::Wait(why) if why.contains("ConfigMap shop/x")));
            shared.contents = Some(Contents::default());
            assert_eq!(judged(&shared), Verdict::Delete { uid: "u".into(), resource_version: "1".into() });
            // Whatever it holds, the permit comes first.
            shared.permit.deletions = 0;
            assert!(matches!(judged(&shared), Verdict::Refuse(_)));
        }
    }

    #[test]
    fn what_asks_to_be_kept_or_confirmed_is() {
        let mut kept = case("ConfigMap");
        kept.wishes.prune = Prune::Keep;
        assert_eq!(judged(&kept), Verdict::Keep);

        let mut asking = case("ConfigMap");
        asking.wishes.prune = Prune::Confirm;
        assert!(matches!(judged(&asking), Verdict::Refuse(why) if why.contains("approve")));
        asking.permit.confirmed = true;
        assert!(matches!(judged(&asking), Verdict::Delete { .. }));

        // Somebody asked on the live object itself.
        let mut live = case("ConfigMap");
        let annotated = serde_json::json!({"metadata": {"annotations": {"drover.dev/prune": "keep"}}});
        if let Some(live) = &mut live.live {
            live.object = Some(std::sync::Arc::new(annotated));
        }
        assert_eq!(judged(&live), Verdict::Keep);

        let mut off = case("ConfigMap");
        if let Some(live) = &mut off.live {
            live.hands_off = true;
        }
        assert!(matches!(judged(&off), Verdict::Wait(why) if why.contains("reconcile")));
    }

    #[test]
    fn what_another_bundle_wants_is_handed_over() {
        let mut moved = case("ConfigMap");
        moved.others.heir = Some("main/db");
        assert!(matches!(judged(&moved), Verdict::Wait(why) if why.contains("main/db")));
    }

    #[test]
    fn the_permit_counts_before_the_first_goes() {
        let (one, two) = (case("ConfigMap").identity, case("Namespace").identity);
        let permit = Permit { deletions: 1, protected: BTreeSet::new(), ..Permit::default() };
        assert_eq!(allow(&permit, [&one]), Ok(()));
        assert!(allow(&permit, [&one, &two]).is_err_and(|why| why.starts_with("2 objects")));
        assert!(allow(&permit, [&two]).is_err_and(|why| why.contains("Namespace")));
    }

    #[test]
    fn only_some_kinds_are_made_anew() {
        let case = case("ConfigMap");
        let verdict = judge(&Request {
            owner: OWNER,
            identity: &case.identity,
            tracked: case.tracked.as_ref(),
            live: case.live.as_ref(),
            warrant: Warrant::Recreate,
            wishes: case.wishes,
            others: case.others,
            contents: None,
        });
        assert!(matches!(verdict, Verdict::Refuse(_)));
    }
}
