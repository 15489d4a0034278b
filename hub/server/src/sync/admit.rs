//! Who may attach: what a Hello presents against what Fleet knows. Pure.

use hub_core::command::Quarantine;
use hub_core::fleet::{Cluster, Fleet};
use proto_model::Fence;
use proto_model::delta::{Hello, Refusal};

use crate::identity::{Mac, Peer};

/// Why a Hello is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// The session ends with this.
    Refused(Refusal),
    /// The identity must not be served until an operator replaced it.
    Quarantined(Quarantine),
    /// The spoke was told more than this hub knows of: the hub's directory is older than the fleet.
    Ahead,
}

/// Whether a certificate's holder is served at all. Asked at Hello, at each change of Fleet and at
/// each renewal: the TLS verifier is skipped where a session is resumed.
///
/// # Errors
/// Why not.
pub fn standing<'a>(fleet: &'a Fleet, cluster: &str, peer: &Peer) -> Result<&'a Cluster, Refusal> {
    let known = fleet.clusters.get(cluster).ok_or(Refusal::Removed)?;
    // After a replacement nobody holds the name until the next one joins.
    if known.revoked || known.key != Some(peer.key) {
        return Err(Refusal::Revoked);
    }
    match known.quarantine {
        Some(reason) => Err(refusal(reason)),
        None => Ok(known),
    }
}

/// Whether a Hello may open a session, and the counter of the session whose token it presents.
/// `confirmed` is the last session in which the spoke spoke after its Welcome, as far as this
/// replica remembers: it speaks once the token lies durably with it.
///
/// # Errors
/// Why not.
pub(super) fn admit(
    fleet: &Fleet,
    known: &Cluster,
    cluster: &str,
    hello: &Hello,
    mac: &Mac,
    confirmed: u64,
) -> Result<u64, Denied> {
    if !hello.fence.hub_id.is_empty() {
        if hello.fence.hub_id != fleet.hub_id {
            return Err(Denied::Refused(Refusal::ForeignFence));
        }
        if !mac.knows_fence(cluster, &hello.fence, &hello.fence_mac) {
            return Err(Denied::Quarantined(Quarantine::ForeignFence));
        }
        let rank = |fence: &Fence| (fence.epoch, fence.incarnation, fence.generation);
        if rank(&hello.fence) > rank(&fleet.fence(known)) {
            return Err(Denied::Ahead);
        }
    }
    if known.uid.as_ref().is_some_and(|uid| *uid != hello.cluster_uid) {
        return Err(Denied::Quarantined(Quarantine::OtherCluster));
    }
    let presented = if hello.session_token.is_empty() {
        0
    } else {
        // A token of an incarnation before this one, or of nobody's, is worth none.
        mac.read_session(cluster, known.incarnation, &hello.session_token).unwrap_or(0)
    };
    if presented > known.session {
        return Err(Denied::Ahead);
    }
    // Any number of Welcomes may have been lost on their way. A token is too old once the spoke has
    // shown a newer one, now or in a session before.
    if presented >= known.presented.max(confirmed) {
        Ok(presented)
    } else {
        Err(Denied::Quarantined(Quarantine::DuplicateIdentity))
    }
}

