//! The fleet of one run: the hub, the spokes, and what is seen of them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use proto_wire::control::CreateJoinToken;
use proto_wire::control::execute_request::Command as Verb;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_stream::StreamExt;

use super::Arguments;
use super::child::{self, Child};
use super::clusters::{self, Start};
use super::event::{self, Event, Kind};
use super::example::{self, Example};
use super::folder::{Folder, last_words, tail};
use super::settled::{self, Reason};
use super::show::Show;
use crate::client::Client;
use crate::context::Context;
use crate::output::{self, time};
use crate::programs::Program;
use crate::view::Status;

/// For the hub to serve: it may have a long log to read.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// Between two looks at the clock and at the programs.
const TICK: Duration = Duration::from_millis(500);
/// Between two attempts to watch the hub.
const WATCH_PAUSE: Duration = Duration::from_millis(300);
/// How long a token is good for: the spoke starts right after it was made.
const TOKEN_TTL: Duration = Duration::from_secs(300);

/// How a run came to its end.
pub enum Outcome {
    /// Somebody ended it.
    Interrupted,
    /// `--until-settled`: it has.
    Settled,
    /// `--until-settled`: it has not in time.
    NotSettled(Vec<Reason>),
}

/// What is known of the hub.
#[derive(Clone, Default)]
struct News {
    status: Status,
    error: Option<String>,
}

/// The fleet of one run.
pub struct Fleet {
    arguments: Arguments,
    folder: Folder,
    example: Option<Example>,
    source: String,
    show: Show,
    hub: Option<Child>,
    spokes: Vec<Child>,
    clusters: BTreeSet<String>,
    news: News,
    has_settled: bool,
    has_moved: bool,
    begun_unix_millis: u64,
}

impl Fleet {
    /// Makes the work folder and the example, if it is wanted.
    ///
    /// # Errors
    /// Files cannot be written, or a program is missing.
    pub fn prepare(arguments: Arguments) -> Result<Self> {
        Program::Hub.path()?;
        Program::Spoke.path()?;
        let folder = Folder::open(arguments.dir.as_deref())?;
        let (source, example) = match &arguments.source {
            Some(source) => (absolute(source)?, None),
            None => {
                let example = Example::create(&folder.source(), arguments.example.as_deref())?;
                (folder.source().display().to_string(), Some(example))
            }
        };
        Ok(Self {
            show: Show::new(arguments.output.format),
            arguments,
            folder,
            example,
            source,
            hub: None,
            spokes: Vec::new(),
            clusters: BTreeSet::new(),
            news: News::default(),
            has_settled: false,
            has_moved: false,
            begun_unix_millis: time::now_unix_millis(),
        })
    }

    /// Starts everything and shows what happens, until something ends it.
    ///
    /// # Errors
    /// Something cannot be started, or the hub ended.
    pub async fn run(&mut self) -> Result<Outcome> {
        let deadline = self.arguments.until_settled.map(|span| Instant::now() + span);
        let started = Event::new(Kind::Started, time::now_unix_millis());
        self.show.event(&started.saying(self.folder.path().display().to_string()))?;
        let context = self.start_hub().await?;
        self.introduce()?;
        let mut client = Client::new(context.clone());
        let (sender, mut news) = watch::channel(News::default());
        let watcher = tokio::spawn(follow(Client::new(context), sender));
        let outcome = self.follow(&mut client, &mut news, deadline).await;
        watcher.abort();
        outcome
    }

