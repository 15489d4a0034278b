//! What a program can do while it renders: nothing but read its input.

use std::io::{ErrorKind, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hub_render::program::Limits;
use hub_render::{Options, Programs, Tool};
use tests_tools::process::Process;
use tests_tools::sys;

use crate::case::{Case, programs, within};

/// Becomes the hub of [`a_killed_hub_leaves_no_program`].
const HUB_ARG: &str = "__hub";

/// This very test in the place of Helm: asked for its version, it tries what it must not do, and
/// says what it could.
pub(crate) fn spy_main() -> Option<ExitCode> {
    match std::env::args().nth(1)?.as_str() {
        "version" => {
            let open = open_doors();
            let answer = if open.is_empty() { "v4.0.0".to_owned() } else { open.join(",") };
            // What is wrong must show as a failure, whose words are shown.
            let _ = writeln!(std::io::stderr(), "{answer}");
            let _ = writeln!(std::io::stdout(), "{answer}");
            Some(if open.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        HUB_ARG => Some(hub_main()),
        _ => None,
    }
}

fn open_doors() -> Vec<String> {
    let mut open = Vec::new();
    for file in ["/etc/passwd", "/etc/hostname", "/proc/1/environ", "/root", "/tmp", "/home"] {
        if std::fs::read(file).is_ok() || std::fs::read_dir(file).is_ok() {
            open.push(format!("reads {file}"));
        }
    }
    for file in ["/tmp/drover-spy", "drover-spy", "/drover-spy"] {
        if std::fs::write(file, "x").is_ok() {
            open.push(format!("writes {file}"));
        }
    }
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    if std::fs::write(home.join("scratch"), "x").is_err() {
        open.push("cannot write where it may".into());
    }
    if Command::new("/bin/true").status().is_ok() {
        open.push("runs other programs".into());
    }
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
    // Where there is a network, nobody listens there, and says so.
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Err(error) if matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::PermissionDenied) => {}
        other => open.push(format!("connects: {:?}", other.map(drop))),
    }
    let sent = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", address));
    if sent.is_ok() {
        open.push("sends".into());
    }
    let known = ["HOME", "TMPDIR", "LC_ALL", "TZ", "GOMEMLIMIT", "KUSTOMIZE_PLUGIN_HOME"];
    for (name, _) in std::env::vars().filter(|(name, _)| !known.contains(&&**name) && !name.starts_with("HELM_")) {
        open.push(format!("sees ${name}"));
    }
    open
}

pub(crate) fn a_program_sees_nothing_but_its_input() -> Result<()> {
    let spy = std::env::current_exe()?;
    let programs = Programs::new(Options { helm: Some(spy), ..Options::default() });
    ensure!(programs.open_doors().is_empty(), "{:?}", programs.open_doors());
    ensure!(programs.problem(Tool::Helm).is_none(), "{:?}", programs.problem(Tool::Helm));
    ensure!(programs.helm_version().as_deref() == Some("4.0.0"));
    Ok(())
}

fn hub_main() -> ExitCode {
    let case = Case::template("{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}");
    let Ok(programs) = programs() else { return ExitCode::FAILURE };
    // From a thread that is not the first, as a hub does.
    let rendered = std::thread::spawn(move || case.render(&programs).is_ok()).join();
    if rendered.is_ok_and(|fine| fine) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn runs(pid: u32) -> bool {
    let state = |stat: String| stat.rsplit(')').next().map(|rest| rest.trim_start().starts_with('Z'));
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| state(stat) == Some(false))
}

pub(crate) fn a_killed_hub_leaves_no_program() -> Result<()> {
    let place = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    // What it leaves, as it is killed, goes with the place.
    command.arg(HUB_ARG).env("TMPDIR", place.path());
    let mut hub = Process::start("hub", command, &place.path().join("log"))?;
    let is_helm =
        |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("template"));
    let mut helm = None;
    tests_tools::fleet::wait_for("the hub runs helm", || {
        helm = sys::children(hub.pid())?.into_iter().find(is_helm);
        ensure!(hub.ended()?.is_none(), "the hub has ended");
        Ok(helm.is_some())
    })?;
    let helm = helm.context("helm is there")?;
    hub.kill();
    tests_tools::fleet::wait_for("helm ends", || Ok(!runs(helm)))
}

pub(crate) fn a_program_that_is_missing() -> Result<()> {
    let nowhere = PathBuf::from("/nonexistent/helm");
    let options = Options { helm: Some(nowhere.clone()), kustomize: Some("/".into()), ..Options::default() };
    let programs = Programs::new(options);
    ensure!(programs.helm_version().is_none() && programs.kustomize_version().is_none());
    Case::template("a: b").is_held(&programs, "app", 0, "needs helm: --helm /nonexistent/helm")?;
    Case::template("a: b").is_tried_again(&programs, true)?;
    let case = Case::of(&[("kustomization.yaml", "resources: []\n")]).kustomize("");
    case.is_held(&programs, "kustomization.yaml", 0, "needs kustomize: --kustomize / is no file")
}

pub(crate) fn a_program_of_another_version() -> Result<()> {
    // Another program says something else, or nothing.
    let programs = Programs::new(Options { helm: Some("/bin/true".into()), ..Options::default() });
    let problem = programs.problem(Tool::Helm).unwrap_or_default();
    ensure!(problem.contains("does not say which version it is; install helm 3.14 up to 4.x"), "{problem}");
    let programs = crate::case::programs()?;
    ensure!(programs.helm_version().is_some_and(|version| version.starts_with("4.")), "{:?}", programs.helm_version());
    ensure!(programs.kustomize_version().is_some_and(|version| version.starts_with("5.")));
    Ok(())
}

/// A program that comes later is found, and one that takes its place does not run under its version.
pub(crate) fn a_program_that_is_replaced() -> Result<()> {
    let place = tempfile::tempdir()?;
    let (helm, other) = (place.path().join("helm"), place.path().join("other"));
    let programs = Programs::new(Options { helm: Some(helm.clone()), ..Options::default() });
    ensure!(programs.helm_version().is_none(), "there is none");
    std::fs::copy(tests_tools::tools::program(tests_tools::Program::Helm)?, &helm)?;
    let version = programs.helm_version().context("it is there now")?;
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n";
    let mut case = Case::template(text);
    case.input.tools.helm = Some(version);
    case.render(&programs).map_err(crate::case::words)?;
    case.input.tools.helm = Some("3.99.0".into());
    case.is_held(&programs, "app", 0, "it was 3.99.0 and is 4.")?;
    case.is_tried_again(&programs, true)?;
    std::fs::copy("/bin/true", &other)?;
    std::fs::rename(&other, &helm)?;
    ensure!(programs.helm_version().is_none(), "another file took its place");
    Ok(())
}

pub(crate) fn nothing_is_left_behind() -> Result<()> {
    let place = tempfile::tempdir()?;
    let scratch = place.path().join("render");
    let limits = Limits { secs: 1, ..Limits::default() };
    let given = within(limits)?;
    drop(given);
    let helm = tests_tools::tools::program(tests_tools::Program::Helm)?;
    let programs =
        Programs::new(Options { helm: Some(helm), scratch: Some(scratch.clone()), limits, ..Options::default() });
    ensure!(
        Case::template("{{ range until 100000 }}{{ range until 100000 }}{{ end }}{{ end }}").render(&programs).is_err()
    );
    ensure!(entries(&scratch)? == 0, "{} are left", entries(&scratch)?);
    Ok(())
}

fn entries(folder: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}
