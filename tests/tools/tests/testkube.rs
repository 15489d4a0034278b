//! The program `testkube`: what the command gets, how the end is handed on, and that a violent end leaves nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests_tools::sys;

const TESTKUBE: &str = env!("CARGO_BIN_EXE_testkube");

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(180);
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A zombie that nobody has taken yet does not run any more.
fn runs(pid: u32) -> bool {
    let state = |stat: String| stat.rsplit(')').next().map(|rest| rest.trim_start().starts_with('Z'));
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| state(stat) == Some(false))
}

#[test]
fn the_command_gets_the_clusters_and_gives_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let script = r#"test "$DROVER_KUBECONFIGS" = "$1:$2" || exit 3
        test "$*" = "$1 $2 --kubeconfig $1 --kubeconfig $2" || exit 4
        sleep 1000 & echo $! > "$(dirname "$1")/left-behind"
        exit 7"#;
    let output = Command::new(TESTKUBE)
        .args(["run", "--clusters", "2", "--bare", "--dir"])
        .arg(dir.path())
        .args(["--", "sh", "-c", script, "sh", "{kubeconfig:1}", "{kubeconfig:2}", "{kubeconfigs}"])
        // The process that the script leaves behind would keep a pipe open.
        .stdout(Stdio::null())
        .stderr(fs::File::create(dir.path().join("stderr")).unwrap())
        .status()
        .unwrap();
    let printed = fs::read_to_string(dir.path().join("stderr")).unwrap();
    assert_eq!(output.code(), Some(7), "{printed}");
    assert_eq!(printed.matches("kubectl --kubeconfig /").count(), 2, "{printed}");
    let left: u32 = fs::read_to_string(dir.path().join("cluster-1/left-behind")).unwrap().trim().parse().unwrap();
    assert!(!runs(left));
    assert!(dir.path().join("cluster-2/kubeconfig").exists(), "a directory that was named is kept");
}

#[test]
fn signals_reach_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let begun = dir.path().join("begun");
    let script = r#"trap 'exit 9' TERM; touch "$1"; while :; do sleep 0.1; done"#;
    let mut testkube =
        Command::new(TESTKUBE).args(["run", "--bare", "--", "sh", "-c", script, "sh"]).arg(&begun).spawn().unwrap();
    wait_until("the command begins", || begun.exists());
    sys::send_signal(testkube.id(), libc::SIGTERM).unwrap();
    assert_eq!(testkube.wait().unwrap().code(), Some(9));
}

#[test]
fn a_killed_testkube_leaves_no_process() {
    let dir = tempfile::tempdir().unwrap();
    let begun = dir.path().join("begun");
    let script = r#"touch "$1"; exec sleep 1000"#;
    let mut testkube = Command::new(TESTKUBE)
        .args(["run", "--dir"])
        .arg(dir.path().join("clusters"))
        .args(["--", "sh", "-c", script, "sh"])
        .arg(&begun)
        .spawn()
        .unwrap();
    wait_until("the command begins", || Path::new(&begun).exists());
    let children = sys::children(testkube.id()).unwrap();
    assert_eq!(children.len(), 6, "five of the cluster and the command");
    testkube.kill().unwrap();
    testkube.wait().unwrap();
    wait_until("every process ends", || !children.iter().any(|pid| runs(*pid)));
}

#[test]
fn preflight_names_everything_that_is_missing_at_once() {
    let output = Command::new(TESTKUBE).arg("preflight").env("PATH", "/nonexistent").output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for name in ["cargo", "cc", "git", "go"] {
        assert!(printed.contains(&format!("MISSING  {name}: ")), "{printed}");
    }
}
