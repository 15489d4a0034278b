//! Builds the pinned programs once, into a cache that all checkouts and all parallel tests share.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::pins::{self, GITEA, HELM, KUBERNETES, KWOK, MODULES, Module};
use crate::{preflight, process};

const STAGES_FILE: &str = "stages.yaml";
const GITEA_FOLDER: &str = "gitea-files";

/// A program that is built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the program of that name")]
pub enum Program {
    Etcd,
    KubeApiserver,
    KubeControllerManager,
    KubeScheduler,
    Kubectl,
    Kustomize,
    Kwok,
    Helm,
    Gitea,
}

impl Program {
    /// Every program.
    pub const ALL: [Self; 9] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kustomize,
        Self::Kwok,
        Self::Helm,
        Self::Gitea,
    ];

    /// The name of its file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::KubeScheduler => "kube-scheduler",
            Self::Kubectl => "kubectl",
            Self::Kustomize => "kustomize",
            Self::Kwok => "kwok",
            Self::Helm => "helm",
            Self::Gitea => "gitea",
        }
    }

    /// The module that it is built from.
    fn module(self) -> &'static Module {
        match self {
            Self::Kwok => &KWOK,
            Self::Helm => &HELM,
            Self::Gitea => &GITEA,
            _ => &KUBERNETES,
        }
    }
}

/// The programs of a Kubernetes cluster, built.
#[derive(Clone, Debug)]
pub struct Tools {
    kubernetes: PathBuf,
    kwok: PathBuf,
}

impl Tools {
    /// The absolute path of a program of clusters.
    #[must_use]
    pub fn program(&self, program: Program) -> PathBuf {
        let folder = if program == Program::Kwok { &self.kwok } else { &self.kubernetes };
        folder.join(program.file_name())
    }

    /// kwok's rules for nodes and pods that become ready at once.
    #[must_use]
    pub fn stages(&self) -> PathBuf {
        self.kwok.join(STAGES_FILE)
    }
}

/// A built Gitea.
#[derive(Clone, Debug)]
pub struct Gitea {
    /// The program.
    pub program: PathBuf,
    /// What its `STATIC_ROOT_PATH` names.
    pub files: PathBuf,
}

/// The programs of clusters, built now if this machine has none of the pinned versions yet (minutes), else found (no
/// time).
///
/// Parallel callers, in this process or others, wait for one build. The cache is `$DROVER_TEST_CACHE`, else
/// `$XDG_CACHE_HOME/drover`, else `~/.cache/drover`, with one folder for each Go module and its pins; old ones may be
/// deleted at any time.
///
/// # Errors
/// If something that the build needs is missing, all of it named, or if the build fails, with the end of its output.
pub fn ensure() -> Result<Tools> {
    Ok(Tools { kubernetes: ensure_module(&KUBERNETES)?, kwok: ensure_module(&KWOK)? })
}

/// The path of one program; its module is built if it is not there yet, as [`ensure`] does.
///
/// # Errors
/// Those of [`ensure`].
pub fn program(program: Program) -> Result<PathBuf> {
    Ok(ensure_module(program.module())?.join(program.file_name()))
}

/// Gitea, built if it is not there yet, as [`ensure`] does.
///
/// # Errors
/// Those of [`ensure`].
pub fn gitea() -> Result<Gitea> {
    let folder = ensure_module(&GITEA)?;
    Ok(Gitea { program: folder.join(Program::Gitea.file_name()), files: folder.join(GITEA_FOLDER) })
}

/// A `PATH` in which the pinned Kustomize and Helm come first, for a hub that is to find them there.
///
/// # Errors
/// Those of [`ensure`].
pub fn path_with_renderers() -> Result<OsString> {
    let mut folders = vec![ensure_module(&KUBERNETES)?, ensure_module(&HELM)?];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    env::join_paths(folders).context("the cache of test tools has a colon in its path; set DROVER_TEST_CACHE")
}

/// Builds everything that is not there yet; the folders are the answer.
///
/// # Errors
/// Those of [`ensure`].
pub fn ensure_all() -> Result<Vec<PathBuf>> {
    MODULES.iter().map(|module| ensure_module(module)).collect()
}

/// Whether everything is built.
pub(crate) fn all_built() -> Result<bool> {
    for module in MODULES {
        if !target_dir(module)?.is_dir() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn ensure_module(module: &Module) -> Result<PathBuf> {
    let target = target_dir(module)?;
    if target.is_dir() {
        return Ok(target);
    }
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create the cache {}", cache.display()))?;
    let lock_path = cache.join(format!("{}.lock", module.name));
    let lock = File::create(&lock_path).with_context(|| format!("cannot open {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    // Whoever held the lock until now may have built it.
    if !target.is_dir() {
        preflight::require()?;
        build(module, &cache, &target)?;
    }
    Ok(target)
}

/// Where the programs are kept, one folder for each set of pins.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let from = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let dir = if let Some(dir) = from("DROVER_TEST_CACHE") {
        dir
    } else if let Some(dir) = from("XDG_CACHE_HOME") {
        dir.join("drover")
    } else if let Some(home) = from("HOME") {
        home.join(".cache/drover")
    } else {
        bail!("no place for the built test tools: set DROVER_TEST_CACHE to a folder (HOME is not set either)");
    };
    std::path::absolute(&dir).with_context(|| format!("{} is not a usable path", dir.display()))
}

fn target_dir(module: &Module) -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("{}-{}", module.name, module.digest()?)))
}

