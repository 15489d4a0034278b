//! What is measured: a real hub over a real repository, and a fleet of real spokes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use proto_wire::control::CreateJoinToken;
use proto_wire::control::execute_request::Command;
use tests_wire::hub::Hub;
use tests_wire::procfs;

use crate::child::Child;
use crate::metrics::Reading;
use crate::stats::Times;
use crate::{Shape, folder, log, reference, show};

/// Starts of spokes a second, below what a hub lets join.
const JOINS_PER_SEC: u64 = 40;
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the hub's numbers: what the last ack may be off by.
const POLL: Duration = Duration::from_millis(2);
/// How long nothing may change before the fleet counts as at rest.
const REST: Duration = Duration::from_millis(1_500);
/// Time over which the hub is watched while nothing happens.
const IDLE: Duration = Duration::from_secs(10);
/// Bundles of every cluster, and ConfigMaps of each.
const BUNDLES: usize = 5;
const OBJECTS: usize = 4;

/// What was measured of the fleet.
#[derive(Default)]
pub(crate) struct Figures {
    /// From the commit being seen to the last spoke's ack.
    pub(crate) last_ack: Times,
    /// The same while clusters do not answer, so that nothing is applied before all have acked: in life the spokes
    /// have machines of their own.
    pub(crate) last_ack_alone: Times,
    /// To the ack of half of them.
    pub(crate) half_acked: Times,
    /// To the commit being read and rendered.
    pub(crate) prepared: Times,
    /// To its publish being under way.
    pub(crate) publishing: Times,
    /// From the commit being made to it being seen.
    pub(crate) seen: Times,
    /// To the last change of the log that it caused: all spokes applied and reported.
    pub(crate) at_rest: Times,
    /// The hub's processor time from the commit to that rest.
    pub(crate) commit_cpu: Times,
    /// Processor time of all spokes for the same.
    pub(crate) spokes_cpu: Times,
    /// Bytes that one commit sent to one spoke.
    pub(crate) delta_bytes: u64,
    /// Reports that one commit drew from all spokes.
    pub(crate) reports: u64,
    /// Entries of the log that one commit cost.
    pub(crate) entries: u64,
    /// Bytes of the record that a spoke writes before it acks.
    pub(crate) record_bytes: u64,
    /// Memory of a hub that knows the fleet and has nobody connected, in bytes.
    pub(crate) rss_alone: u64,
    /// With all connected, in bytes.
    pub(crate) rss_connected: u64,
    /// With all connected, after the commits, less what the same hub had before anybody joined, in bytes.
    pub(crate) rss_used: u64,
    /// Streams of `rss_connected` and `rss_used`.
    pub(crate) streams: u64,
    /// From the hub's return until all are attached again, in seconds.
    pub(crate) back_secs: f64,
    /// Bytes of content that their return cost.
    pub(crate) back_bytes: u64,
    /// The hub's processor time while nothing happens, in percent of one core.
    pub(crate) idle_percent: f64,
    /// That of the fetches that it starts, in percent of one core.
    pub(crate) idle_fetch_percent: f64,
}

impl Figures {
    /// Memory of one connected stream that has sent nothing but a Welcome, in bytes.
    #[must_use]
    pub(crate) fn rss_per_stream(&self) -> u64 {
        self.rss_connected.saturating_sub(self.rss_alone) / self.streams.max(1)
    }

    /// Memory of one cluster and its stream after joining and all commits, in bytes.
    #[must_use]
    pub(crate) fn rss_per_stream_used(&self) -> u64 {
        self.rss_used / self.streams.max(1)
    }

