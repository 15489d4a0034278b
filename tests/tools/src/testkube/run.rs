//! `testkube run`: clusters around a command.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tests_tools::sys::{self, Signal};
use tests_tools::{Cluster, Options, Program, process, tools};

/// What is handed on to the command.
const SIGNALS: [i32; 2] = [libc::SIGINT, libc::SIGTERM];
/// Between two looks whether the command has ended.
const POLL: Duration = Duration::from_millis(50);
/// For what the command left behind.
const END_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many clusters
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    clusters: u16,
    /// Only etcd and kube-apiserver: objects are stored, nothing runs
    #[arg(long)]
    bare: bool,
    /// Keep data, logs and kubeconfigs in DIR/cluster-1, DIR/cluster-2, …, which must be new or empty; else they are temporary
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Put the pinned Kustomize and Helm first into the command's PATH
    #[arg(long)]
    renderers: bool,
    /// The command. An argument `{kubeconfig:N}` becomes the path of the Nth kubeconfig, counted from 1; an argument
    /// `{kubeconfigs}` becomes `--kubeconfig FILE` for each. The environment has DROVER_KUBECONFIGS, separated by colons
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    // First, with signals as usual: a build takes minutes, and Ctrl-C should end it.
    tools::ensure()?;
    let path = arguments.renderers.then(tools::path_with_renderers).transpose()?;
    sys::block_signals(&SIGNALS).context("cannot hold back signals")?;
    let signals = watch_signals()?;
    sys::adopt_orphans().context("cannot become the parent of orphans")?;
    let clusters = Cluster::start_all(options(&arguments))?;
    announce(&clusters)?;
    let kubeconfigs: Vec<PathBuf> = clusters.iter().map(Cluster::kubeconfig).collect();
    // A signal that came during the start ends us here, in order.
    if let Ok(signal) = signals.try_recv() {
        return Ok(exit_code(ExitStatus::from_raw(signal.number)));
    }
    let status = run_command(&arguments.command, &kubeconfigs, path, &signals);
    drop(clusters);
    process::end_children(END_TIMEOUT)?;
    Ok(exit_code(status?))
}

fn options(arguments: &Arguments) -> Vec<Options> {
    let option = |number| {
        let name = format!("cluster-{number}");
        let dir = arguments.dir.as_ref().map(|dir| dir.join(&name));
        Options { name, workloads: !arguments.bare, dir }
    };
    (1..=arguments.clusters).map(option).collect()
}

/// One line for each cluster, on stderr: stdout belongs to the command.
fn announce(clusters: &[Cluster]) -> Result<()> {
    let mut errors = io::stderr().lock();
    for cluster in clusters {
        let kubectl = cluster.tools().program(Program::Kubectl);
        writeln!(errors, "{}: {} --kubeconfig {}", cluster.name(), kubectl.display(), cluster.kubeconfig().display())?;
    }
    Ok(())
}

fn run_command(
    words: &[OsString],
    kubeconfigs: &[PathBuf],
    path: Option<OsString>,
    signals: &Receiver<Signal>,
) -> Result<ExitStatus> {
    let mut words = expand(words, kubeconfigs)?.into_iter();
    let mut command = Command::new(words.next().context("no command")?);
    let joined =
        std::env::join_paths(kubeconfigs).context("a work directory has a colon in its path; use another --dir")?;
    command.args(words).env("DROVER_KUBECONFIGS", joined);
    command.envs(path.map(|path| ("PATH", path)));
    let mut child = process::spawn(command)?;
    loop {
        if let Some(status) = child.try_wait().context("cannot wait for the command")? {
            return Ok(status);
        }
        match signals.recv_timeout(POLL) {
            // Ctrl-C on a terminal has reached the command already: it is in our process group.
            Ok(Signal { from_kernel: true, .. }) | Err(RecvTimeoutError::Timeout) => {}
            // It may have ended just now.
            Ok(signal) => drop(sys::send_signal(child.id(), signal.number)),
            Err(RecvTimeoutError::Disconnected) => bail!("cannot wait for signals"),
        }
    }
}

fn expand(words: &[OsString], kubeconfigs: &[PathBuf]) -> Result<Vec<OsString>> {
    let mut expanded = Vec::new();
    for word in words {
        if word == OsStr::new("{kubeconfigs}") {
            for path in kubeconfigs {
                expanded.extend(["--kubeconfig".into(), path.into()]);
            }
        } else if let Some(number) = placeholder(word) {
            let path = number.parse::<usize>().ok().and_then(|number| kubeconfigs.get(number.checked_sub(1)?));
            let path = path.with_context(|| {
                format!("there is no {}: clusters are numbered 1 to {}", word.display(), kubeconfigs.len())
            })?;
            expanded.push(path.into());
        } else {
            expanded.push(word.clone());
        }
    }
    Ok(expanded)
}

/// The `N` of `{kubeconfig:N}`.
fn placeholder(word: &OsStr) -> Option<&str> {
    word.to_str()?.strip_prefix("{kubeconfig:")?.strip_suffix('}')
}

/// Takes the signals that are held back, in a thread of its own.
fn watch_signals() -> Result<Receiver<Signal>> {
    let (sender, receiver) = channel();
    let watch = move || {
        while let Ok(signal) = sys::wait_signal(&SIGNALS) {
            if sender.send(signal).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("signals".into()).spawn(watch).context("cannot start a thread")?;
    Ok(receiver)
}

/// As a shell gives it: 128 and the signal for a command that was killed.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_whole_arguments() {
        let paths = [PathBuf::from("/a"), PathBuf::from("/b")];
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let expanded = expand(&words("x {kubeconfig:2} {kubeconfigs} y{kubeconfig:1}"), &paths).ok();
        assert_eq!(expanded, Some(words("x /b --kubeconfig /a --kubeconfig /b y{kubeconfig:1}")));
        assert!(expand(&words("{kubeconfig:0}"), &paths).is_err());
        assert!(expand(&words("{kubeconfig:3}"), &paths).is_err());
    }
}
