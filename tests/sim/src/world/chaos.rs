//! Faults.

use std::collections::BTreeMap;

use proto_model::{GroupKind, Identity, object, wishes};
use serde_json::{Value as Json, json};
use spoke_core::ledger::ROOT_KEY;
use spoke_core::port::{Kind, Op};
use spoke_memory::Script;

use super::{Happening, World};
use crate::bug::Bug;
use crate::counts::Fault;
use crate::history::History;
use crate::invariants::{Seen, owners};

/// How likely faults are, in a thousand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Odds {
    pub(super) doubles: u64,
    pub(super) killed_at_effect: u64,
    pub(super) refusal: u64,
    pub(super) replaced: u64,
}

/// Times that somebody changes one object: a field that is taken back again and again is left alone
/// by the spoke, which is right, and would never settle.
const EDITS_MAX: u32 = 2;

impl World {
    /// A planted bug is looked for where it shows.
    pub(super) fn odds(&self) -> Odds {
        let usual = Odds { doubles: 150, killed_at_effect: 1, refusal: 15, replaced: 20 };
        match self.bug {
            Some(Bug::FenceSkipped) => Odds { doubles: 900, ..usual },
            Some(Bug::DeleteByName) => Odds { replaced: 300, ..usual },
            _ => usual,
        }
    }

    pub(super) fn chaos(&mut self) {
        if !self.is_rough {
            return;
        }
        self.soon(100, 1_500, Happening::Chaos);
        let names: Vec<String> = self.sites.keys().cloned().collect();
        let Some(cluster) = self.rng.pick(&names).cloned() else { return };
        match self.rng.below(110) {
            0..=13 => self.cut_stream(&cluster),
            14..=16 => self.hollow_stream(&cluster),
            17..=20 => self.stall(&cluster),
            21..=28 if self.sites.get(&cluster).is_some_and(|site| site.spoke.is_some()) => {
                self.counts.fault(Fault::SpokeKilled);
                self.kill_spoke(&cluster);
            }
            21..=28 => {}
            29..=33 => self.kill_hub(),
            34..=37 => self.take_snapshot(),
            38..=41 => self.take_server_away(&cluster),
            42..=46 => self.restart_watch(&cluster),
            47..=56 => self.edit(&cluster),
            57..=60 => self.take_marks_off(&cluster),
            61..=70 => self.delete(&cluster),
            71..=76 => self.copy_marks(&cluster),
            77..=84 => self.fail_workload(&cluster),
            85 => self.lose_ledger(&cluster),
            86..=88 => self.lose_pack(&cluster),
            89..=93 => self.lose_lease(&cluster),
            94 => self.reinstall(&cluster),
            97 => self.hand_lease_over(&cluster),
            98..=101 => self.trouble(&cluster),
            102..=105 => self.ask_hands_off(&cluster),
            106..=109 => self.tune(&cluster),
            95..=96 => {
                self.counts.fault(Fault::ClockJump);
                let hours = i64::try_from(self.rng.below(30)).unwrap_or_default() - 4;
                self.hub.clock_off += hours * 3_600_000;
                self.tell(|| format!("hub: its clock jumps by {hours} h"));
            }
            _ => {}
        }
    }

    fn stream_of(&self, cluster: &str) -> Option<u64> {
        self.sites.get(cluster)?.spoke.as_ref()?.stream
    }

    fn cut_stream(&mut self, cluster: &str) {
        if let Some(stream) = self.stream_of(cluster) {
            self.counts.fault(Fault::StreamCut);
            self.tell(|| format!("{cluster}: its stream is cut"));
            self.cut(stream);
        }
    }

    fn hollow_stream(&mut self, cluster: &str) {
        if let Some(stream) = self.stream_of(cluster) {
            self.counts.fault(Fault::HalfOpen);
            self.tell(|| format!("{cluster}: its stream carries nothing any more"));
            self.hollow(stream);
        }
    }

    fn stall(&mut self, cluster: &str) {
        let until = self.now + self.rng.between(1_000, 10_000);
        if let Some(stream) = self.stream_of(cluster)
            && let Some(one) = self.streams.get_mut(&stream)
        {
            self.counts.fault(Fault::SlowReader);
            one.stalled_until = until;
        }
    }

    fn take_server_away(&mut self, cluster: &str) {
        self.counts.fault(Fault::ServerAway);
        if let Some(site) = self.sites.get_mut(cluster) {
            site.state.set_reachable(false);
        }
        self.after_change(cluster);
        self.soon(200, 8_000, Happening::ServerBack { cluster: cluster.to_owned() });
    }

    pub(super) fn server_back(&mut self, cluster: &str) {
        if let Some(site) = self.sites.get_mut(cluster) {
            site.state.set_reachable(true);
        }
        self.after_change(cluster);
    }

