//! Questions about commits: whether one descends from another, who wrote one and when.

use std::collections::HashSet;
use std::path::Path;

use gix::ObjectId;
use gix::revision::walk::Sorting;
use gix::traverse::commit::simple::CommitTimeOrder;
use proto_model::limits;
use tokio::task::spawn_blocking;

use crate::error::{ReadError, explain};
use crate::mirror;

/// What is shown of a commit's author and subject, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// What is told of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitInfo {
    /// The author's name.
    pub author: String,
    /// When it was committed, in seconds since 1970.
    pub time: i64,
    /// The first line of its message.
    pub subject: String,
}

/// Whether a commit descends from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descent {
    Yes,
    No,
    /// The history that was fetched ends before it shows.
    Unknown,
}

/// Whether `new` is `old` or descends from it: if not, the source was rewound. The answer comes
/// from what [`crate::fetch`] brought, which reaches back to `old` if it was the accepted head.
///
/// # Errors
/// [`ReadError::HistoryTooLong`] where the answer lies beyond [`limits::HISTORY_COMMITS_MAX`].
pub async fn is_descendant(dir: &Path, old: &str, new: &str) -> Result<bool, ReadError> {
    let (dir, old, new) = (dir.to_owned(), old.to_owned(), new.to_owned());
    let too_long = ReadError::HistoryTooLong { old: old.clone(), new: new.clone(), max: limits::HISTORY_COMMITS_MAX };
    on_mirror(dir, move |repository| {
        let (from, to) = (parse(&old)?, parse(&new)?);
        if !repository.has_object(to) {
            return Err(ReadError::NoCommit { commit: new });
        }
        match descent(repository, from, to).map_err(|error| damaged(&new, &error))? {
            Descent::Yes => Ok(true),
            Descent::No => Ok(false),
            Descent::Unknown => Err(too_long),
        }
    })
    .await
}

/// Who wrote a commit, when, and its subject.
///
/// # Errors
/// Where it is not in the mirror, or damaged.
pub async fn commit_info(dir: &Path, commit: &str) -> Result<CommitInfo, ReadError> {
    let commit = commit.to_owned();
    on_mirror(dir.to_owned(), move |repository| {
        let id = parse(&commit)?;
        let found = repository.find_commit(id).map_err(|_| ReadError::NoCommit { commit: commit.clone() })?;
        let read = || -> gix::Result<CommitInfo> {
            let author = found.author()?.name.to_string();
            let subject = found.message()?.summary().to_string();
            Ok(CommitInfo { author: shortened(&author), time: found.time()?.seconds, subject: shortened(&subject) })
        };
        read().map_err(|error| damaged(&commit, &error))
    })
    .await
}

/// The full id of the commit that `reference` names in a repository of this machine: a branch, a
/// tag, `HEAD~2`, `origin/main`, a commit id or the beginning of one.
///
/// # Errors
/// Where there is no repository, or it has no such commit.
pub async fn resolve(dir: &Path, reference: &str) -> Result<String, ReadError> {
    let missing = ReadError::NoRef { dir: dir.to_owned(), reference: reference.to_owned() };
    let reference = reference.to_owned();
    on_mirror(dir.to_owned(), move |repository| {
        let found = repository.rev_parse_single(reference.as_str()).map_err(|_| missing.clone())?;
        let object = found.object().map_err(|error| damaged(&found.to_string(), &error))?;
        object.peel_to_commit().map(|commit| commit.id.to_string()).map_err(|_| missing)
    })
    .await
}

/// Looks for `old` among the ancestors of `new`, newest first: usually it is the first parent.
pub(crate) fn descent(repository: &gix::Repository, old: ObjectId, new: ObjectId) -> gix::Result<Descent> {
    if old == new {
        return Ok(Descent::Yes);
    }
    let shallow: HashSet<ObjectId> =
        repository.shallow_commits()?.map(|ids| ids.iter().copied().collect()).unwrap_or_default();
    let order = Sorting::ByCommitTime(CommitTimeOrder::NewestFirst);
    let mut cut = false;
    for (count, commit) in repository.rev_walk([new]).sorting(order).all()?.enumerate() {
        let id = commit?.id;
        if id == old {
            return Ok(Descent::Yes);
        }
        cut |= shallow.contains(&id);
        if count >= limits::HISTORY_COMMITS_MAX {
            return Ok(Descent::Unknown);
        }
    }
    Ok(if cut { Descent::Unknown } else { Descent::No })
}

/// Runs `work` with the mirror on a thread that may block.
pub(crate) async fn on_mirror<T: Send + 'static>(
    dir: std::path::PathBuf,
    work: impl FnOnce(&gix::Repository) -> Result<T, ReadError> + Send + 'static,
) -> Result<T, ReadError> {
    let at = dir.clone();
    let done = spawn_blocking(move || {
        let mut repository = mirror::open_any(&dir).map_err(|error| ReadError::Mirror { dir, why: explain(&error) })?;
        // Commits and trees are looked at twice.
        repository.object_cache_size_if_unset(4 * 1024 * 1024);
        work(&repository)
    });
    done.await.unwrap_or_else(|error| Err(ReadError::Mirror { dir: at, why: error.to_string() }))
}

pub(crate) fn parse(commit: &str) -> Result<ObjectId, ReadError> {
    ObjectId::from_hex(commit.as_bytes()).map_err(|_| ReadError::NoCommit { commit: commit.to_owned() })
}

pub(crate) fn damaged(commit: &str, error: &gix::Error) -> ReadError {
    ReadError::Damaged { commit: commit.to_owned(), why: explain(error) }
}

fn shortened(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}
