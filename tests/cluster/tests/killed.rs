//! The spoke is killed at a step of a change: before a write reaches the API server, or after it
//! did and before the answer came. Whatever the step, it converges once it runs again; nothing is left
//! over, nothing is made twice.
//!
//! Every step is a run, once before its write and once after it; `DROVER_FROM` begins at a later one.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says how far it came")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value as Json;
use tests_cluster::proxy::{Judge, Proxy, Seen, Verdict};
use tests_cluster::site::{Site, config_map, ensure_no_manager};
use tests_tools::Options;
use tests_tools::fleet::{bundle, is_settled};

/// When the spoke is to be killed.
#[derive(Clone, Copy, Debug)]
struct Moment {
    /// At which write, 1 the first.
    write: usize,
    /// Whether that write reaches the API server.
    arrives: bool,
}

/// Stops the world at a moment until the spoke is dead.
#[derive(Default)]
struct Trap {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    moment: Option<Moment>,
    writes: usize,
    /// The write at which it sprang. From then on nothing passes.
    sprung: Option<String>,
}

impl Trap {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn set(&self, moment: Option<Moment>) {
        *self.state() = State { moment, ..State::default() };
        self.changed.notify_all();
    }

    fn judge(&self, seen: &Seen) -> Verdict {
        let mut state = self.state();
        if state.sprung.is_some() {
            return self.hold(state);
        }
        // What is not about the change comes and goes with time.
        let is_step = seen.is_write()
            && !["/leases", "/events", "/configmaps/drover-status"].iter().any(|part| seen.path.contains(part));
        if !is_step {
            return Verdict::Pass;
        }
        state.writes += 1;
        match state.moment {
            Some(moment) if moment.write == state.writes && moment.arrives => Verdict::Lose,
            Some(moment) if moment.write == state.writes => {
                state.sprung = Some(format!("{} {}", seen.method, seen.path));
                self.hold(state)
            }
            _ => Verdict::Pass,
        }
    }

    fn arrived(&self, seen: &Seen) {
        let mut state = self.state();
        state.sprung = Some(format!("{} {}", seen.method, seen.path));
        self.hold(state);
    }

    fn hold(&self, state: MutexGuard<'_, State>) -> Verdict {
        drop(self.changed.wait_while(state, |state| state.sprung.is_some()).unwrap());
        Verdict::Drop
    }
}

/// The cluster, and what it should run.
struct Run {
    site: Site,
    trap: Arc<Trap>,
    round: usize,
    /// uid of each object that should be there, after the last round.
    uids: BTreeMap<String, String>,
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, singular: widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
"#;

fn hook(name: &str, when: &str, round: usize) -> String {
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\n  annotations: {{argocd.argoproj.io/hook: {when}}}\nspec:\n  template:\n    \
         spec:\n      restartPolicy: Never\n      containers: [{{name: run, image: 'registry.example/run:{round}'}}]\n---\n"
    )
}

fn deployment(name: &str, round: usize) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    \
         metadata: {{labels: {{app: {name}}}, annotations: {{round: \"{round}\"}}}}\n    spec: {{containers: [{{name: run, image: registry.example/run}}]}}\n---\n"
    )
}

fn widget(name: &str, round: usize) -> String {
    format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: {name}}}\nspec: {{round: {round}}}\n---\n")
}

