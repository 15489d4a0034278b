//! Rule 12: an object is deleted only if it is in the inventory of the bundle that its mark names,
//! with the uid on record; if no complete variant of that bundle names it, or the bundle is to be
//! removed; and if the permit of the assignment lets it go. What can't be changed may be deleted to
//! be made anew, where it may be. What asks to be kept, what hands are to be kept off and what its bundle
//! leaves behind never goes, and what asks for somebody's word only with it. What only bears our marks, and was never
//! applied by us, is not ours.
//!
//! All of it is worked out from durable records and from the hub's bodies.

use std::collections::{BTreeMap, BTreeSet};

use proto_model::assign::{Entry, is_protected};
use proto_model::{Identity, Permit, object, wishes};
use serde_json::Value as Json;
use spoke_core::port::Op;

use super::{Context, Invariant, Seen, owners};
use crate::history::{self, History, Root};

/// Counts what goes under each entry of each ledger.
#[derive(Debug, Default)]
pub struct Deletes {
    /// By cluster, bundle and place of the entry in the history of the ledger: uids that went.
    gone: BTreeMap<(String, String, usize), BTreeSet<String>>,
}

impl Deletes {
    fn check(&mut self, cluster: &str, identity: &Identity, live: &Json, context: &Context<'_>) -> Result<(), String> {
        let uid = live.pointer("/metadata/uid").and_then(Json::as_str).unwrap_or_default();
        let ledger = context.ledger(cluster)?;
        let marked = owners(live);
        let in_inventory = |bundle: &&String| {
            let tracked = ledger.inventories.get(*bundle).and_then(|all| all.objects.get(identity));
            tracked.is_some_and(|one| one.uid.as_deref().is_none_or(|known| known == uid))
        };
        // An object of a shared kind bears the marks of all its claimants, and of those that left.
        let holders: Vec<&String> = if identity.kind.is_shared() {
            ledger.inventories.keys().filter(in_inventory).collect()
        } else {
            marked.iter().filter(in_inventory).collect()
        };
        if marked.is_empty() {
            return Err("it bears no mark of ours".into());
        }
        if holders.is_empty() {
            return Err(format!("no inventory of its owners {marked:?} has it with uid {uid}"));
        }
        let asks = |name: &str, word: &str| object::annotation(live, name) == Some(word);
        if asks(wishes::PRUNE, "keep") || asks(wishes::RECONCILE, "disabled") {
            return Err("it asks to be left".into());
        }
        let is_taken_over = |bundle: &&String| {
            let tracked = ledger.inventories.get(*bundle).and_then(|all| all.objects.get(identity));
            tracked.is_some_and(|one| one.former.is_some())
        };
        if !managers(live).any(|one| one.starts_with("drover/")) && !holders.iter().any(is_taken_over) {
            return Err("no bundle ever applied it: it only bears a mark".into());
        }
        if let Some(heir) = heir(identity, &holders, ledger, context) {
            return Err(format!("{heir} wants it: it is handed over"));
        }
        let mut why = Vec::new();
        for bundle in holders {
            for root in ledger.current() {
                match self.allows(cluster, bundle, (identity, live), root, context) {
                    Ok(()) => return Ok(()),
                    Err(reason) => why.push(reason),
                }
            }
        }
        Err(why.join("; "))
    }

    fn allows(
        &mut self,
        cluster: &str,
        bundle: &str,
        (identity, live): (&Identity, &Json),
        root: &Root,
        context: &Context<'_>,
    ) -> Result<(), String> {
        let uid = live.pointer("/metadata/uid").and_then(Json::as_str).unwrap_or_default();
        let Some(entry) = root.entries.get(bundle) else {
            return Err(format!("the ledger has no entry for {bundle}"));
        };
        let permit: &Permit = match entry {
            Entry::Run(run) => {
                let wanted =
                    history::expected(context.bodies, Some(entry)).ok_or_else(|| format!("{bundle} can't be bound"))?;
                if let Some(one) = wanted.get(identity) {
                    // Only what can't be changed is made anew.
                    return if one.is_made_anew { Ok(()) } else { Err(format!("{bundle} names it")) };
                }
                &run.permit
            }
            Entry::Remove(permit) if permit.orphan => return Err(format!("what {bundle} has is to stay")),
            Entry::Remove(permit) => permit,
        };
        if object::annotation(live, wishes::PRUNE) == Some("confirm") && !permit.confirmed {
            return Err(format!("it asks for somebody's word, and the permit of {bundle} has none"));
        }
        if is_protected(&identity.kind) && !permit.protected.contains(&identity.kind) {
            return Err(format!("the permit of {bundle} does not name its protected kind"));
        }
        let since = context.ledger(cluster)?.since(bundle, root);
        let place = (cluster.to_owned(), bundle.to_owned(), since);
        let gone = self.gone.entry(place).or_default();
        gone.insert(uid.to_owned());
        if gone.len() as u64 > permit.deletions {
            return Err(format!("the permit of {bundle} lets {} objects go", permit.deletions));
        }
        Ok(())
    }
}

/// Names of all field managers of an object.
fn managers(live: &Json) -> impl Iterator<Item = &str> {
    let entries = live.pointer("/metadata/managedFields").and_then(Json::as_array);
    entries.into_iter().flatten().filter_map(|entry| entry.get("manager")?.as_str())
}

/// Another bundle that wants an object, whichever of the current ledgers the spoke acts on.
fn heir(identity: &Identity, holders: &[&String], ledger: &History, context: &Context<'_>) -> Option<String> {
    if identity.kind.is_shared() {
        return None;
    }
    let wants = |root: &Root| {
        let mut wanting = root.entries.iter().filter(|(_, entry)| {
            history::expected(context.bodies, Some(entry)).is_some_and(|all| all.contains_key(identity))
        });
        // What its owner wants, too, and makes anew is not handed over.
        let others = wanting.clone().find(|(bundle, _)| !holders.contains(bundle));
        others.filter(|_| !wanting.any(|(bundle, _)| holders.contains(&bundle))).map(|(bundle, _)| bundle.clone())
    };
    let roots = ledger.current();
    let all: Option<Vec<String>> = roots.iter().map(wants).collect();
    all.and_then(|all| all.into_iter().next())
}

impl Invariant for Deletes {
    fn name(&self) -> &'static str {
        "deletes"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        if let Seen::Forgotten { cluster } = seen {
            self.gone.retain(|(of, ..), _| of != cluster);
        }
        let Seen::Reached { cluster, op: Op::Delete { identity, uid, resource_version, .. }, live: Some(live), .. } =
            seen
        else {
            return Ok(());
        };
        let live_uid = live.pointer("/metadata/uid").and_then(Json::as_str);
        let is_going = live.pointer("/metadata/deletionTimestamp").is_some();
        let live_version = live.pointer("/metadata/resourceVersion").and_then(Json::as_str);
        // What is another, or changed, is not deleted, and what is going goes already.
        if live_uid != Some(uid) || live_version != Some(resource_version) || is_going {
            return Ok(());
        }
        self.check(cluster, identity, live, context).map_err(|why| format!("{cluster} deletes {identity}: {why}"))
    }
}
