//! The programs that a run starts, and how they end.
//!
//! Each leads a process group of its own, so that Ctrl-C on the terminal reaches this program alone, which then ends
//! them in order. Should this program be killed instead, they are told so by the kernel (`--die-with-parent`).

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child as Process, ChildStdout, Command};

use super::folder::tail;

/// How long a program may take to end when it is asked to.
const END_TIMEOUT: Duration = Duration::from_secs(8);
/// Longest line that a program may print when it is ready, in bytes.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// A program that runs.
pub struct Child {
    name: String,
    log: PathBuf,
    process: Process,
    stdout: Option<ChildStdout>,
}

impl Child {
    /// Starts a program; what it logs is appended to a file. Call it on the main thread: the kernel ends a child when
    /// the thread that started it ends.
    ///
    /// # Errors
    /// It cannot be started, or the file not be opened.
    pub fn start(name: &str, mut command: Command, log: &Path, reads_stdout: bool) -> Result<Self> {
        let file = open_log(log)?;
        let stdout = if reads_stdout { Stdio::piped() } else { clone(&file, log)?.into() };
        command.stdin(Stdio::null()).stdout(stdout).stderr(clone(&file, log)?);
        // A log file is no terminal.
        command.process_group(0).kill_on_drop(true).env("NO_COLOR", "1");
        let mut process =
            command.spawn().with_context(|| format!("cannot start {}", command.as_std().get_program().display()))?;
        let stdout = process.stdout.take();
        Ok(Self { name: name.to_owned(), log: log.to_path_buf(), process, stdout })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first line that it prints.
    ///
    /// # Errors
    /// It ended, or takes too long; the error tells the end of its log.
    pub async fn first_line(&mut self, limit: Duration) -> Result<String> {
        let stdout = self.stdout.take().context("its output goes to the log")?;
        let mut line = String::new();
        let mut reader = BufReader::new(tokio::io::AsyncReadExt::take(stdout, LINE_BYTES_MAX));
        match tokio::time::timeout(limit, reader.read_line(&mut line)).await {
            Ok(Ok(bytes)) if bytes > 0 => Ok(line),
            Ok(_) => {
                let status = self.process.wait().await.with_context(|| format!("cannot wait for {}", self.name))?;
                bail!("{}", self.obituary(status))
            }
            Err(_) => bail!(
                "{} is not ready after {} s; the end of {}:\n{}",
                self.name,
                limit.as_secs(),
                self.log.display(),
                tail(&self.log)
            ),
        }
    }

    /// Whether it ended, and what its log says; asked again, `None`.
    pub fn death(&mut self) -> Option<String> {
        match self.process.try_wait() {
            Ok(Some(status)) => Some(self.obituary(status)),
            _ => None,
        }
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!("{} ended ({status}); its log is {}\n{}", self.name, self.log.display(), tail(&self.log))
    }

    fn signal(&self, signal: Signal) {
        // One that was waited for has no id any more, and so no other process can be meant.
        let id = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id {
            // It may end just now. A kill takes along what the program started itself.
            let _ = if signal == Signal::KILL { kill_process_group(id, signal) } else { kill_process(id, signal) };
        }
    }
}

/// Ends programs, group after group: asks all of a group to end, waits, and kills those that are still there at the
/// limit. Once `hurry` comes, whoever is left is killed.
pub async fn end(groups: Vec<Vec<Child>>, hurry: impl Future<Output = ()>) {
    tokio::pin!(hurry);
    let mut is_hurried = false;
    for mut children in groups {
        for child in &children {
            child.signal(Signal::TERM);
        }
        if !is_hurried {
            tokio::select! {
                () = wait(&mut children) => continue,
                () = tokio::time::sleep(END_TIMEOUT) => {}
                () = &mut hurry => is_hurried = true,
            }
        }
        for child in &children {
            child.signal(Signal::KILL);
        }
        wait(&mut children).await;
    }
}

async fn wait(children: &mut [Child]) {
    for child in children {
        // An error means that it was waited for before.
        let _ = child.process.wait().await;
    }
}

fn open_log(path: &Path) -> Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn clone(file: &File, path: &Path) -> Result<File> {
    file.try_clone().with_context(|| format!("cannot open {}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

    use super::*;

    fn shell(script: &str, folder: &Path) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::start("shell", command, &folder.join("shell.log"), true).unwrap()
    }

    #[tokio::test]
    async fn an_early_death_is_told_with_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo no such directory >&2; exit 3", folder.path());
        let error = child.first_line(Duration::from_secs(20)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("  no such directory"), "{error}");
    }

    #[tokio::test]
    async fn who_does_not_end_when_asked_is_killed_with_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("trap '' TERM; echo $$; sleep 600 & sleep 600", folder.path());
        let id: i32 = child.first_line(Duration::from_secs(20)).await.unwrap().trim().parse().unwrap();
        let group = Pid::from_raw(id).unwrap();
        let other = shell("trap '' TERM; echo $$; sleep 600", folder.path());
        // Hurry comes once and counts for the second group as well.
        end(vec![vec![child], vec![other]], async {}).await;
        // Killed processes vanish once they are reaped, which init does for grandchildren.
        let gone = async {
            while rustix::process::test_kill_process_group(group).is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }

    #[tokio::test]
    async fn who_ends_when_asked_is_not_waited_for_longer() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", folder.path());
        child.first_line(Duration::from_secs(20)).await.unwrap();
        assert_eq!(child.death(), None);
        let begun = std::time::Instant::now();
        end(vec![vec![child]], std::future::pending()).await;
        assert!(begun.elapsed() < END_TIMEOUT);
    }
}
