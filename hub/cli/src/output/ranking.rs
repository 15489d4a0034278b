//! Which of many things a person should look at first.

use crate::view::{Bundle, Cluster};

/// How bad something is; the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// Refused by the cluster, or in trouble.
    Failing,
    /// Held, and somebody has to decide.
    Held,
    /// Its spoke is not connected.
    Offline,
    /// Not as in Git, or waiting for something else.
    Waiting,
    /// On its way.
    Busy,
    /// As it should be.
    Fine,
}

/// The rank of a bundle in a cluster.
#[must_use]
pub fn of_bundle(bundle: &Bundle, is_connected: bool) -> Rank {
    let hold = bundle.hold.as_ref().map(|hold| hold.kind.as_str());
    if bundle.sync == "Failed" || bundle.health == "Degraded" {
        Rank::Failing
    } else if hold.is_some_and(|kind| kind != "offline" && kind != "dependency") {
        Rank::Held
    } else if !is_connected {
        Rank::Offline
    } else if bundle.sync == "Waiting" || hold.is_some() || bundle.drifted || bundle.suspended {
        Rank::Waiting
    } else if bundle.sync == "Applied" && bundle.health == "Healthy" && bundle.variant == bundle.goal_variant {
        Rank::Fine
    } else {
        Rank::Busy
    }
}

/// The rank of a cluster: of its worst bundle, or of its own state.
#[must_use]
pub fn of_cluster(cluster: &Cluster) -> Rank {
    let worst = cluster.bundles.iter().map(|bundle| of_bundle(bundle, cluster.connected)).min();
    let own = if cluster.revoked || (cluster.hold.is_some() && cluster.connected) {
        Rank::Held
    } else if cluster.connected {
        Rank::Fine
    } else {
        Rank::Offline
    };
    worst.map_or(own, |worst| worst.min(own))
}

/// In one sentence why a bundle is not as it should be; empty where it is.
#[must_use]
pub fn why(bundle: &Bundle) -> String {
    if let Some(hold) = &bundle.hold {
        return hold.message.clone();
    }
    if let Some(one) = bundle.suspensions.first() {
        return one.message.clone();
    }
    if let Some(problem) = bundle.problems.first() {
        let more = (bundle.problems.len() as u64).saturating_sub(1) + bundle.problems_more;
        let message = match &problem.object {
            Some(object) => format!("{object}: {}", problem.message),
            None => problem.message.clone(),
        };
        return if more == 0 { message } else { format!("{message} (and {more} more)") };
    }
    match (bundle.suspended, bundle.drifted) {
        (true, _) => "suspended".to_owned(),
        (false, true) => "somebody changed an object".to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Hold;

    fn bundle(sync: &str, health: &str) -> Bundle {
        Bundle { sync: sync.into(), health: health.into(), ..Bundle::default() }
    }

    #[test]
    fn trouble_comes_before_silence_and_silence_before_work() {
        let hold = |kind: &str| Some(Hold { kind: kind.into(), ..Hold::default() });
        let ranks = [
            of_bundle(&bundle("Applied", "Degraded"), false),
            of_bundle(&Bundle { hold: hold("guard"), ..bundle("Applied", "Healthy") }, true),
            of_bundle(&Bundle { hold: hold("offline"), ..bundle("Applied", "Healthy") }, false),
            of_bundle(&Bundle { hold: hold("dependency"), ..bundle("Waiting", "Unknown") }, true),
            of_bundle(&bundle("Applying", "Progressing"), true),
            of_bundle(&bundle("Applied", "Healthy"), true),
        ];
        assert!(ranks.is_sorted_by(|a, b| a < b), "{ranks:?}");
    }

    #[test]
    fn what_is_assigned_and_not_the_goal_is_not_fine() {
        let behind =
            Bundle { variant: Some("a".into()), goal_variant: Some("b".into()), ..bundle("Applied", "Healthy") };
        assert_eq!(of_bundle(&behind, true), Rank::Busy);
    }
}
