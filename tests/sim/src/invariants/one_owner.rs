//! Rule 11: an identity has one owning bundle per cluster. No bundle applies over an object that
//! bears the mark of another bundle which still wants it, or over one that bears none: what it takes
//! over is in its durable inventory first. What somebody else made is taken over only as the bundle's
//! setting has it, and nothing is in an inventory because of its marks alone.

use std::collections::BTreeSet;

use proto_model::Identity;
use proto_model::assign::Entry;
use proto_model::variant::Adopt;
use serde_json::Value as Json;
use spoke_core::inventory::{Former, Inventory};
use spoke_core::port::{Op, Outcome};

use crate::history::{self, History};

use super::looked::Looked;
use super::{Context, Invariant, Seen, bundle_of, owners, written};

/// Looks at whose every object is that is about to be applied.
#[derive(Debug, Default)]
pub struct OneOwner {
    /// uids of objects that were ever applied by a bundle. No two clusters have one in common.
    applied: BTreeSet<String>,
    /// uids of objects that had just what a bundle wants, when it asked in a dry-run.
    alike: BTreeSet<String>,
    looked: Looked,
}

impl OneOwner {
    fn reached(
        &mut self,
        cluster: &str,
        op: &Op,
        live: &Json,
        foreign_since: Option<u64>,
        context: &Context<'_>,
    ) -> Result<(), String> {
        if let Op::Apply { manifest, dry_run: true, .. } = op {
            let uid = live.pointer("/metadata/uid").and_then(Json::as_str);
            let is_alike = live.get("data") == manifest.get("data");
            self.alike.extend(uid.filter(|_| is_alike).map(str::to_owned));
        }
        let Op::Apply { manager, dry_run: false, .. } = op else { return Ok(()) };
        let Some(identity) = written(op).filter(|identity| !identity.kind.is_shared()) else {
            return Ok(());
        };
        let (bundle, marked) = (bundle_of(manager), owners(live));
        if marked.iter().any(|one| one == bundle) {
            return Ok(());
        }
        let ledger = context.ledger(cluster)?;
        if let Some(other) = marked.first() {
            let tracked = ledger.inventories.get(bundle).and_then(|all| all.objects.get(&identity));
            let uid = live.pointer("/metadata/uid").and_then(|uid| uid.as_str());
            let is_taken_over = tracked.is_some_and(|one| {
                one.uid.as_deref() == uid && one.former == Some(Former::Bundle((*other).to_owned()))
            });
            let is_given_up = ledger.current().iter().any(|root| match root.entries.get(other.as_str()) {
                Some(Entry::Remove(_)) => true,
                // Nothing is known of it any more, and it was given another name.
                None => {
                    let settings = history::settings(context.bodies, root.entries.get(bundle));
                    settings.is_some_and(|settings| settings.replaces.contains(other))
                }
                entry => history::expected(context.bodies, entry).is_some_and(|all| !all.contains_key(&identity)),
            });
            return match is_taken_over && is_given_up {
                true => Ok(()),
                false => Err(format!("{bundle} takes {identity} of {cluster} from {other}")),
            };
        }
        // Its marks were taken off, but it is the object that the bundle made.
        let uid = live.pointer("/metadata/uid").and_then(Json::as_str).unwrap_or_default();
        let tracked = ledger.inventories.get(bundle).and_then(|all| all.objects.get(&identity));
        let tracked = tracked.filter(|one| one.uid.as_deref() == Some(uid));
        let is_made_by_us = tracked.is_some() && self.applied.contains(uid) || manages(live, manager);
        // Between the look and the request somebody else may be faster: no request of Kubernetes can rule that out for
        // an apply.
        let is_race = self.looked.may_be_unknown(cluster, &identity, foreign_since, context);
        let is_adopted = tracked.is_some_and(|one| one.former == Some(Former::People));
        if is_made_by_us || is_race && !is_adopted {
            return Ok(());
        }
        if is_adopted && self.may_adopt(uid, bundle, &identity, context, ledger) {
            return Ok(());
        }
        Err(format!("{bundle} applies over {identity} of {cluster}, which is nobody's"))
    }

    /// Whether a bundle may take over what somebody else made.
    fn may_adopt(&self, uid: &str, bundle: &str, identity: &Identity, context: &Context<'_>, ledger: &History) -> bool {
        // What was allowed when it was met may be so no more when it is applied.
        let settings = ledger.roots.iter().filter_map(|root| {
            let entry = root.entries.get(bundle);
            let names = history::expected(context.bodies, entry)?.contains_key(identity);
            history::settings(context.bodies, entry).filter(|_| names)
        });
        let is_compared = identity.kind.is("", "ConfigMap") || identity.kind.is("", "Secret");
        let is_alike = !is_compared || self.alike.contains(uid);
        let mut adopts = settings.map(|settings| settings.adopt);
        adopts.any(|adopt| adopt == Adopt::Always || adopt == Adopt::IfNoDiff && is_alike)
    }

    /// What is in an inventory was applied by some bundle, or is being taken over.
    fn inventoried(&self, cluster: &str, bundle: &str, context: &Context<'_>) -> Result<(), String> {
        let inventory = context.ledger(cluster)?.inventories.get(bundle);
        for (identity, one) in inventory.into_iter().flat_map(|all| &all.objects) {
            if let Some(uid) = &one.uid
                && one.former.is_none()
                && !self.applied.contains(uid)
            {
                return Err(format!("{bundle} counts {identity} of {cluster} as its own, which nobody ever applied"));
            }
        }
        Ok(())
    }
}

impl Invariant for OneOwner {
    fn name(&self) -> &'static str {
        "one_owner"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        self.looked.see(seen, context);
        match seen {
            Seen::Reached { cluster, op, live: Some(live), foreign_since } => {
                self.reached(cluster, op, live, *foreign_since, context)
            }
            Seen::Happened { op: Op::Apply { dry_run: false, .. }, outcome: Outcome::Applied(live), .. } => {
                self.applied.insert(live.uid.clone());
                Ok(())
            }
            Seen::Durable { cluster, key, bytes: Some(_) } => match Inventory::bundle_of(key) {
                Some(bundle) => self.inventoried(cluster, bundle, context),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn manages(live: &Json, manager: &str) -> bool {
    let entries = live.pointer("/metadata/managedFields").and_then(|all| all.as_array());
    let is_it = |entry: &Json| entry.get("manager").is_some_and(|one| one == manager);
    entries.is_some_and(|all| all.iter().any(is_it))
}
