//! What objects ask for by their annotations, and what their bundles leave alone: what is made once is never changed,
//! hands are kept off what asks for that on the live object, and a field that is left alone keeps the value that
//! somebody else gave it.
//!
//! What is asked about deletions is looked at in `deletes`.

use std::collections::BTreeMap;

use proto_model::{Identity, object, wishes};
use serde_json::Value as Json;
use spoke_core::port::{Op, Outcome};

use super::looked::Looked;
use super::{Context, Invariant, Seen, bundle_of, written};
use crate::history;
use crate::world::BY_HAND;

/// Between the look at an object and the request that follows, somebody may annotate or change it. Milliseconds.
const RACE_MILLIS: u64 = 5_000;

/// Looks at every write.
#[derive(Debug, Default)]
pub struct Asked {
    /// Objects whose data is to stay as it is, in the request that is being carried out.
    left_alone: BTreeMap<String, Identity>,
    looked: Looked,
}

impl Asked {
    fn reached(
        &mut self,
        cluster: &str,
        op: &Op,
        live: &Json,
        foreign_since: Option<u64>,
        context: &Context<'_>,
    ) -> Result<(), String> {
        let Some(identity) = written(op) else { return Ok(()) };
        let is_race = foreign_since.is_some_and(|at| context.now_millis < at + RACE_MILLIS);
        let is_unseen = self.looked.may_be_unknown(cluster, &identity, foreign_since, context);
        if is_race || is_unseen && object::annotation(live, wishes::RECONCILE).is_none() {
            return Ok(());
        }
        if object::annotation(live, wishes::RECONCILE) == Some("disabled") {
            return Err(format!("{cluster} asks for {op:?}, though hands are to be kept off {identity}"));
        }
        let Op::Apply { manifest, manager, dry_run: false } = op else { return Ok(()) };
        let is_going = live.pointer("/metadata/deletionTimestamp").is_some();
        if object::annotation(manifest, wishes::APPLY) == Some("createOnly") && !is_going {
            return Err(format!("{cluster} applies over {identity}, which is made once"));
        }
        // Whatever it acts on, the bundle leaves its text alone.
        let roots = context.ledger(cluster)?.current();
        let ignores = roots.iter().all(|root| {
            let settings = history::settings(context.bodies, root.entries.get(bundle_of(manager)));
            settings.is_some_and(|settings| !settings.ignore.is_empty())
        });
        if ignores && !roots.is_empty() && is_by_hand(live) {
            self.left_alone.insert(cluster.to_owned(), identity);
        }
        Ok(())
    }
}

fn is_by_hand(object: &Json) -> bool {
    object.pointer("/data/text").is_some_and(|text| text == BY_HAND)
}

impl Invariant for Asked {
    fn name(&self) -> &'static str {
        "asked"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        self.looked.see(seen, context);
        match seen {
            Seen::Reached { cluster, op, live: Some(live), foreign_since } => {
                self.left_alone.remove(*cluster);
                self.reached(cluster, op, live, *foreign_since, context)
            }
            Seen::Happened { cluster, outcome: Outcome::Applied(after), .. } => {
                let Some(identity) = self.left_alone.remove(*cluster) else { return Ok(()) };
                if after.object.as_deref().is_none_or(is_by_hand) {
                    return Ok(());
                }
                Err(format!("{cluster} changes the text of {identity}, which its bundle leaves alone"))
            }
            _ => Ok(()),
        }
    }
}
