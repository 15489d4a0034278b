//! A fleet that follows the commits of a case: the hub's planner and guard, and spokes that do what they are told
//! unless the case says otherwise. What people would see of it comes out as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, ensure};
use hub_core::catalog::Guard;
use hub_core::check::{self, Facts, Identities};
use hub_core::command::{Act, Command, Deed, Pair, Token};
use hub_core::facts::Shelf;
use hub_core::fleet::Fleet;
use hub_core::lead::Waiting;
use hub_core::publish;
use hub_core::view::{self, BundleView, Connection, Defect, Memory};
use hub_render::offline::{Offline, SOURCE};
use proto_model::{Digest, Health, ObjectProblem, Report, Sync};

use crate::case::{Commit, Word};
use crate::print;

/// When everything happens, milliseconds since 1970.
const NOW: u64 = 1_700_000_000_000;

/// A hub without a disk, and its spokes.
pub(crate) struct Follower {
    fleet: Fleet,
    waiting: Waiting,
    desk: Desk,
    acts: u64,
}

/// What a replica remembers beside Fleet.
#[derive(Default)]
struct Desk {
    shelf: Shelf,
    silent: BTreeSet<String>,
    /// What spokes say instead of that all is well, by cluster and bundle.
    said: BTreeMap<(String, String), Word>,
    reports: BTreeMap<(String, String), Arc<Report>>,
    defects: BTreeMap<Digest, BTreeMap<String, Defect>>,
}

impl Facts for Desk {
    fn identities(&self, pair: &Pair) -> Option<Arc<Identities>> {
        self.shelf.identities(pair)
    }
}

impl Memory for Desk {
    fn connection(&self, cluster: &str) -> Option<Connection> {
        let connected = !self.silent.contains(cluster);
        Some(Connection { connected, seen_unix_millis: NOW, ..Connection::default() })
    }
    fn report(&self, cluster: &str, bundle: &str) -> Option<Arc<Report>> {
        self.reports.get(&(cluster.to_owned(), bundle.to_owned())).cloned()
    }
    fn source_error(&self, _: &str) -> Option<String> {
        None
    }
    fn fetched_unix_millis(&self, _: &str) -> Option<u64> {
        Some(NOW)
    }
    fn since_unix_millis(&self, _: &str, _: &str) -> Option<u64> {
        Some(NOW)
    }
    fn defects(&self, body: &Digest) -> BTreeMap<String, Defect> {
        self.defects.get(body).cloned().unwrap_or_default()
    }
}

impl Follower {
    pub(crate) fn new() -> Self {
        let mut waiting = Waiting::new();
        waiting.push(Command::Source {
            source: SOURCE.into(),
            url: "/repository".into(),
            reference: "main".into(),
            path: String::new(),
            verified: false,
        });
        waiting.push(Command::Token(Token {
            id: "token".into(),
            secret: Digest::default(),
            names: vec!["*".into()],
            labels: BTreeMap::new(),
            uses: 1_000,
            expires_unix_millis: u64::MAX,
        }));
        Self { fleet: Fleet::new("h"), waiting, desk: Desk::default(), acts: 0 }
    }

    /// Takes a commit, lets everything happen that follows, and appends what there is to see.
    ///
    /// # Errors
    /// The hub would have made a wrong move, or the case speaks of what is not there.
    pub(crate) fn follow(&mut self, id: &str, commit: &Commit, tree: &Offline, out: &mut String) -> anyhow::Result<()> {
        self.desk.silent.clone_from(&commit.silent);
        self.desk.said.clone_from(&commit.said);
        let clusters = &tree.catalog().clusters;
        let declared = clusters.iter().map(|(name, item)| (name.clone(), item.labels.clone())).collect();
        self.run()?;
        while let Some(declare) = publish::declare(&self.fleet, SOURCE, &declared) {
            self.waiting.push(declare);
            self.run()?;
        }
        let fresh = self.fleet.clusters.iter().filter(|(_, known)| known.key.is_none());
        let names: Vec<String> = fresh.map(|(name, _)| name.clone()).collect();
        for cluster in names {
            let key = Digest::of(cluster.as_bytes());
            self.waiting.push(Command::Enrol { cluster, token: "token".into(), key });
        }
        self.run()?;
        let head = self.head(id, tree)?;
        for command in publish::publish(&self.fleet, &head) {
            self.waiting.push(command);
        }
        self.settle()?;
        for bundle in &commit.approved {
            self.approve(bundle)?;
            self.settle()?;
        }
        // Writing to a text has no way to fail.
        let _ = print::defects(tree, out).and_then(|()| self.print(out));
        Ok(())
    }

