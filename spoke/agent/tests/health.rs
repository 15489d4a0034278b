//! `drover-spoke health` as people and scripts call it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

const CLAIM: &str = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, status: {phase: Lost}}";

fn health(args: &[&str], stdin: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drover-spoke"));
    command.arg("health").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn verdicts_go_to_stdout_and_none_of_them_is_a_failure() {
    let shown = health(&["-f", "-"], CLAIM);
    let table = "OBJECT                      HEALTH    REASON\n\
                 PersistentVolumeClaim data  Degraded  phase Lost: its volume is gone\n";
    assert_eq!((shown.status.code(), String::from_utf8(shown.stdout).unwrap().as_str()), (Some(0), table));
    let shown = health(&["-f", "-", "-o", "json"], CLAIM);
    let found: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    let wanted = serde_json::json!([{
        "object": "PersistentVolumeClaim data", "health": "Degraded", "reason": "phase Lost: its volume is gone",
    }]);
    assert_eq!((shown.status.code(), found), (Some(0), wanted));
}

#[test]
fn what_cannot_be_read_is_named_on_stderr_and_is_a_failure() {
    let failure = |args: &[&str], stdin: &str| {
        let shown = health(args, stdin);
        assert_eq!((shown.status.code(), shown.stdout.len()), (Some(1), 0));
        String::from_utf8(shown.stderr).unwrap()
    };
    let said = failure(&["-f", "-"], "kind: Pod");
    assert_eq!(said, "error: -: object 1 has no apiVersion; it must look as `kubectl get -o yaml` prints it\n");
    let said = failure(&["-f", "/nonexistent/objects"], "");
    assert!(said.starts_with("error: read /nonexistent/objects: "), "{said}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "kind: Bundle").unwrap();
    let path = file.path().display().to_string();
    let said = failure(&["-f", "-", "--checks", &path], CLAIM);
    assert!(said.starts_with(&format!("error: {path}: document 1 is no HealthCheck: ")), "{said}");
}
