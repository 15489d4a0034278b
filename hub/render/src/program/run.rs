//! One run of a program, seen from outside: what it may take, and what became of it.

use std::io::{Read, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use proto_model::limits;
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use super::child::{CHILD_ARG, Request};
use super::spawn::spawn;

/// What one run may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Time on the clock, in seconds.
    pub secs: u64,
    /// Processor time, in seconds.
    pub cpu_secs: u64,
    /// Resident memory, in bytes.
    pub memory_bytes: u64,
    /// What it may print, in bytes.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            secs: limits::RENDER_SECS_MAX,
            cpu_secs: limits::RENDER_CPU_SECS_MAX,
            memory_bytes: limits::RENDER_MEMORY_BYTES_MAX,
            output_bytes: limits::RENDER_OUTPUT_BYTES_MAX,
        }
    }
}

/// Why a run gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// It did not begin.
    #[error("cannot be started: {0}")]
    Start(String),
    /// Too long.
    #[error("took longer than {0} s and was ended; simplify it, or split the bundle")]
    Time(u64),
    /// Too much memory.
    #[error("needed more than {0} bytes of memory and was ended; simplify it, or split the bundle")]
    Memory(u64),
    /// Too much output.
    #[error("printed more than {0} bytes and was ended; simplify it, or split the bundle")]
    Output(usize),
    /// Nobody waits for it any more.
    #[error("was ended, since nobody wants it any more")]
    Unwanted,
    /// The kernel ended it.
    #[error("was ended by the system: it used more than {0} s of processor time, or the machine has no memory left")]
    Killed(u64),
    /// It says that something is wrong.
    #[error("{0}")]
    Complaint(String),
}

/// What nobody but the program may read: it goes through a pipe, since arguments and environment are
/// there for everybody on the machine, or for each of its own children.
pub(super) type Secret = Zeroizing<Vec<u8>>;

impl Failure {
    /// Whether it lies with the machine, so that the same run may do in a minute: on a machine that is
    /// busy, time and memory run out for what is fine on any other.
    pub(crate) const fn passes(&self) -> bool {
        matches!(self, Self::Start(_) | Self::Time(_) | Self::Memory(_) | Self::Killed(_) | Self::Unwanted)
    }
}

/// What there is to run.
pub(super) struct Job<'a> {
    pub(super) request: Request,
    pub(super) folder: &'a Path,
    pub(super) env: Vec<(String, String)>,
    /// At most `limits::CREDENTIAL_BYTES_MAX`, which a pipe takes before anybody reads it.
    pub(super) stdin: Option<Secret>,
    pub(super) limits: Limits,
    pub(super) child: &'a Path,
    /// Asked meanwhile, again and again: where it is not, the program is ended.
    pub(super) is_wanted: &'a dyn Fn() -> bool,
}

/// What the threads that read say.
enum Said {
    Out(Vec<u8>),
    Complaint(Vec<u8>),
    TooMuch,
}

/// Runs to the end; what was printed is the answer.
pub(super) fn run(job: Job<'_>) -> Result<Vec<u8>, Failure> {
    let mut child = start(&job)?;
    if let (Some(mut pipe), Some(secret)) = (child.stdin.take(), &job.stdin) {
        // A program that ended at once says itself why.
        let _ = pipe.write_all(secret);
    }
    let said = listen(&mut child, job.limits.output_bytes);
    let ended = attend(&child, &said, &job);
    if ended.is_err() {
        end(&child);
    }
    let status = child.wait().map_err(|error| Failure::Start(error.to_string()))?;
    let (out, complaint) = ended?;
    judge(status, out, &complaint, &job.limits)
}

fn start(job: &Job<'_>) -> Result<Child, Failure> {
    use std::os::unix::process::CommandExt as _;
    let request = serde_json::to_string(&job.request).map_err(|error| Failure::Start(error.to_string()))?;
    let mut command = Command::new(job.child);
    command.args([CHILD_ARG, &request]).env_clear().envs(job.env.iter().map(|(name, value)| (name, value)));
    command.current_dir(job.folder).process_group(0);
    command.stdin(if job.stdin.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    spawn(command).map_err(|error| Failure::Start(error.to_string()))
}

/// Reads both pipes to their ends, each in a thread, since a full pipe would block the program.
fn listen(child: &mut Child, output_bytes: usize) -> Receiver<Said> {
    let (sender, said) = channel();
    let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let complaint = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let tell = |pipe: Option<Box<dyn Read + Send>>, sender: Sender<Said>, max, is_out| {
        let serve = move || {
            let said = match (pipe.map(|pipe| read_to(pipe, max)).unwrap_or_default(), is_out) {
                (Some(bytes), true) => Said::Out(bytes),
                (None, true) => Said::TooMuch,
                (bytes, false) => Said::Complaint(bytes.unwrap_or_default()),
            };
            // Nobody listens any more where the program was ended.
            let _ = sender.send(said);
        };
        // Where no thread can be made, the sender goes and the run ends.
        let _ = thread::Builder::new().name("render-reader".into()).spawn(serve);
    };
    tell(out, sender.clone(), output_bytes, true);
    tell(complaint, sender, limits::RENDER_COMPLAINT_BYTES_MAX, false);
    said
}

/// Everything up to the end; `None` where there is more than `max`.
fn read_to(pipe: impl Read, max: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let room = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
    // A pipe that breaks ends here as one that closes.
    let _ = pipe.take(room).read_to_end(&mut bytes);
    (bytes.len() <= max).then_some(bytes)
}

/// Waits for both pipes to close, and looks after time and memory meanwhile.
fn attend(child: &Child, said: &Receiver<Said>, job: &Job<'_>) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let limits = &job.limits;
    let deadline = Instant::now() + Duration::from_secs(limits.secs);
    let (mut out, mut complaint) = (None, None);
    loop {
        match said.recv_timeout(Duration::from_millis(limits::RENDER_POLL_MILLIS)) {
            Ok(Said::Out(bytes)) => out = Some(bytes),
            Ok(Said::Complaint(bytes)) => complaint = Some(bytes),
            Ok(Said::TooMuch) => return Err(Failure::Output(limits.output_bytes)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(Failure::Start("its output cannot be read".into())),
        }
        if let (Some(out), Some(complaint)) = (&mut out, &mut complaint) {
            return Ok((std::mem::take(out), std::mem::take(complaint)));
        }
        if Instant::now() > deadline {
            return Err(Failure::Time(limits.secs));
        }
        if !(job.is_wanted)() {
            return Err(Failure::Unwanted);
        }
        if resident_bytes(child.id()) > limits.memory_bytes {
            return Err(Failure::Memory(limits.memory_bytes));
        }
    }
}

/// Resident memory of a process, in bytes; 0 where it has ended.
fn resident_bytes(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm"))
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    pages.unwrap_or_default().saturating_mul(page)
}

/// Ends the program and all that it started. It has not been waited for, so the number is its own.
fn end(child: &Child) {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

fn judge(status: ExitStatus, out: Vec<u8>, complaint: &[u8], limits: &Limits) -> Result<Vec<u8>, Failure> {
    if status.success() {
        return Ok(out);
    }
    if status.signal() == Some(Signal::KILL.as_raw()) {
        return Err(Failure::Killed(limits.cpu_secs));
    }
    let text = String::from_utf8_lossy(complaint);
    let text = text.trim();
    Err(Failure::Complaint(if text.is_empty() { format!("ended with {status}") } else { text.to_owned() }))
}
