//! A hub that is killed: nothing is sent twice, and a publish takes effect whole or not at all.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Where, wait_for};
use tests_tools::sys::send_signal;
use tests_wire::hub::{Hub, config_map};
use tests_wire::spoke::Spoke;

/// Bundles of a publish that needs several entries of the log.
const BUNDLES: usize = 120;

fn declarations() -> String {
    let mut text = String::from("apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\n");
    for number in 0..BUNDLES {
        text.push_str(&format!(
            "---\napiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: bundle-{number}}}\n\
             spec: {{path: bundle-{number}, namespace: shop, targets: [{{name: all, selector: {{}}}}]}}\n"
        ));
    }
    text
}

/// Changes the object of every bundle; the commit is the answer.
fn change_all(hub: &Hub, value: &str) -> Result<String> {
    for number in 0..BUNDLES {
        let name = format!("object-{number}");
        hub.fleet.repo.write(&format!("bundle-{number}/object.yaml"), &config_map(&name, value))?;
    }
    hub.fleet.repo.commit(value)
}

fn bundles(status: &Json) -> Vec<Json> {
    status["clusters"][0]["bundles"].as_array().cloned().unwrap_or_default()
}

/// Kills the hub so long after it has read a commit, before or in the middle of its publish, and starts it without
/// Git: whatever it says then is what the log has.
fn cut(hub: &mut Hub, before: &str, value: &str, delay: Duration) -> Result<()> {
    let head = change_all(hub, value)?;
    let read = |line: &str| line.contains("read a head") && line.contains(&head);
    wait_for("the hub reads the commit", || Ok(hub.fleet.hub_log().lines().any(read)))?;
    std::thread::sleep(delay);
    hub.fleet.kill_hub();
    let (source, away) = (hub.fleet.repo.dir().to_owned(), hub.fleet.dir().join("away"));
    std::fs::rename(&source, &away)?;
    hub.fleet.start_hub()?;
    let status = hub.fleet.wait("the spoke is back", |status| status["clusters"][0]["connected"] == true)?;
    let commit = status["sources"][0]["commit"].as_str().context("no accepted head")?.to_owned();
    ensure!(commit == before || commit == head, "the accepted head is {commit}");
    // Whole or not at all: no bundle is of another commit than the source.
    hub.fleet.wait_settled(&commit)?;
    ensure!(bundles(&hub.fleet.status()?).len() == BUNDLES);
    std::fs::rename(&away, &source)?;
    hub.fleet.wait_settled(&head).map(drop)
}

#[test]
fn a_publish_that_is_cut_takes_effect_whole_or_not_at_all() -> Result<()> {
    let files: Vec<(String, String)> = (0..BUNDLES)
        .map(|number| (format!("bundle-{number}/object.yaml"), config_map(&format!("object-{number}"), "one")))
        .collect();
    let declarations = declarations();
    let mut all: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    all.push(("drover.yaml", &declarations));
    let mut hub = Hub::start_with(&all)?;
    let mut head = hub.head()?;
    hub.fleet.join("a", Where::Memory)?;
    hub.fleet.wait_settled(&head)?;
    for millis in [0, 15, 60] {
        cut(&mut hub, &head, &format!("cut-after-{millis}-ms"), Duration::from_millis(millis))?;
        head = hub.head()?;
    }
    // And once all is calm, another start sends nothing.
    hub.restart()?;
    hub.fleet.wait("the spoke is back", |status| status["clusters"][0]["connected"] == true)?;
    hub.fleet.wait_settled(&head)?;
    ensure!(hub.fleet.cluster("a")?["sent_delta_bytes"] == 0, "{}", hub.fleet.cluster("a")?);
    Ok(())
}

#[test]
fn a_killed_hub_sends_nothing_again_to_spokes_that_are_current() -> Result<()> {
    let mut hub = Hub::start()?;
    for cluster in ["a", "b"] {
        hub.fleet.join(cluster, Where::Memory)?;
    }
    let head = hub.head()?;
    let all_connected =
        |status: &Json| status["clusters"].as_array().is_some_and(|all| all.iter().all(|one| one["connected"] == true));
    hub.fleet.wait("both spokes attached", all_connected)?;
    hub.fleet.wait_settled(&head)?;
    let generation = hub.fleet.cluster("a")?["generation"].clone();
    for _ in 0..2 {
        hub.restart()?;
        hub.fleet.wait("both spokes attached again", all_connected)?;
        hub.fleet.wait_settled(&head)?;
        for cluster in ["a", "b"] {
            let known = hub.fleet.cluster(cluster)?;
            ensure!(known["sent_delta_bytes"] == 0, "{known}");
            ensure!(known["generation"] == generation, "{known}");
        }
    }
    // It is the hub of before in all else, too: the next commit costs what differs.
    let next = hub.commit("web/web.yaml", &config_map("web", "two"))?;
    hub.fleet.wait_settled(&next).map(drop)
}

#[tokio::test]
async fn a_hub_that_stops_sends_its_spokes_elsewhere() -> Result<()> {
    let hub = Hub::start()?;
    let (_spoke, mut stream) = Spoke::attached(&hub, "a").await?;
    send_signal(hub.pid()?, libc::SIGTERM)?;
    // It knows of no other replica; whoever has more than one address tries the next.
    assert_eq!(stream.moved().await?, Vec::<String>::new());
    Ok(())
}
