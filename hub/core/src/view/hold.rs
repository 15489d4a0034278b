//! Why a cluster is not at its goal. Holds are derived from Fleet and what spokes said; only those
//! of the guard and of operators are stored.

use proto_model::report::ObjectProblem;
use proto_model::{Health, Sync};

use super::{BundleView, Connection, Defect, Memory, Place};
use crate::check;
use crate::command::Quarantine;
use crate::fleet::{Cluster, Fleet, Leaving};

/// A stated reason why a cluster is not at its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What kind of reason.
    pub kind: HoldKind,
    /// In words, with what to do next.
    pub message: String,
    /// Since when, milliseconds since 1970, where it is known.
    pub since_unix_millis: Option<u64>,
    /// Guard: the objects that would go, at most [`OBJECTS_SHOWN`].
    pub objects: Vec<String>,
    /// Guard: how many would go.
    pub objects_total: u64,
}

/// Objects that a hold lists; the rest are counted.
pub const OBJECTS_SHOWN: usize = 50;

/// The closed set of reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldKind {
    /// The deletion guard.
    Guard,
    /// Another bundle must come first.
    Dependency,
    /// Its spoke is not connected.
    Offline,
    /// Git no longer declares the cluster.
    DeclarationRemoved,
    /// Two spokes use its identity, or another cluster answers.
    DuplicateIdentity,
    /// Its spoke does not know the rules of what is assigned.
    SpokeTooOld,
    /// Its spoke refused what it was sent.
    Refused,
    /// Its certificates were revoked.
    Revoked,
    /// An object belongs to another bundle, goes over to one that is not there yet, or belongs to nobody of ours.
    Owner,
    /// Somebody wants it to be left alone for a while.
    Suspended,
    /// The cluster is on its way out of the fleet.
    Leaving,
    /// Something is wrong with the bundle at the head of its source.
    Defect,
}

impl HoldKind {
    /// The word in JSON and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guard => "guard",
            Self::Dependency => "dependency",
            Self::Offline => "offline",
            Self::DeclarationRemoved => "declarationRemoved",
            Self::DuplicateIdentity => "duplicateIdentity",
            Self::SpokeTooOld => "spokeTooOld",
            Self::Refused => "refused",
            Self::Revoked => "revoked",
            Self::Owner => "owner",
            Self::Suspended => "suspended",
            Self::Leaving => "leaving",
            Self::Defect => "defect",
        }
    }
}

pub(super) fn hold(kind: HoldKind, since: Option<u64>, message: impl Into<String>) -> Hold {
    Hold { kind, message: message.into(), since_unix_millis: since, objects: Vec::new(), objects_total: 0 }
}

/// A hold of the cluster as a whole.
pub(super) fn of_cluster(cluster: &Cluster, connection: Option<&Connection>) -> Option<Hold> {
    if cluster.revoked {
        return Some(hold(HoldKind::Revoked, None, "its certificates were revoked; join it again with a new token"));
    }
    if let Some(reason) = cluster.quarantine {
        let message = match reason {
            Quarantine::DuplicateIdentity => {
                "duplicate identity: two spokes use this name; run `drover cluster replace`"
            }
            Quarantine::OtherCluster => {
                "reinstalled or cloned: another cluster answers under this name; \
                 run `drover cluster replace`"
            }
            Quarantine::ForeignFence => "it presented a state that this hub never gave; run `drover cluster replace`",
        };
        return Some(hold(HoldKind::DuplicateIdentity, None, message));
    }
    if let Some(leaving) = &cluster.leaving {
        return Some(of_leaving(leaving, connection));
    }
    if cluster.declaration_removed {
        return Some(hold(
            HoldKind::DeclarationRemoved,
            None,
            "its declaration is gone from Git: it keeps its labels and bundles until \
             `drover cluster remove`",
        ));
    }
    if cluster.key.is_none() {
        return Some(hold(
            HoldKind::Offline,
            Some(cluster.since_unix_millis),
            "it has not joined yet; make it a token with `drover cluster join-token`",
        ));
    }
    if !connection.is_some_and(|one| one.connected) {
        let since = connection.map(|one| one.seen_unix_millis).filter(|at| *at > 0);
        return Some(hold(HoldKind::Offline, since, "its spoke is not connected"));
    }
    None
}

fn of_leaving(leaving: &Leaving, connection: Option<&Connection>) -> Hold {
    let how = if leaving.deletes_objects {
        "it leaves the fleet: its bundles are removed with their objects, as far as the deletion guard lets them go, and \
         then it is forgotten"
    } else {
        "it leaves the fleet: our marks are taken off its objects, which stay, and then it is forgotten"
    };
    let waits = if connection.is_some_and(|one| one.connected) {
        "; `drover cluster remove --now` waits for nothing, and leaves the marks"
    } else {
        "; its spoke is not connected: it leaves once that is back, or at once and with its marks by \
         `drover cluster remove --now`"
    };
    hold(HoldKind::Leaving, Some(leaving.since_unix_millis), format!("{how}{waits}"))
}

