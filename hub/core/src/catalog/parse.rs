//! From the files of a snapshot to a catalog: duplicates, the last good form, and what holds
//! across documents.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proto_model::limits;

use super::check::{Finding, Weight};
use super::document::{self, Item, Kind, Read};
use super::spec::May;
use super::{Catalog, Declared, Defect, across, full_name, shown};
use crate::snapshot::{File, Snapshot, is_declaration};
use crate::yaml;

/// What was read of each file, by Git's id of its content: a commit that touches one file of
/// declarations costs one.
#[derive(Debug, Default)]
pub struct Cache {
    files: BTreeMap<String, Arc<FileRead>>,
}

#[derive(Debug)]
struct FileRead {
    documents: Result<Vec<Read>, yaml::Error>,
}

/// What a snapshot declares, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The catalog, with the last good form of whatever is defective now.
    pub catalog: Catalog,
    /// By file and line.
    pub defects: Vec<Defect>,
}

/// What says that it declares something: a document of a file.
struct Claim<'a> {
    file: &'a str,
    read: &'a Read,
}

/// Reads the declarations of a snapshot. `last` is the last catalog of the same source: a
/// document that is defective never replaces what it holds, and where two documents declare the
/// same, the one that stood there before stays.
#[must_use]
pub fn parse(snapshot: &Snapshot, source: &str, last: Option<&Catalog>, cache: &mut Cache) -> Parsed {
    parse_within(snapshot, source, None, last, cache)
}

/// As [`parse`], for a source that may do what the root source says; `None` is the root itself.
#[must_use]
pub fn parse_within(
    snapshot: &Snapshot,
    source: &str,
    may: Option<&May>,
    last: Option<&Catalog>,
    cache: &mut Cache,
) -> Parsed {
    let empty = Catalog::default();
    let mut state = State {
        source,
        last: last.unwrap_or(&empty),
        catalog: Catalog { may: may.cloned(), ..Catalog::default() },
        defects: BTreeSet::new(),
        unreadable: BTreeMap::new(),
    };
    let mut used = BTreeMap::new();
    for (path, file) in snapshot.files.iter().filter(|(path, _)| is_declaration(path)) {
        match read_file(file, cache) {
            Ok(read) => {
                used.insert(path.as_str(), (file.id.clone(), read));
            }
            Err(message) => state.refuse_file(path, 0, &message),
        }
    }
    cache.files = used.values().cloned().collect();
    let mut claims: BTreeMap<(Kind, &str), Vec<Claim<'_>>> = BTreeMap::new();
    for (path, (_, file)) in &used {
        match &file.documents {
            Err(error) => state.refuse_file(path, error.line, &error.message),
            Ok(documents) => {
                for read in documents {
                    state.tell(path, read);
                    match (read.kind, &read.name) {
                        (Some(kind), Some(name)) => {
                            claims.entry((kind, name)).or_default().push(Claim { file: path, read });
                        }
                        _ => state.refuse_document(path, read),
                    }
                }
            }
        }
    }
    for ((kind, name), claims) in claims {
        state.settle(kind, name, claims);
    }
    state.keep_unreadable();
    state.forget_forbidden();
    across::check(&mut state.catalog, state.last, source, &mut state.defects);
    state.catalog.variable_sets.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    state.catalog.health_checks.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    Parsed { catalog: state.catalog, defects: state.defects.into_iter().collect() }
}

fn read_file(file: &File, cache: &Cache) -> Result<Arc<FileRead>, String> {
    if let Some(read) = cache.files.get(&file.id) {
        return Ok(Arc::clone(read));
    }
    if !file.mode.is_file() {
        return Err("is no file of its own; write the declarations here".into());
    }
    let max = limits::DECLARATION_BYTES_MAX;
    match &file.bytes {
        Some(bytes) if bytes.len() <= max => {
            let documents = yaml::read(bytes)
                .map(|documents| documents.iter().filter(|one| !one.root.is_null()).map(document::read).collect());
            Ok(Arc::new(FileRead { documents }))
        }
        Some(_) => Err(format!("is larger than {max} bytes; split it")),
        None => {
            let all = limits::DECLARATIONS_BYTES_MAX;
            Err(format!(
                "is larger than {max} bytes, or one too many of this source's declarations, which may be {all} bytes \
                 together; split it, or move some to another source"
            ))
        }
    }
}