    fn restart_watch(&mut self, cluster: &str) {
        let kinds = [("", "ConfigMap"), ("", "Secret"), ("apps", "Deployment"), ("batch", "Job"), ("", "Namespace")];
        let Some((group, kind)) = self.rng.pick(&kinds) else { return };
        let kind = GroupKind { group: (*group).into(), kind: (*kind).into() };
        if let Some(site) = self.sites.get_mut(cluster) {
            self.counts.fault(Fault::WatchRestarted);
            site.state.expire_watch(&Kind { kind, version: "v1".into() });
        }
        self.after_change(cluster);
    }

    /// Some object of a cluster that bears our mark.
    pub(super) fn some_object(&mut self, cluster: &str) -> Option<(Identity, Json)> {
        let site = self.sites.get(cluster)?;
        let all: Vec<(Identity, Json)> = site
            .state
            .identities()
            .filter(|identity| !site.copies.contains(*identity))
            .filter_map(|identity| Some((identity.clone(), site.state.object(identity)?)))
            .filter(|(_, live)| !owners(live).is_empty())
            .collect();
        self.rng.pick(&all).cloned()
    }

    /// Whether somebody may still meddle with an object.
    pub(super) fn may_edit(&mut self, cluster: &str, identity: &Identity) -> bool {
        let Some(site) = self.sites.get_mut(cluster) else { return false };
        let count = site.edits.entry(identity.clone()).or_default();
        *count += 1;
        *count <= EDITS_MAX
    }

    pub(super) fn edit(&mut self, cluster: &str) {
        let Some((identity, _)) = self.some_object(cluster) else { return };
        if identity.kind.is_shared() || !self.may_edit(cluster, &identity) {
            return;
        }
        let now = self.unix_millis();
        let change = |object: &mut Json| {
            object["metadata"]["annotations"][crate::bodies::REVISION] = "by hand".into();
        };
        if let Some(site) = self.sites.get_mut(cluster)
            && site.state.edit(&identity, "kubectl-edit", change, now).is_ok()
        {
            self.counts.fault(Fault::ForeignEdit);
            self.tell(|| format!("{cluster}: somebody edits {identity}"));
        }
        self.after_change(cluster);
    }

    fn take_marks_off(&mut self, cluster: &str) {
        let Some((identity, live)) = self.some_object(cluster) else { return };
        // Nobody tells when hands may be laid on it again, once it is watched no more: only the round of looks does.
        let is_hands_off = object::annotation(&live, wishes::RECONCILE).is_some();
        if identity.kind.is_shared() || is_hands_off || !self.may_edit(cluster, &identity) {
            return;
        }
        let now = self.unix_millis();
        let change = |object: &mut Json| {
            let metadata = &mut object["metadata"];
            for map in ["labels", "annotations"] {
                if let Some(map) = metadata[map].as_object_mut() {
                    map.retain(|key, _| !key.starts_with("drover.dev/own"));
                }
            }
        };
        if let Some(site) = self.sites.get_mut(cluster)
            && site.state.edit(&identity, "kubectl-edit", change, now).is_ok()
        {
            site.unmarked.insert(identity.clone());
            self.counts.fault(Fault::MarksRemoved);
            self.tell(|| format!("{cluster}: somebody takes the marks off {identity}"));
        }
        self.after_change(cluster);
    }

    pub(super) fn delete(&mut self, cluster: &str) {
        let Some((identity, _)) = self.some_object(cluster) else { return };
        if identity.kind.is_shared() || !self.may_edit(cluster, &identity) {
            return;
        }
        let now = self.unix_millis();
        if let Some(site) = self.sites.get_mut(cluster) {
            self.counts.fault(Fault::ForeignDelete);
            site.state.remove(&identity, now);
        }
        self.tell(|| format!("{cluster}: somebody deletes {identity}"));
        self.after_change(cluster);
    }

    /// Somebody puts another object in the place of one that is about to be deleted.
    pub(super) fn race(&mut self, cluster: &str, op: &Op) {
        let Op::Delete { identity, .. } = op else { return };
        if !self.is_rough || identity.kind.is_shared() || !self.rng.chance(self.odds().replaced) {
            return;
        }
        let (now, at) = (self.unix_millis(), self.now);
        let Some(site) = self.sites.get_mut(cluster) else { return };
        let Some(mut live) = site.state.object(identity) else { return };
        site.state.remove(identity, now);
        site.state.advance(now);
        live["metadata"] = json!({"name": identity.name, "namespace": identity.namespace});
        if identity.namespace.is_empty() {
            live["metadata"] = json!({"name": identity.name});
        }
        if let Some(map) = live.as_object_mut() {
            map.remove("status");
        }
        if site.state.create(&live, "kubectl-create", now).is_ok() {
            site.foreign.insert(identity.clone(), at);
            self.counts.fault(Fault::ForeignReplace);
            self.tell(|| format!("{cluster}: somebody replaces {identity}"));
        }
    }

