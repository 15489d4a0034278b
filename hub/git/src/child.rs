//! The process that fetches: it is told what on stdin, answers in one line on stdout, and ends.
//!
//! It ends when its parent does, however that ends: stdin closes then, and a thread waits for
//! that. (A parent-death signal would follow the *thread* that spawned it, and threads of a
//! runtime come and go.)

use std::io::{BufRead as _, Read as _, Write as _};
use std::process::ExitCode;
use std::thread;

use rustix::process::{Signal, getpgrp, getpid, kill_current_process_group};

use crate::error::FetchError;
use crate::mirror;
use crate::source::{Fetched, Request};
use crate::watch;

/// The first argument of a program that is to be the child.
pub const CHILD_ARG: &str = "__git-fetch";
/// What the answer's line begins with; other lines are no answer.
pub(crate) const ANSWER: &str = "drover-git-fetch ";

/// Exit code of a child whose parent is gone.
const ORPHAN: i32 = 3;

/// Fetches and gives the exit code, where this process was started to be the child; `None` in
/// every other process. To be called first thing in `main`.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    let asked = std::env::args_os().nth(1).is_some_and(|arg| arg == CHILD_ARG);
    asked.then(child_run)
}

/// Is the child, whatever the arguments: for test programs, which start themselves in other ways.
#[must_use]
pub fn child_run() -> ExitCode {
    let mut request = String::new();
    if std::io::stdin().lock().read_line(&mut request).is_err() {
        return ExitCode::FAILURE;
    }
    end_with_parent();
    let Ok(request) = serde_json::from_str::<Request>(&request) else { return ExitCode::FAILURE };
    let standing = watch::begin(&request);
    let answer = mirror::fetch(&request, &standing);
    if say(&answer) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Gives an answer. Of two, the parent takes the first.
pub(crate) fn say(answer: &Result<Fetched, FetchError>) -> bool {
    let Ok(line) = serde_json::to_string(answer) else { return false };
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{ANSWER}{line}").and_then(|()| out.flush()).is_ok()
}

fn end_with_parent() {
    thread::spawn(|| {
        let mut rest = [0; 64];
        let mut stdin = std::io::stdin().lock();
        while matches!(stdin.read(&mut rest), Ok(1..)) {}
        // What it started goes too, where the group is its own.
        if getpgrp() == getpid() {
            let _ = kill_current_process_group(Signal::KILL);
        }
        std::process::exit(ORPHAN);
    });
}
