//! The mirror: a bare repository with what was fetched, and refs of ours.
//!
//! Only the child writes it, one child at a time. What a killed child left is put right by the
//! next one. Every fetch adds a pack and none is ever removed: a mirror that has too many, or is too
//! large, is fetched anew beside the old one and takes its place, with the head that was accepted.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gix::ObjectId;
use gix::remote::fetch::Shallow;
use proto_model::limits;

use crate::confine;
use crate::credentials::Credentials;
use crate::error::{FetchError, explain};
use crate::history::{Descent, descent};
use crate::remote::{Remote, Target};
use crate::source::{Fetched, Limits, Location, Reference, Request, Source};
use crate::verify::{self, Keys};
use crate::watch::Standing;

const NAME: &str = "mirror.git";
/// One that is being fetched, to take the place of the other.
const FRESH: &str = "fresh.git";
/// One whose place was taken.
const OLD: &str = "old.git";
/// What was fetched last.
const HEAD: &str = "refs/drover/head";
/// The accepted head, where it had to be fetched for itself.
const ACCEPTED: &str = "refs/drover/accepted";
/// A head and an accepted one of which looking for how they are related cost too much.
const UNKNOWN: &str = "unknown";
/// How far back a new head of a server is fetched at first, in commits: an ordinary push or merge. Not
/// as far as what is there already: a server that never had that, or forgot it, would send all it has.
const NEW_HEAD_COMMITS: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
/// How much further back each step looks for the accepted head, in commits; together they stay
/// within `limits::HISTORY_COMMITS_MAX`.
const DEEPEN: [u32; 4] = [50, 500, 5_000, 50_000];

const _: () = assert!(50 + 500 + 5_000 + 50_000 < limits::HISTORY_COMMITS_MAX);

/// Opens the mirror in a source's directory.
pub(crate) fn open(dir: &Path) -> gix::Result<gix::Repository> {
    open_at(&dir.join(NAME))
}

/// Opens the mirror in a source's directory, or the repository that the directory is itself.
pub(crate) fn open_any(dir: &Path) -> gix::Result<gix::Repository> {
    if dir.join(NAME).is_dir() { open(dir) } else { gix::open_opts(dir, trusted()) }
}

fn open_at(git: &Path) -> gix::Result<gix::Repository> {
    gix::open_opts(git, trusted().open_path_as_is(true))
}

/// It is ours, whoever the files belong to; no other configuration is read. What is in it is a
/// stranger's: small as it lies there, it could unpack to anything.
fn trusted() -> gix::open::Options {
    let limit = format!("gitoxide.objects.allocLimit={}", limits::UNPACK_BYTES_MAX);
    gix::open::Options::isolated().with(gix::sec::Trust::Full).config_overrides([limit])
}

/// The commit that was fetched last, where it and its tree are there.
pub(crate) fn held(repository: &gix::Repository) -> Option<ObjectId> {
    let commit = repository.try_find_reference(HEAD).ok()??.peel_to_commit().ok()?;
    let tree = commit.tree_id().ok()?;
    repository.has_object(tree).then_some(commit.id)
}

/// What the ref that was fetched last names: a commit, or a tag.
fn named(repository: &gix::Repository) -> Option<ObjectId> {
    repository.try_find_reference(HEAD).ok()??.target().try_id().map(ToOwned::to_owned)
}

/// Fetches a source into its mirror. Runs in the child.
pub(crate) fn fetch(request: &Request, standing: &Standing) -> Result<Fetched, FetchError> {
    let source = &request.source;
    let location = Location::parse(&source.url)?;
    let reference = Reference::parse(&location.url(), &source.reference)?;
    let credentials = source.credentials.as_deref().map(Credentials::load).transpose()?;
    let keys = source.signers.as_ref().map(Keys::load).transpose()?;
    let remote = Remote::new(&location, credentials.as_ref())?;
    if let Location::Local(path) = &location
        && !path.is_dir()
    {
        return Err(FetchError::NotARepository {
            url: location.url(),
            why: " (there is no such directory)".to_owned(),
        });
    }
    let git = recovered(&source.dir)?;
    // From here on foreign bytes are read.
    confine::to(&source.dir, &location, request.private.as_deref());
    let visit = Visit { source, reference, remote, keys };
    let (fetched, target) = visit.fetch(&git, &request.limits)?;
    standing.set(&fetched);
    visit.relate(&git, &target, &fetched.commit)?;
    Ok(fetched)
}

/// One visit to a source.
struct Visit<'a> {
    source: &'a Source,
    reference: Reference,
    remote: Remote<'a>,
    keys: Option<Keys>,
}

