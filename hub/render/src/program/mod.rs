//! Helm and Kustomize, the real programs: where they are, which version they have, and how they
//! run: on a folder of their own, with nothing of the machine but that.
//!
//! A run is a child process that gives up files and network first ([`sandbox`]) and then becomes
//! the program ([`child`]); time, memory and output are watched from outside ([`run`]).
//!
//! **Invariant:** a program reads only what was laid out for it, and its own file.

mod child;
mod pull;
mod run;
mod sandbox;
mod scratch;
mod spawn;
mod version;
mod work;

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use proto_model::limits;

pub use child::{CHILD_ARG, child_main};
pub(crate) use run::Failure;
pub use run::Limits;
pub(crate) use work::Work;

use child::{Enforced, Online, Request};
use run::{Job, Secret, run};
use scratch::Scratch;

/// A program that renders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tool {
    /// Helm.
    Helm,
    /// Kustomize.
    Kustomize,
}

impl Tool {
    /// The name of its file and of the flag that points to it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Helm => "helm",
            Self::Kustomize => "kustomize",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where the programs are, and what a run may take.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Helm's file; `None` to look in `PATH`.
    pub helm: Option<PathBuf>,
    /// Kustomize's file; `None` to look in `PATH`.
    pub kustomize: Option<PathBuf>,
    /// A folder of our own for what runs need, emptied before the first; `None` for a temporary one.
    pub scratch: Option<PathBuf>,
    /// What one run may take.
    pub limits: Limits,
}

/// The programs that render. Each is looked for before each run, and asked for its version whenever it is
/// another file than before; nothing that failed is remembered.
#[derive(Debug, Default)]
pub struct Programs {
    options: Options,
    scratch: Mutex<Option<Arc<Scratch>>>,
    helm: Mutex<Option<Found>>,
    kustomize: Mutex<Option<Found>>,
    enforced: OnceLock<Enforced>,
}

#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    stamp: Stamp,
    /// What it says; where that will not do, why.
    version: Result<String, String>,
}

/// What tells a file from the one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds.
    modified: (i64, i64),
}

const WORK_PREFIX: &str = "work-";

/// What is not the same for all runs of a program.
struct Circumstances<'a> {
    online: Option<Online>,
    stdin: Option<Secret>,
    /// Where it no longer is, the run ends.
    is_wanted: &'a dyn Fn() -> bool,
}

impl Default for Circumstances<'_> {
    fn default() -> Self {
        Self { online: None, stdin: None, is_wanted: &|| true }
    }
}

/// The programs, for one rendering as long as it is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Runs<'a> {
    pub(crate) programs: &'a Programs,
    pub(crate) is_wanted: &'a dyn Fn() -> bool,
}

impl Runs<'_> {
    /// Runs a program in the input folder of `work`; what it prints is the answer. Where the rendering is
    /// addressed with a `version`, no other one is run: its output would pass for that of this one.
    pub(crate) fn run(
        &self,
        tool: Tool,
        version: Option<&str>,
        work: &Work,
        args: Vec<String>,
    ) -> Result<Vec<u8>, Failure> {
        let (path, now) = self.programs.found(tool).map_err(Failure::Start)?;
        if let Some(version) = version.filter(|version| *version != now) {
            return Err(Failure::Start(format!("it was {version} and is {now} now; what it renders is told anew")));
        }
        let circumstances = Circumstances { is_wanted: self.is_wanted, ..Circumstances::default() };
        self.programs.run_with(Some(&path), work, args, circumstances)
    }
}

impl Programs {
    /// Nothing is looked for or made yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Helm's version, `4.3.1`; `None` where it is missing or will not do.
    #[must_use]
    pub fn helm_version(&self) -> Option<String> {
        self.found(Tool::Helm).ok().map(|(_, version)| version)
    }

    /// Kustomize's version, `5.8.1`; `None` where it is missing or will not do.
    #[must_use]
    pub fn kustomize_version(&self) -> Option<String> {
        self.found(Tool::Kustomize).ok().map(|(_, version)| version)
    }

    /// Why a program cannot be used: what was looked for, where, and what to do; `None` if it can.
    #[must_use]
    pub fn problem(&self, tool: Tool) -> Option<String> {
        self.found(tool).err()
    }