    async fn follow(
        &mut self,
        client: &mut Client,
        news: &mut watch::Receiver<News>,
        deadline: Option<Instant>,
    ) -> Result<Outcome> {
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                changed = news.changed() => changed.context("nobody watches the hub any more")?,
                _ = tick.tick() => {}
            }
            self.look_after_programs()?;
            let latest = news.borrow_and_update().clone();
            self.take(latest)?;
            self.start_spokes(client).await?;
            let reasons = self.reasons();
            self.note_settled(reasons.is_empty())?;
            self.show.state(&self.news.status, &self.clusters)?;
            match deadline {
                Some(_) if reasons.is_empty() => return Ok(Outcome::Settled),
                Some(deadline) if Instant::now() >= deadline => {
                    return Ok(Outcome::NotSettled(self.with_last_words(reasons)));
                }
                _ => {}
            }
        }
    }

    /// Makes the hub the first time, starts it, and puts its address into the context.
    async fn start_hub(&mut self) -> Result<Context> {
        let program = Program::Hub.path()?;
        if !self.folder.context().exists() {
            init_hub(&program, &self.folder).await?;
        }
        let mut command = Command::new(&program);
        command.arg("run").arg("--dir").arg(self.folder.hub());
        command.args(["--listen", "127.0.0.1:0", "--print-ready", &die_with_us()]);
        command.arg("--source").arg(&self.source);
        match &self.arguments.reference {
            Some(reference) => command.arg("--ref").arg(reference),
            None => command.args(["--ref", example::BRANCH]),
        };
        if let Some(path) = &self.arguments.path {
            command.arg("--path").arg(path);
        }
        command.args(self.arguments.renders.arguments());
        let mut hub = Child::start(Program::Hub.name(), command, &self.folder.log("hub"), true)?;
        let line = hub.first_line(READY_TIMEOUT).await;
        self.hub = Some(hub);
        let line = line?;
        let ready: serde_json::Value = serde_json::from_str(&line).context("the hub's first line is not JSON")?;
        let address = ready["address"].as_str().context("the hub does not say where it serves")?;
        let mut context = Context::load(Some(&self.folder.context()))?;
        self.has_moved = context.move_to(vec![address.to_owned()])?;
        let event = Event::new(Kind::Ready, time::now_unix_millis());
        self.show.event(&event.saying(format!("hub {} at {address}", context.hub_id)))?;
        Ok(context)
    }

    /// Where everything is and what to try. It goes to stderr, or above the table.
    fn introduce(&mut self) -> Result<()> {
        let folder = self.folder.path().display();
        let shell = output::shell_word;
        let keeps = if self.folder.is_temporary() { "goes when this ends; --dir keeps one" } else { "is kept" };
        let mut text = format!("\nWork folder  {folder} ({keeps}; logs are in it)\nSource       {}\n", self.source);
        if self.folder.is_temporary() && !self.arguments.kubeconfigs.is_empty() {
            text.push_str("Real clusters remember their hub and refuse another: --dir keeps this one for next time.\n");
        }
        if let Some(example) = &self.example {
            let (file, commit) = example.hint();
            let lines = [format!("  edit    {}", file.display()), format!("  commit  {commit}")];
            let title = "Change something and watch it arrive, a second after the commit:".to_owned();
            text.push_str(&format!("\n{title}\n{}\n", lines.join("\n")));
            self.show.keep_in_sight([vec![String::new(), title], lines.to_vec()].concat());
        }
        let own = std::env::current_exe().context("cannot tell where this program lies")?;
        text.push_str(&format!(
            "\nIn another terminal:\n  export DROVER_CONTEXT={}\n  {} status\n\nCtrl-C ends everything.\n",
            shell(&self.folder.context()),
            shell(&own)
        ));
        self.show.tell(&text)
    }

    /// Without its hub a run is over; a spoke that died is told, and shows as not connected.
    fn look_after_programs(&mut self) -> Result<()> {
        if let Some(death) = self.hub.as_mut().and_then(Child::death) {
            return Err(anyhow!(death));
        }
        let mut running = Vec::new();
        for mut spoke in std::mem::take(&mut self.spokes) {
            match spoke.death() {
                Some(death) => {
                    let event = Event::new(Kind::Died, time::now_unix_millis()).of_cluster(spoke.name());
                    let headline = death.lines().next().unwrap_or_default();
                    self.show.event(&event.saying(headline.trim_start_matches(spoke.name()).trim_start()))?;
                    self.show.tell(&death)?;
                }
                None => running.push(spoke),
            }
        }
        self.spokes = running;
        Ok(())
    }

    /// Tells what changed since the state that was seen last.
    fn take(&mut self, news: News) -> Result<()> {
        for event in event::changes(&self.news.status, &news.status, time::now_unix_millis()) {
            self.show.event(&event)?;
        }
        self.news = news;
        Ok(())
    }

    /// Starts a spoke for each cluster that has none yet: all at first, later those that a commit adds.
    async fn start_spokes(&mut self, client: &mut Client) -> Result<()> {
        let Arguments { clusters: count, kubeconfigs, .. } = &self.arguments;
        let has_joined = |name: &str| self.folder.has_joined(name);
        let wanted = clusters::wanted(&self.news.status, has_joined, *count, kubeconfigs)?;
        let Some(wanted) = wanted else { return Ok(()) };
        let is_first = self.clusters.is_empty() && self.spokes.is_empty();
        if is_first && count.is_some() && wanted.values().any(|start| start.is_declared) {
            self.show.tell("--clusters has no effect here: the source declares its clusters")?;
        }
        let missing: BTreeMap<String, Start> =
            wanted.into_iter().filter(|(name, _)| !self.clusters.contains(name)).collect();
        for (name, start) in missing {
            // With --dir an earlier run may have used other clusters.
            if !kubeconfigs.is_empty() && self.clusters.len() == kubeconfigs.len() {
                break;
            }
            let needs_token = self.has_moved || !self.folder.has_joined(&name);
            let token = if needs_token { Some(join_token(client, &name, &start).await?) } else { None };
            let spoke = start_spoke(&self.folder, &name, &start, token)?;
            self.spokes.push(spoke);
            self.show.event(&Event::new(Kind::ClusterStarted, time::now_unix_millis()).of_cluster(&name))?;
            self.clusters.insert(name);
        }
        Ok(())
    }

    fn reasons(&self) -> Vec<Reason> {
        match &self.news.error {
            Some(error) => vec![Reason { cluster: None, message: error.clone() }],
            None => settled::missing(&self.news.status, &self.clusters, self.begun_unix_millis),
        }
    }

    /// A cluster that is not connected is explained by its spoke's log, which may go with the folder.
    fn with_last_words(&self, mut reasons: Vec<Reason>) -> Vec<Reason> {
        let is_connected =
            |name: &str| self.news.status.clusters.iter().any(|cluster| cluster.cluster == name && cluster.connected);
        for reason in &mut reasons {
            let name = reason.cluster.as_deref().filter(|name| !is_connected(name));
            if let Some(words) = name.and_then(|name| last_words(&self.folder.log(name))) {
                reason.message.push_str(&format!("; its spoke said: {words}"));
            }
        }
        reasons
    }

    fn note_settled(&mut self, has_settled: bool) -> Result<()> {
        if has_settled != self.has_settled {
            let kind = if has_settled { Kind::Settled } else { Kind::Unsettled };
            self.has_settled = has_settled;
            self.show.event(&Event::new(kind, time::now_unix_millis()))?;
        }
        Ok(())
    }

    /// Ends the spokes, then the hub, and says how the run went.
    ///
    /// # Errors
    /// Stdout is closed, or a temporary folder cannot be removed.
    pub async fn end(mut self, outcome: &Result<Outcome>, hurry: impl Future<Output = ()>) -> Result<ExitCode> {
        let groups = vec![std::mem::take(&mut self.spokes), self.hub.take().into_iter().collect()];
        child::end(groups, hurry).await;
        let ended = Event::new(Kind::Ended, time::now_unix_millis());
        let code = match outcome {
            Ok(Outcome::Interrupted) if self.arguments.until_settled.is_some() => {
                self.show.event(&ended.saying("interrupted before it settled"))?;
                ExitCode::FAILURE
            }
            Ok(Outcome::Interrupted) => {
                self.show.event(&ended)?;
                ExitCode::SUCCESS
            }
            Ok(Outcome::Settled) => {
                self.show.event(&ended.saying("settled"))?;
                ExitCode::SUCCESS
            }
            Ok(Outcome::NotSettled(reasons)) => {
                self.tell_reasons(reasons)?;
                self.show.event(&ended.saying("not settled in time"))?;
                ExitCode::FAILURE
            }
            Err(error) => {
                self.show.event(&ended.saying(error.to_string().lines().next().unwrap_or_default()))?;
                ExitCode::FAILURE
            }
        };
        let is_kept = !self.folder.is_temporary();
        let folder = self.folder.path().to_path_buf();
        self.folder.close()?;
        if is_kept {
            output::tell(&format!("Everything has ended; --dir {} goes on from here.", output::shell_word(&folder)));
        }
        Ok(code)
    }

    fn tell_reasons(&mut self, reasons: &[Reason]) -> Result<()> {
        for reason in reasons {
            let event = Event::new(Kind::Unsettled, time::now_unix_millis()).saying(&reason.message);
            self.show.event(&Event { cluster: reason.cluster.clone(), ..event })?;
        }
        output::tell("drover: not settled in time:");
        for reason in reasons {
            output::tell(&format!("  {reason}"));
        }
        Ok(())
    }
}

