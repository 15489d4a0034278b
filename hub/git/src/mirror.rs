//! The mirror: a bare repository with all that was fetched, and one ref of ours.
//!
//! Only the child writes it, one child at a time. What a killed child left is put right by the
//! next one; objects are never removed, since earlier commits are read again.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use gix::ObjectId;
use gix::remote::fetch::Shallow;
use proto_model::limits;

use crate::credentials::Credentials;
use crate::error::{FetchError, explain};
use crate::history::{Descent, descent};
use crate::remote::{Remote, Target};
use crate::source::{Fetched, Location, Reference, Source};
use crate::verify::{self, Keys};

const NAME: &str = "mirror.git";
/// What was fetched last.
const HEAD: &str = "refs/drover/head";
/// The accepted head, where it had to be fetched for itself.
const ACCEPTED: &str = "refs/drover/accepted";
/// How much further back each step looks for the accepted head, in commits; together they stay
/// within `limits::HISTORY_COMMITS_MAX`.
const DEEPEN: [u32; 4] = [50, 500, 5_000, 50_000];

const _: () = assert!(50 + 500 + 5_000 + 50_000 < limits::HISTORY_COMMITS_MAX);

/// Opens the mirror in a source's directory.
pub(crate) fn open(dir: &Path) -> gix::Result<gix::Repository> {
    gix::open_opts(dir.join(NAME), trusted().open_path_as_is(true))
}

/// Opens the mirror in a source's directory, or the repository that the directory is itself.
pub(crate) fn open_any(dir: &Path) -> gix::Result<gix::Repository> {
    if dir.join(NAME).is_dir() { open(dir) } else { gix::open_opts(dir, trusted()) }
}

/// It is ours, whoever the files belong to; no other configuration is read.
fn trusted() -> gix::open::Options {
    gix::open::Options::isolated().with(gix::sec::Trust::Full)
}

/// The commit that was fetched last, where it and its tree are there.
pub(crate) fn held(repository: &gix::Repository) -> Option<ObjectId> {
    let commit = repository.try_find_reference(HEAD).ok()??.peel_to_commit().ok()?;
    let tree = commit.tree_id().ok()?;
    repository.has_object(tree).then_some(commit.id)
}

/// Fetches a source into its mirror. Runs in the child.
pub(crate) fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    let location = Location::parse(&source.url)?;
    let reference = Reference::parse(&location.url(), &source.reference)?;
    let credentials = source.credentials.as_deref().map(Credentials::load).transpose()?;
    let remote = Remote::new(&location, credentials.as_ref())?;
    if let Location::Local(path) = &location
        && !path.is_dir()
    {
        return Err(FetchError::NotARepository {
            url: location.url(),
            why: " (there is no such directory)".to_owned(),
        });
    }
    let repository = open_or_make(&source.dir, &remote)?;
    let before = held(&repository);
    let target = remote.resolve(&repository, &reference, &source.reference)?;
    let unchanged = before == Some(target.id);
    if !unchanged {
        // A local repository is whole anyway; of a server's, the newest commit is enough until
        // somebody asks what it descends from.
        let first = before.is_none() && !matches!(location, Location::Local(_));
        let shallow = if first { Shallow::DepthAtRemote(NonZeroU32::MIN) } else { Shallow::NoChange };
        remote.receive(&repository, &target, HEAD, shallow)?;
    }
    let commit = head(&source.dir, &location)?;
    if let Some(signers) = &source.signers {
        verify(&source.dir, &target, &Keys::load(signers)?)?;
    }
    if let Some(Ok(accepted)) = source.accepted.as_ref().map(|id| ObjectId::from_hex(id.as_bytes())) {
        deepen(&remote, &source.dir, &target, accepted, commit)?;
        bring(&remote, &source.dir, accepted)?;
    }
    tidy(&source.dir.join(NAME));
    Ok(Fetched { commit: commit.to_string(), unchanged: before == Some(commit) })
}

/// The head after a fetch, with everything that it needs.
fn head(dir: &Path, location: &Location) -> Result<ObjectId, FetchError> {
    let repository = open(dir).map_err(|error| unusable(dir, &explain(&error)))?;
    held(&repository).ok_or_else(|| FetchError::Failed {
        url: location.url(),
        why: "what the ref names is no commit, or not whole".to_owned(),
    })
}