    /// What the system does not let us take away from programs, for the log, once.
    #[must_use]
    pub fn open_doors(&self) -> Vec<&'static str> {
        let Enforced { files, network } = self.enforced();
        let files = (!files).then_some(
            "helm and kustomize can read every file that this process can, since the kernel has no Landlock \
             (Linux 5.13 or newer)",
        );
        let network = (!network).then_some(
            "helm and kustomize can reach the network, since neither network namespaces nor Landlock's rules for TCP \
             (Linux 6.7 or newer) are allowed here",
        );
        files.into_iter().chain(network).collect()
    }

    /// An empty folder for one rendering, which goes when it is dropped.
    pub(crate) fn work(&self) -> Result<Work, Failure> {
        let scratch = self.scratch().map_err(Failure::Start)?;
        Work::new(&scratch.folder, WORK_PREFIX).map_err(|error| {
            // Somebody may have removed it; the next one makes it anew.
            *lock(&self.scratch) = None;
            Failure::Start(format!("a folder in {} cannot be made: {error}", scratch.folder.display()))
        })
    }

    fn scratch(&self) -> Result<Arc<Scratch>, String> {
        let mut slot = lock(&self.scratch);
        if let Some(scratch) = &*slot {
            return Ok(Arc::clone(scratch));
        }
        let made = Arc::new(Scratch::make(self.options.scratch.as_deref())?);
        Ok(Arc::clone(slot.insert(made)))
    }

    /// Runs a program with the network, and with something that it reads from its standard input, in the input
    /// folder of `work`; what it prints is the answer.
    fn run_online(
        &self,
        tool: Tool,
        work: &Work,
        args: Vec<String>,
        online: Online,
        stdin: Option<Secret>,
    ) -> Result<Vec<u8>, Failure> {
        let (path, _) = self.found(tool).map_err(Failure::Start)?;
        self.run_with(
            Some(&path),
            work,
            args,
            Circumstances { online: Some(online), stdin, ..Circumstances::default() },
        )
    }

    fn run_file(&self, program: Option<&Path>, work: &Work, args: Vec<String>) -> Result<Vec<u8>, Failure> {
        self.run_with(program, work, args, Circumstances::default())
    }

    fn run_with(
        &self,
        program: Option<&Path>,
        work: &Work,
        args: Vec<String>,
        circumstances: Circumstances<'_>,
    ) -> Result<Vec<u8>, Failure> {
        let Circumstances { online, stdin, is_wanted } = circumstances;
        let mut env = environment(work.home(), &self.options.limits);
        env.extend(online.iter().flat_map(|online| online.variables.clone()));
        let may = self.options.limits;
        let request = Request {
            parent: std::process::id(),
            program: program.map(Path::to_owned),
            args,
            online,
            read: program.into_iter().map(Path::to_owned).chain([work.input().to_owned()]).collect(),
            write: vec![work.home().to_owned()],
            cpu_secs: may.cpu_secs,
            file_bytes: limits::RENDER_FILE_BYTES_MAX,
            address_bytes: limits::RENDER_ADDRESS_BYTES_MAX,
            files_open: limits::RENDER_FILES_OPEN_MAX,
        };
        // Not a path that an update may have replaced meanwhile: the very file that runs.
        let child = Path::new("/proc/self/exe");
        run(Job { request, folder: work.input(), env, stdin, limits: may, child, is_wanted })
    }

    fn enforced(&self) -> Enforced {
        *self.enforced.get_or_init(|| {
            let printed = self.work().and_then(|work| self.run_file(None, &work, Vec::new()));
            printed.ok().and_then(|line| serde_json::from_slice(&line).ok()).unwrap_or_default()
        })
    }

    /// The file of a program and its version.
    fn found(&self, tool: Tool) -> Result<(PathBuf, String), String> {
        let (slot, given) = match tool {
            Tool::Helm => (&self.helm, &self.options.helm),
            Tool::Kustomize => (&self.kustomize, &self.options.kustomize),
        };
        let path = find(tool, given.as_deref())?;
        let stamp = Stamp::of(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        // One asks, and the others wait for what it says.
        let mut slot = lock(slot);
        let known = slot.take().filter(|found| found.path == path && found.stamp == stamp);
        let found = match known {
            Some(found) => found,
            None => Found { version: self.ask(tool, &path)?, stamp, path: path.clone() },
        };
        let version = slot.insert(found).version.clone();
        version.map(|version| (path, version))
    }

    /// What a program says of its version, and whether that will do. An error says nothing of the program.
    fn ask(&self, tool: Tool, path: &Path) -> Result<Result<String, String>, String> {
        let args = version::question(tool).iter().map(|arg| (*arg).to_owned()).collect();
        let wrong = |why: String| format!("{} {why}", path.display());
        match self.work().and_then(|work| self.run_file(Some(path), &work, args)) {
            Ok(printed) => Ok(version::check(tool, &String::from_utf8_lossy(&printed)).map_err(wrong)),
            Err(failure) => {
                let why = wrong(format!("does not tell its version: {failure}"));
                if failure.passes() { Err(why) } else { Ok(Err(why)) }
            }
        }
    }
}

impl Stamp {
    fn of(path: &Path) -> std::io::Result<Self> {
        let found = std::fs::metadata(path)?;
        Ok(Self { inode: found.ino(), bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

/// What a thread that panicked left is as good as before: it is written whole.
fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The file of a program, without links, as a sandbox needs it.
fn find(tool: Tool, given: Option<&Path>) -> Result<PathBuf, String> {
    let Some(given) = given else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join(tool.name())).find(|file| file.is_file());
        let found = found.and_then(|file| file.canonicalize().ok());
        return found.ok_or_else(|| format!("{tool} is not in PATH; install it, or give the hub --{tool} FILE"));
    };
    match given.canonicalize() {
        Ok(file) if file.is_file() => Ok(file),
        Ok(_) => Err(format!("--{tool} {} is no file; name the program itself", given.display())),
        Err(error) => Err(format!("--{tool} {}: {error}; name the program itself", given.display())),
    }
}

/// All that a program sees of an environment.
fn environment(home: &Path, may: &Limits) -> Vec<(String, String)> {
    let folder = |name: &str| home.join(name).to_string_lossy().into_owned();
    vec![
        ("HOME".to_owned(), folder("")),
        ("TMPDIR".to_owned(), folder("")),
        ("LC_ALL".to_owned(), "C".into()),
        ("TZ".to_owned(), "UTC".into()),
        ("HELM_CACHE_HOME".to_owned(), folder("helm/cache")),
        ("HELM_CONFIG_HOME".to_owned(), folder("helm/config")),
        ("HELM_DATA_HOME".to_owned(), folder("helm/data")),
        ("KUSTOMIZE_PLUGIN_HOME".to_owned(), folder("kustomize")),
        // Go then tries to stay below what would end it.
        ("GOMEMLIMIT".to_owned(), (may.memory_bytes / 4 * 3).to_string()),
    ]
}
