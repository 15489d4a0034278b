//! What a process has in memory, as Linux accounts for it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

/// Size of the stack of a thread that Rust starts.
const STACK_KIB: u64 = 2 * 1024;

/// Memory of one process, in KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Memory {
    /// Resident, in all.
    pub(super) resident: u64,
    /// Of it: of nobody's file.
    pub(super) anonymous: u64,
    /// Of it: pages of files, which other processes may share.
    pub(super) file: u64,
    /// The most that was ever resident.
    pub(super) peak: u64,
    /// What is shared counted in parts.
    pub(super) proportional: u64,
    /// Threads.
    pub(super) threads: u64,
}

impl Memory {
    /// Of a process.
    ///
    /// # Errors
    /// It does not run.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let rollup = read(pid, "smaps_rollup")?;
        let of = |text: &str, name: &str| field(text, name).with_context(|| format!("no {name} in /proc"));
        Ok(Self {
            resident: of(&status, "VmRSS")?,
            anonymous: of(&status, "RssAnon")?,
            file: of(&status, "RssFile")?,
            peak: of(&status, "VmHWM")?,
            proportional: of(&rollup, "Pss")?,
            threads: of(&status, "Threads")?,
        })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { resident, anonymous, file, peak, proportional, threads } = self;
        write!(
            f,
            "{} MiB: {} anonymous, {} of files; PSS {}, peak {}; {threads} threads",
            mib(*resident),
            mib(*anonymous),
            mib(*file),
            mib(*proportional),
            mib(*peak)
        )
    }
}

fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

fn read(pid: u32, file: &str) -> Result<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).with_context(|| format!("no process {pid}"))
}

/// A number of `/proc/PID/status` or `smaps`, which are KiB except for counts.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident KiB of a process by what is mapped there.
///
/// # Errors
/// It does not run.
pub(super) fn account(pid: u32) -> Result<BTreeMap<&'static str, u64>> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).with_context(|| format!("no process {pid}"))?;
    Ok(accounted(&read(pid, "smaps")?, &program.to_string_lossy()))
}

fn accounted(smaps: &str, program: &str) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    let mut what = "";
    for line in smaps.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            [range, rights, _, _, _, name @ ..] if range.contains('-') && !range.ends_with(':') => {
                what = class(range, rights, &name.join(" "), program);
            }
            ["Rss:", kib, "kB"] => *sums.entry(what).or_default() += kib.parse::<u64>().unwrap_or(0),
            _ => {}
        }
    }
    sums.retain(|_, kib| *kib > 0);
    sums
}

/// What a mapping is for. A stack of a thread is told by its size.
fn class(range: &str, rights: &str, name: &str, program: &str) -> &'static str {
    let ends = range.split_once('-').map(|(from, to)| (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)));
    let kib = match ends {
        Some((Ok(from), Ok(to))) => to.saturating_sub(from) / 1024,
        _ => 0,
    };
    let writable = rights.contains('w');
    match name {
        _ if name == program && rights.contains('x') => "program: code",
        _ if name == program && writable => "program: variables",
        _ if name == program => "program: constants, relocated data",
        "[heap]" => "heap: first arena",
        "[stack]" => "stacks",
        "" | "[anon: .bss]" if writable && kib == STACK_KIB => "stacks",
        "" if writable => "heap: other arenas, large blocks",
        _ if name.starts_with('/') => "libraries",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    const SMAPS: &str = "\
55d0a0000000-55d0a0100000 r--p 00000000 fe:00 12 /opt/some program
Rss:                 100 kB
Pss:                  50 kB
55d0a0100000-55d0a0200000 r-xp 00100000 fe:00 12 /opt/some program
Rss:                 900 kB
55d0b0000000-55d0b0100000 rw-p 00000000 00:00 0 [heap]
Rss:                 300 kB
7f0000000000-7f0000200000 rw-p 00000000 00:00 0 
Rss:                  12 kB
7f0000400000-7f0000500000 rw-p 00000000 00:00 0 
Rss:                  40 kB
7f0000600000-7f0000700000 r-xp 00000000 fe:00 13 /lib/libc.so.6
Rss:                   8 kB
7f0000800000-7f0000900000 ---p 00000000 00:00 0 
Rss:                   0 kB
";

    #[test]
    fn every_mapping_is_accounted_for() {
        let sums = accounted(SMAPS, "/opt/some program");
        let expected = [
            ("heap: first arena", 300),
            ("heap: other arenas, large blocks", 40),
            ("libraries", 8),
            ("program: code", 900),
            ("program: constants, relocated data", 100),
            ("stacks", 12),
        ];
        assert_eq!(sums, BTreeMap::from(expected));
    }

    #[test]
    fn this_process_has_memory() {
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.resident >= own.anonymous + own.file && own.peak >= own.resident && own.threads >= 1);
        let sum: u64 = account(std::process::id()).unwrap().values().sum();
        assert!(sum > own.anonymous / 2, "{sum} of {own}");
    }
}
