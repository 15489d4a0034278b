//! Rules 16 and 17: entries, lists, reports and requests stay within their limits, and a stream has
//! one delta under way at most, however much changes while its spoke is slow.

use std::collections::{BTreeMap, BTreeSet};

use hub_core::command::Command;
use proto_model::delta::{ToHub, ToSpoke};
use proto_model::limits;

use super::{Context, Invariant, Seen};

/// Counts what is under way.
#[derive(Debug, Default)]
pub struct Bounds {
    under_way: BTreeSet<u64>,
    requests: BTreeMap<String, u64>,
}

impl Bounds {
    fn said(cluster: &str, message: &ToHub) -> Result<(), String> {
        let (what, size, max) = match message {
            ToHub::Report(report) => {
                let longest = report.problems.iter().map(|problem| problem.message.len()).max();
                if longest.unwrap_or_default() > limits::PROBLEM_BYTES_MAX {
                    return Err(format!("{cluster} says a problem of {longest:?} bytes"));
                }
                ("problems", report.problems.len(), limits::PROBLEMS_PER_REPORT_MAX)
            }
            ToHub::Need { variants, bodies } => {
                ("digests needed", variants.len() + bodies.len(), limits::SYNC_NEED_DIGESTS_MAX)
            }
            ToHub::Holding(entries) => ("entries", entries.len(), limits::BUNDLES_PER_CLUSTER_MAX),
            ToHub::Nack { message, .. } => ("bytes of a nack", message.len(), limits::PROBLEM_BYTES_MAX),
            _ => return Ok(()),
        };
        if size > max { Err(format!("{cluster} says {size} {what}, more than {max}")) } else { Ok(()) }
    }
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &Context<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { entry, .. } => {
                let bytes = entry.encode().len();
                if bytes > limits::ENTRY_BYTES_MAX {
                    return Err(format!("an entry of {bytes} bytes"));
                }
                for command in &entry.commands {
                    if let Command::Observe(all) = command
                        && all.items.len() > limits::OBSERVATIONS_PER_ENTRY_MAX
                    {
                        return Err(format!("an entry of {} observations", all.items.len()));
                    }
                }
            }
            Seen::Told { cluster, stream, message: ToSpoke::Delta(_) } if !self.under_way.insert(*stream) => {
                return Err(format!("two deltas are under way to {cluster} on one stream"));
            }
            Seen::Answered { stream } | Seen::Ended { stream } => {
                self.under_way.remove(stream);
            }
            Seen::Said { cluster, message } => Self::said(cluster, message)?,
            Seen::Issued { cluster, .. } => {
                let count = self.requests.entry((*cluster).to_owned()).or_default();
                *count += 1;
                if *count > limits::API_REQUESTS_MAX as u64 {
                    return Err(format!("{count} requests of {cluster} are under way"));
                }
            }
            // A spoke that begins anew knows nothing of what was under way.
            Seen::Lease { cluster, is_held: false } => {
                self.requests.remove(*cluster);
            }
            Seen::Happened { cluster, .. } => {
                let count = self.requests.entry((*cluster).to_owned()).or_default();
                *count = count.saturating_sub(1);
            }
            _ => {}
        }
        Ok(())
    }
}
