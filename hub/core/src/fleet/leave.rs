//! Clusters that leave the fleet: first they let go of what they run, then they are forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto_model::time;
use serde::{Deserialize, Serialize};

use super::{Cluster, Fleet, Refused};

/// How a cluster leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaving {
    /// Since when.
    pub since_unix_millis: u64,
    /// Whether the objects of its bundles are deleted, as far as the deletion guard lets them go. Else our marks are
    /// taken off them, and they stay.
    pub deletes_objects: bool,
}

impl Fleet {
    /// Full names of the bundles that a cluster has something of, as far as the hub knows.
    #[must_use]
    pub fn bundles_in(&self, cluster: &Cluster) -> Vec<&str> {
        let all = self.bundles.iter().filter(|(_, bundle)| bundle.is_in(cluster.number));
        all.map(|(name, _)| &**name).collect()
    }

    fn may_go(&self, name: &str) -> Result<Cluster, Refused> {
        let cluster = self.clusters.get(name).ok_or_else(|| Refused::unknown("cluster", name))?;
        if cluster.declared.is_some() && !cluster.declaration_removed {
            return Err(Refused::Because(format!(
                "{name} is declared in Git; remove its declaration first, then run this again"
            )));
        }
        Ok(cluster.clone())
    }

    /// A cluster begins to leave: nothing more is assigned to it, and what it has goes away or is let go of.
    pub(super) fn leave(
        &mut self,
        name: &str,
        deletes_objects: bool,
        moved: &mut BTreeSet<u32>,
    ) -> Result<String, Refused> {
        let mut cluster = self.may_go(name)?;
        if cluster.key.is_none() {
            return self.remove_cluster(name);
        }
        self.can_be_told(name, &cluster)?;
        let since_unix_millis = match &cluster.leaving {
            Some(one) if one.deletes_objects == deletes_objects => {
                return Ok(format!(
                    "{name} leaves the fleet since {}; `drover explain {name}` shows how far it is",
                    time::utc(one.since_unix_millis)
                ));
            }
            Some(one) if !one.deletes_objects => {
                return Err(Refused::Because(format!(
                    "{name} leaves the fleet already, and lets go of its objects without deleting them; what is left \
                     of them can be deleted by hand"
                )));
            }
            Some(one) => one.since_unix_millis,
            None => self.at_unix_millis,
        };
        cluster.leaving = Some(Leaving { since_unix_millis, deletes_objects });
        let (number, generation) = (cluster.number, cluster.generation + 1);
        let count = self.bundles_in(&cluster).len();
        self.clusters.insert(name.into(), cluster);
        for (bundle, known) in self.bundles.clone() {
            let mut next = (*known).clone();
            next.goal.remove(&number);
            if !deletes_objects && next.is_in(number) {
                next.release(number, generation);
                moved.insert(number);
            }
            if next != *known {
                self.bundles.insert(bundle.clone(), Arc::new(next));
                self.tidy_bundle(&bundle);
            }
        }
        let bundles = if count == 1 { "bundle" } else { "bundles" };
        Ok(if deletes_objects {
            format!(
                "{name} leaves the fleet: its {count} {bundles} are removed with their objects, as far as the deletion \
                 guard lets them go, and then it is forgotten. `drover status --cluster {name}` shows what is held, and \
                 `drover rollout approve BUNDLE --deletions` lets it go"
            )
        } else {
            format!(
                "{name} leaves the fleet: the marks are taken off the objects of its {count} {bundles}, which stay as \
                 they are, and then it is forgotten. `drover explain {name}` shows how far it is"
            )
        })
    }

    /// Whether its spoke could hear that it leaves, and may do what it says.
    fn can_be_told(&self, name: &str, cluster: &Cluster) -> Result<(), Refused> {
        if cluster.revoked || cluster.quarantine.is_some() {
            let why = if cluster.revoked { "its certificates were revoked" } else { "its identity is quarantined" };
            return Err(Refused::Because(format!(
                "{why}, so that the spoke of {name} can't be told to let go of anything; `drover cluster remove {name} \
                 --now` forgets it at once, and its objects keep their marks"
            )));
        }
        let Some((scope, one)) = self.suspensions.get(name).and_then(|all| all.iter().next()) else { return Ok(()) };
        let bundle = if scope == proto_model::suspend::CLUSTER { String::new() } else { format!(" {scope}") };
        Err(Refused::Because(format!(
            "{name}{bundle} is suspended until {}; run `drover resume {name}{bundle}` first, or wait",
            time::utc(one.until_unix_millis)
        )))
    }

    /// A cluster that leaves has let go of everything, and its spoke holds nothing any more.
    pub(super) fn left(&mut self, name: &str) -> Result<(), Refused> {
        let cluster = self.clusters.get(name).ok_or_else(|| Refused::unknown("cluster", name))?;
        if cluster.leaving.is_none() || !self.bundles_in(cluster).is_empty() {
            return Err(Refused::Because(format!("{name} does not leave, or has not let go of everything")));
        }
        self.forget_cluster(&cluster.clone(), name);
        self.note("drover-hub", format!("cluster {name} has left the fleet"), "");
        Ok(())
    }

    /// The cluster is forgotten at once; what runs there stays, with our marks on it.
    pub(super) fn remove_cluster(&mut self, name: &str) -> Result<String, Refused> {
        let cluster = self.may_go(name)?;
        self.forget_cluster(&cluster, name);
        Ok(format!("removed {name} from the fleet; its workloads stay as they are"))
    }

    fn forget_cluster(&mut self, cluster: &Cluster, name: &str) {
        for (bundle, known) in self.bundles.clone() {
            let mut next = (*known).clone();
            next.forget(cluster.number);
            if next != *known {
                self.bundles.insert(bundle, Arc::new(next));
            }
        }
        self.next_incarnation = self.next_incarnation.max(cluster.incarnation + 1);
        self.suspensions.remove(name);
        self.clusters.remove(name);
        self.names.remove(&cluster.number);
    }
}