struct State<'a> {
    source: &'a str,
    last: &'a Catalog,
    catalog: Catalog,
    defects: BTreeSet<Defect>,
    /// Files of which not every document can be told apart, and why.
    unreadable: BTreeMap<&'a str, Defect>,
}

impl<'a> State<'a> {
    fn full(&self, name: &str) -> String {
        full_name(self.source, name)
    }

    fn refuse_file(&mut self, path: &'a str, line: u32, message: &str) {
        let defect = Defect { file: path.into(), line, message: message.into(), bundle: None, note: false };
        self.defects.insert(defect.clone());
        self.unreadable.insert(path, defect);
        self.boundary(path, None);
    }

    /// A document of which kind or name cannot be told may be any that stood in its file.
    fn refuse_document(&mut self, path: &'a str, read: &Read) {
        let finding = read.findings.iter().find(|finding| finding.is_defect());
        let line = finding.map_or(read.line, |finding| finding.line);
        let message = finding.map_or("is defective", |finding| &finding.message).to_owned();
        let defect = Defect { file: path.into(), line, message, bundle: None, note: false };
        self.unreadable.entry(path).or_insert(defect);
        self.boundary(path, read.path.as_deref());
    }

    fn boundary(&mut self, file: &str, path: Option<&str>) {
        if let Some(directory) = directory(file, path.unwrap_or(".")) {
            self.catalog.boundaries.insert(directory);
        }
    }

    /// Reports what was found in a document.
    fn tell(&mut self, file: &str, read: &Read) {
        let bundle = match (read.kind, &read.name) {
            (Some(Kind::Bundle), Some(name)) => Some(self.full(name)),
            _ => None,
        };
        for Finding { line, message, weight } in &read.findings {
            let note = *weight == Weight::Note;
            self.defects.insert(Defect {
                file: file.into(),
                line: *line,
                message: message.clone(),
                bundle: if note { None } else { bundle.clone() },
                note,
            });
        }
    }

    /// Of all documents that declare one thing, takes the one that counts.
    fn settle(&mut self, kind: Kind, name: &str, claims: Vec<Claim<'a>>) {
        let before = self.last_file(kind, name);
        let winner = claims.iter().position(|claim| Some(claim.file) == before).unwrap_or(0);
        let Some(first) = claims.get(winner) else {
            return;
        };
        for (_, loser) in claims.iter().enumerate().filter(|(at, _)| *at != winner) {
            let message = format!(
                "{kind:?} {name} is declared already in {} line {}; rename one of them",
                first.file, first.read.line
            );
            let line = loser.read.line;
            self.defects.insert(Defect { file: loser.file.into(), line, message, bundle: None, note: false });
            if kind == Kind::Bundle {
                self.boundary(loser.file, loser.read.path.as_deref());
            }
        }
        if let Some(message) = self.forbidden(kind, name) {
            self.refuse(kind, name, first, &message);
            // What was good before it was forbidden is not good now; a bundle is held.
            if kind == Kind::Bundle {
                self.keep(kind, name, first, Some(message));
            }
            return;
        }
        match (&first.read.item, self.max(kind)) {
            (Some(_), Some(max)) => {
                let message = format!("{kind:?} {name} is one more than {max}, which is the limit; remove some");
                self.refuse(kind, name, first, &message);
                self.keep(kind, name, first, Some(message));
            }
            (Some(item), None) => self.take(first, item),
            (None, _) => self.keep(kind, name, first, None),
        }
    }

    /// Why nothing of this kind and name may stand in this source, whatever it says.
    fn forbidden(&self, kind: Kind, name: &str) -> Option<String> {
        match &self.catalog.may {
            Some(may) => may.refuses(kind),
            None if kind == Kind::Source && name == self.source => {
                Some(format!("{name} is the name of the root source itself; give it another name"))
            }
            None => None,
        }
    }