/// What a quarantine tells the spoke.
#[must_use]
pub(super) fn refusal(reason: Quarantine) -> Refusal {
    match reason {
        Quarantine::DuplicateIdentity => Refusal::DuplicateIdentity,
        Quarantine::OtherCluster => Refusal::OtherCluster,
        Quarantine::ForeignFence => Refusal::ForeignFence,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use std::time::SystemTime;

    use proto_model::Digest;
    use proto_model::assign::{self, RULES};
    use zeroize::Zeroizing;

    use super::*;
    use crate::identity::Name;

    const HUB: &str = "ab12";

    fn mac() -> Mac {
        Mac::new(&Zeroizing::new(vec![7; 32]))
    }

    fn cluster(session: u64) -> Cluster {
        Cluster {
            number: 0,
            incarnation: 1,
            generation: 3,
            declared: None,
            declared_by: None,
            declaration_removed: false,
            token_labels: std::collections::BTreeMap::new(),
            key: Some(Digest::of(b"key")),
            token: None,
            uid: (session > 0).then(|| "uid".into()),
            session,
            presented: session.saturating_sub(1),
            revoked: false,
            revoked_at: 0,
            quarantine: None,
            since_unix_millis: 0,
            leaving: None,
        }
    }

    fn hello(session: Option<u64>) -> Hello {
        Hello {
            fence: Fence::default(),
            fence_mac: Vec::new(),
            root: assign::root(&std::collections::BTreeMap::new()),
            level: Digest::of(b""),
            session_token: session.map(|one| mac().session("a", 1, one)).unwrap_or_default(),
            cluster_uid: "uid".into(),
            rules: RULES,
            version: "1".into(),
            asks: 0,
            suspends: 0,
            suspended: false,
        }
    }

    fn admitted(session: u64, presented: Option<u64>, confirmed: u64) -> Result<u64, Denied> {
        admit(&Fleet::new(HUB), &cluster(session), "a", &hello(presented), &mac(), confirmed)
    }

    const DUPLICATE: Result<u64, Denied> = Err(Denied::Quarantined(Quarantine::DuplicateIdentity));

    #[test]
    fn the_current_token_takes_over_and_an_older_one_is_a_duplicate() {
        assert_eq!(admitted(0, None, 0), Ok(0));
        assert_eq!(admitted(5, Some(5), 5), Ok(5));
        assert_eq!(admitted(5, Some(4), 5), DUPLICATE);
        assert_eq!(admitted(5, Some(3), 0), DUPLICATE);
        assert_eq!(admitted(5, None, 5), DUPLICATE);
        // From a forged token nothing can be told.
        let mut forged = hello(Some(5));
        forged.session_token[20] ^= 1;
        assert_eq!(admit(&Fleet::new(HUB), &cluster(5), "a", &forged, &mac(), 5), DUPLICATE);
    }

    #[test]
    fn a_welcome_that_was_lost_makes_no_duplicate() {
        assert_eq!(admitted(5, Some(4), 4), Ok(4));
        assert_eq!(admitted(1, None, 0), Ok(0));
        // Nor do several, one after another; what was shown before a restart is known from the log.
        let lost = Cluster { presented: 2, ..cluster(5) };
        let with = |token| admit(&Fleet::new(HUB), &lost, "a", &hello(Some(token)), &mac(), 0);
        assert_eq!((with(2), with(1)), (Ok(2), DUPLICATE));
    }

    #[test]
    fn a_hub_that_lost_what_it_said_quarantines_nobody() {
        assert_eq!(admitted(5, Some(6), 0), Err(Denied::Ahead));
        let fence = Fence { hub_id: HUB.into(), epoch: 1, incarnation: 1, generation: 4 };
        let mut ahead = hello(Some(5));
        ahead.fence_mac = mac().fence("a", &fence);
        ahead.fence = fence;
        let denied = admit(&Fleet::new(HUB), &cluster(5), "a", &ahead, &mac(), 5);
        assert_eq!(denied, Err(Denied::Ahead));
    }

    #[test]
    fn after_a_replacement_the_first_session_needs_no_token() {
        let replaced = Cluster { incarnation: 2, ..cluster(0) };
        assert_eq!(admit(&Fleet::new(HUB), &replaced, "a", &hello(None), &mac(), 0), Ok(0));
        // Even with a token of the incarnation before.
        assert_eq!(admit(&Fleet::new(HUB), &replaced, "a", &hello(Some(5)), &mac(), 0), Ok(0));
    }

    #[test]
    fn a_forged_fence_and_another_cluster_are_quarantined() {
        let fence = Fence { hub_id: HUB.into(), epoch: 1, incarnation: 1, generation: 3 };
        let mut known = hello(Some(5));
        known.fence_mac = mac().fence("a", &fence);
        known.fence = fence;
        assert_eq!(admit(&Fleet::new(HUB), &cluster(5), "a", &known, &mac(), 5), Ok(5));

        let mut forged = known.clone();
        forged.fence.generation = 9;
        let foreign = Err(Denied::Quarantined(Quarantine::ForeignFence));
        assert_eq!(admit(&Fleet::new(HUB), &cluster(5), "a", &forged, &mac(), 5), foreign);

        let mut moved = known.clone();
        moved.cluster_uid = "other".into();
        let other = Err(Denied::Quarantined(Quarantine::OtherCluster));
        assert_eq!(admit(&Fleet::new(HUB), &cluster(5), "a", &moved, &mac(), 5), other);

        let mut strange = known;
        strange.fence.hub_id = "cd34".into();
        let refused = Err(Denied::Refused(Refusal::ForeignFence));
        assert_eq!(admit(&Fleet::new(HUB), &cluster(5), "a", &strange, &mac(), 5), refused);
    }

    #[test]
    fn standing_ends_with_the_key() {
        let mut fleet = Fleet::new(HUB);
        let peer = Peer {
            name: Name::Cluster("a".into()),
            key: Digest::of(b"key"),
            not_before: SystemTime::UNIX_EPOCH,
            not_after: SystemTime::UNIX_EPOCH,
        };
        assert_eq!(standing(&fleet, "a", &peer).err(), Some(Refusal::Removed));
        fleet.clusters.insert("a".into(), cluster(1));
        assert!(standing(&fleet, "a", &peer).is_ok());
        fleet.clusters.insert("a".into(), Cluster { key: None, ..cluster(1) });
        assert_eq!(standing(&fleet, "a", &peer).err(), Some(Refusal::Revoked));
        fleet.clusters.insert("a".into(), Cluster { revoked: true, ..cluster(1) });
        assert_eq!(standing(&fleet, "a", &peer).err(), Some(Refusal::Revoked));
        let quarantine = Some(Quarantine::OtherCluster);
        fleet.clusters.insert("a".into(), Cluster { quarantine, ..cluster(1) });
        assert_eq!(standing(&fleet, "a", &peer).err(), Some(Refusal::OtherCluster));
    }
}
