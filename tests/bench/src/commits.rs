//! What a commit that changes one bundle costs a hub that has many others to leave alone.

use anyhow::Result;

use crate::lone::{Lone, Took};
use crate::show;
use crate::stats::Times;

/// Declared clusters; each runs every bundle.
const CLUSTERS: usize = 1_000;
/// Bundles of the large repository, and ConfigMaps of each.
const BUNDLES: usize = 1_000;
const OBJECTS: usize = 4;

#[derive(Default)]
struct Cost {
    at_rest: Times,
    cpu: Times,
}

impl Cost {
    fn push(&mut self, took: Took) {
        self.at_rest.push(took.at_rest);
        self.cpu.push(took.cpu);
    }
}

/// Measures, and prints what it found.
///
/// # Errors
/// A hub fails or takes too long.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let (small, _) = Lone::start(&files(1), &[])?;
    let (large, first) = Lone::start(&files(BUNDLES), &[])?;
    let (mut one, mut many) = (Cost::default(), Cost::default());
    // In turns, so that both meet the same machine. The first round warms up.
    for round in 0..=rounds {
        let change = [object(0, 0, &format!("round-{round}"))];
        let (lesser, greater) = (small.commit(&change)?, large.commit(&change)?);
        if round > 0 {
            one.push(lesser);
            many.push(greater);
        }
    }
    let ratio = |many: &Times, one: &Times| format!("{:.2}", many.median() / one.median());
    show(&[
        ("declared clusters, bundles of each", format!("{CLUSTERS}, 1 and {BUNDLES}")),
        ("seen -> log at rest, 1 bundle", one.at_rest.to_string()),
        ("seen -> log at rest, all bundles", many.at_rest.to_string()),
        ("  ratio of the medians", ratio(&many.at_rest, &one.at_rest)),
        ("hub's CPU for one commit, 1 bundle", one.cpu.to_string()),
        ("hub's CPU for one commit, all bundles", many.cpu.to_string()),
        ("  ratio of the medians", ratio(&many.cpu, &one.cpu)),
        ("first publish of all bundles for all clusters", format!("{:.1} s", first.at_rest.as_secs_f64())),
        ("  hub's CPU for it", format!("{:.1} s", first.cpu.as_secs_f64())),
        ("hub's memory, 1 bundle and all", format!("{} and {}", mib(&small)?, mib(&large)?)),
    ]);
    Ok(())
}

fn mib(hub: &Lone) -> Result<String> {
    Ok(format!("{:.0} MiB", hub.rss_bytes()? as f64 / 1024.0 / 1024.0))
}

fn files(bundles: usize) -> Vec<(String, String)> {
    let mut declarations = String::new();
    for cluster in 0..CLUSTERS {
        declarations.push_str(&format!(
            "---\napiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: cluster-{cluster:04}}}\n\
             spec: {{variables: {{site: s{cluster}}}}}\n"
        ));
    }
    let mut files = vec![("clusters.drover.yaml".to_owned(), declarations)];
    for bundle in 0..bundles {
        let declaration = format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: bundle-{bundle:04}}}\n\
             spec: {{namespace: shop, variables: {{site: {{}}}}, targets: [{{name: all, selector: {{}}}}]}}\n"
        );
        files.push((format!("bundle-{bundle:04}/drover.yaml"), declaration));
        files.extend((0..OBJECTS).map(|number| object(bundle, number, "first")));
    }
    files
}

/// A ConfigMap with a value of each cluster's own.
fn object(bundle: usize, number: usize, value: &str) -> (String, String) {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: object-{bundle}-{number}}}\n\
         data: {{site: \"${{site}}\", value: \"{value}\"}}\n"
    );
    (format!("bundle-{bundle:04}/object-{number}.yaml"), text)
}