    fn refuse(&mut self, kind: Kind, name: &str, claim: &Claim<'_>, message: &str) {
        let bundle = (kind == Kind::Bundle).then(|| self.full(name));
        let (file, line, message) = (claim.file.into(), claim.read.line, message.to_owned());
        self.defects.insert(Defect { file, line, message, bundle, note: false });
    }

    /// The limit of a kind, where it is reached.
    fn max(&self, kind: Kind) -> Option<usize> {
        let (found, max) = match kind {
            Kind::Cluster => (self.catalog.clusters.len(), limits::CLUSTERS_MAX),
            Kind::Bundle => (self.catalog.bundles.len(), limits::BUNDLES_PER_SOURCE_MAX),
            Kind::VariableSet => (self.catalog.variable_sets.len(), limits::VARIABLE_SETS_PER_SOURCE_MAX),
            Kind::HealthCheck => (self.catalog.health_checks.len(), limits::HEALTH_CHECKS_PER_SOURCE_MAX),
            Kind::Source => (self.catalog.sources.len(), limits::SOURCES_MAX),
            Kind::RolloutPolicy => return None,
        };
        (found >= max).then_some(max)
    }

    fn last_file(&self, kind: Kind, name: &str) -> Option<&'a str> {
        let full = self.full(name);
        match kind {
            Kind::Cluster => self.last.clusters.get(name).map(|item| &*item.file),
            Kind::VariableSet => self.last.variable_sets.iter().find(|item| item.name == name).map(|item| &*item.file),
            Kind::Bundle => self.last.bundles.get(&full).map(|item| &*item.file),
            Kind::RolloutPolicy => self.last.policies.get(&full).map(|item| &*item.file),
            Kind::HealthCheck => self.last.health_checks.iter().find(|item| item.name == name).map(|item| &*item.file),
            Kind::Source => self.last.sources.get(name).map(|item| &*item.file),
        }
    }

    fn take(&mut self, claim: &Claim<'_>, item: &Item) {
        match item {
            Item::Cluster(item) => {
                let item = self.placed(claim, item);
                self.catalog.clusters.insert(item.name.clone(), item);
            }
            Item::VariableSet(item) => {
                let item = self.placed(claim, item);
                self.catalog.variable_sets.push(item);
            }
            Item::Bundle(item) => {
                let item = self.placed(claim, item);
                self.catalog.bundles.insert(item.full_name(), item);
            }
            Item::RolloutPolicy(item) => {
                let item = self.placed(claim, item);
                if claim.read.findings.iter().any(|finding| finding.weight == Weight::HoldsUsers) {
                    self.catalog.held_policies.insert(item.full_name());
                }
                self.catalog.policies.insert(item.full_name(), item);
            }
            Item::HealthCheck(item) => {
                let item = self.placed(claim, item);
                self.catalog.health_checks.push(item);
            }
            Item::Source(item) => {
                let item = self.placed(claim, item);
                self.catalog.sources.insert(item.name.clone(), item);
            }
        }
    }

    fn placed<S: Clone>(&self, claim: &Claim<'_>, item: &Declared<S>) -> Declared<S> {
        let mut item = item.clone();
        item.source = self.source.into();
        item.file = claim.file.into();
        item
    }

    /// Keeps the last good form of what is defective now; `why` where that is not told by the
    /// document itself.
    fn keep(&mut self, kind: Kind, name: &str, claim: &Claim<'_>, why: Option<String>) {
        let full = self.full(name);
        match kind {
            Kind::Cluster => {
                let last = self.last.clusters.get(name).cloned();
                self.catalog.clusters.extend(last.map(|item| (name.to_owned(), item)));
            }
            Kind::VariableSet => {
                let last = self.last.variable_sets.iter().find(|item| item.name == name);
                self.catalog.variable_sets.extend(last.cloned());
            }
            Kind::RolloutPolicy => self.keep_policy(&full),
            Kind::Bundle => {
                let found = claim.read.findings.iter().find(|finding| finding.is_defect());
                let found = found.filter(|_| why.is_none());
                let line = found.map_or(claim.read.line, |finding| finding.line);
                let why = found.map(|finding| finding.message.clone()).or(why);
                let why = why.unwrap_or_else(|| "is defective".into());
                self.hold(full, format!("{}:{line}: {why}", claim.file));
                self.boundary(claim.file, claim.read.path.as_deref());
            }
            Kind::HealthCheck => {
                let last = self.last.health_checks.iter().find(|item| item.name == name);
                self.catalog.health_checks.extend(last.cloned());
            }
            Kind::Source => {
                let last = self.last.sources.get(name).cloned();
                self.catalog.sources.extend(last.map(|item| (name.to_owned(), item)));
            }
        }
    }

    fn keep_policy(&mut self, full: &str) {
        if let Some(last) = self.last.policies.get(full) {
            self.catalog.policies.insert(full.into(), last.clone());
            if self.last.held_policies.contains(full) {
                self.catalog.held_policies.insert(full.into());
            }
        }
    }

    fn hold(&mut self, full: String, why: String) {
        if let Some(last) = self.last.bundles.get(&full) {
            self.catalog.bundles.insert(full.clone(), last.clone());
        }
        self.catalog.held.insert(full, shown(&why, limits::DEFECT_BYTES_MAX));
    }

    /// What was kept may have been good when the source might do more.
    fn forget_forbidden(&mut self) {
        let Some(may) = self.catalog.may.clone() else { return };
        let Catalog { clusters, variable_sets, health_checks, policies, sources, .. } = &mut self.catalog;
        let forbids = |kind| may.refuses(kind).is_some();
        clusters.retain(|_, _| !forbids(Kind::Cluster));
        variable_sets.retain(|_| !forbids(Kind::VariableSet));
        health_checks.retain(|_| !forbids(Kind::HealthCheck));
        policies.retain(|_, _| !forbids(Kind::RolloutPolicy));
        sources.retain(|_, _| !forbids(Kind::Source));
    }

    /// Keeps whatever stood in files that cannot be read whole, and is declared nowhere now.
    fn keep_unreadable(&mut self) {
        let files = std::mem::take(&mut self.unreadable);
        let last = self.last;
        for (name, item) in &last.clusters {
            if files.contains_key(&*item.file) && !self.catalog.clusters.contains_key(name) {
                self.catalog.clusters.insert(name.clone(), item.clone());
            }
        }
        for item in &last.variable_sets {
            let known = self.catalog.variable_sets.iter().any(|known| known.name == item.name);
            if files.contains_key(&*item.file) && !known {
                self.catalog.variable_sets.push(item.clone());
            }
        }
        for item in &last.health_checks {
            let known = self.catalog.health_checks.iter().any(|known| known.name == item.name);
            if files.contains_key(&*item.file) && !known {
                self.catalog.health_checks.push(item.clone());
            }
        }
        for (name, item) in &last.sources {
            if files.contains_key(&*item.file) && !self.catalog.sources.contains_key(name) {
                self.catalog.sources.insert(name.clone(), item.clone());
            }
        }
        for (full, item) in &last.policies {
            if files.contains_key(&*item.file) && !self.catalog.policies.contains_key(full) {
                self.keep_policy(full);
            }
        }
        for (full, item) in &last.bundles {
            let known = self.catalog.bundles.contains_key(full) || self.catalog.held.contains_key(full);
            if let Some(why) = files.get(&*item.file).filter(|_| !known) {
                let at = if why.line == 0 { why.file.clone() } else { format!("{}:{}", why.file, why.line) };
                self.hold(full.clone(), format!("{at}: {}", why.message));
                // A hold is shown by the defect that names its bundle.
                self.defects.remove(why);
                self.defects.insert(why.clone().holding(full));
            }
        }
    }
}

/// The directory that a path means, seen from a file: without `.` and `..`, empty for the root.
/// `None` where it leads out of the source.
pub(crate) fn directory(file: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let own = file.rsplit_once('/').map_or("", |(directory, _)| directory);
    let mut parts: Vec<&str> = Vec::new();
    for part in own.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
