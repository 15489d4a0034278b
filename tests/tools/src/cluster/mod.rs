//! A real Kubernetes cluster of one machine: etcd and kube-apiserver, and on request everything that workloads need.

mod commands;
mod files;

use std::ffi::OsStr;
use std::io::{Seek, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::audit;
use crate::process::{self, Listening, Process};
use crate::tools::{self, Tools};
use files::Files;

/// A cluster is up in two seconds; machines that compile beside it take their time.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Between two questions whether the server is ready: each is a run of kubectl.
const READY_POLL: Duration = Duration::from_millis(150);
/// The port that the system offers is free only until someone else takes it.
const PORT_ATTEMPTS: usize = 8;

type CommandOf = fn(&Tools, &Files) -> Command;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the cluster and its context in the kubeconfig: lower-case letters, digits and dashes.
    pub name: String,
    /// Runs controllers, scheduler and one fake node, so that workloads become Available (560 MB instead of 320 MB).
    /// Without them objects are only stored: nothing makes pods, and a deleted namespace stays.
    pub workloads: bool,
    /// The work directory, new or empty, kept at the end; `None`: a temporary one, removed at the end.
    pub dir: Option<PathBuf>,
}

impl Options {
    /// etcd and kube-apiserver.
    #[must_use]
    pub fn bare(name: &str) -> Self {
        Self { name: name.into(), workloads: false, dir: None }
    }

    /// With controllers, scheduler and a node.
    #[must_use]
    pub fn full(name: &str) -> Self {
        Self { workloads: true, ..Self::bare(name) }
    }
}

/// A running cluster; all its processes end with the value, and with this process.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    tools: Tools,
    port: u16,
    etcd_port: u16,
    apiserver: Process,
    etcd: Process,
    others: Vec<Process>,
    // Last, so that nobody writes into a directory that is being removed.
    files: Files,
}

impl Cluster {
    /// Builds the tools if need be, starts a cluster and waits until it is ready.
    ///
    /// # Errors
    /// If the tools cannot be built, or a program does not come up in time; the error quotes the end of its log.
    pub fn start(options: Options) -> Result<Self> {
        let tools = tools::ensure()?;
        let name = options.name;
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || !name.bytes().all(known) {
            bail!("a cluster cannot be called {name:?}: use lower-case letters, digits and dashes");
        }
        let files = Files::create(&name, options.dir.as_deref())?;
        let (etcd, etcd_port) =
            start_on_free_port("etcd", &files.log("etcd"), |port| commands::etcd(&tools, &files, port))?;
        let (apiserver, port) = start_on_free_port("kube-apiserver", &files.log("kube-apiserver"), |port| {
            commands::apiserver(&tools, &files, port, etcd_port)
        })?;
        files.write_kubeconfigs(&name, port)?;
        let mut cluster = Self { name, tools, port, etcd_port, apiserver, etcd, others: Vec::new(), files };
        cluster.wait_ready()?;
        if options.workloads {
            cluster.start_workloads()?;
        }
        Ok(cluster)
    }

    /// Starts several clusters at the same time.
    ///
    /// # Errors
    /// Those of [`Cluster::start`]; then none is left running.
    pub fn start_all(options: Vec<Options>) -> Result<Vec<Self>> {
        // Once, before the threads would all wait for it.
        tools::ensure()?;
        thread::scope(|scope| {
            let starts: Vec<_> = options.into_iter().map(|options| scope.spawn(|| Self::start(options))).collect();
            let ended = starts.into_iter().map(|start| {
                start.join().map_err(|_| anyhow!("starting a cluster panicked; its message stands above"))?
            });
            // All are joined before the first error is handed on.
            ended.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// The name, which is that of the context in the kubeconfig too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kubeconfig of an administrator (user `admin`, group `system:masters`), an absolute path.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.files.kubeconfig("admin")
    }

    /// The work directory, with a log file for each program.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.files.dir()
    }

    /// The programs that it was built from.
    #[must_use]
    pub fn tools(&self) -> &Tools {
        &self.tools
    }

    /// The process ids of everything that was started and not stopped.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        [&self.apiserver, &self.etcd].into_iter().chain(&self.others).map(Process::pid).collect()
    }