/// A path is made absolute, since the hub may run elsewhere; a URL stays as it is.
fn absolute(source: &str) -> Result<String> {
    // A colon may belong to a form of address that the hub knows.
    if source.contains("://") || (source.contains(':') && !Path::new(source).exists()) {
        return Ok(source.to_owned());
    }
    if !Path::new(source).exists() {
        bail!("there is no folder {source}\n--source takes the path or the https URL of a Git repository");
    }
    let path = std::fs::canonicalize(source).with_context(|| format!("cannot read {source}"))?;
    path.into_os_string().into_string().map_err(|path| anyhow!("{} is not UTF-8; move the repository", path.display()))
}

/// Port 0: the system chooses one when the hub starts.
async fn init_hub(program: &Path, folder: &Folder) -> Result<()> {
    let log = folder.log("hub-init");
    let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut command = Command::new(program);
    command.arg("init").arg("--dir").arg(folder.hub()).arg("--context").arg(folder.context());
    command.args(["--advertise", "127.0.0.1:0", &die_with_us()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).kill_on_drop(true);
    let status = command.status().await.with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("the hub cannot be made ({status}):\n{}", tail(&log));
    }
    Ok(())
}

/// A token for one cluster alone. A spoke that has joined before needs one only where the hub has another address.
async fn join_token(client: &mut Client, name: &str, start: &Start) -> Result<String> {
    let (key, value) = clusters::LOCAL_LABEL;
    let token = CreateJoinToken {
        labels: if start.is_declared { BTreeMap::new() } else { [(key.to_owned(), value.to_owned())].into() },
        names: vec![name.to_owned()],
        uses: 1,
        ttl_secs: TOKEN_TTL.as_secs(),
    };
    Ok(client.execute(Verb::CreateJoinToken(token), "drover up").await?.token)
}

