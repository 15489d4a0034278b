//! What Linux knows of a process: whether it runs, what it started, how much memory and time it takes.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use tests_tools::sys;

/// A process, told apart from a later one with the same number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    started: String,
}

impl Process {
    /// The process with this number; `None` where there is none.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let started = stat(pid)?.get(19)?.clone();
        Some(Self { pid, started })
    }

    /// Whether it still runs; one that ended and was not waited for does not.
    #[must_use]
    pub fn runs(&self) -> bool {
        stat(self.pid).is_some_and(|fields| {
            fields.get(19) == Some(&self.started) && !fields.first().is_some_and(|state| state == "Z" || state == "X")
        })
    }
}

/// Everything that a process started, and what that started in turn.
///
/// # Errors
/// `/proc` cannot be read.
pub fn descendants(pid: u32) -> Result<BTreeSet<Process>> {
    let mut found = BTreeSet::new();
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        for child in sys::children(parent).context("cannot list the processes in /proc")? {
            if let Some(process) = Process::of(child)
                && found.insert(process)
            {
                open.push(child);
            }
        }
    }
    Ok(found)
}

/// Resident memory of a process, in bytes.
///
/// # Errors
/// It does not run.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS is no number")?;
    Ok(kib * 1024)
}

/// Processor time, in programs and in the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// Of the process itself.
    pub own: Duration,
    /// Of those that it started and that have ended.
    pub children: Duration,
}

/// Processor time that a process took so far.
///
/// # Errors
/// It does not run.
pub fn cpu_time(pid: u32) -> Result<CpuTime> {
    /// What the kernel counts times in for programs, on every architecture of Linux.
    const TICKS_PER_SEC: u64 = 100;
    let fields = stat(pid).with_context(|| format!("no process {pid}"))?;
    let ticks =
        |at: usize| -> Result<u64> { fields.get(at).context("a short line in /proc")?.parse().context("ticks") };
    let time =
        |at: usize| Ok::<_, anyhow::Error>(Duration::from_millis((ticks(at)? + ticks(at + 1)?) * 1000 / TICKS_PER_SEC));
    Ok(CpuTime { own: time(11)?, children: time(13)? })
}

/// The fields of `/proc/PID/stat` after the name, which may hold anything: state first.
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_is_seen_to_start_and_to_end() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let seen = Process::of(child.id()).unwrap();
        assert!(seen.runs() && descendants(std::process::id()).unwrap().contains(&seen));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!seen.runs());
        assert!(rss_bytes(std::process::id()).unwrap() > 1 << 20);
        cpu_time(std::process::id()).unwrap();
    }
}
