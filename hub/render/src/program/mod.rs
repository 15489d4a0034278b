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
mod spawn;
mod version;
mod work;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use proto_model::limits;
use tempfile::TempDir;

pub use child::{CHILD_ARG, child_main};
pub(crate) use run::Failure;
pub use run::Limits;
pub(crate) use work::Work;

use child::{Enforced, Online, Request};
use run::{Job, Secret, run};

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

/// The programs that render. Each is looked for once, when it is first needed.
#[derive(Debug, Default)]
pub struct Programs {
    options: Options,
    scratch: OnceLock<Result<Scratch, String>>,
    helm: OnceLock<Result<Found, String>>,
    kustomize: OnceLock<Result<Found, String>>,
    enforced: OnceLock<Enforced>,
}

/// Where runs have their folders.
#[derive(Debug)]
struct Scratch {
    folder: PathBuf,
    /// Keeps a temporary folder as long as it is needed.
    _temporary: Option<TempDir>,
}

#[derive(Clone, Debug)]
struct Found {
    path: PathBuf,
    version: String,
}

const WORK_PREFIX: &str = "work-";

impl Programs {
    /// Nothing is looked for or made yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options, ..Self::default() }
    }

    /// Helm's version, `4.3.1`; `None` where it is missing or will not do.
    #[must_use]
    pub fn helm_version(&self) -> Option<&str> {
        self.found(Tool::Helm).ok().map(|found| &*found.version)
    }

    /// Kustomize's version, `5.8.1`; `None` where it is missing or will not do.
    #[must_use]
    pub fn kustomize_version(&self) -> Option<&str> {
        self.found(Tool::Kustomize).ok().map(|found| &*found.version)
    }

    /// Why a program cannot be used: what was looked for, where, and what to do; `None` if it can.
    #[must_use]
    pub fn problem(&self, tool: Tool) -> Option<&str> {
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
        let scratch = self.scratch.get_or_init(|| Scratch::make(self.options.scratch.as_deref()));
        let scratch = scratch.as_ref().map_err(|why| Failure::Start(why.clone()))?;
        Work::new(&scratch.folder, WORK_PREFIX).map_err(|error| {
            Failure::Start(format!("a folder in {} cannot be made: {error}", scratch.folder.display()))
        })
    }

    /// Runs a program in the input folder of `work`; what it prints is the answer.
    pub(crate) fn run(&self, tool: Tool, work: &Work, args: Vec<String>) -> Result<Vec<u8>, Failure> {
        let found = self.found(tool).map_err(|problem| Failure::Start(problem.to_owned()))?;
        self.run_file(Some(&found.path), work, args)
    }

    /// The same with the network, and with something that it reads from its standard input.
    fn run_online(
        &self,
        tool: Tool,
        work: &Work,
        args: Vec<String>,
        online: Online,
        stdin: Option<Secret>,
    ) -> Result<Vec<u8>, Failure> {
        let found = self.found(tool).map_err(|problem| Failure::Start(problem.to_owned()))?;
        self.run_with(Some(&found.path), work, args, Some(online), stdin)
    }

    fn run_file(&self, program: Option<&Path>, work: &Work, args: Vec<String>) -> Result<Vec<u8>, Failure> {
        self.run_with(program, work, args, None, None)
    }

    fn run_with(
        &self,
        program: Option<&Path>,
        work: &Work,
        args: Vec<String>,
        online: Option<Online>,
        stdin: Option<Secret>,
    ) -> Result<Vec<u8>, Failure> {
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
        run(Job { request, folder: work.input(), env, stdin, limits: may, child })
    }

    fn enforced(&self) -> Enforced {
        *self.enforced.get_or_init(|| {
            let printed = self.work().and_then(|work| self.run_file(None, &work, Vec::new()));
            printed.ok().and_then(|line| serde_json::from_slice(&line).ok()).unwrap_or_default()
        })
    }

    fn found(&self, tool: Tool) -> Result<&Found, &str> {
        let (slot, given) = match tool {
            Tool::Helm => (&self.helm, &self.options.helm),
            Tool::Kustomize => (&self.kustomize, &self.options.kustomize),
        };
        let found = slot.get_or_init(|| {
            let path = find(tool, given.as_deref())?;
            let version = self.ask(tool, &path).map_err(|why| format!("{} {why}", path.display()))?;
            Ok(Found { path, version })
        });
        found.as_ref().map_err(String::as_str)
    }

    fn ask(&self, tool: Tool, path: &Path) -> Result<String, String> {
        let args = version::question(tool).iter().map(|arg| (*arg).to_owned()).collect();
        let printed = self.work().and_then(|work| self.run_file(Some(path), &work, args));
        let printed = printed.map_err(|failure| format!("does not tell its version: {failure}"))?;
        version::check(tool, &String::from_utf8_lossy(&printed))
    }
}

impl Scratch {
    /// What an earlier process left there goes.
    fn make(given: Option<&Path>) -> Result<Self, String> {
        let place = std::env::temp_dir();
        let make = || {
            let (folder, temporary) = match given {
                Some(folder) => (folder.to_owned(), None),
                None => {
                    let made = TempDir::with_prefix_in("drover-render-", &place)?;
                    (made.path().to_owned(), Some(made))
                }
            };
            std::fs::create_dir_all(&folder)?;
            work::empty(&folder, WORK_PREFIX)?;
            // Programs are given absolute paths without links in them.
            Ok(Self { folder: folder.canonicalize()?, _temporary: temporary })
        };
        make().map_err(|error: std::io::Error| {
            format!("the folder {} for renderings cannot be used: {error}", given.unwrap_or(&place).display())
        })
    }
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
