//! Where planted bugs sit in the wiring around a spoke.

use std::collections::BTreeMap;

use proto_model::delta::{ToHub, ToSpoke};
use proto_model::name::field_manager;
use proto_model::suspend::CLUSTER;
use proto_model::{Digest, Health, Identity, Sync, object};
use serde_json::Value as Json;
use spoke_core::ledger::{Ledger, ROOT_KEY};
use spoke_core::port::{Live, OWNER_LABEL, Observation, Op, Outcome, OwnerMark, Write};
use spoke_core::{Effect, Event};

use super::{Happening, World};
use crate::bug::Bug;
use crate::invariants::owners;

/// What the planted bug of a spoke remembers.
#[derive(Debug, Default)]
pub(super) struct Disguise {
    /// The highest generation that the machine was told.
    highest: u64,
    /// True generations, by those that the machine was told instead.
    truth: BTreeMap<u64, u64>,
    /// The last request that applied each object.
    applied: BTreeMap<Identity, Op>,
}

impl World {
    /// What the machine is told instead of what happened.
    pub(super) fn disguise_event(&mut self, cluster: &str, event: Event) -> Option<Event> {
        match (self.bug, event) {
            (Some(Bug::FenceSkipped), Event::Hub(ToSpoke::Delta(mut delta))) => {
                let held = self.histories.get(cluster).and_then(|history| history.last());
                let held = held.map_or(0, |root| root.fence.generation);
                let spoke = self.sites.get_mut(cluster)?.spoke.as_mut()?;
                let disguise = &mut spoke.disguise;
                let (said, floor) = (delta.fence.generation, disguise.highest.max(held));
                if said <= floor {
                    delta.fence.generation = floor + 1;
                    disguise.truth.insert(floor + 1, said);
                }
                disguise.highest = disguise.highest.max(delta.fence.generation);
                Some(Event::Hub(ToSpoke::Delta(delta)))
            }
            // What it reads again is the truth.
            (Some(Bug::FenceSkipped), event @ Event::Started { .. }) => {
                self.sites.get_mut(cluster)?.spoke.as_mut()?.disguise = Disguise::default();
                Some(event)
            }
            (Some(Bug::PruneWithoutPermit), Event::Observed(Observation::Seen(live))) => {
                self.prune_at_sight(cluster, &live);
                Some(Event::Observed(Observation::Seen(live)))
            }
            (Some(Bug::SuspendedWritten), Event::Observed(Observation::Seen(live))) => {
                self.write_suspended(cluster, &live);
                Some(Event::Observed(Observation::Seen(live)))
            }
            (Some(Bug::MarksBelieved), Event::Recovered(Ok(mut marked))) => {
                for live in &mut marked.found {
                    let names: Vec<String> = live.owners.iter().map(|mark| field_manager(&mark.bundle)).collect();
                    live.managed.extend(names.into_iter().map(|name| (name, Digest::default())));
                }
                Some(Event::Recovered(Ok(marked)))
            }
            (_, event) => Some(event),
        }
    }

    /// What is carried out instead of an effect.
    pub(super) fn disguise_effect(&mut self, cluster: &str, effect: Effect) -> Option<Effect> {
        let spoke = self.sites.get_mut(cluster)?.spoke.as_mut()?;
        if self.bug == Some(Bug::SuspendedWritten)
            && let Effect::Execute { op: op @ Op::Apply { manifest, dry_run: false, .. }, .. } = &effect
            && let Ok(identity) = object::identity(manifest)
        {
            spoke.disguise.applied.insert(identity, op.clone());
        }
        let truth = &spoke.disguise.truth;
        match (self.bug, effect) {
            (Some(Bug::FenceSkipped), Effect::Store { token, mut write }) => {
                for (key, bytes) in &mut write.puts {
                    if key == ROOT_KEY
                        && let Ok(mut ledger) = Ledger::decode(bytes)
                        && let Some(said) = truth.get(&ledger.fence.generation)
                    {
                        ledger.fence.generation = *said;
                        *bytes = ledger.encode();
                    }
                }
                Some(Effect::Store { token, write })
            }
            (Some(Bug::FenceSkipped), Effect::Send(ToHub::Ack { generation, root })) => {
                let generation = truth.get(&generation).copied().unwrap_or(generation);
                Some(Effect::Send(ToHub::Ack { generation, root }))
            }
            (Some(Bug::FenceSkipped), Effect::Send(ToHub::Hello(mut hello))) => {
                let said = truth.get(&hello.fence.generation);
                hello.fence.generation = said.copied().unwrap_or(hello.fence.generation);
                Some(Effect::Send(ToHub::Hello(hello)))
            }
            (Some(Bug::FenceSkipped), Effect::Send(ToHub::Report(mut report))) => {
                report.generation = truth.get(&report.generation).copied().unwrap_or(report.generation);
                Some(Effect::Send(ToHub::Report(report)))
            }
            (Some(Bug::AppliedBeforeApply), Effect::Send(ToHub::Report(mut report)))
                if report.sync == Sync::Applying =>
            {
                report.sync = Sync::Applied;
                report.health = Health::Healthy;
                Some(Effect::Send(ToHub::Report(report)))
            }
            (_, effect) => Some(effect),
        }
    }

