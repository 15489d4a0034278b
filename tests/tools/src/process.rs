//! Programs that never outlive the one that started them, however it ends.
//!
//! The kernel kills a child (`PR_SET_PDEATHSIG`) when the *thread* that started it ends, and a test's thread ends long
//! before the test program. So one thread, which lives as long as the process, starts them all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::sys;

/// How much of the end of a log an error quotes.
const LOG_TAIL_BYTES: u64 = 4096;
/// How many lines of that at most.
const LOG_TAIL_LINES: usize = 15;
/// Between two looks at a process that is expected to change.
const POLL: Duration = Duration::from_millis(20);

type Request = (Command, Sender<io::Result<Child>>);

/// Starts a command that the kernel kills when this process ends, for whatever reason.
///
/// # Errors
/// If the program cannot be started.
pub fn spawn(mut command: Command) -> Result<Child> {
    static SPAWNER: OnceLock<Sender<Request>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, requests) = channel::<Request>();
        let serve = move || {
            // Signals to the process belong to the threads that its program has for them, never to this one.
            let _ = sys::block_signals(&[libc::SIGHUP, libc::SIGINT, libc::SIGTERM]);
            for (mut command, reply) in requests {
                // Whoever asked may be gone; then the child handle is dropped here.
                let _ = reply.send(command.spawn());
            }
        };
        // Where no thread can be made, the receiver is dropped with the closure and each request below fails.
        let _ = thread::Builder::new().name("spawner".into()).spawn(serve);
        sender
    });
    sys::die_with_parent(&mut command);
    let program = command.get_program().to_string_lossy().into_owned();
    let (reply, answer) = channel();
    let lost = || anyhow!("cannot start {program}: the thread that starts programs is gone");
    spawner.send((command, reply)).map_err(|_| lost())?;
    answer.recv().map_err(|_| lost())?.with_context(|| format!("cannot start {program}"))
}

/// Runs a command to its end and collects what it prints; it dies with this process.
///
/// # Errors
/// If the program cannot be started or its output not be read. An exit status other than 0 is no error here.
pub fn output(mut command: Command) -> Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command)?.wait_with_output().context("cannot read the output of a program")
}

/// A running program with a log file; killed on drop.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts a command with its output appended to the file `log`, its input empty, in a process group of its own (so
    /// that Ctrl-C on a terminal does not reach it).
    ///
    /// # Errors
    /// If the log cannot be opened or the program not be started.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot open the log {}", log.display()))?;
        let errors = file.try_clone().context("cannot share a log between stdout and stderr")?;
        command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0);
        let child = spawn(command)?;
        Ok(Self { name: name.into(), log: log.into(), child })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with everything it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// If the system cannot tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot tell whether {} still runs", self.name))
    }

    /// Sends SIGKILL and does not wait; a process that has ended is left alone.
    pub fn begin_kill(&mut self) {
        // The only failure is a process that is gone, which is what was asked for.
        let _ = self.child.kill();
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        self.begin_kill();
        let _ = self.child.wait();
    }

    /// Waits until this very process listens on a port of 127.0.0.1.
    ///
    /// # Errors
    /// If it ends first, with the end of its log, or at the deadline.
    pub(crate) fn wait_listening(&mut self, port: u16, timeout: Duration) -> Result<Listening> {
        let deadline = Instant::now() + timeout;
        loop {
            if sys::listens(self.pid(), port).context("cannot read /proc to find out who listens")? {
                return Ok(Listening::Yes);
            }
            if self.ended()?.is_some() {
                if self.log_tail().contains("address already in use") {
                    return Ok(Listening::PortTaken);
                }
                return Err(self.failure("ended instead of listening"));
            }
            if Instant::now() > deadline {
                return Err(self.failure(&format!("did not listen on port {port} within {timeout:?}")));
            }
            thread::sleep(POLL);
        }
    }

    /// Fails if the process has ended.
    pub(crate) fn must_run(&mut self) -> Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => bail!(self.failure(&format!("ended unexpectedly ({status})"))),
        }
    }

    /// An error about this process that quotes the end of its log.
    pub(crate) fn failure(&self, what: &str) -> anyhow::Error {
        anyhow!("{} {what}; the end of its log {}:\n{}", self.name, self.log.display(), self.log_tail())
    }

    fn log_tail(&self) -> String {
        file_tail(&self.log).unwrap_or_else(|error| format!("(unreadable: {error})"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What became of a process that was to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listening {
    Yes,
    /// It ended because another program has the port.
    PortTaken,
}

fn file_tail(path: &Path) -> io::Result<String> {
    let length = fs::metadata(path)?.len();
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(last_lines(&String::from_utf8_lossy(&bytes)))
}

/// The last lines of a text, as many as an error quotes.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
}

/// Ends every process that this one has adopted (see [`sys::adopt_orphans`]), and what those leave behind in turn.
///
/// Meant for the very end of a program: it also kills children whose handles are still held.
///
/// # Errors
/// If `/proc` cannot be read, or some process does not end within the timeout.
pub fn end_children(timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let children = sys::children(std::process::id()).context("cannot list the processes in /proc")?;
        if children.is_empty() {
            return Ok(());
        }
        for child in &children {
            // A child that ended in between is what we want.
            let _ = sys::send_signal(*child, libc::SIGKILL);
            let _ = sys::reap(*child);
        }
        if Instant::now() > deadline {
            bail!("processes {children:?} do not end after SIGKILL; look at what they wait for in /proc/PID/stack");
        }
        thread::sleep(POLL);
    }
}
