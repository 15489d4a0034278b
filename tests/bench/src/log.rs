//! What the hub's log tells, and when by this machine's clock.

use std::net::SocketAddr;
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use serde_json::Value as Json;
use tests_wire::hub::Hub;

/// Arguments that make the hub log what is read here, and count.
pub(crate) const ARGS: [&str; 4] = ["--metrics", "127.0.0.1:0", "--log-format", "json"];

/// The lines of the hub's log, of its last start.
fn lines(hub: &Hub) -> Vec<Json> {
    hub.fleet.hub_log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// From the hub's first line of output, of its last start.
///
/// # Errors
/// It serves no metrics.
pub(crate) fn metrics_address(hub: &Hub) -> Result<SocketAddr> {
    let ready = lines(hub).into_iter().rev().find(|line| line["ready"] == true).context("the hub is not ready")?;
    Ok(ready["metrics"].as_str().context("the hub serves no metrics")?.parse()?)
}

/// When the hub logged a line about a commit.
///
/// # Errors
/// It did not.
pub(crate) fn of_commit(hub: &Hub, message: &str, commit: &str) -> Result<SystemTime> {
    let is_it = |line: &Json| line["fields"]["message"] == message && line["fields"]["commit"] == commit;
    let line = lines(hub).into_iter().find(is_it);
    time_of(&line.with_context(|| format!("the hub never logged {message:?} about {commit}"))?)
}

/// When all of a commit was read and rendered.
///
/// # Errors
/// It was not.
pub(crate) fn rendered(hub: &Hub, commit: &str) -> Result<SystemTime> {
    let is_it = |line: &Json| line["fields"]["under_way"] == 0 && line["fields"]["commit"] == commit;
    let line = lines(hub).into_iter().find(is_it);
    time_of(&line.with_context(|| format!("the hub never rendered all of {commit}"))?)
}

/// When the hub first logged a line after a moment.
///
/// # Errors
/// It did not.
pub(crate) fn after(hub: &Hub, message: &str, moment: SystemTime) -> Result<SystemTime> {
    for line in lines(hub).into_iter().filter(|line| line["fields"]["message"] == message) {
        let time = time_of(&line)?;
        if time >= moment {
            return Ok(time);
        }
    }
    bail!("the hub never logged {message:?}")
}

fn time_of(line: &Json) -> Result<SystemTime> {
    let time: jiff::Timestamp = line["timestamp"].as_str().context("a line without a time")?.parse()?;
    Ok(time.into())
}
