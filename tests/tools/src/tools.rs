//! Builds the pinned programs once, into a cache that all checkouts and all parallel tests share.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::pins::{self, Module};
use crate::{preflight, process};

/// A program that [`ensure`] builds.
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
}

impl Program {
    /// Every program.
    pub const ALL: [Self; 7] = [
        Self::Etcd,
        Self::KubeApiserver,
        Self::KubeControllerManager,
        Self::KubeScheduler,
        Self::Kubectl,
        Self::Kustomize,
        Self::Kwok,
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
        }
    }
}

/// The built programs.
#[derive(Clone, Debug)]
pub struct Tools {
    dir: PathBuf,
}

impl Tools {
    /// The folder that holds them, absolute; it can be put into a `PATH`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The absolute path of one program.
    #[must_use]
    pub fn program(&self, program: Program) -> PathBuf {
        self.dir.join(program.file_name())
    }

    /// kwok's rules for nodes and pods that become ready at once.
    #[must_use]
    pub fn stages(&self) -> PathBuf {
        self.dir.join("stages.yaml")
    }
}

/// The programs, built now if this machine has none of the pinned versions yet (minutes), else found (no time).
///
/// Parallel callers, in this process or others, wait for one build. The cache is `$DROVER_TEST_CACHE`, else
/// `$XDG_CACHE_HOME/drover`, else `~/.cache/drover`; old versions in it may be deleted at any time.
///
/// # Errors
/// If something that the build needs is missing, all of it named, or if the build fails, with the end of its output.
pub fn ensure() -> Result<Tools> {
    if let Some(tools) = find()? {
        return Ok(tools);
    }
    let cache = cache_dir()?;
    fs::create_dir_all(&cache).with_context(|| format!("cannot create the cache {}", cache.display()))?;
    let lock_path = cache.join("tools.lock");
    let lock = File::create(&lock_path).with_context(|| format!("cannot open {}", lock_path.display()))?;
    lock.lock().with_context(|| format!("cannot lock {}", lock_path.display()))?;
    // Whoever held the lock until now may have built them.
    if let Some(tools) = find()? {
        return Ok(tools);
    }
    preflight::require()?;
    build(&cache)
}

/// The programs if they are built, else `None`.
pub(crate) fn find() -> Result<Option<Tools>> {
    let dir = target_dir()?;
    Ok(dir.is_dir().then_some(Tools { dir }))
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

fn target_dir() -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("tools-{}", pins::digest()?)))
}

/// Builds everything next to the target and moves it there in one step, so that a killed build leaves no half of it.
fn build(cache: &Path) -> Result<Tools> {
    const UNFINISHED: &str = "building-";
    // We hold the lock: unfinished builds belong to nobody.
    for entry in fs::read_dir(cache)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
            fs::remove_dir_all(entry.path())
                .with_context(|| format!("cannot remove the unfinished build {}", entry.path().display()))?;
        }
    }
    let work = TempDir::with_prefix_in(UNFINISHED, cache).context("cannot create a folder to build in")?;
    let out = work.path().join("out");
    fs::create_dir(&out)?;
    for module in pins::MODULES {
        let begun = Instant::now();
        progress(&format!("building the test tools of go/{} (minutes, once)", module.name));
        build_module(module, work.path(), &out)?;
        progress(&format!("built go/{} in {} s", module.name, begun.elapsed().as_secs()));
    }
    // Go names a program after its package.
    fs::rename(out.join("server"), out.join(Program::Etcd.file_name())).context("the Go build made no etcd")?;
    let built = Tools { dir: out.clone() };
    for program in Program::ALL {
        let path = built.program(program);
        if !path.is_file() {
            bail!("the Go build made no {}: is its tool line missing in a go.mod of tests/tools?", program.file_name());
        }
    }
    write_stages(&built, work.path())?;
    let target = target_dir()?;
    fs::rename(&out, &target).with_context(|| format!("cannot move the built tools to {}", target.display()))?;
    Ok(Tools { dir: target })
}

fn build_module(module: &Module, work: &Path, out: &Path) -> Result<()> {
    let source = work.join(module.name);
    fs::create_dir(&source)?;
    fs::write(source.join("go.mod"), module.go_mod)?;
    fs::write(source.join("go.sum"), module.go_sum)?;
    let mut command = go(&source);
    command.args(["build", "-buildvcs=false", "-trimpath", "-ldflags"]).arg(module.ldflags()?);
    // The slash makes it a folder even if there were one program only.
    command.arg("-o").arg(out.join("")).arg("tool");
    run(command).with_context(|| {
        format!("cannot build go/{}; modules come through the proxy that `go env GOPROXY` names", module.name)
    })?;
    Ok(())
}

/// kwok ships its stages as a kustomization in its module's source.
fn write_stages(tools: &Tools, work: &Path) -> Result<()> {
    let (module, name, folder) = pins::STAGES;
    let mut list = go(&work.join(module.name));
    list.args(["list", "-m", "-f", "{{.Dir}}", name]);
    let source = run(list).with_context(|| format!("cannot find the source of {name}"))?;
    let mut kustomize = Command::new(tools.program(Program::Kustomize));
    kustomize.arg("build").arg(Path::new(source.trim()).join(folder));
    let stages = run(kustomize).with_context(|| format!("cannot render the stages of {name}"))?;
    fs::write(tools.stages(), stages).context("cannot write stages.yaml")
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
