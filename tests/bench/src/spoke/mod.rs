//! What one spoke costs on a real API server: applies a second against a bare loop that makes the same requests,
//! memory, processor time and requests while nothing happens, and how soon it puts right what somebody else changed.
//!
//! Requests are counted, and applying is timed, by the API servers' audit logs, the same way for both.

mod bare;
mod content;
mod edits;
mod memory;
mod requests;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_tools::Cluster;
use tests_tools::cluster::Options;
use tests_tools::fleet::{Fleet, Where};
use tests_wire::procfs;

use crate::show;
use crate::stats::Times;
use bare::Bare;
use content::{CLUSTER, DEFINITION, NAMESPACE};
use memory::Memory;
use requests::{Requests, SPOKE};

pub(crate) use content::Size;

/// Objects that somebody else changes.
const EDITS: usize = 50;
/// Commits of a run that applies everything anew, at most; fewer of many objects.
const ROUNDS_MAX: usize = 5;
/// Longest wait for a commit to be applied, and for a spoke to have nothing left to do.
const PATIENCE: Duration = Duration::from_secs(600);
/// Between two looks at the hub: what the times to Applied may be off by. Each is a process, so not often.
const POLL: Duration = Duration::from_millis(500);
/// For how long a spoke does nothing before it counts as idle.
const REST: Duration = Duration::from_secs(30);

/// A hub, a spoke on a real cluster, and a cluster for the reference.
struct Site {
    fleet: Fleet,
    cluster: Cluster,
    other: Cluster,
    size: Size,
}

/// Measures, and prints what it found.
///
/// # Errors
/// A part of it fails or takes too long.
pub(crate) async fn run(size: Size, rounds: usize, idle: Duration) -> Result<()> {
    let mut site = Site::start(size)?;
    show(&[("objects, kinds, bundles", format!("{}, {}, {}", size.objects, size.kinds, content::BUNDLES))]);
    let mut bare = Bare::new(&site.other.kubeconfig()).await?;
    site.first(&mut bare).await?;
    let rounds = rounds.min(if size.objects > 5_000 { 2 } else { ROUNDS_MAX });
    site.again(&bare, rounds).await?;
    drop(bare);
    site.rest().await?;
    site.idle(idle).await?;
    site.edits().await
}

/// How fast something was applied.
struct Applied {
    /// From the first look, dry-run or apply to the last, at the API server.
    span: Duration,
    objects: usize,
}

impl Applied {
    fn of(requests: &Requests) -> Result<Self> {
        Ok(Self { span: requests.span()?, objects: requests.applies() })
    }

    fn per_sec(&self) -> f64 {
        self.objects as f64 / self.span.as_secs_f64()
    }

    fn show(&self) -> String {
        format!("{:.0} a second ({} in {:.2} s)", self.per_sec(), self.objects, self.span.as_secs_f64())
    }
}

impl Site {
    fn start(size: Size) -> Result<Self> {
        let options = vec![Options::bare(CLUSTER), Options::bare("reference")];
        let mut clusters = Cluster::start_all(options)?.into_iter();
        let (cluster, other) = clusters.next().zip(clusters.next()).context("no two clusters")?;
        for one in [&cluster, &other] {
            one.kubectl_text(["create", "-f", "-"], DEFINITION)?;
            one.kubectl_text(["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"], "")?;
        }
        other.kubectl_text(["create", "namespace", NAMESPACE], "")?;
        let mut fleet = Fleet::new()?;
        for (path, text) in content::files(size, 0) {
            fleet.repo.write(&path, &text)?;
        }
        let head = fleet.repo.commit("the first")?;
        fleet.start_hub()?;
        fleet.wait("everything read", |status| status["sources"][0]["commit"] == head)?;
        Ok(Self { fleet, cluster, other, size })
    }

    fn pid(&self) -> Result<u32> {
        self.fleet.spoke_pid(CLUSTER).context("the spoke does not run")
    }

    fn cpu(&self) -> Result<Duration> {
        Ok(procfs::cpu_time(self.pid()?)?.own)
    }

    /// The spoke joins and applies everything; then the reference does.
    async fn first(&mut self, bare: &mut Bare) -> Result<()> {
        let (moment, start) = (requests::now(), Instant::now());
        self.fleet.join(CLUSTER, Where::Kube(self.cluster.kubeconfig()))?;
        let head = self.fleet.repo.git(&["rev-parse", "HEAD"])?;
        self.applied(head.trim()).await?;
        let took = start.elapsed();
        let spoke = Requests::since(&self.cluster, SPOKE, &moment)?;
        bare.watch(spoke.watches());
        let bodies = content::bodies(self.size, 0)?;
        let moment = requests::now();
        bare.replay(&spoke.calls(), &bodies).await?;
        let alone = Applied::of(&Requests::since(&self.other, bare::AGENT, &moment)?)?;
        let applied = Applied::of(&spoke)?;
        show(&[
            ("first: spoke started -> hub says Applied", format!("{:.1} s", took.as_secs_f64())),
            ("  applies at the API server", applied.show()),
            ("  bare loop, the same requests", alone.show()),
            ("  ratio", format!("{:.0} %", 100.0 * applied.per_sec() / alone.per_sec())),
            ("  spoke's requests", spoke.counts()),
            ("  watches, which the bare loop has too", spoke.watches().len().to_string()),
            ("  spoke's CPU since its start", format!("{} ms", self.cpu()?.as_millis())),
            ("  spoke's memory now", Memory::of(self.pid()?)?.to_string()),
        ]);
        Ok(())
    }

