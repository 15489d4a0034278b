//! The process that becomes Helm or Kustomize: it gives up what the program does not need, and
//! then is the program.
//!
//! The kernel kills it when the thread that started it ends; [`super::spawn`] sees to it that this
//! thread lives as long as the process does.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use rustix::process::{Resource, Rlimit, Signal, getppid, set_parent_process_death_signal, setrlimit};
use serde::{Deserialize, Serialize};

use super::sandbox;

/// The first argument of a program that is to be the child.
pub const CHILD_ARG: &str = "__render-program";

/// What the child is told, as JSON in its second argument.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// The process that started it.
    pub(super) parent: u32,
    /// What to run; `None` to print what can be enforced here.
    pub(super) program: Option<PathBuf>,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// The network, where it needs that.
    pub(super) online: Option<Online>,
    /// Files and folders that it may read.
    pub(super) read: Vec<PathBuf>,
    /// Folders that it may write to.
    pub(super) write: Vec<PathBuf>,
    /// Processor time, in seconds.
    pub(super) cpu_secs: u64,
    /// Largest file that it may write, in bytes.
    pub(super) file_bytes: u64,
    /// Address space, in bytes.
    pub(super) address_bytes: u64,
    /// Files that it may have open.
    pub(super) files_open: u64,
}

/// What a program with the network needs beside it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Online {
    /// Files and folders that it may read.
    pub(super) read: Vec<PathBuf>,
    /// Its environment. The child has it already; among its arguments everybody on the machine could read
    /// the password of a proxy.
    #[serde(skip)]
    pub(super) variables: Vec<(String, String)>,
}

/// What the system lets us take away from a program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Enforced {
    /// Whether it sees only the files that it was given.
    pub(super) files: bool,
    /// Whether it has no network.
    pub(super) network: bool,
}

/// Becomes Helm or Kustomize where this process was started for that; `None` in every other
/// process. To be called first thing in `main`, while there is one thread only.
#[must_use]
pub fn child_main() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != CHILD_ARG {
        return None;
    }
    let request = args.next().and_then(|text| serde_json::from_str(text.to_str()?).ok());
    let Some(request) = request else { return Some(ExitCode::FAILURE) };
    let Err(why) = become_program(&request);
    // Whoever would read it may be gone.
    let _ = writeln!(std::io::stderr(), "{why}");
    Some(ExitCode::FAILURE)
}

fn become_program(request: &Request) -> Result<std::convert::Infallible, String> {
    // The namespace first: it is open only to a process of one thread, and a change of
    // credentials would take the signal away again.
    let network = request.online.is_none() && sandbox::leave_network();
    die_with(request.parent)?;
    for (resource, limit) in [
        (Resource::Core, 0),
        (Resource::Cpu, request.cpu_secs),
        (Resource::Fsize, request.file_bytes),
        (Resource::As, request.address_bytes),
        (Resource::Nofile, request.files_open),
    ] {
        limited(resource, limit)?;
    }
    let mut read = request.read.clone();
    read.extend(request.online.iter().flat_map(|online| online.read.clone()));
    let files = sandbox::restrict(&read, &request.write, request.online.is_some())?;
    let Some(program) = &request.program else {
        let enforced = Enforced { files: files.files, network: network || files.network };
        let line = serde_json::to_string(&enforced).map_err(|error| error.to_string())?;
        writeln!(std::io::stdout(), "{line}").map_err(|error| error.to_string())?;
        std::process::exit(0);
    };
    let error = Command::new(program).args(&request.args).exec();
    Err(format!("{} cannot be started: {error}", program.display()))
}

fn die_with(parent: u32) -> Result<(), String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("the signal of a dying parent cannot be set: {error}"))?;
    // The parent may have died before the line above: then nobody would send the signal any more.
    let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now == Some(parent) { Ok(()) } else { Err("the parent is gone".into()) }
}

/// Takes the hard limit too, so that the program cannot raise it; one that is lower already stays.
fn limited(resource: Resource, limit: u64) -> Result<(), String> {
    let before = rustix::process::getrlimit(resource).maximum;
    let limit = Some(before.map_or(limit, |before| before.min(limit)));
    setrlimit(resource, Rlimit { current: limit, maximum: limit })
        .map_err(|error| format!("limit {resource:?} cannot be set: {error}"))
}