/// Why one bundle is not at its goal in one cluster.
pub(super) fn of_bundle(fleet: &Fleet, memory: &impl Memory, place: &Place<'_>, view: &BundleView) -> Option<Hold> {
    if let Some(held) = place.bundle.held.get(&place.known.number) {
        return Some(of_guard(fleet, memory, place, held.since_unix_millis));
    }
    if let Some(hold) = of_successor(fleet, memory, place) {
        return Some(hold);
    }
    of_state(place, view).or_else(|| {
        let Defect { message, since_unix_millis } = place.defect?;
        let message = format!("{message} (it keeps what it had meanwhile)");
        Some(hold(HoldKind::Defect, *since_unix_millis, message))
    })
}

/// Why one bundle does not settle in one cluster, as far as it lies with the cluster.
pub(super) fn of_state(place: &Place<'_>, view: &BundleView) -> Option<Hold> {
    if view.is_settled() {
        return None;
    }
    let of_cluster = || of_cluster(place.known, place.connection);
    let suspended =
        || view.suspensions.first().map(|one| hold(HoldKind::Suspended, one.since_unix_millis, one.message.clone()));
    // What keeps it from its goal comes first; where it is there, its health is not for that unknown.
    let found = if view.is_at_goal { of_cluster().or_else(suspended) } else { suspended().or_else(of_cluster) };
    if found.is_some() {
        return found;
    }
    if let Some(message) = place.connection.and_then(|one| one.nack.as_ref()) {
        let kind = if message.contains("too old") { HoldKind::SpokeTooOld } else { HoldKind::Refused };
        return Some(hold(kind, None, format!("its spoke refused the change: {message}")));
    }
    of_report(view)
}

/// How a spoke begins to say that an object is not the bundle's.
const OWNED: [&str; 2] = ["exists, not ours", "belongs to bundle "];

fn of_report(view: &BundleView) -> Option<Hold> {
    let report = view.report.as_ref()?;
    let first = report.problems.first()?;
    let since = Some(report.since_unix_millis);
    if report.sync == Sync::Waiting && first.object.is_none() {
        return Some(hold(HoldKind::Dependency, since, first.message.clone()));
    }
    let foreign = report.sync == Sync::Failed && report.health != Health::Healthy;
    let is_owned = |problem: &&ObjectProblem| OWNED.iter().any(|words| problem.message.starts_with(words));
    if !foreign || !is_owned(&first) {
        return None;
    }
    // Some say themselves which object it is.
    let object = first.object.as_ref().map(ToString::to_string).filter(|object| !first.message.contains(object));
    let object = object.map(|object| format!("{object}: ")).unwrap_or_default();
    let more = match report.problems.iter().filter(is_owned).count() - 1 {
        0 => String::new(),
        1 => " (and another object)".to_owned(),
        more => format!(" (and {more} more objects)"),
    };
    Some(hold(HoldKind::Owner, since, format!("{object}{}{more}", first.message)))
}

/// Objects go over to another bundle, which must be there first.
fn of_successor(fleet: &Fleet, memory: &impl Memory, place: &Place<'_>) -> Option<Hold> {
    let (bundle, number) = (place.bundle, place.known.number);
    if bundle.goal.get(&number) == bundle.assigned.get(&number) || check::keeps(place.known, bundle) {
        return None;
    }
    let loss = check::loss(fleet, (place.full, bundle), number, memory)?;
    let successor = loss.waits.first()?;
    let objects = loss.handed.get(successor).map_or(0, Vec::len);
    let more = match loss.waits.len() - 1 {
        0 => String::new(),
        more => format!(" (and to {more} more)"),
    };
    let (objects, them) =
        if objects == 1 { ("1 object goes".to_owned(), "it") } else { (format!("{objects} objects go"), "them") };
    let message = format!(
        "{objects} over to bundle {successor}{more}, which is not there yet and must be, lest {them} be deleted and made \
         anew; see why with `drover explain {} {successor}`",
        place.cluster
    );
    Some(hold(HoldKind::Owner, None, message))
}

fn of_guard(fleet: &Fleet, memory: &impl Memory, place: &Place<'_>, since: u64) -> Hold {
    let (bundle, number) = (place.bundle, place.known.number);
    let loss = check::loss(fleet, (place.full, bundle), number, memory).unwrap_or_default();
    let total = loss.objects.len() as u64;
    let all = if loss.empties { ", all that it has there" } else { "" };
    let (objects, them) = if total == 1 { ("object", "it") } else { ("objects", "them") };
    let asks = match loss.confirms {
        0 => String::new(),
        confirms => format!(" (drover.dev/prune: confirm on {confirms} of them)"),
    };
    let stay = match loss.stay() {
        0 => String::new(),
        stay => format!("; {stay} more stay or go over to another bundle"),
    };
    let approved = if check::is_approved(bundle, number) { " (approved)" } else { "" };
    Hold {
        objects: loss.objects.iter().take(OBJECTS_SHOWN).map(ToString::to_string).collect(),
        objects_total: total,
        ..hold(
            HoldKind::Guard,
            Some(since),
            format!(
                "the deletion guard holds it{approved}: {total} {objects} would go{all}{asks}{stay}; look at {them}, \
                 then run `drover rollout approve {} --deletions`",
                place.full
            ),
        )
    }
}
