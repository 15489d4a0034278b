//! Other people at the clusters: they make by hand what a bundle is about to bring, change what it leaves alone, and ask
//! on an object that hands are kept off it.

use proto_model::{Identity, object, wishes};
use serde_json::{Value as Json, json};

use super::{Happening, World};
use crate::counts::Fault;

/// What people write into ConfigMaps.
pub(crate) const BY_HAND: &str = "by hand";

impl World {
    /// Somebody makes what is declared and not there yet, alike or not.
    pub(super) fn forestall(&mut self, cluster: &str) {
        let Some(site) = self.sites.get(cluster) else { return };
        let mut missing: Vec<(Identity, Json)> = Vec::new();
        for mut manifest in self.repo.plain_objects() {
            if manifest["metadata"].get("namespace").is_none() {
                manifest["metadata"]["namespace"] = "shop".into();
            }
            if let Ok(identity) = object::identity(&manifest)
                && site.state.object(&identity).is_none()
            {
                missing.push((identity, manifest));
            }
        }
        let Some((identity, mut made)) = self.rng.pick(&missing).cloned() else { return };
        made["metadata"] = json!({"name": identity.name, "namespace": identity.namespace});
        if self.rng.chance(500) && identity.kind.is("", "ConfigMap") {
            made["data"]["text"] = BY_HAND.into();
        }
        let (now, at) = (self.unix_millis(), self.now);
        let Some(site) = self.sites.get_mut(cluster) else { return };
        if site.state.create(&made, "kubectl-create", now).is_ok() {
            site.foreign.insert(identity.clone(), at);
            self.counts.fault(Fault::ForeignMade);
            self.tell(|| format!("{cluster}: somebody makes {identity}"));
        }
        self.after_change(cluster);
    }

    /// Somebody changes the text of a ConfigMap, which its bundle may leave alone.
    pub(super) fn tune(&mut self, cluster: &str) {
        let Some((identity, _)) = self.some_object(cluster) else { return };
        if !identity.kind.is("", "ConfigMap") || !self.may_edit(cluster, &identity) {
            return;
        }
        let (now, at) = (self.unix_millis(), self.now);
        let change = |object: &mut Json| object["data"]["text"] = BY_HAND.into();
        if let Some(site) = self.sites.get_mut(cluster)
            && site.state.edit(&identity, "kubectl-edit", change, now).is_ok()
        {
            site.annotated.insert(identity.clone(), at);
            self.counts.fault(Fault::ForeignTune);
            self.tell(|| format!("{cluster}: somebody changes the text of {identity}"));
        }
        self.after_change(cluster);
    }

    /// Somebody asks, on an object, that hands are kept off it for a while.
    pub(super) fn ask_hands_off(&mut self, cluster: &str) {
        let Some((identity, _)) = self.some_object(cluster) else { return };
        self.annotate(cluster, &identity, Some("disabled"));
        let cluster = cluster.to_owned();
        self.soon(1_000, 12_000, Happening::Unannotates { cluster, identity });
    }

    /// Puts the annotation on an object, or takes it off.
    pub(super) fn annotate(&mut self, cluster: &str, identity: &Identity, value: Option<&str>) {
        let (now, at) = (self.unix_millis(), self.now);
        let Some(site) = self.sites.get_mut(cluster) else { return };
        let live = site.state.object(identity);
        let is_there = live.is_some_and(|live| object::annotation(&live, wishes::RECONCILE) == value);
        if is_there {
            return;
        }
        let change = |object: &mut Json| match (value, object["metadata"]["annotations"].as_object_mut()) {
            (Some(value), _) => object["metadata"]["annotations"][wishes::RECONCILE] = value.into(),
            (None, Some(all)) => {
                all.remove(wishes::RECONCILE);
            }
            (None, None) => {}
        };
        if site.state.edit(identity, "kubectl-annotate", change, now).is_ok() {
            site.annotated.insert(identity.clone(), at);
            if value.is_some() {
                self.counts.fault(Fault::HandsOff);
            }
            self.tell(|| format!("{cluster}: somebody sets reconcile of {identity} to {value:?}"));
        }
        self.after_change(cluster);
    }

    /// When somebody else last made, replaced or annotated an object.
    pub(super) fn meddled_at(&self, cluster: &str, identity: &Identity) -> Option<u64> {
        let site = self.sites.get(cluster)?;
        site.foreign.get(identity).max(site.annotated.get(identity)).copied()
    }
}
