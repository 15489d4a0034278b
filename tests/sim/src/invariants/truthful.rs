//! Rule 6, at the other end: a spoke says Applied only when the last thing that was applied to each
//! object of the bundle is what is assigned.

use std::collections::BTreeMap;

use proto_model::delta::ToHub;
use proto_model::{Identity, Sync, object};
use spoke_core::port::{Op, Outcome};

use super::{Context, Invariant, Seen, bundle_of};
use crate::bodies::payload;

/// Remembers what was last applied to each object, by cluster and bundle.
#[derive(Debug, Default)]
pub struct Truthful {
    applied: BTreeMap<(String, String), BTreeMap<Identity, String>>,
}

impl Invariant for Truthful {
    fn name(&self) -> &'static str {
        "truthful"
    }

    fn see(&mut self, seen: &Seen<'_>, context: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Happened {
                cluster,
                op: Op::Apply { manifest, manager, dry_run: false },
                outcome: Outcome::Applied(_),
            } => {
                let Ok(identity) = object::identity(manifest) else { return Ok(()) };
                let place = ((*cluster).to_owned(), bundle_of(manager).to_owned());
                self.applied.entry(place).or_default().insert(identity, payload(manifest));
                Ok(())
            }
            Seen::Said { cluster, message: ToHub::Report(report) } if report.sync == Sync::Applied => {
                let Some(variant) = report.variant else { return Ok(()) };
                let ledger = context.ledger(cluster)?;
                let run = ledger.current().iter().find_map(|root| {
                    let all = crate::history::expected(context.bodies, root.entries.get(&report.bundle))?;
                    let is_it = matches!(
                        root.entries.get(&report.bundle),
                        Some(proto_model::assign::Entry::Run(run))
                            if run.variant == variant && run.variables.digest() == report.variables
                    );
                    is_it.then_some(all)
                });
                let Some(run) = run else {
                    return Err(format!(
                        "{cluster} says that {} is Applied at variant {variant:?}, which its ledger \
                         does not name",
                        report.bundle
                    ));
                };
                let place = ((*cluster).to_owned(), report.bundle.clone());
                let applied = self.applied.get(&place);
                for (identity, wanted) in &*run {
                    let last = applied.and_then(|all| all.get(identity));
                    // What is made once is as it was made, or as somebody else made it.
                    if last != Some(&wanted.text) && !wanted.is_made_once {
                        return Err(format!(
                            "{cluster} says that {} is Applied, and {identity} was last applied as \
                             {last:?}, not as {}",
                            report.bundle, wanted.text
                        ));
                    }
                }
                Ok(())
            }
            // Another cluster stands there now.
            Seen::Forgotten { .. } => Ok(()),
            _ => Ok(()),
        }
    }
}