    /// Prints the figures beside those of the reference.
    pub(crate) fn show(&self, shape: Shape, bare: &reference::Figures) {
        let kib = |bytes: u64| format!("{:.1} KiB", bytes as f64 / 1024.0);
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1024.0 / 1024.0);
        show(&[
            ("clusters, commits", format!("{}, {}", shape.spokes, shape.rounds)),
            ("commit seen -> last acked", self.last_ack.to_string()),
            ("bare tonic: sent -> last acked", bare.last_ack.to_string()),
            ("ratio of the medians", format!("{:.2}", self.last_ack.median() / bare.last_ack.median())),
            ("  the same, nothing applied meanwhile", self.last_ack_alone.to_string()),
            ("  ratio of the medians", format!("{:.2}", self.last_ack_alone.median() / bare.last_ack.median())),
            ("  of it: seen -> read and rendered", self.prepared.to_string()),
            ("  of it: seen -> publishing", self.publishing.to_string()),
            ("  of it: seen -> half acked", self.half_acked.to_string()),
            ("commit made -> seen (poll of a second)", self.seen.to_string()),
            ("seen -> log at rest, all reported", self.at_rest.to_string()),
            ("hub's CPU for one commit", self.commit_cpu.to_string()),
            ("spokes' CPU for one commit, all of them", self.spokes_cpu.to_string()),
            ("reference's CPU for one broadcast", bare.cpu.to_string()),
            ("reports of one commit, entries of the log", format!("{}, {}", self.reports, self.entries)),
            ("delta bytes per spoke", format!("{} bytes", self.delta_bytes)),
            ("ledger record per spoke, before its ack", format!("{} bytes", self.record_bytes)),
            ("hub's memory, nobody connected", mib(self.rss_alone)),
            ("hub's memory, all connected", mib(self.rss_connected)),
            ("  per connected stream", kib(self.rss_per_stream())),
            ("  per connected stream, after the commits", kib(self.rss_per_stream_used())),
            ("reference's memory per connected stream", kib(bare.rss_per_stream)),
            ("all attached again after a kill of the hub", format!("{:.2} s", self.back_secs)),
            ("  delta bytes sent by that", format!("{} bytes", self.back_bytes)),
            ("idle CPU of the hub, 10 s", format!("{:.2} % of a core", self.idle_percent)),
            ("  its fetches of Git, each second", format!("{:.2} % of a core", self.idle_fetch_percent)),
        ]);
    }
}

/// The fleet under measurement.
struct Run {
    hub: Hub,
    spokes: Vec<Child>,
    metrics: SocketAddr,
    shape: Shape,
    _dir: tempfile::TempDir,
}

/// Starts the fleet, measures, and ends it.
///
/// # Errors
/// A part of it fails or takes too long.
pub(crate) async fn measure(shape: Shape) -> Result<Figures> {
    let (kept, dir) = folder()?;
    let files = files();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    let hub = Hub::start_with_args(&files, &log::ARGS)?;
    let before = procfs::rss_bytes(hub.pid()?)?;
    let metrics = log::metrics_address(&hub)?;
    let mut run = Run { hub, spokes: Vec::new(), metrics, shape, _dir: kept };
    run.start_spokes(dir).await?;
    let mut figures = Figures { streams: shape.spokes as u64, ..Figures::default() };
    // The first round warms up.
    run.commit(0, &mut Figures::default())?;
    for round in 1..=shape.rounds {
        run.commit(round, &mut figures)?;
    }
    for round in 1..=shape.rounds {
        run.commit_alone(shape.rounds + round, &mut figures)?;
    }
    figures.rss_used = procfs::rss_bytes(run.hub.pid()?)?.saturating_sub(before);
    run.idle(&mut figures)?;
    run.restart(&mut figures)?;
    Ok(figures)
}

fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut declarations = String::new();
    for bundle in 0..BUNDLES {
        declarations.push_str(&format!(
            "---\napiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: bundle-{bundle}}}\n\
             spec: {{path: bundle-{bundle}, namespace: shop, targets: [{{name: all, selector: {{}}}}]}}\n"
        ));
        for object in 0..OBJECTS {
            files.push((format!("bundle-{bundle}/object-{object}.yaml"), config_map(bundle, object, "first")));
        }
    }
    files.push(("drover.yaml".into(), declarations));
    files
}