    /// Calls a write durable that is not, if that bug is planted.
    pub(super) fn stores_early(&mut self, cluster: &str, boot: u64, token: u64, write: &Write) -> bool {
        if self.bug != Some(Bug::LedgerAfterApply) {
            return false;
        }
        let Some(spoke) = self.sites.get_mut(cluster).and_then(|site| site.spoke.as_mut()) else {
            return false;
        };
        spoke.store = Some((token, Write::default()));
        let (cluster, write) = (cluster.to_owned(), Box::new(write.clone()));
        self.soon(300, 600, Happening::StoresLate { cluster: cluster.clone(), boot, write });
        self.soon(1, 10, Happening::Stores { cluster, boot, token });
        true
    }

    pub(super) fn stores_late(&mut self, cluster: &str, boot: u64, write: &Write) {
        if self.sites.get(cluster).is_some_and(|site| site.boot == boot) {
            self.write_ledger(cluster, write, write.puts.len() + write.deletes.len());
        }
    }

    /// Deletes what bears a mark of ours and is not named, whatever inventory and permit say.
    fn prune_at_sight(&mut self, cluster: &str, live: &Live) {
        let Some(site) = self.sites.get(cluster) else { return };
        let boot = site.boot;
        let last = self.histories.get(cluster).and_then(|history| history.last());
        let is_unnamed = live.owners.iter().any(|mark| {
            let entry = last.and_then(|root| root.entries.get(&mark.bundle));
            crate::history::expected(&self.bodies, entry).is_some_and(|all| !all.contains_key(&live.identity))
        });
        if is_unnamed && !live.deleting && !live.identity.kind.is_shared() {
            let op = Box::new(Op::Delete {
                identity: live.identity.clone(),
                version: live.version.clone(),
                uid: live.uid.clone(),
                resource_version: live.resource_version.clone(),
                orphan: false,
            });
            let id = u64::MAX;
            self.soon(1, 5, Happening::Arrives { cluster: cluster.to_owned(), boot, id, op });
        }
    }

    /// Applies again what a suspended bundle had applied, when it is seen.
    fn write_suspended(&mut self, cluster: &str, live: &Live) {
        let Some(site) = self.sites.get(cluster) else { return };
        let boot = site.boot;
        let op = site.spoke.as_ref().and_then(|spoke| spoke.disguise.applied.get(&live.identity)).cloned();
        let last = self.histories.get(cluster).and_then(|history| history.last());
        let is_suspended = last.is_some_and(|root| {
            let scopes = live.owners.iter().map(|mark| mark.bundle.as_str()).chain([CLUSTER]);
            let all = [&root.suspensions, &root.suspensions_here];
            scopes.into_iter().any(|scope| all.iter().any(|all| all.contains_key(scope)))
        });
        if let Some(op) = op.filter(|_| is_suspended) {
            self.carry_out(cluster, boot, Effect::Execute { id: u64::MAX, op });
        }
    }

    /// What the API server is asked instead of a request.
    pub(super) fn disguise_request(&mut self, cluster: &str, op: Op) -> Op {
        if let Op::Patch { identity, version, uid, resource_version, patch } = &op {
            let marks = patch.pointer("/metadata/labels").and_then(|labels| labels.get(OWNER_LABEL));
            let live = self.sites.get(cluster).and_then(|site| site.state.object(identity));
            let is_owned = live.is_some_and(|live| !owners(&live).is_empty());
            let is_lie = match self.bug {
                Some(Bug::HandOverDeletes) => marks.is_none() && is_owned,
                Some(Bug::KeepIgnored) => marks == Some(&Json::Null),
                _ => false,
            };
            if is_lie {
                return Op::Delete {
                    identity: identity.clone(),
                    version: version.clone(),
                    uid: uid.clone(),
                    resource_version: resource_version.clone(),
                    orphan: false,
                };
            }
        }
        if self.bug == Some(Bug::DeleteByName)
            && let Op::Delete { identity, version, orphan, .. } = &op
            && let Some(live) = self.sites.get(cluster).and_then(|site| site.state.object(identity))
            && let Some(uid) = live.pointer("/metadata/uid").and_then(|uid| uid.as_str())
            && let Some(present) = live.pointer("/metadata/resourceVersion").and_then(|text| text.as_str())
        {
            return Op::Delete {
                identity: identity.clone(),
                version: version.clone(),
                uid: uid.to_owned(),
                resource_version: present.to_owned(),
                orphan: *orphan,
            };
        }
        op
    }

    /// What a spoke is told of a live object instead of what it is.
    pub(super) fn disguise_outcome(&mut self, cluster: &str, outcome: Outcome) -> Outcome {
        if !matches!(self.bug, Some(Bug::DoubleOwner | Bug::ForeignAdopted)) {
            return outcome;
        }
        let Outcome::Got(Some(mut live)) = outcome else { return outcome };
        if self.bug == Some(Bug::ForeignAdopted) && !live.owners.is_empty() {
            return Outcome::Got(Some(live));
        }
        let last = self.histories.get(cluster).and_then(|history| history.last());
        let marks = last.into_iter().flat_map(|root| {
            let mark = |bundle: &String| OwnerMark {
                hub: root.fence.hub_id.clone(),
                bundle: bundle.clone(),
                incarnation: root.fence.incarnation,
            };
            root.entries.keys().map(mark).collect::<Vec<_>>()
        });
        live.owners.extend(marks);
        Outcome::Got(Some(live))
    }
}
