//! The parent's side of a fetch: start the child, wait within the deadline, believe nothing but
//! its answer.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use proto_model::limits;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::fs;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::child::{ANSWER, CHILD_ARG};
use crate::error::FetchError;
use crate::local;
use crate::source::{Fetched, Limits, Location, Reference, Request, Signers, Source};
use crate::ssh;

/// What of the child's output is looked at, in bytes.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;
/// What of its complaints is shown, in characters.
const COMPLAINT_CHARS_MAX: usize = 300;
/// What the child sees of this process's environment: where programs and certificates are.
const PASSED: [&str; 3] = ["PATH", "SSL_CERT_FILE", "SSL_CERT_DIR"];
/// And the way out, where the source is not on this machine.
const PROXIES: [&str; 6] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"];

/// Fetches in child processes.
#[derive(Debug, Clone)]
pub struct Fetcher {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    deadline: Duration,
    limits: Limits,
    private: Option<PathBuf>,
}

impl Default for Fetcher {
    /// The child is this same program, which begins with [`crate::child_main`]; the deadline is
    /// [`limits::FETCH_SECS_MAX`].
    fn default() -> Self {
        // Not a path that an update may have replaced meanwhile: the very file that runs.
        Self::new("/proc/self/exe", [CHILD_ARG])
    }
}

/// Fetches a source with the default [`Fetcher`].
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    Fetcher::default().fetch(source).await
}

impl Fetcher {
    /// The child is another program, which calls [`crate::child_main`] or [`crate::child_run`].
    pub fn new(program: impl Into<OsString>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        let args = args.into_iter().map(Into::into).collect();
        let deadline = Duration::from_secs(limits::FETCH_SECS_MAX);
        let (limits, private) = (Limits::default(), None);
        Self { program: program.into(), args, env: Vec::new(), deadline, limits, private }
    }

    /// Another deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self.limits.deadline_millis = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Another limit of what one fetch may bring, in bytes of packs, in place of
    /// [`limits::FETCH_BYTES_MAX`].
    #[must_use]
    pub fn bytes_max(mut self, bytes: u64) -> Self {
        self.limits.fetch_bytes_max = bytes;
        self
    }

    /// Another size above which a mirror is made anew, in bytes, in place of
    /// [`limits::MIRROR_BYTES_MAX`].
    #[must_use]
    pub fn mirror_bytes_max(mut self, bytes: u64) -> Self {
        self.limits.mirror_bytes_max = bytes;
        self
    }

    /// Another limit of what the child may hold in memory, in bytes, in place of
    /// [`limits::FETCH_MEMORY_BYTES_MAX`].
    #[must_use]
    pub fn memory_bytes_max(mut self, bytes: u64) -> Self {
        self.limits.memory_bytes_max = bytes;
        self
    }

    /// A directory of which the child sees nothing but the source's own, wherever it lies.
    #[must_use]
    pub fn private(mut self, dir: impl Into<PathBuf>) -> Self {
        self.private = Some(dir.into());
        self
    }

    /// A further variable in the child's environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Brings the mirror up to date. Where the ref of a local source still names the mirror's
    /// head, that is seen without a child, in a millisecond.
    ///
    /// # Errors
    /// The mirror is as it was, or newer, and can be read as before. See [`FetchError`].
    pub async fn fetch(&self, source: &Source) -> Result<Fetched, FetchError> {
        let location = Location::parse(&source.url)?;
        let reference = Reference::parse(&location.url(), &source.reference)?;
        // A head that was held already may be one that was refused: the child judges it.
        if let Location::Local(path) = &location
            && source.signers.is_none()
        {
            let (path, dir) = (path.clone(), source.dir.clone());
            let seen = spawn_blocking(move || local::unchanged(&path, &reference, &dir)).await;
            if let Ok(Some(commit)) = seen {
                return Ok(Fetched { commit, unchanged: true });
            }
        }
        // The child runs in the mirror's directory: what was relative no longer is.
        let source = Source { url: location.url(), dir: absolute(&source.dir)?, ..source.clone() };
        let source = match &source.credentials {
            Some(path) => Source { credentials: Some(absolute(path)?), ..source },
            None => source,
        };
        let source = match &source.signers {
            Some(Signers::File(path)) => Source { signers: Some(Signers::File(absolute(path)?)), ..source },
            _ => source,
        };
        prepare(&source.dir, &location).await?;
        let mut child = self.start(&source, &location)?;
        let private = self.private.as_deref().map(absolute).transpose()?;
        let request = Request { source, limits: self.limits, private };
        match timeout(self.deadline, ask(&mut child.0, &request, &location)).await {
            Ok(answer) => answer,
            Err(_) => {
                // Nothing is left of it when the next fetch begins.
                child.end();
                let _ = child.0.wait().await;
                Err(FetchError::Deadline { url: request.source.url, secs: self.deadline.as_secs() })
            }
        }
    }