    /// Commits that change every object, in turns with the reference so that both meet the same machine.
    async fn again(&self, bare: &Bare, rounds: usize) -> Result<()> {
        let (mut until, mut spans, mut alone) = (Times::default(), Times::default(), Times::default());
        let mut counts = String::new();
        let before = self.cpu()?;
        for round in 1..=rounds {
            for (path, text) in content::files(self.size, round) {
                self.fleet.repo.write(&path, &text)?;
            }
            let (moment, start) = (requests::now(), Instant::now());
            self.applied(&self.fleet.repo.commit("a change of everything")?).await?;
            until.push(start.elapsed());
            let spoke = Requests::since(&self.cluster, SPOKE, &moment)?;
            ensure!(spoke.applies() == self.size.objects, "{} were applied", spoke.applies());
            spans.push(spoke.span()?);
            counts = spoke.counts();

            let bodies = content::bodies(self.size, round)?;
            let moment = requests::now();
            bare.replay(&spoke.calls(), &bodies).await?;
            alone.push(Requests::since(&self.other, bare::AGENT, &moment)?.span()?);
        }
        if rounds == 0 {
            return Ok(());
        }
        let cpu = (self.cpu()? - before).as_secs_f64() * 1000.0 / rounds as f64;
        let per_sec = |times: &Times| format!("{:.0}", self.size.objects as f64 * 1000.0 / times.median());
        show(&[
            ("all changed: commit -> hub says Applied", until.to_string()),
            ("  first request -> last apply", spans.to_string()),
            ("  bare loop: the same", alone.to_string()),
            ("  applies a second: spoke, bare loop", format!("{}, {}", per_sec(&spans), per_sec(&alone))),
            ("  ratio", format!("{:.0} %", 100.0 * alone.median() / spans.median())),
            ("  spoke's requests of the last", counts),
            ("  spoke's CPU for one such commit", format!("{cpu:.0} ms")),
            ("  spoke's memory now", Memory::of(self.pid()?)?.to_string()),
        ]);
        Ok(())
    }

    /// Waits until the spoke does nothing but what an idle one does.
    async fn rest(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let moment = requests::now();
            tokio::time::sleep(REST).await;
            let since = Requests::since(&self.cluster, SPOKE, &moment)?;
            if since.is_idle() {
                show(&[("at rest after", format!("{:.0} s", (start.elapsed() - REST).as_secs_f64()))]);
                return Ok(());
            }
            ensure!(start.elapsed() < PATIENCE, "the spoke comes to no rest: {}", since.counts());
        }
    }

    /// Looks at the spoke while nothing happens.
    async fn idle(&self, time: Duration) -> Result<()> {
        let (moment, start, before) = (requests::now(), Instant::now(), self.cpu()?);
        tokio::time::sleep(time).await;
        let (cpu, took) = (self.cpu()? - before, start.elapsed());
        let requests = Requests::since(&self.cluster, SPOKE, &moment)?;
        let a_minute = |count: usize| count as f64 * 60.0 / took.as_secs_f64();
        show(&[
            ("idle for", format!("{:.0} s", took.as_secs_f64())),
            ("  requests", requests.counts()),
            (
                "  a minute: all, Lease",
                format!("{:.1}, {:.1}", a_minute(requests.len()), a_minute(requests.renewals())),
            ),
            ("  CPU", format!("{} ms, {:.2} mCPU", cpu.as_millis(), cpu.as_secs_f64() * 1000.0 / took.as_secs_f64())),
            ("  memory", Memory::of(self.pid()?)?.to_string()),
        ]);
        for (what, kib) in memory::account(self.pid()?)? {
            show(&[(&format!("    {what}"), format!("{kib} KiB"))]);
        }
        Ok(())
    }

    /// Somebody else changes objects.
    async fn edits(&self) -> Result<()> {
        let (moment, before) = (requests::now(), self.cpu()?);
        let took = edits::run(&self.cluster.kubeconfig(), self.size, EDITS).await?;
        let cpu = (self.cpu()? - before).as_secs_f64() * 1000.0 / EDITS as f64;
        // What is told of it comes a little later.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let requests = Requests::since(&self.cluster, SPOKE, &moment)?;
        let shown = |times: &Times| format!("{times}, p95 {:.1} ms", times.p95());
        show(&[
            ("edit -> correction, both as a watch tells", shown(&took.seen)),
            ("  with the request that edits", shown(&took.sent)),
            ("  applies for each edit", format!("{:.2}", requests.applies() as f64 / EDITS as f64)),
            ("  requests for all edits", requests.counts()),
            ("  spoke's CPU for each", format!("{cpu:.1} ms")),
        ]);
        Ok(())
    }

    /// Waits until the hub says that all bundles are Applied at a commit.
    async fn applied(&self, commit: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.fleet.status()?;
            if is_applied(&status, commit) {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{commit} is not applied: {status:#}\n{}",
                self.fleet.spoke_log(CLUSTER)
            );
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_applied(status: &Json, commit: &str) -> bool {
    let clusters = status["clusters"].as_array().into_iter().flatten();
    let mut bundles = clusters.filter_map(|cluster| cluster["bundles"].as_array()).flatten().peekable();
    status["sources"].as_array().is_some_and(|all| all.iter().all(|one| one["commit"] == commit))
        && bundles.peek().is_some()
        && bundles.all(|bundle| bundle["commit"] == commit && bundle["sync"] == "Applied" && bundle["hold"].is_null())
}