/// Builds everything next to the target and moves it there in one step, so that a killed build leaves no half of it.
fn build(module: &Module, cache: &Path, target: &Path) -> Result<()> {
    let unfinished = format!("building-{}-", module.name);
    // We hold the lock: unfinished builds of this module belong to nobody.
    for entry in fs::read_dir(cache)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(&unfinished) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove the unfinished build {}", entry.path().display()))?;
        }
    }
    let work = TempDir::with_prefix_in(&unfinished, cache).context("cannot create a folder to build in")?;
    let out = work.path().join("out");
    fs::create_dir(&out)?;
    let begun = Instant::now();
    progress(&format!("building the test tools of go/{} (minutes, once)", module.name));
    build_module(module, work.path(), &out)?;
    progress(&format!("built go/{} in {} s", module.name, begun.elapsed().as_secs()));
    let server = out.join("server");
    if server.is_file() {
        // Go names a program after its package.
        fs::rename(server, out.join(Program::Etcd.file_name())).context("cannot name etcd")?;
    }
    for program in Program::ALL.into_iter().filter(|program| program.module().name == module.name) {
        if !out.join(program.file_name()).is_file() {
            bail!("the Go build made no {}: is its tool line missing in a go.mod of tests/tools?", program.file_name());
        }
    }
    match module.name {
        name if name == KWOK.name => write_stages(&out, work.path())?,
        name if name == GITEA.name => copy_gitea_files(&out, work.path())?,
        _ => {}
    }
    fs::rename(&out, target).with_context(|| format!("cannot move the built tools to {}", target.display()))
}

fn build_module(module: &Module, work: &Path, out: &Path) -> Result<()> {
    let source = work.join(module.name);
    fs::create_dir(&source)?;
    fs::write(source.join("go.mod"), module.go_mod)?;
    fs::write(source.join("go.sum"), module.go_sum)?;
    let mut command = go(&source);
    command.args(["build", "-buildvcs=false", "-trimpath", "-tags", module.tags, "-ldflags"]).arg(module.ldflags()?);
    // The slash makes it a folder even if there were one program only.
    command.arg("-o").arg(out.join("")).arg("tool");
    run(command).with_context(|| {
        format!("cannot build go/{}; modules come through the proxy that `go env GOPROXY` names", module.name)
    })?;
    Ok(())
}

/// kwok ships its stages as a kustomization in its module's source.
fn write_stages(out: &Path, work: &Path) -> Result<()> {
    let (name, folder) = pins::STAGES;
    let mut kustomize = Command::new(program(Program::Kustomize)?);
    kustomize.arg("build").arg(source_of(&KWOK, work, name)?.join(folder));
    let stages = run(kustomize).with_context(|| format!("cannot render the stages of {name}"))?;
    fs::write(out.join(STAGES_FILE), stages).context("cannot write stages.yaml")
}

/// Copied, since the cache of modules may be emptied at any time.
fn copy_gitea_files(out: &Path, work: &Path) -> Result<()> {
    let (name, folders) = pins::GITEA_FILES;
    let source = source_of(&GITEA, work, name)?;
    for folder in folders {
        copy_folder(&source.join(folder), &out.join(GITEA_FOLDER).join(folder))
            .with_context(|| format!("cannot copy {folder} of {name}"))?;
    }
    Ok(())
}

/// Copies files and folders; folders become writable, unlike those of Go's cache, so that they can be removed.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The folder with the source of a module's dependency.
fn source_of(module: &Module, work: &Path, name: &str) -> Result<PathBuf> {
    let mut list = go(&work.join(module.name));
    list.args(["list", "-m", "-f", "{{.Dir}}", name]);
    let source = run(list).with_context(|| format!("cannot find the source of {name}"))?;
    Ok(source.trim().into())
}

/// A `go` command that takes exactly what is pinned, whatever the user's own settings are.
fn go(dir: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).env("GOTOOLCHAIN", "local").env("GOWORK", "off").env("GOFLAGS", "-mod=readonly");
    command
}

/// Runs to success and gives what was printed.
fn run(command: Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = process::output(command)?;
    if !output.status.success() {
        bail!("{program}: {}\n{}", output.status, process::last_lines(&String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).with_context(|| format!("{program} printed something other than text"))
}

/// Tells a person why nothing seems to happen; past the capture of test output, which would show it too late.
fn progress(text: &str) {
    // Nobody can be told that nobody can be told.
    let _ = writeln!(io::stderr(), "tests-tools: {text}");
}
