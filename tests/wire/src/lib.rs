//! A hub as a real process, and the other ends of its streams: spokes that a test plays by hand, operators, strangers,
//! and whole runs of `drover up`.

pub mod hook;
pub mod hub;
pub mod procfs;
pub mod raw;
pub mod spoke;
pub mod up;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// Long enough for any step of a test that works.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that must change.
const POLL: Duration = Duration::from_millis(25);

/// Looks again and again until it is so; others get to run in between.
///
/// # Errors
/// It is not so in time, or looking fails.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await? {
        ensure!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