fn start_spoke(folder: &Folder, name: &str, start: &Start, token: Option<String>) -> Result<Child> {
    let mut command = Command::new(Program::Spoke.path()?);
    command.arg("--dir").arg(folder.spoke(name)).args(["--cluster", name, &die_with_us()]);
    match &start.kubeconfig {
        None => {
            command.arg("--memory");
        }
        Some(kubeconfig) => {
            command.arg("--kubeconfig").arg(&kubeconfig.file);
            if let Some(context) = &kubeconfig.context {
                command.arg("--context").arg(context);
            }
        }
    }
    if let Some(token) = token {
        // Not as an argument, which every process of the machine can read.
        command.env("DROVER_TOKEN", token);
    }
    Child::start(name, command, &folder.log(name), false)
}

/// Watches the hub, as long as it takes.
async fn follow(mut client: Client, sender: watch::Sender<News>) {
    loop {
        let error = match client.watch(&[], &[]).await {
            Ok(mut stream) => loop {
                match stream.next().await {
                    Some(Ok(answer)) => {
                        sender.send_replace(News { status: answer.into(), error: None });
                    }
                    Some(Err(status)) => break format!("the hub ended the stream: {}", status.message()),
                    None => break "the hub ended the stream".to_owned(),
                }
            },
            Err(error) => error.to_string(),
        };
        sender.send_modify(|news| news.error = Some(error));
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

/// Tells a child to end with this very process; whoever adopts an orphan has another id.
fn die_with_us() -> String {
    format!("--die-with-parent={}", std::process::id())
}