/// A ConfigMap of about a kilobyte.
fn config_map(bundle: usize, object: usize, value: &str) -> String {
    let mut text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: object-{bundle}-{object}}}\ndata:\n");
    text.push_str(&format!("  value: \"{value}\"\n"));
    for line in 0..20 {
        text.push_str(&format!("  setting-{line}: \"what object {object} of bundle {bundle} has to say\"\n"));
    }
    text
}

impl Run {
    async fn start_spokes(&mut self, dir: PathBuf) -> Result<()> {
        let count = u32::try_from(self.shape.spokes)?;
        // Clusters that Git does not declare run something only where their token labels them.
        let labels = [("bench".to_owned(), "true".to_owned())].into();
        let ask = CreateJoinToken { labels, names: vec!["cluster-*".into()], uses: count, ttl_secs: 3600 };
        let answer = self.hub.execute(Command::CreateJoinToken(ask)).await?;
        let file = dir.join("token");
        std::fs::write(&file, answer.token)?;
        let shares = self.shape.shares();
        let pace = (1000 * shares.len() as u64 / JOINS_PER_SEC).to_string();
        let text = |path: &PathBuf| path.to_str().map(str::to_owned).context("the temporary folder is not UTF-8");
        let (dir, file) = (text(&dir)?, text(&file)?);
        for (first, count) in shares {
            let (first, count) = (first.to_string(), count.to_string());
            self.spokes.push(Child::start(&[
                "spokes",
                "--dir",
                &dir,
                "--token",
                &file,
                "--first",
                &first,
                "--count",
                &count,
                "--pace-millis",
                &pace,
            ])?);
        }
        for spokes in &mut self.spokes {
            spokes.hear().context("the spokes do not start")?;
        }
        self.until("all spokes are attached", |now| now.get("streams") == self.shape.spokes as u64)?;
        self.rest().map(drop)
    }

    fn read(&self) -> Result<Reading> {
        Reading::take(self.metrics)
    }