impl Visit<'_> {
    /// Brings the mirror up to date, or another in its place.
    fn fetch(&self, git: &Path, limits: &Limits) -> Result<(Fetched, Target), FetchError> {
        let (packs, bytes) = size(git);
        if packs > limits.mirror_packs_max || bytes > limits.mirror_bytes_max {
            let fresh = self.source.dir.join(FRESH);
            match self.again(git, &fresh) {
                Ok(fetched) => return Ok(fetched),
                // What there is still serves, and says what is wrong if the source is.
                Err(_) => remove(&fresh)?,
            }
        }
        self.take(git)
    }

    /// Brings a mirror up to date.
    fn take(&self, git: &Path) -> Result<(Fetched, Target), FetchError> {
        let repository = self.open_or_make(git)?;
        let before = held(&repository);
        let target = self.remote.resolve(&repository, &self.reference, &self.source.reference)?;
        if before.is_none() || named(&repository) != Some(target.id) {
            let shallow = match self.remote.location {
                // It is whole anyway.
                Location::Local(_) => Shallow::NoChange,
                // Of a server's, the newest commit is enough until somebody asks what it descends from.
                _ if before.is_none() => Shallow::DepthAtRemote(NonZeroU32::MIN),
                _ if repository.is_shallow().unwrap_or(true) => Shallow::DepthAtRemote(NEW_HEAD_COMMITS),
                _ => Shallow::NoChange,
            };
            self.remote.receive(&repository, &target, HEAD, shallow)?;
        }
        let commit = self.head(git)?;
        if let Some(keys) = &self.keys {
            verify(git, &target, keys)?;
        }
        Ok((Fetched { commit: commit.to_string(), unchanged: before == Some(commit) }, target))
    }

    /// Fetches everything anew into a mirror that takes the place of the old one.
    fn again(&self, git: &Path, fresh: &Path) -> Result<(Fetched, Target), FetchError> {
        remove(fresh)?;
        let before = open_at(git).ok().and_then(|repository| held(&repository)).map(|id| id.to_string());
        if let Some(accepted) = self.accepted() {
            // A server may have forgotten it; what clusters run must still be readable.
            let old = Location::Local(git.to_owned());
            let repository = self.open_or_make(fresh)?;
            let target = Target { spec: accepted.to_string(), id: accepted };
            let depth = Shallow::DepthAtRemote(NonZeroU32::MIN);
            Remote::new(&old, None)?.receive(&repository, &target, ACCEPTED, depth)?;
        }
        let (fetched, target) = self.take(fresh)?;
        let old = self.source.dir.join(OLD);
        let swap = fs::rename(git, &old).and_then(|()| fs::rename(fresh, git));
        swap.map_err(|error| unusable(git, &error.to_string()))?;
        remove(&old)?;
        Ok((Fetched { unchanged: before.as_ref() == Some(&fetched.commit), ..fetched }, target))
    }

    /// Brings what it takes to tell how the head and the accepted one are related.
    fn relate(&self, git: &Path, target: &Target, commit: &str) -> Result<(), FetchError> {
        let (Some(accepted), Ok(id)) = (self.accepted(), ObjectId::from_hex(commit.as_bytes())) else { return Ok(()) };
        if is_left_unknown(self.source, commit) {
            return Ok(());
        }
        self.bring(git, accepted)?;
        if !self.deepen(git, target, accepted, id)? {
            leave_unknown(self.source, commit);
        }
        Ok(())
    }

    fn accepted(&self) -> Option<ObjectId> {
        ObjectId::from_hex(self.source.accepted.as_ref()?.as_bytes()).ok()
    }

    /// The head after a fetch, with everything that it needs.
    fn head(&self, git: &Path) -> Result<ObjectId, FetchError> {
        let repository = open_at(git).map_err(|error| unusable(git, &explain(&error)))?;
        held(&repository).ok_or_else(|| FetchError::Failed {
            url: self.remote.location.url(),
            why: "what the ref names is no commit, or not whole".to_owned(),
        })
    }

    /// Fetches history until it shows whether `commit` descends from `accepted`. Where it does not
    /// within the limit, that stays unknown, which counts as no.
    fn deepen(&self, git: &Path, target: &Target, accepted: ObjectId, commit: ObjectId) -> Result<bool, FetchError> {
        for commits in DEEPEN.into_iter().map(Some).chain([None]) {
            // Opened anew: where history is cut has changed.
            let repository = self.open(git)?;
            let found = descent(&repository, accepted, commit).map_err(|error| unusable(git, &explain(&error)))?;
            match commits.filter(|_| found == Descent::Unknown && repository.is_shallow().unwrap_or(true)) {
                Some(commits) => self.remote.receive(&repository, target, HEAD, Shallow::Deepen(commits))?,
                None => return Ok(found != Descent::Unknown),
            }
        }
        Ok(false)
    }

    /// Brings the accepted head where it is missing: after a rewind, into a new mirror, what
    /// clusters run must still be readable. A server may have forgotten it, or give no commits by
    /// id: whoever reads it is told then.
    fn bring(&self, git: &Path, accepted: ObjectId) -> Result<(), FetchError> {
        let repository = self.open(git)?;
        if !repository.has_object(accepted) {
            let target = Target { spec: accepted.to_string(), id: accepted };
            let shallow = match self.remote.location {
                Location::Local(_) => Shallow::NoChange,
                Location::Http { .. } | Location::Ssh { .. } => Shallow::DepthAtRemote(NonZeroU32::MIN),
            };
            let _ = self.remote.receive(&repository, &target, ACCEPTED, shallow);
        }
        Ok(())
    }

    /// Opens a mirror to fetch into it.
    fn open(&self, git: &Path) -> Result<gix::Repository, FetchError> {
        let options = trusted().open_path_as_is(true).config_overrides(self.remote.settings());
        gix::open_opts(git, options).map_err(|error| unusable(git, &explain(&error)))
    }

    fn open_or_make(&self, git: &Path) -> Result<gix::Repository, FetchError> {
        let wrong = |error: io::Error| unusable(git, &error.to_string());
        if git.exists() {
            put_right(git).map_err(wrong)?;
            if let Ok(repository) = self.open(git) {
                return Ok(repository);
            }
            // Not ours, or half made: all of it can be fetched again.
            remove(git)?;
        }
        fs::create_dir_all(git).map_err(wrong)?;
        let options = gix::open::Options::isolated();
        gix::ThreadSafeRepository::init_opts(git, gix::create::Kind::Bare, gix::create::Options::default(), options)
            .map_err(|error| unusable(git, &explain(&error)))?;
        self.open(git)
    }
}