/// Whether the head is signed by somebody who may: the commit, or the tag that was fetched.
fn verify(dir: &Path, target: &Target, keys: &Keys) -> Result<(), FetchError> {
    let repository = open(dir).map_err(|error| unusable(dir, &explain(&error)))?;
    let head = repository.find_reference(HEAD).map_err(|error| unusable(dir, &explain(&error)))?;
    let id = head.target().try_id().map(ToOwned::to_owned);
    let id = id.ok_or_else(|| unusable(dir, "its head names no object"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    verify::head(&repository, id, &target.spec, keys, i64::try_from(now).unwrap_or(i64::MAX))
}

/// Fetches history until it shows whether `commit` descends from `accepted`, or the limit is
/// reached: then it stays unknown, and whoever asks is told so.
fn deepen(
    remote: &Remote<'_>,
    dir: &Path,
    target: &Target,
    accepted: ObjectId,
    commit: ObjectId,
) -> Result<(), FetchError> {
    for commits in DEEPEN {
        // Opened anew: where history is cut has changed.
        let repository = open_for(dir, remote)?;
        match descent(&repository, accepted, commit) {
            Ok(Descent::Unknown) => remote.receive(&repository, target, HEAD, Shallow::Deepen(commits))?,
            Ok(Descent::Yes | Descent::No) => break,
            Err(error) => return Err(unusable(dir, &explain(&error))),
        }
    }
    Ok(())
}

/// Brings the accepted head where history did not: after a rewind, into a new mirror, what clusters
/// run must still be readable. A server may have forgotten it, or give no commits by id: whoever
/// reads it is told then.
fn bring(remote: &Remote<'_>, dir: &Path, accepted: ObjectId) -> Result<(), FetchError> {
    let repository = open_for(dir, remote)?;
    if !repository.has_object(accepted) {
        let target = Target { spec: accepted.to_string(), id: accepted };
        let shallow = match remote.location {
            Location::Local(_) => Shallow::NoChange,
            Location::Http { .. } | Location::Ssh { .. } => Shallow::DepthAtRemote(NonZeroU32::MIN),
        };
        let _ = remote.receive(&repository, &target, ACCEPTED, shallow);
    }
    Ok(())
}

/// Opens the mirror to fetch into it.
fn open_for(dir: &Path, remote: &Remote<'_>) -> Result<gix::Repository, FetchError> {
    let options = trusted().open_path_as_is(true).config_overrides(remote.settings());
    gix::open_opts(dir.join(NAME), options).map_err(|error| unusable(dir, &explain(&error)))
}

fn open_or_make(dir: &Path, remote: &Remote<'_>) -> Result<gix::Repository, FetchError> {
    let path = dir.join(NAME);
    let wrong = |error: io::Error| unusable(dir, &error.to_string());
    if path.exists() {
        put_right(&path).map_err(wrong)?;
        if let Ok(repository) = open_for(dir, remote) {
            return Ok(repository);
        }
        // Not ours, or half made: all of it can be fetched again.
        fs::remove_dir_all(&path).map_err(wrong)?;
    }
    fs::create_dir_all(&path).map_err(wrong)?;
    let options = gix::open::Options::isolated();
    gix::ThreadSafeRepository::init_opts(&path, gix::create::Kind::Bare, gix::create::Options::default(), options)
        .map_err(|error| unusable(dir, &explain(&error)))?;
    open_for(dir, remote)
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

/// Puts many packs into one, with everything in them. Every fetch adds a pack.
fn tidy(mirror: &Path) {
    let packs = files(&mirror.join("objects/pack")).unwrap_or_default();
    let packs = packs.iter().filter(|path| path.extension().is_some_and(|e| e == "pack")).count();
    if packs <= limits::MIRROR_PACKS_MAX {
        return;
    }
    let mut git = Command::new("git");
    git.arg("-C").arg(mirror).args(["repack", "-a", "-d", "-k", "-q"]);
    // Where there is no git the packs stay: slower to read, and nothing is lost.
    let _ = git.stdin(Stdio::null()).stdout(Stdio::null()).status();
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