    fn start(&self, source: &Source, location: &Location) -> Result<Group, FetchError> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).env_clear().current_dir(&source.dir).process_group(0);
        let proxies = matches!(location, Location::Http { loopback: false, .. });
        for name in PASSED.iter().chain(PROXIES.iter().filter(|_| proxies)) {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", &source.dir)
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", source.dir.join(GIT_CONFIG))
            .env("GIT_TERMINAL_PROMPT", "0")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().map(Group).map_err(|error| failed(source, &format!("it cannot be started: {error}")))
    }
}

/// A child with what it started: ssh, or git-upload-pack. All of it ends with this value.
struct Group(Child);

impl Group {
    fn end(&self) {
        // `None` once it was waited for: its id may be another's by now.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

const GIT_CONFIG: &str = "git.config";

/// Makes the mirror's directory, with the configuration of `git-upload-pack`: Git would refuse a
/// local repository of another user, and whoever configured the source has vouched for it.
async fn prepare(dir: &Path, location: &Location) -> Result<(), FetchError> {
    let mirror = |error: std::io::Error| FetchError::Mirror { dir: dir.to_owned(), why: error.to_string() };
    fs::create_dir_all(dir).await.map_err(mirror)?;
    let config = match location {
        Location::Local(_) => "[safe]\n\tdirectory = *\n",
        Location::Http { .. } | Location::Ssh { .. } => "",
    };
    fs::write(dir.join(GIT_CONFIG), config).await.map_err(mirror)
}

async fn ask(child: &mut Child, request: &Request, location: &Location) -> Result<Fetched, FetchError> {
    let source = &request.source;
    let mut request = serde_json::to_vec(request).map_err(|error| failed(source, &error.to_string()))?;
    request.push(b'\n');
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return Err(failed(source, "it has no pipes"));
    };
    // A child that died at once is told by its status.
    let _ = stdin.write_all(&request).await;
    let (out, complaint) = tokio::join!(read_all(stdout), read_all(stderr));
    let status = child.wait().await.map_err(|error| failed(source, &error.to_string()))?;
    drop(stdin);
    let out = String::from_utf8_lossy(&out);
    let complaint = String::from_utf8_lossy(&complaint);
    if let Some(answer) = out.lines().find_map(|line| line.strip_prefix(ANSWER)) {
        let answer: Result<Fetched, FetchError> =
            serde_json::from_str(answer).map_err(|error| failed(source, &error.to_string()))?;
        return match location {
            Location::Ssh { .. } => {
                answer.map_err(|error| ssh::refine(error, source.credentials.as_deref(), &complaint))
            }
            Location::Local(_) | Location::Http { .. } => answer,
        };
    }
    let complaint: String =
        complaint.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMPLAINT_CHARS_MAX).collect();
    Err(failed(source, &format!("it ended without an answer ({status}): {complaint}")))
}

/// Reads to the end and keeps the beginning: a child that talks too much must not block.
async fn read_all(mut from: impl AsyncRead + Unpin) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = OUTPUT_BYTES_MAX.saturating_sub(kept.len()).min(count);
        kept.extend_from_slice(&buffer[..room]);
    }
    kept
}

fn failed(source: &Source, why: &str) -> FetchError {
    FetchError::Child { url: source.url.clone(), why: why.to_owned() }
}

fn absolute(path: &Path) -> Result<PathBuf, FetchError> {
    std::path::absolute(path).map_err(|error| FetchError::Mirror { dir: path.to_owned(), why: error.to_string() })
}