    /// Somebody copies an object under another name, marks included.
    fn copy_marks(&mut self, cluster: &str) {
        let Some((identity, live)) = self.some_object(cluster) else { return };
        if !identity.kind.is("", "ConfigMap") && !identity.kind.is("", "Secret") {
            return;
        }
        let now = self.unix_millis();
        let name = format!("{}-copy", identity.name);
        let mut copy = json!({
            "apiVersion": live["apiVersion"], "kind": live["kind"], "data": live["data"],
            "metadata": {
                "name": name, "namespace": identity.namespace,
                "labels": live["metadata"]["labels"],
                "annotations": live["metadata"]["annotations"],
            },
        });
        if let Some(map) = copy["metadata"]["annotations"].as_object_mut() {
            map.remove("drover.dev/order");
        }
        if let Some(site) = self.sites.get_mut(cluster)
            && site.state.create(&copy, "kubectl-create", now).is_ok()
        {
            site.copies.insert(Identity { name, ..identity.clone() });
            self.counts.fault(Fault::MarksCopied);
            self.tell(|| format!("{cluster}: somebody copies {identity}"));
        }
        self.after_change(cluster);
    }

    fn fail_workload(&mut self, cluster: &str) {
        let Some((identity, _)) = self.some_object(cluster) else { return };
        if !["Deployment", "Job"].contains(&identity.kind.kind.as_str()) {
            return;
        }
        let script = if self.rng.chance(500) { Script::Fail } else { Script::Stall };
        if let Some(site) = self.sites.get_mut(cluster) {
            self.counts.fault(Fault::WorkloadFailed);
            site.state.script(identity.clone(), Some(script));
        }
        self.after_change(cluster);
        let cluster = cluster.to_owned();
        self.soon(1_000, 10_000, Happening::Unscripts { cluster, identity });
    }

    pub(super) fn unscripts(&mut self, cluster: &str, identity: &Identity) {
        if let Some(site) = self.sites.get_mut(cluster) {
            site.state.script(identity.clone(), None);
        }
        self.after_change(cluster);
    }

    /// All records are gone, as when somebody empties the namespace of the spoke.
    fn lose_ledger(&mut self, cluster: &str) {
        self.kill_spoke(cluster);
        self.counts.fault(Fault::LedgerLost);
        self.tell(|| format!("{cluster}: its ledger is lost"));
        if let Some(site) = self.sites.get_mut(cluster) {
            site.ledger.clear();
        }
        self.orphan(cluster);
        self.forget(cluster);
    }

    /// Nothing is known of a cluster any more: what it has of ours belongs to nobody until it is
    /// applied again.
    pub(super) fn forget(&mut self, cluster: &str) {
        self.histories.insert(cluster.to_owned(), History::default());
        self.people.suspects.insert(cluster.to_owned());
        self.see(&Seen::Forgotten { cluster });
    }

    /// What is in a cluster may stay there for ever.
    pub(super) fn orphan(&mut self, cluster: &str) {
        if let Some(site) = self.sites.get_mut(cluster) {
            site.has_leftovers = true;
        }
    }

    fn lose_pack(&mut self, cluster: &str) {
        let Some(site) = self.sites.get(cluster) else { return };
        let packs: Vec<String> = site.ledger.keys().filter(|key| key.starts_with("bundle/")).cloned().collect();
        let Some(pack) = self.rng.pick(&packs).cloned() else { return };
        if !site.ledger.contains_key(ROOT_KEY) {
            return;
        }
        self.kill_spoke(cluster);
        if let Some(site) = self.sites.get_mut(cluster) {
            site.ledger.remove(&pack);
        }
        self.counts.fault(Fault::PackLost);
        self.tell(|| format!("{cluster}: {pack} is lost"));
    }

    fn lose_lease(&mut self, cluster: &str) {
        let Some(site) = self.sites.get(cluster) else { return };
        let boot = site.boot;
        if !site.spoke.as_ref().is_some_and(|spoke| spoke.has_lease) {
            return;
        }
        self.counts.fault(Fault::LeaseLost);
        self.leases(cluster, boot, false);
        let cluster = cluster.to_owned();
        self.soon(500, 6_000, Happening::Leases { cluster, boot, is_held: true });
    }

    /// The cluster was installed anew; nobody has told the hub.
    fn reinstall(&mut self, cluster: &str) {
        self.kill_spoke(cluster);
        self.counts.fault(Fault::Reinstalled);
        self.new_cluster(cluster);
    }

    /// Another cluster stands behind the name.
    pub(super) fn new_cluster(&mut self, cluster: &str) {
        self.tell(|| format!("{cluster}: is another cluster now"));
        if let Some(site) = self.sites.get_mut(cluster) {
            site.life += 1;
            site.state = super::site::fresh_state(cluster, site.life);
            site.ledger.clear();
            site.copies.clear();
            site.has_leftovers = false;
            site.foreign = BTreeMap::new();
            site.annotated = BTreeMap::new();
            site.standby = None;
            site.edits = BTreeMap::new();
            site.advances_at = None;
        }
        self.forget(cluster);
    }
}
