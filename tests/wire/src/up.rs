//! A run of `drover up`, seen from outside: its events, its exit code, and the processes that it started.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value as Json;
use tests_tools::fleet::{Repo, program};
use tests_tools::{process, sys};

use crate::{PATIENCE, POLL, procfs};

/// A folder for runs of `drover up`, with a repository to read.
pub struct Place {
    /// The repository.
    pub repo: Repo,
    runs: u32,
    dir: tempfile::TempDir,
}

impl Place {
    /// A repository with these files, committed.
    ///
    /// # Errors
    /// The disk, or git.
    pub fn new(files: &[(&str, &str)]) -> Result<Self> {
        let dir = tempfile::tempdir().context("cannot make a temporary folder")?;
        let repo = Repo::new(dir.path().join("source"))?;
        for (path, text) in files {
            repo.write(path, text)?;
        }
        repo.commit("the first")?;
        Ok(Self { repo, runs: 0, dir })
    }

    /// Starts `drover up -o json` on the repository, in a work folder that stays.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn up(&mut self, args: &[&str]) -> Result<Up> {
        self.runs += 1;
        let file = |kind: &str| self.dir.path().join(format!("up-{}.{kind}", self.runs));
        let (stdout, stderr) = (file("out"), file("err"));
        let mut command = Command::new(program("drover")?);
        command.args(["up", "-o", "json", "--source"]).arg(self.repo.dir()).arg("--dir").arg(self.work());
        command.args(args).stdin(Stdio::null()).process_group(0);
        command.stdout(File::create(&stdout)?).stderr(File::create(&stderr)?);
        Ok(Up { child: process::spawn(command)?, stdout, stderr })
    }

    /// The work folder.
    #[must_use]
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// Runs `drover` against the hub of the work folder.
    ///
    /// # Errors
    /// It ends with another code than 0, or prints no JSON.
    pub fn drover(&self, args: &[&str]) -> Result<Json> {
        let mut command = Command::new(program("drover")?);
        command.args(args).env("DROVER_CONTEXT", self.work().join("context.json"));
        Ok(serde_json::from_str(&tests_tools::fleet::run(command)?)?)
    }
}

/// One run; killed when dropped.
pub struct Up {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Up {
    /// Its events so far. Every whole line of its output must be one.
    ///
    /// # Errors
    /// A line is none.
    pub fn events(&self) -> Result<Vec<Json>> {
        let text = fs::read_to_string(&self.stdout)?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let event = |line: &str| serde_json::from_str(line).with_context(|| format!("no event: {line}"));
        whole.lines().map(event).collect()
    }

    /// What it told people.
    #[must_use]
    pub fn told(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits for the first event that is as wanted.
    ///
    /// # Errors
    /// None comes in time, or the run ends.
    pub fn wait(&mut self, what: &str, wanted: impl Fn(&Json) -> bool) -> Result<Json> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The look at the process comes first: its last events are read after its end.
            let ended = self.child.try_wait()?;
            if let Some(event) = self.events()?.into_iter().find(|event| wanted(event)) {
                return Ok(event);
            }
            if ended.is_some() || Instant::now() > deadline {
                bail!("waited in vain for {what} ({ended:?}): {:?}\n{}", self.events()?, self.told());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Everything that it started, with itself.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub fn processes(&self) -> Result<Vec<procfs::Process>> {
        let own = procfs::Process::of(self.child.id()).context("drover up does not run")?;
        Ok(procfs::descendants(self.child.id())?.into_iter().chain([own]).collect())
    }

    /// Ctrl-C.
    ///
    /// # Errors
    /// It does not run.
    pub fn interrupt(&self) -> Result<()> {
        sys::send_signal(self.child.id(), libc::SIGINT).context("interrupt drover up")
    }

    /// kill -9.
    ///
    /// # Errors
    /// It does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It does not end in time.
    pub fn wait_end(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(Instant::now() < deadline, "drover up does not end: {:?}\n{}", self.events()?, self.told());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended, which is what is wanted.
        let _ = self.kill();
    }
}

/// Waits until none of these runs any more.
///
/// # Errors
/// Some still do at the deadline.
pub fn wait_gone(processes: &[procfs::Process]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left: Vec<u32> = processes.iter().filter(|one| one.runs()).map(|one| one.pid).collect();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "processes {left:?} are left over");
        std::thread::sleep(POLL);
    }
}
