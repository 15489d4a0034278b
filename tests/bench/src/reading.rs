//! How long the first read of a large repository takes, against Git alone.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tests_tools::process;

use crate::lone::Lone;
use crate::stats::Times;
use crate::{folder, show};

/// Bundles of the repository, and files of each, all manifests.
const BUNDLES: usize = 1_000;
const FILES: usize = 100;

/// Measures, and prints what it found.
///
/// # Errors
/// The hub or Git fails.
pub(crate) fn run(rounds: usize) -> Result<()> {
    let (hub, first) = Lone::start(&files(), &[])?;
    let mut again = Times::default();
    for round in 0..rounds {
        again.push(hub.commit(&[object(0, 0, &format!("round-{round}"))])?.read);
    }
    let mut bare = Times::default();
    for _ in 0..rounds.min(3) {
        bare.push(git_alone(&hub)?);
    }
    show(&[
        ("files, all manifests", format!("{} in {BUNDLES} bundles", BUNDLES * FILES)),
        ("first read: seen -> read and rendered", format!("{:.2} s", first.read.as_secs_f64())),
        ("first read: seen -> log at rest", format!("{:.2} s", first.at_rest.as_secs_f64())),
        ("Git alone: every file of the mirror read", bare.to_string()),
        ("  ratio", format!("{:.2}", first.read.as_secs_f64() * 1000.0 / bare.median())),
        ("one file changed: seen -> read and rendered", again.to_string()),
        ("hub's memory afterwards", format!("{:.0} MiB", hub.rss_bytes()? as f64 / 1024.0 / 1024.0)),
    ]);
    Ok(())
}

/// Git reads every file of a fresh mirror.
fn git_alone(hub: &Lone) -> Result<Duration> {
    let (_kept, dir) = folder()?;
    let mirror = dir.join("mirror");
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--bare", "--no-local"]).arg(hub.repository()).arg(&mirror);
    let cloned = process::output(clone)?;
    ensure!(cloned.status.success(), "git clone: {}", String::from_utf8_lossy(&cloned.stderr));
    let start = Instant::now();
    let mut archive = Command::new("git");
    archive.arg("-C").arg(&mirror).args(["archive", "HEAD"]).stdout(Stdio::null());
    let status = archive.status().context("git archive")?;
    ensure!(status.success(), "git archive ended with {status}");
    Ok(start.elapsed())
}

fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    files.push((
        "drover.yaml".to_owned(),
        "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: one}\n".to_owned(),
    ));
    for bundle in 0..BUNDLES {
        let declaration = format!(
            "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: bundle-{bundle:04}}}\n\
             spec: {{namespace: shop, targets: [{{name: all, selector: {{}}}}]}}\n"
        );
        files.push((format!("bundle-{bundle:04}/drover.yaml"), declaration));
        files.extend((0..FILES).map(|number| object(bundle, number, "first")));
    }
    files
}

/// A ConfigMap of about a kilobyte, like nothing else in the repository.
fn object(bundle: usize, number: usize, value: &str) -> (String, String) {
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: object-{bundle}-{number}\ndata:\n");
    text.push_str(&format!("  value: \"{value}\"\n"));
    for line in 0..16 {
        text.push_str(&format!("  setting-{line}: \"what object {number} of bundle {bundle} has to say\"\n"));
    }
    (format!("bundle-{bundle:04}/object-{number:03}.yaml"), text)
}
