//! What a machine must have before tests can run against real servers, found out all at once.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::{pins, process, sys, tools};

/// kube-apiserver alone keeps some hundred connections to etcd and its watchers.
const DESCRIPTORS_MIN: u64 = 4096;
/// What a Rust program gets that does not raise its own limit; Go programs raise theirs.
const DESCRIPTORS_SOFT_MIN: u64 = 1024;

const GIB: u64 = 1 << 30;
/// Work directories: etcd reserves 64 MB for each cluster, and audit logs grow.
const WORK_DISK_BYTES: u64 = 2 * GIB;
/// The built programs.
const TOOLS_DISK_BYTES: u64 = GIB;
/// The sources that a build downloads.
const MODULES_DISK_BYTES: u64 = 2 * GIB;
/// What the Go compiler caches.
const COMPILED_DISK_BYTES: u64 = 5 * GIB;

/// One prerequisite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is needed.
    pub name: &'static str,
    /// What was found, or what is wrong and what to do about it.
    pub found: Result<String, String>,
}

/// Looks at every prerequisite.
#[must_use]
pub fn check() -> Vec<Check> {
    vec![
        Check { name: "cargo", found: runs("cargo", &["--version"], "install Rust with rustup") },
        Check { name: "cc", found: runs("cc", &["--version"], "install a C compiler (Debian: apt install gcc)") },
        Check { name: "git", found: runs("git", &["--version"], "install Git (Debian: apt install git)") },
        Check {
            name: "ssh",
            found: runs("ssh", &["-V"], "install OpenSSH's client (Debian: apt install openssh-client)"),
        },
        Check { name: "nginx", found: runs("nginx", &["-v"], "install nginx (Debian: apt install nginx-light)") },
        Check { name: "go", found: go() },
        Check { name: "file descriptors", found: descriptors() },
        Check { name: "free disk", found: disk() },
    ]
}

/// Fails unless every prerequisite is there.
///
/// # Errors
/// One error that names everything that is missing.
pub fn require() -> Result<()> {
    let missing: Vec<String> =
        check().into_iter().filter_map(|check| Some(format!("  {}: {}", check.name, check.found.err()?))).collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("this machine lacks what tests with real servers need:\n{}", missing.join("\n"))
}

/// The first line that a program prints.
fn runs(program: &str, args: &[&str], remedy: &str) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(args).env("GOTOOLCHAIN", "local");
    match process::output(command) {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
        }
        Ok(output) => Err(format!("`{program} {}` fails ({}); {remedy}", args.join(" "), output.status)),
        Err(error) => Err(format!("{error:#}; {remedy}")),
    }
}

fn go() -> Result<String, String> {
    let (major, minor) = pins::go_version().ok_or("no go.mod of tests/tools names a Go version; add its `go` line")?;
    let remedy = format!("install Go {major}.{minor} or newer from https://go.dev/dl and put it into PATH");
    let version = runs("go", &["env", "GOVERSION"], &remedy)?;
    match pins::parse_go_version(version.trim_start_matches("go")) {
        Some(found) if found >= (major, minor) => Ok(version),
        _ => Err(format!("{version} is too old; {remedy}")),
    }
}

fn descriptors() -> Result<String, String> {
    let (soft, hard) = sys::descriptor_limits().map_err(|error| format!("cannot be read: {error}"))?;
    if hard < DESCRIPTORS_MIN || soft < DESCRIPTORS_SOFT_MIN {
        return Err(format!(
            "limits are {soft} (soft) and {hard} (hard), needed are {DESCRIPTORS_SOFT_MIN} and {DESCRIPTORS_MIN}; \
             raise them with `ulimit -n` or in /etc/security/limits.conf"
        ));
    }
    Ok(format!("{soft} (soft), {hard} (hard)"))
}

/// Adds up what is needed on each file system, since the caches often share one.
fn disk() -> Result<String, String> {
    let mut needs = vec![(env::temp_dir(), WORK_DISK_BYTES)];
    if !tools::all_built().map_err(|error| format!("{error:#}"))? {
        needs.push((tools::cache_dir().map_err(|error| format!("{error:#}"))?, TOOLS_DISK_BYTES));
        // Where Go is missing, its own check says so.
        for (name, bytes) in [("GOMODCACHE", MODULES_DISK_BYTES), ("GOCACHE", COMPILED_DISK_BYTES)] {
            needs.extend(runs("go", &["env", name], "").ok().map(|path| (PathBuf::from(path), bytes)));
        }
    }
    let mut file_systems: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    for (path, bytes) in needs {
        let (path, device) = existing(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        file_systems.entry(device).or_insert((path, 0)).1 += bytes;
    }
    let (mut fine, mut short) = (Vec::new(), Vec::new());
    for (path, needed) in file_systems.into_values() {
        let free = sys::free_disk_bytes(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let list = if free < needed { &mut short } else { &mut fine };
        list.push(format!("{} GiB free of {} GiB needed at {}", free / GIB, needed / GIB, path.display()));
    }
    if short.is_empty() {
        return Ok(fine.join(", "));
    }
    Err(format!(
        "{}; make room, or point TMPDIR, DROVER_TEST_CACHE, GOCACHE and GOMODCACHE elsewhere",
        short.join(", ")
    ))
}

/// The nearest folder that exists, since caches are made when they are first used; and its file system.
fn existing(path: &Path) -> io::Result<(PathBuf, u64)> {
    for folder in path.ancestors() {
        match fs::metadata(folder) {
            Ok(metadata) => return Ok((folder.to_path_buf(), metadata.dev())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}