    /// What the commit asks for, with the numbers that Fleet gave the clusters.
    fn head(&mut self, commit: &str, tree: &Offline) -> anyhow::Result<publish::Head> {
        let mut bundles = BTreeMap::new();
        for (name, goal) in &tree.goals().bundles {
            let mut wanted = publish::Wanted { path: goal.path.clone(), guard: goal.guard.clone(), goal: Vec::new() };
            for (content, numbers) in &goal.pairs {
                let rendered = tree.rendered(name, &content.variant);
                let meta = rendered.with_context(|| format!("{name} is not rendered"))?.meta.clone();
                self.desk.shelf.add_variant(content.variant, meta);
                let pair = Pair { variant: content.variant, variables: content.variables.digest() };
                self.desk.shelf.add_variables(pair.variables, Arc::new(content.variables.clone()));
                let there = tree.clusters().iter().filter(|one| numbers.contains(one.number));
                let known = there.filter_map(|one| self.fleet.clusters.get(&one.name));
                wanted.goal.push((pair, known.map(|known| known.number).collect()));
            }
            bundles.insert(name.clone(), wanted);
        }
        let defects = Digest::of(commit.as_bytes());
        let held: BTreeMap<String, Defect> = tree
            .goals()
            .held
            .iter()
            .map(|(name, why)| (name.clone(), Defect { message: why.clone(), since_unix_millis: Some(NOW) }))
            .collect();
        let names = held.keys().chain(tree.goals().awaited.keys()).cloned().collect();
        self.desk.defects.insert(defects, held);
        Ok(publish::Head {
            source: SOURCE.into(),
            commit: commit.into(),
            catalog: defects,
            defects,
            bundles,
            held: names,
        })
    }

    /// Everything that waits goes into the log.
    fn run(&mut self) -> anyhow::Result<()> {
        while let Some(next) = self.waiting.next(&self.fleet, &self.desk, &Guard::default(), NOW) {
            ensure!(next.complaints.is_empty(), "wrong moves: {:?}", next.complaints);
            self.fleet.apply(&next.entry)?;
        }
        Ok(())
    }

    /// The same, and spokes do and say what they are to, until nobody has news.
    fn settle(&mut self) -> anyhow::Result<()> {
        loop {
            self.run()?;
            self.hear();
            if self.waiting.is_empty() {
                return Ok(());
            }
            let before = self.fleet.revision;
            self.run()?;
            if self.fleet.revision == before {
                return Ok(());
            }
        }
    }

    fn hear(&mut self) {
        for (cluster, known) in &self.fleet.clusters {
            if self.desk.silent.contains(cluster) {
                continue;
            }
            for (name, bundle) in &self.fleet.bundles {
                let assigned = self.fleet.assigned(bundle, known.number);
                if assigned.is_none() && !bundle.removing.contains(known.number) {
                    continue;
                }
                let key = (cluster.clone(), name.clone());
                let said = self.desk.said.get(&key).filter(|_| assigned.is_some());
                let report = report(name, known.generation, assigned, said);
                self.desk.reports.insert(key, Arc::new(report.clone()));
                self.waiting.report(cluster.clone(), report);
            }
        }
    }

    fn approve(&mut self, bundle: &str) -> anyhow::Result<()> {
        let known = self.fleet.bundles.get(bundle).with_context(|| format!("no bundle {bundle}"))?;
        let shown = check::held_digest(&check::held(&self.fleet, known));
        self.acts += 1;
        let deed = Deed::ApproveDeletions { bundle: bundle.into(), shown };
        let request = format!("request-{}", self.acts);
        ensure!(self.waiting.operate(Act { request, who: "ann".into(), why: "meant".into(), deed }), "no room");
        Ok(())
    }

    fn print(&self, out: &mut String) -> std::fmt::Result {
        for cluster in view::clusters(&self.fleet, &self.desk, &[], &[]) {
            write!(out, "in {}", cluster.cluster)?;
            match &cluster.hold {
                Some(hold) => writeln!(out, ", held ({}): {}", hold.kind.as_str(), hold.message)?,
                None => writeln!(out)?,
            }
            for bundle in &cluster.bundles {
                print_bundle(bundle, out)?;
            }
        }
        writeln!(out)
    }
}

fn print_bundle(bundle: &BundleView, out: &mut String) -> std::fmt::Result {
    let commit = bundle.commit.as_deref().unwrap_or("none");
    let goal = if bundle.is_at_goal { "" } else { ", not at its goal" };
    writeln!(out, "  {} of {commit}: {}, {}{goal}", bundle.bundle, bundle.sync, bundle.health)?;
    let Some(hold) = &bundle.hold else { return Ok(()) };
    writeln!(out, "    held ({}): {}", hold.kind.as_str(), hold.message)?;
    for object in &hold.objects {
        writeln!(out, "    would go: {object}")?;
    }
    Ok(())
}

fn report(bundle: &str, generation: u64, assigned: Option<Pair>, said: Option<&Word>) -> Report {
    let (sync, health) = match (assigned, said) {
        (None, _) => (Sync::Removing, Health::Unknown),
        (Some(_), None) => (Sync::Applied, Health::Healthy),
        (Some(_), Some(word)) => (word.sync, word.health),
    };
    let problem = |word: &Word| ObjectProblem {
        object: None,
        is_final: word.sync == Sync::Failed,
        message: word.message.clone(),
    };
    Report {
        bundle: bundle.into(),
        generation,
        variant: assigned.map(|pair| pair.variant),
        variables: assigned.map(|pair| pair.variables).unwrap_or_default(),
        sync,
        health,
        drifted: false,
        suspended: false,
        installed: assigned.is_some(),
        objects: u64::from(assigned.is_some()),
        problems: said.map(problem).into_iter().collect(),
        problems_more: 0,
        since_unix_millis: NOW,
    }
}
