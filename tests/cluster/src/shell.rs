//! What pages tell people to type, typed.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use anyhow::{Context as _, Result, bail};
use tests_tools::fleet::{WAIT, program};
use tests_tools::{Program, process, tools};

/// Printed after a block, so that its end is seen.
const MARK: &str = "--- end of block";

/// The blocks of a page that are marked as shell, in order.
#[must_use]
pub fn blocks(page: &str) -> VecDeque<String> {
    let mut blocks = VecDeque::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (line, open.take()) {
            ("```sh", _) => open = Some(String::new()),
            ("```", Some(block)) => blocks.push_back(block),
            (_, Some(block)) => open = Some(block + line + "\n"),
            (_, None) => {}
        }
    }
    blocks
}

/// One shell, in which one block runs after the other. What it started ends with it.
#[derive(Debug)]
pub struct Shell {
    child: Child,
    lines: Receiver<String>,
}

impl Shell {
    /// Starts a shell.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = process::spawn(command)?;
        let stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut shell = Self { child, lines };
        shell.run("set -euo pipefail; exec 2>&1")?;
        Ok(shell)
    }

    /// Runs a block; what it printed is the answer.
    ///
    /// # Errors
    /// The block fails, or takes too long; what it said is in the words.
    pub fn run(&mut self, block: &str) -> Result<String> {
        let stdin = self.child.stdin.as_mut().context("no stdin")?;
        write!(stdin, "{block}\necho '{MARK}'\n").and_then(|()| stdin.flush()).context("the shell ended")?;
        let mut text = String::new();
        loop {
            match self.lines.recv_timeout(WAIT) {
                Ok(line) if line == MARK => return Ok(text),
                Ok(line) => text = text + &line + "\n",
                Err(RecvTimeoutError::Disconnected) => bail!("this failed:\n{block}\nIt said:\n{text}"),
                Err(RecvTimeoutError::Timeout) => bail!("this takes too long:\n{block}\nIt said:\n{text}"),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // The group has the hub and the spoke that blocks started.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

/// The environment of somebody who has the programs, kubectl, helm and kustomize, and nothing else of
/// ours.
///
/// # Errors
/// A program is not built.
pub fn environment(command: &mut Command, home: &Path) -> Result<()> {
    let mut folders = vec![program("drover")?];
    for tool in [Program::Kubectl, Program::Helm, Program::Kustomize] {
        folders.push(tools::program(tool)?);
    }
    let mut folders: Vec<_> = folders.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    command.current_dir(home).env("PATH", std::env::join_paths(folders)?).env("HOME", home);
    for variable in ["XDG_CONFIG_HOME", "DROVER_CONTEXT", "DROVER_TOKEN", "KUBECONFIG", "BASH_ENV"] {
        command.env_remove(variable);
    }
    for who in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{who}_NAME"), "Test").env(format!("GIT_{who}_EMAIL"), "test@example.com");
    }
    Ok(())
}
