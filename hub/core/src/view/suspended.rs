//! What is left alone for a while, and who wants that: at the hub, which Fleet knows, or at the cluster, which its spoke
//! reports.

use proto_model::suspend::{CLUSTER, WORDS_HERE};
use proto_model::{Report, time};

use super::hold::hold;
use super::{Connection, Hold, HoldKind};
use crate::fleet::{Fleet, Suspension};

/// A suspension, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspended {
    /// Whether it was made at the hub; else at the cluster.
    pub at_hub: bool,
    /// At the hub: whether it is of the cluster as a whole.
    pub whole_cluster: bool,
    /// At the hub: when it was made, milliseconds since 1970.
    pub since_unix_millis: Option<u64>,
    /// At the hub: when it ends, milliseconds since 1970.
    pub until_unix_millis: Option<u64>,
    /// At the hub: who made it.
    pub by: String,
    /// At the hub: why.
    pub reason: String,
    /// All of it in words.
    pub message: String,
    /// Whether the spoke is too old to heed it.
    pub is_ignored: bool,
}

/// All that keeps a bundle suspended in a cluster.
pub(super) fn of_bundle(
    fleet: &Fleet,
    (cluster, bundle): (&str, &str),
    connection: Option<&Connection>,
    says_suspended: bool,
    report: Option<&Report>,
) -> Vec<Suspended> {
    let found = fleet.suspension(cluster, bundle);
    let mut all: Vec<Suspended> =
        found.map(|(scope, one)| at_hub(cluster, scope, one, connection, says_suspended)).into_iter().collect();
    let problems = report.into_iter().flat_map(|report| &report.problems);
    let mut words = problems.filter(|one| one.object.is_none()).filter_map(|one| one.message.strip_prefix(WORDS_HERE));
    // An older spoke does not say where it was told.
    let message = match words.next() {
        Some(rest) => format!("suspended at the cluster until {rest}; `drover-spoke resume` there ends it"),
        None if says_suspended && all.is_empty() => {
            "suspended at the cluster: `drover-spoke status` there says until when".to_owned()
        }
        None => return all,
    };
    all.push(Suspended {
        at_hub: false,
        whole_cluster: false,
        since_unix_millis: None,
        until_unix_millis: None,
        by: String::new(),
        reason: String::new(),
        message,
        is_ignored: false,
    });
    all
}

/// That of the cluster as a whole.
pub(super) fn of_cluster(fleet: &Fleet, cluster: &str, connection: Option<&Connection>) -> Option<Hold> {
    let one = fleet.suspensions.get(cluster)?.get(CLUSTER)?;
    let shown = at_hub(cluster, CLUSTER, one, connection, true);
    Some(hold(HoldKind::Suspended, shown.since_unix_millis, shown.message))
}

/// `is_heeded`: its spoke said so, or there is nothing that it could say it of.
fn at_hub(cluster: &str, scope: &str, one: &Suspension, connection: Option<&Connection>, is_heeded: bool) -> Suspended {
    let whole_cluster = scope == CLUSTER;
    let bundle = if whole_cluster { String::new() } else { format!(" {scope}") };
    let what = if whole_cluster { ", with the whole cluster" } else { "" };
    let why = if one.why.is_empty() { String::new() } else { format!(": {}", one.why) };
    let until = time::utc(one.until_unix_millis);
    let is_ignored = connection.is_some_and(|one| one.connected && one.ignores_suspensions);
    let ignored = match () {
        () if is_ignored => " (its spoke is too old to heed that, and goes on correcting drift)",
        () if !is_heeded => " (its spoke has not said yet that it has heard of it; until then it corrects drift)",
        () => "",
    };
    Suspended {
        at_hub: true,
        whole_cluster,
        since_unix_millis: Some(one.at_unix_millis),
        until_unix_millis: Some(one.until_unix_millis),
        by: one.who.clone(),
        reason: one.why.clone(),
        message: format!(
            "suspended until {until} by {}{what}{why}; `drover resume {cluster}{bundle}` ends it{ignored}",
            one.who
        ),
        is_ignored,
    }
}