/// What each round changes: ten ConfigMaps, five widgets, a Deployment and two hooks of `one`; three
/// ConfigMaps move to the other bundle, and in the next round back; two go and two others come.
fn manifests(round: usize) -> [(&'static str, String); 2] {
    let is_even = round.is_multiple_of(2);
    let (mut one, mut two) = (DEFINITION.to_owned(), String::new());
    one += &(hook("before", "PreSync", round) + &hook("after", "PostSync", round) + &deployment("web", round));
    (0..5).for_each(|at| one += &widget(&format!("w{at}"), round));
    (0..10).for_each(|at| one += &config_map(&format!("changes{at}"), &round.to_string()));
    (0..26).for_each(|at| one += &config_map(&format!("stays{at}"), "1"));
    (0..10).for_each(|at| two += &config_map(&format!("other{at}"), "1"));
    let to = if is_even { &mut one } else { &mut two };
    (0..3).for_each(|at| *to += &config_map(&format!("moves{at}"), &round.to_string()));
    let comes = if is_even { "even" } else { "odd" };
    (0..2).for_each(|at| one += &config_map(&format!("{comes}{at}"), "1"));
    two += &deployment("worker", 0);
    [("one", one), ("two", two)]
}

/// What should be there, as `kind name`.
fn expected(round: usize) -> BTreeSet<String> {
    let texts = manifests(round);
    let all = texts.iter().flat_map(|(_, text)| text.split("---\n"));
    all.filter_map(|text| {
        let line = |key: &str| text.lines().find_map(|line| Some(line.split_once(key)?.1));
        let name = line("  name: ").or_else(|| line("metadata: {name: "))?;
        Some(format!("{} {}", line("kind: ")?, name.trim_end_matches('}')))
    })
    .collect()
}

impl Run {
    fn start() -> Result<Self> {
        let mut site = Site::start(Options::full("killed"))?;
        let trap = Arc::new(Trap::default());
        let (judging, arriving) = (trap.clone(), trap.clone());
        let judge: Judge = Arc::new(move |seen| judging.judge(seen));
        let arrived = Arc::new(move |seen: &Seen| arriving.arrived(seen));
        let proxy = Proxy::start(&site.cluster, &site.fleet.dir().join("proxied.json"), judge, arrived)?;
        site.join(proxy.kubeconfig())?;
        for name in ["one", "two"] {
            site.bundle(name, "  namespace: shop\n")?;
        }
        let mut run = Self { site, trap, round: 0, uids: BTreeMap::new() };
        ensure!(expected(0).len() >= 59, "{}", expected(0).len());
        run.next(None).context("the first round")?;
        Ok(run)
    }

    /// Goes on to the next round; the answer is the write at which the spoke was killed, if it came to that.
    fn next(&mut self, moment: Option<Moment>) -> Result<Option<String>> {
        let mark = self.site.cluster.audit()?.len();
        self.trap.set(moment);
        for (name, text) in manifests(self.round) {
            self.site.write(&format!("{name}/all.yaml"), &text)?;
        }
        let commit = self.site.fleet.repo.commit(&format!("round {}", self.round))?;
        let settled = self.site.fleet.wait("the spoke is killed, or everything settled", |status| {
            self.trap.state().sprung.is_some() || self.is_settled(status, &commit)
        });
        settled.with_context(|| self.told())?;
        let sprung = self.trap.state().sprung.clone();
        if sprung.is_some() {
            self.site.fleet.kill_spoke("killed");
            self.trap.set(None);
            self.site.start_spoke()?;
            let settled = self.site.fleet.wait("everything settled", |status| self.is_settled(status, &commit));
            settled.with_context(|| format!("killed at {sprung:?}\n{}", self.told()))?;
        }
        let checked = self.check(mark);
        checked.with_context(|| format!("round {}, killed at {sprung:?}", self.round))?;
        self.round += 1;
        Ok(sprung)
    }

    /// What the spoke says of itself, for whoever looks for the reason of a failure.
    fn told(&self) -> String {
        let explained =
            self.site.spoke(&["explain"]).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        format!("{}\n{explained:?}", self.site.fleet.spoke_log("killed"))
    }

    /// Whether everything is as it should be. What the guard holds, which counts what went within a day, is approved.
    fn is_settled(&self, status: &Json, commit: &str) -> bool {
        for name in ["main/one", "main/two"] {
            if bundle(status, "killed", name).is_some_and(|one| one["hold"]["kind"] == "guard") {
                // It may have been let go meanwhile.
                let _ = self.site.fleet.drover(&["rollout", "approve", name, "--deletions", "--reason", "meant"]);
            }
        }
        is_settled(status, commit)
    }

    fn check(&mut self, mark: usize) -> Result<()> {
        let wanted = expected(self.round);
        // What leaves Git goes after the report that all is Applied.
        let mut objects = BTreeMap::new();
        tests_tools::fleet::wait_for("what should be there, and nothing else", || {
            objects = self.objects()?;
            Ok(objects.keys().eq(&wanted))
        })
        .with_context(|| format!("wanted {wanted:?}\nfound {:?}", objects.keys()))?;
        let uids: BTreeMap<String, String> =
            objects.iter().map(|(name, one)| (name.clone(), one["metadata"]["uid"].to_string())).collect();
        for (name, uid) in self.uids.iter().filter(|(name, _)| !name.starts_with("Job ")) {
            let now = uids.get(name);
            ensure!(now.is_none_or(|now| now == uid), "{name} was made anew");
        }
        let round = self.round.to_string();
        for (name, one) in &objects {
            let changes = ["changes", "moves"].iter().any(|part| name.contains(part));
            ensure!(!changes || one["data"]["key"] == round.as_str(), "{name} is old: {one}");
            if name.contains("moves") {
                let former = if self.round.is_multiple_of(2) { "drover/main/two" } else { "drover/main/one" };
                ensure_no_manager(one, former).with_context(|| name.clone())?;
            }
        }
        self.check_requests(mark, &uids)?;
        self.uids = uids;
        Ok(())
    }

    /// Everything that the spoke made and deleted, it made and deleted once.
    fn check_requests(&self, mark: usize, uids: &BTreeMap<String, String>) -> Result<()> {
        let (mut made, mut deleted): (BTreeMap<String, usize>, BTreeSet<String>) = Default::default();
        for entry in self.site.cluster.audit()?.iter().skip(mark) {
            let is_ours = entry.user_agent.starts_with("drover-spoke/")
                && entry.namespace != "drover-system"
                && entry.resource != "events"
                && !entry.uri.contains("dryRun");
            let name = format!("{} {}", entry.resource, entry.name);
            if is_ours && entry.code == 201 {
                *made.entry(name).or_default() += 1;
            } else if is_ours && entry.verb == "delete" && entry.code < 300 {
                deleted.insert(name);
            }
        }
        let twice: Vec<_> = made.iter().filter(|(_, count)| **count > 1).collect();
        ensure!(twice.is_empty(), "made twice: {twice:?}");
        let leaves = |kind: &str| {
            let all = self.uids.keys().filter(move |name| name.starts_with(kind) && !uids.contains_key(*name));
            all.filter_map(|name| Some(name.split_once(' ')?.1.to_owned())).collect::<Vec<_>>()
        };
        let mut wanted: BTreeSet<String> =
            leaves("ConfigMap").into_iter().map(|name| format!("configmaps {name}")).collect();
        if !self.uids.is_empty() {
            // A Job is made anew where its template changes.
            wanted.extend(["jobs before".to_owned(), "jobs after".to_owned()]);
        }
        ensure!(deleted == wanted, "deleted {deleted:?}, wanted {wanted:?}");
        Ok(())
    }

    /// All objects with an owner's mark, by kind and name.
    fn objects(&self) -> Result<BTreeMap<String, Json>> {
        let kinds = "configmaps,jobs,deployments,customresourcedefinitions,widgets";
        let args = ["get", kinds, "-A", "-l", "drover.dev/owner", "-o", "json", "--show-managed-fields"];
        let list: Json = serde_json::from_str(&self.site.kubectl(&args)?)?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        let text = |one: &Json, pointer| one.pointer(pointer).and_then(Json::as_str).unwrap_or_default().to_owned();
        Ok(items
            .into_iter()
            .map(|one| (format!("{} {}", text(&one, "/kind"), text(&one, "/metadata/name")), one))
            .collect())
    }
}

#[test]
fn every_step() -> Result<()> {
    let mut run = Run::start()?;
    let from = std::env::var("DROVER_FROM").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    for write in from.. {
        let mut ended = 0;
        for arrives in [false, true] {
            let moment = Moment { write, arrives };
            let begun = std::time::Instant::now();
            let killed = run.next(Some(moment)).with_context(|| format!("{moment:?}"))?;
            eprintln!("{moment:?}: {killed:?}, {:.1} s", begun.elapsed().as_secs_f64());
            ended += usize::from(killed.is_none());
        }
        if ended == 2 {
            return Ok(());
        }
    }
    Ok(())
}