    /// Runs kubectl with the kubeconfig.
    ///
    /// # Errors
    /// If kubectl cannot be run. An exit status other than 0 is no error here.
    pub fn kubectl<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I) -> Result<Output> {
        let mut command = commands::kubectl(&self.tools, &self.files);
        command.args(args);
        process::output(command)
    }

    /// Runs kubectl with an input (for `-f -`), and gives what it prints.
    ///
    /// # Errors
    /// If kubectl cannot be run or fails, with what it printed.
    pub fn kubectl_text<I: IntoIterator<Item: AsRef<OsStr>>>(&self, args: I, input: &str) -> Result<String> {
        let mut file = tempfile::tempfile().context("cannot make a temporary file")?;
        file.write_all(input.as_bytes()).and_then(|()| file.rewind()).context("cannot write a temporary file")?;
        let mut command = commands::kubectl(&self.tools, &self.files);
        command.args(args).stdin(file);
        let shown = format!("{:?}", command.get_args().skip(2).collect::<Vec<_>>());
        let output = process::output(command)?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            bail!("kubectl {shown} on cluster {}: {}\n{errors}", self.name, output.status);
        }
        String::from_utf8(output.stdout).with_context(|| format!("kubectl {shown} printed something other than text"))
    }

    /// The requests that kube-apiserver has answered since the cluster began (watches: has begun to answer), in order.
    ///
    /// # Errors
    /// If the audit log cannot be read.
    pub fn audit(&self) -> Result<Vec<audit::Entry>> {
        audit::read(&self.files.audit_log())
    }

    /// Kills kube-apiserver. Its port stays closed until [`Cluster::start_apiserver`], and etcd keeps the data.
    pub fn stop_apiserver(&mut self) {
        self.apiserver.kill();
    }

    /// Starts kube-apiserver again, on the same port with the same certificate, and waits until it is ready.
    ///
    /// # Errors
    /// If it still runs or does not come up in time.
    pub fn start_apiserver(&mut self) -> Result<()> {
        if self.apiserver.ended()?.is_none() {
            bail!("kube-apiserver of cluster {} still runs: stop it first", self.name);
        }
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let command = commands::apiserver(&self.tools, &self.files, self.port, self.etcd_port);
            self.apiserver = Process::start("kube-apiserver", command, &self.files.log("kube-apiserver"))?;
            match self.apiserver.wait_listening(self.port, START_TIMEOUT)? {
                Listening::Yes => return self.wait_ready(),
                // An outgoing connection of some program may hold the port for a moment.
                Listening::PortTaken if Instant::now() < deadline => thread::sleep(READY_POLL),
                Listening::PortTaken => bail!(self.apiserver.failure("does not get its port back")),
            }
        }
    }

    /// Kills everything at once, as if the machine were gone; the files stay until the value is dropped.
    pub fn kill(&mut self) {
        let mut all: Vec<&mut Process> =
            [&mut self.apiserver, &mut self.etcd].into_iter().chain(&mut self.others).collect();
        for process in &mut all {
            process.begin_kill();
        }
        for process in all {
            process.kill();
        }
    }

    /// Waits until requests succeed, and until there is a namespace to make objects in.
    fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            self.apiserver.must_run()?;
            self.etcd.must_run()?;
            let ready = self.kubectl(["get", "--raw=/readyz"])?.status.success()
                && self.kubectl(["get", "namespace", "default"])?.status.success();
            if ready {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(self.apiserver.failure(&format!("was not ready within {START_TIMEOUT:?}")));
            }
            thread::sleep(READY_POLL);
        }
    }

    fn start_workloads(&mut self) -> Result<()> {
        let programs: [(&str, CommandOf); 3] = [
            ("kube-controller-manager", commands::controller_manager),
            ("kube-scheduler", commands::scheduler),
            ("kwok", commands::kwok),
        ];
        for (name, command) in programs {
            let command = command(&self.tools, &self.files);
            self.others.push(Process::start(name, command, &self.files.log(name))?);
        }
        self.kubectl_text(["create", "-f", "-"], files::NODE)?;
        let timeout = format!("--timeout={}s", START_TIMEOUT.as_secs());
        let waited = self.kubectl_text(["wait", "--for=condition=Ready", "node/node-1", &timeout], "");
        for process in &mut self.others {
            process.must_run()?;
        }
        waited
            .with_context(|| format!("the fake node did not become Ready; see kwok.log in {}", self.dir().display()))?;
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a program on a port that the system chooses, and on another one if that is taken meanwhile.
fn start_on_free_port(name: &str, log: &Path, command: impl Fn(u16) -> Command) -> Result<(Process, u16)> {
    for _ in 0..PORT_ATTEMPTS {
        let port = free_port().context("cannot find a free port on 127.0.0.1")?;
        let mut process = Process::start(name, command(port), log)?;
        if process.wait_listening(port, START_TIMEOUT)? == Listening::Yes {
            return Ok((process, port));
        }
    }
    bail!("{name} found its port taken {PORT_ATTEMPTS} times in a row; see {}", log.display())
}

pub(crate) fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