    /// Polls the hub's numbers until they are as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Reading) -> bool) -> Result<Reading> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = self.read()?;
            if wanted(&now) {
                return Ok(now);
            }
            ensure!(Instant::now() < deadline, "waited in vain for: {what}\n{now:#?}");
            std::thread::sleep(POLL);
        }
    }

    /// Waits until nothing is applied or reported any more; tells when the last change was seen.
    fn rest(&self) -> Result<SystemTime> {
        let deadline = Instant::now() + PATIENCE;
        let state = |now: &Reading| (now.get("applied_index"), now.get("reports_total"), now.get("acks_total"));
        let (mut last, mut at, mut since) = (state(&self.read()?), SystemTime::now(), Instant::now());
        while since.elapsed() < REST {
            std::thread::sleep(5 * POLL);
            let now = state(&self.read()?);
            if now != last {
                (last, at, since) = (now, SystemTime::now(), Instant::now());
            }
            ensure!(Instant::now() < deadline, "the fleet does not come to rest");
        }
        Ok(at)
    }

    /// Makes a commit and measures everything about it.
    fn commit(&mut self, round: usize, figures: &mut Figures) -> Result<()> {
        self.tell("mark")?;
        let before = self.read()?;
        let (hub_cpu, spokes_cpu) = (procfs::cpu_time(self.hub.pid()?)?.own, self.spokes_cpu()?);
        let (head, made) = self.change(round)?;
        let (all, base) = (self.shape.spokes as u64, before.get("acks_total"));
        self.until("half acked", |now| now.get("acks_total") - base >= all / 2)?;
        let half = SystemTime::now();
        self.until("all acked", |now| now.get("acks_total") - base >= all)?;
        let last = SystemTime::now();
        let at_rest = self.rest()?;
        let after = self.read()?;

        let seen = log::of_commit(&self.hub, "saw a new head", &head)?;
        let since = |later: SystemTime| later.duration_since(seen).unwrap_or_default();
        figures.seen.push(seen.duration_since(made).unwrap_or_default());
        figures.prepared.push(since(log::rendered(&self.hub, &head)?));
        figures.publishing.push(since(log::after(&self.hub, "publishing", seen)?));
        figures.half_acked.push(since(half));
        figures.last_ack.push(since(last));
        figures.at_rest.push(since(at_rest));
        figures.commit_cpu.push(procfs::cpu_time(self.hub.pid()?)?.own.saturating_sub(hub_cpu));
        figures.spokes_cpu.push(self.spokes_cpu()?.saturating_sub(spokes_cpu));
        figures.delta_bytes = (after.get("sync_delta_bytes_total") - before.get("sync_delta_bytes_total")) / all;
        figures.reports = after.get("reports_total") - before.get("reports_total");
        figures.entries = after.get("entries_total") - before.get("entries_total");
        let (mut writes, mut bytes) = (0, 0);
        for spokes in &mut self.spokes {
            let counted = spokes.ask("counted")?;
            writes += counted["writes"].as_u64().unwrap_or(0);
            bytes += counted["bytes"].as_u64().unwrap_or(0);
        }
        ensure!(writes == all, "{writes} ledgers were written");
        figures.record_bytes = bytes / all;
        Ok(())
    }

    /// Makes a commit that is stored and acked while no cluster answers, and lets them answer afterwards.
    fn commit_alone(&mut self, round: usize, figures: &mut Figures) -> Result<()> {
        self.tell("hold")?;
        let base = self.read()?.get("acks_total");
        let (head, _) = self.change(round)?;
        let all = self.shape.spokes as u64;
        self.until("all acked", |now| now.get("acks_total") - base >= all)?;
        let last = SystemTime::now();
        let seen = log::of_commit(&self.hub, "saw a new head", &head)?;
        figures.last_ack_alone.push(last.duration_since(seen).unwrap_or_default());
        self.tell("let")?;
        self.rest().map(drop)
    }

    /// Commits a change of one object of one bundle: its id, and when it was made.
    fn change(&self, round: usize) -> Result<(String, SystemTime)> {
        let bundle = round % BUNDLES;
        let path = format!("bundle-{bundle}/object-0.yaml");
        let head = self.hub.commit(&path, &config_map(bundle, 0, &format!("round-{round}")))?;
        Ok((head, SystemTime::now()))
    }

    fn tell(&mut self, word: &str) -> Result<()> {
        self.spokes.iter_mut().try_for_each(|spokes| spokes.ask(word).map(drop))
    }

    fn spokes_cpu(&self) -> Result<Duration> {
        self.spokes.iter().map(|spokes| Ok(procfs::cpu_time(spokes.pid())?.own)).sum()
    }

    fn idle(&self, figures: &mut Figures) -> Result<()> {
        self.rest()?;
        let (pid, start) = (self.hub.pid()?, Instant::now());
        let before = procfs::cpu_time(pid)?;
        std::thread::sleep(IDLE);
        let (after, secs) = (procfs::cpu_time(pid)?, start.elapsed().as_secs_f64());
        figures.idle_percent = 100.0 * (after.own - before.own).as_secs_f64() / secs;
        figures.idle_fetch_percent = 100.0 * (after.children - before.children).as_secs_f64() / secs;
        Ok(())
    }

    /// Kills the hub, looks at it without anybody connected, and lets the fleet come back.
    fn restart(&mut self, figures: &mut Figures) -> Result<()> {
        for spokes in &self.spokes {
            spokes.signal(libc::SIGSTOP)?;
        }
        self.hub.restart()?;
        self.metrics = log::metrics_address(&self.hub)?;
        self.rest()?;
        figures.rss_alone = procfs::rss_bytes(self.hub.pid()?)?;
        let start = Instant::now();
        for spokes in &self.spokes {
            spokes.signal(libc::SIGCONT)?;
        }
        self.until("all spokes are attached again", |now| now.get("streams") == self.shape.spokes as u64)?;
        figures.back_secs = start.elapsed().as_secs_f64();
        self.rest()?;
        figures.rss_connected = procfs::rss_bytes(self.hub.pid()?)?;
        figures.back_bytes = self.read()?.get("sync_delta_bytes_total");
        Ok(())
    }
}
