//! A hub that reads a large repository while no cluster is connected: what a commit costs it, and nothing else.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, ensure};
use tests_wire::hub::Hub;
use tests_wire::procfs;

use crate::log;
use crate::metrics::Reading;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at the hub: what a time may be off by.
const POLL: Duration = Duration::from_millis(10);
/// How long the hub's log may not grow before it counts as at rest.
const REST: Duration = Duration::from_secs(3);

/// The hub, and where it counts.
pub(crate) struct Lone {
    hub: Hub,
    metrics: SocketAddr,
}

/// What one commit took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Took {
    /// From the commit being seen to it being read and rendered.
    pub(crate) read: Duration,
    /// To the last entry of the log that it caused.
    pub(crate) at_rest: Duration,
    /// The hub's processor time from the commit to that rest, in the hub's own process.
    pub(crate) cpu: Duration,
}

impl Lone {
    /// Starts a hub over a repository with these files, and waits until it has read and published them.
    ///
    /// # Errors
    /// It does not start, or never publishes.
    pub(crate) fn start(files: &[(String, String)], args: &[&str]) -> Result<(Self, Took)> {
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let args = [&log::ARGS[..], args].concat();
        let hub = Hub::start_with_args(&files, &args)?;
        let lone = Self { metrics: log::metrics_address(&hub)?, hub };
        let head = lone.hub.head()?;
        let took = lone.took(&head, Duration::ZERO)?;
        Ok((lone, took))
    }

    /// Writes files, commits them, and waits until what follows from them is in the log.
    ///
    /// # Errors
    /// Git fails, or the hub never publishes it.
    pub(crate) fn commit(&self, files: &[(String, String)]) -> Result<Took> {
        for (path, text) in files {
            self.hub.fleet.repo.write(path, text)?;
        }
        let before = procfs::cpu_time(self.hub.pid()?)?.own;
        let head = self.hub.fleet.repo.commit("a change")?;
        self.took(&head, before)
    }

    /// Where the repository is.
    #[must_use]
    pub(crate) fn repository(&self) -> &std::path::Path {
        self.hub.fleet.repo.dir()
    }

    /// The hub's memory, in bytes.
    ///
    /// # Errors
    /// It does not run.
    pub(crate) fn rss_bytes(&self) -> Result<u64> {
        procfs::rss_bytes(self.hub.pid()?)
    }

    fn took(&self, head: &str, cpu_before: Duration) -> Result<Took> {
        let read = self.logged(|| log::rendered(&self.hub, head))?;
        self.logged(|| log::after(&self.hub, "publishing", read))?;
        let rest = self.rest()?;
        let seen = log::of_commit(&self.hub, "saw a new head", head)?;
        Ok(Took {
            read: read.duration_since(seen).unwrap_or_default(),
            at_rest: rest.duration_since(seen).unwrap_or_default(),
            cpu: procfs::cpu_time(self.hub.pid()?)?.own.saturating_sub(cpu_before),
        })
    }

    /// Waits for a line of the hub's log.
    fn logged(&self, line: impl Fn() -> Result<SystemTime>) -> Result<SystemTime> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match line() {
                Ok(time) => return Ok(time),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Waits until the replicated log no longer grows; tells when it last did.
    fn rest(&self) -> Result<SystemTime> {
        let deadline = Instant::now() + PATIENCE;
        let state = || Reading::take(self.metrics).map(|now| now.get("applied_index"));
        let (mut last, mut at, mut since) = (state()?, SystemTime::now(), Instant::now());
        while since.elapsed() < REST {
            std::thread::sleep(POLL);
            let now = state()?;
            if now != last {
                (last, at, since) = (now, SystemTime::now(), Instant::now());
            }
            ensure!(Instant::now() < deadline, "the hub does not come to rest");
        }
        Ok(at)
    }
}
