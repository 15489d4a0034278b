//! `drover rollout approve BUNDLE --deletions`: lets go what the guard holds, and shows what that is.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::process::ExitCode;

use anyhow::Result;
use proto_wire::control::execute_request::Command;
use proto_wire::control::get_request::What;
use proto_wire::control::{ApproveDeletions, GetBundles};

use crate::client::Client;
use crate::error::Error;
use crate::output::{self, Output, document};
use crate::programs::full_bundle;
use crate::view::Status;

/// Arguments of `drover rollout approve`.
#[derive(clap::Args)]
pub struct Arguments {
    /// The bundle: SOURCE/BUNDLE, or BUNDLE of the source main
    bundle: String,
    /// Approve that objects are deleted
    #[arg(long, required = true)]
    deletions: bool,
    /// Why, for the record
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    output: Output,
}

/// Tells what would go, then approves it.
///
/// # Errors
/// Nothing of the bundle is held, or what the hub says.
pub async fn run(mut client: Client, arguments: Arguments) -> Result<ExitCode> {
    let bundle = full_bundle(&arguments.bundle);
    // Before the status: what changes between the two is refused rather than approved unseen.
    let shown = client.get(What::Bundles(GetBundles {})).await?.bundles;
    let Some(goal) = shown.into_iter().find(|one| one.bundle == bundle).map(|one| one.held_digest) else {
        let message = format!("there is no bundle {bundle:?}; `drover get bundles` shows all");
        return Err(Error::NotFound(message).into());
    };
    let status = Status::from(client.status(&[], std::slice::from_ref(&bundle)).await?);
    match what_would_go(&status, &bundle) {
        Some(text) => output::tell(text.trim_end()),
        None => {
            let message = format!("the guard holds nothing of {bundle}; `drover status` shows what is held, and why");
            return Err(Error::Refused(message).into());
        }
    }
    let command = ApproveDeletions { bundle, goal };
    let answer = client.execute(Command::ApproveDeletions(command), &arguments.reason).await?;
    output::done(arguments.output, document::Done { applied_index: answer.applied_index, message: answer.message })
}

/// Clusters that are named where several lose the same; the rest are counted.
const CLUSTERS_NAMED: usize = 5;

/// The objects that the guard keeps, clusters that would lose the same taken together; `None` where it keeps none.
fn what_would_go(status: &Status, bundle: &str) -> Option<String> {
    let mut losses: BTreeMap<(&[String], u64), Vec<&str>> = BTreeMap::new();
    for cluster in &status.clusters {
        let hold = cluster.bundles.iter().filter(|held| held.bundle == bundle).find_map(|held| held.hold.as_ref());
        if let Some(hold) = hold.filter(|hold| hold.kind == "guard") {
            losses.entry((&hold.objects, hold.objects_total)).or_default().push(&cluster.cluster);
        }
    }
    let mut text = String::new();
    for ((objects, total), clusters) in losses {
        let more_clusters = match clusters.len().saturating_sub(CLUSTERS_NAMED) {
            0 => String::new(),
            more => format!(" and {}", output::count(more as u64, "more cluster")),
        };
        let named = clusters.iter().take(CLUSTERS_NAMED).copied().collect::<Vec<_>>().join(", ");
        // Writing to a string has no way to fail.
        let _ = writeln!(text, "{named}{more_clusters}: {} of {bundle} would go", output::count(total, "object"));
        for object in objects {
            let _ = writeln!(text, "  {object}");
        }
        let more = total.saturating_sub(objects.len() as u64);
        if more > 0 {
            let _ = writeln!(text, "  and {more} more");
        }
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Bundle, Cluster, Hold};

    #[test]
    fn clusters_that_would_lose_the_same_are_told_together() {
        let hold = |kind: &str| Hold {
            kind: kind.into(),
            objects: vec!["ConfigMap shop/a".into()],
            objects_total: 3,
            ..Hold::default()
        };
        let cluster = |name: &str, kind: &str| Cluster {
            cluster: name.into(),
            bundles: vec![Bundle { bundle: "main/web".into(), hold: Some(hold(kind)), ..Bundle::default() }],
            ..Cluster::default()
        };
        let status = Status {
            clusters: vec![cluster("a", "guard"), cluster("b", "offline"), cluster("c", "guard")],
            ..Status::default()
        };
        let expected = "a, c: 3 objects of main/web would go\n  ConfigMap shop/a\n  and 2 more\n";
        assert_eq!(what_would_go(&status, "main/web").as_deref(), Some(expected));
        assert_eq!(what_would_go(&status, "main/other"), None);
    }
}