/// Whether the head is signed by somebody who may: the commit, or the tag that was fetched.
fn verify(git: &Path, target: &Target, keys: &Keys) -> Result<(), FetchError> {
    let repository = open_at(git).map_err(|error| unusable(git, &explain(&error)))?;
    let id = named(&repository).ok_or_else(|| unusable(git, "its head names no object"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    verify::head(&repository, id, &target.spec, keys, i64::try_from(now).unwrap_or(i64::MAX))
}

/// Notes that it cost too much to look for how a head and the accepted one are related.
pub(crate) fn leave_unknown(source: &Source, commit: &str) {
    // Without it, it is only looked for again.
    let _ = fs::write(source.dir.join(UNKNOWN), pair(source, commit));
}

/// Whether that was noted a short while ago.
fn is_left_unknown(source: &Source, commit: &str) -> bool {
    let path = source.dir.join(UNKNOWN);
    let age = fs::metadata(&path).and_then(|found| found.modified()).map(|at| at.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age.as_secs() < limits::HISTORY_RETRY_SECS)
        && fs::read_to_string(&path).is_ok_and(|noted| noted == pair(source, commit))
}

fn pair(source: &Source, commit: &str) -> String {
    format!("{} {commit}", source.accepted.as_deref().unwrap_or_default())
}

/// Where the mirror of a source lies, after what a killed child left was put right: one that was
/// on its way out comes back where none had taken its place.
fn recovered(dir: &Path) -> Result<PathBuf, FetchError> {
    let (git, old) = (dir.join(NAME), dir.join(OLD));
    if !git.exists() && old.exists() {
        fs::rename(&old, &git).map_err(|error| unusable(&git, &error.to_string()))?;
    }
    remove(&old)?;
    remove(&dir.join(FRESH))?;
    Ok(git)
}

fn remove(path: &Path) -> Result<(), FetchError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unusable(path, &error.to_string())),
        _ => Ok(()),
    }
}

/// Packs of a mirror, and bytes of all that lies beside them.
fn size(git: &Path) -> (usize, u64) {
    let files = files(&git.join("objects/pack")).unwrap_or_default();
    let packs = files.iter().filter(|path| path.extension().is_some_and(|e| e == "pack")).count();
    let bytes = files.iter().filter_map(|path| fs::metadata(path).ok()).map(|found| found.len()).sum();
    (packs, bytes)
}

/// Bytes of packs in a source's directory, finished or not.
pub(crate) fn bytes(dir: &Path) -> u64 {
    [NAME, FRESH].iter().map(|name| size(&dir.join(name)).1).sum()
}

/// Removes what was not finished, after a fetch that was given up.
pub(crate) fn clear(dir: &Path) {
    let _ = put_right(&dir.join(NAME));
    let _ = remove(&dir.join(FRESH));
}

/// Removes what a killed child left: locks, which would hold up every later one, unfinished packs,
/// and marks that keep packs apart.
fn put_right(mirror: &Path) -> io::Result<()> {
    for dir in [mirror.to_owned(), mirror.join("refs/drover"), mirror.join("objects/pack")] {
        for path in files(&dir)? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let left = name.ends_with(".lock")
                || name.ends_with(".keep")
                || name.starts_with(".tmp")
                || name.starts_with("tmp_");
            if left && path.is_file() {
                fs::remove_file(&path)?;
            }
        }
    }
    Ok(())
}

fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn unusable(dir: &Path, why: &str) -> FetchError {
    FetchError::Mirror { dir: dir.to_owned(), why: why.to_owned() }
}
