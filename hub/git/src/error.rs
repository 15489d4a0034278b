//! What can go wrong, for people: what, where, and what to do next. No text holds a credential.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A source could not be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum FetchError {
    /// The URL or ref is not one that Drover follows.
    #[error("{url}: {why}")]
    Unsupported {
        /// The URL, without user and password.
        url: String,
        /// What is wrong and what to write instead.
        why: String,
    },
    /// The credentials cannot be used.
    #[error("credentials {path}: {why}", path = .path.display())]
    Credentials {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is nothing there, or no Git repository.
    #[error("{url} is no Git repository{why}: check the path or URL, and that the credentials may read it")]
    NotARepository {
        /// The URL.
        url: String,
        /// More, with its punctuation; may be empty.
        why: String,
    },
    /// The repository has no commit yet.
    #[error("{url} is empty: commit something, for example a drover.yaml")]
    Empty {
        /// The URL.
        url: String,
    },
    /// The repository has no such ref.
    #[error("{url} has no branch, tag or commit {reference:?}{}", hint(.found))]
    MissingRef {
        /// The URL.
        url: String,
        /// The ref that was asked for.
        reference: String,
        /// Some branches that there are.
        found: Vec<String>,
    },
    /// The server wants other credentials, or any.
    #[error("{url} refuses access{why}: give a token or key that may read it, in the source's credentials")]
    Refused {
        /// The URL.
        url: String,
        /// More, with its punctuation; may be empty.
        why: String,
    },
    /// The server is not known to be the one that was meant.
    #[error("{url} cannot be trusted: {why}")]
    Untrusted {
        /// The URL.
        url: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// The server names another place. It is not asked: credentials would go there.
    #[error(
        "{url} redirects to {to}, and redirects are not followed, since the credentials would go where they lead: if \
         that is the right place, make it the source's URL"
    )]
    Moved {
        /// The URL.
        url: String,
        /// Where it leads, without user and password.
        to: String,
    },
    /// The server did not answer as a server does.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What the network said.
        why: String,
    },
    /// The time was up. The child has been killed, and the mirror is as it was.
    #[error("{url} was not fetched within {secs} s: it is tried again")]
    Deadline {
        /// The URL.
        url: String,
        /// The time that it had, in seconds.
        secs: u64,
    },
    /// More came than one fetch may bring. What it brought was removed.
    #[error(
        "{url} is larger than the {max} bytes that one fetch may bring: keep large files out of the repository, or \
         put what Drover reads into a repository of its own"
    )]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit, in bytes of packs.
        max: u64,
    },
    /// It needs more memory than a process that fetches may have. What it brought was removed.
    #[error(
        "{url} needs more than {max} bytes of memory to be fetched: find the file that is so large (small as it may be \
         compressed), and put it elsewhere"
    )]
    TooMuchMemory {
        /// The URL.
        url: String,
        /// The limit, in bytes.
        max: u64,
    },
    /// The server's answer makes no sense, or its objects do not.
    #[error("{url} cannot be fetched: {why}")]
    Failed {
        /// The URL.
        url: String,
        /// What Git's protocol said.
        why: String,
    },
    /// The keys that may sign cannot be used.
    #[error("the keys that may sign: {0}")]
    Signers(String),
    /// The head is not signed by somebody who may. It is not read.
    #[error("{object} is not accepted: {why}")]
    Unverified {
        /// The commit or tag.
        object: String,
        /// What is wrong and what to do.
        why: Distrust,
    },
    /// The mirror on this machine cannot be used.
    #[error("the mirror in {dir}: {why}", dir = .dir.display())]
    Mirror {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The child process could not be started, or died.
    #[error("the process that fetches {url} failed: {why}")]
    Child {
        /// The URL.
        url: String,
        /// What happened.
        why: String,
    },
}

/// Why a signature is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("it is not signed: sign it with a key that the source names (`git commit -S`)")]
    Unsigned,
    /// It is by somebody else; holds the fingerprint of the key.
    #[error("it is signed with the key {0}, which is none of the source's: add its public key there, if it may sign")]
    UnknownKey(String),
    /// It does not belong to what it stands on, or makes no sense.
    #[error("its signature is not good ({0}): find out who changed it, and sign again")]
    Bad(String),
    /// The key, or the signature, is no longer valid; holds the fingerprint of the key.
    #[error("the key {0} that signed it is not valid at that time: give its extended public key, or sign with another")]
    Expired(String),
    /// The owner of the key withdrew it; holds its fingerprint.
    #[error("the key {0} that signed it was revoked: sign with another")]
    Revoked(String),
    /// A tag that was made under another name; holds that name.
    #[error("it was signed as the tag {0:?}: sign a tag of this name")]
    OtherTag(String),
    /// Nothing here can check it.
    #[error("its signature cannot be checked ({0}): sign with an SSH or OpenPGP key, and SHA-256 or better")]
    Unsupported(String),
}

/// A commit could not be read from the mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The mirror cannot be opened; the next fetch makes it again.
    #[error("the mirror in {dir} cannot be read: {why}; the next fetch repairs it", dir = .dir.display())]
    Mirror {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The mirror has no such commit.
    #[error("commit {commit} is not in the mirror: it has to be fetched first")]
    NoCommit {
        /// The id that was asked for.
        commit: String,
    },
    /// A repository of this machine has no such ref.
    #[error("{dir} has no commit that {reference:?} names: give a branch, a tag or a commit id that `git log` shows there", dir = .dir.display())]
    NoRef {
        /// The repository.
        dir: PathBuf,
        /// What was asked for.
        reference: String,
    },
    /// The commit has no such folder.
    #[error("commit {commit} has no folder {path:?}: check the source's path")]
    NoFolder {
        /// The commit.
        commit: String,
        /// The folder.
        path: String,
    },
    /// More paths than a source may have.
    #[error("commit {commit} has more than {max} paths below {path:?}: choose a narrower path for the source")]
    TooManyPaths {
        /// The commit.
        commit: String,
        /// The folder.
        path: String,
        /// The limit.
        max: usize,
    },
    /// Its trees, or it itself, are larger than any that people make.
    #[error("commit {commit} is not read: {why}; keep it smaller")]
    TooLarge {
        /// The commit.
        commit: String,
        /// What is too large, and the limit.
        why: String,
    },
    /// Whether one commit descends from the other lies beyond the history that was fetched.
    #[error(
        "whether {new} descends from {old} is not known: it lies further back than what is looked at, up to {max} \
         commits and what one fetch may cost"
    )]
    HistoryTooLong {
        /// The older commit.
        old: String,
        /// The newer commit.
        new: String,
        /// The limit.
        max: usize,
    },
    /// An object is missing or damaged.
    #[error("commit {commit} cannot be read: {why}; remove the mirror's directory to have it fetched anew")]
    Damaged {
        /// The commit.
        commit: String,
        /// What is wrong.
        why: String,
    },
}

fn hint(found: &[String]) -> String {
    if found.is_empty() {
        return ": check the source's ref (a commit id must be complete)".to_owned();
    }
    format!(": there are {}", found.join(", "))
}

/// The causes of an error of gix in one line, shortened, without control characters. Of many, the
/// first says what was done and the last ones why it failed.
pub(crate) fn explain(error: &gix::Error) -> String {
    let mut parts = causes(error);
    if parts.len() > CAUSES_MAX {
        parts.drain(1..=parts.len() - CAUSES_MAX);
    }
    parts.join(": ")
}

/// Causes that are shown.
const CAUSES_MAX: usize = 4;

/// All causes of an error of gix, outermost first.
pub(crate) fn causes(error: &gix::Error) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.iter_errors() {
        let text: String = cause.to_string().chars().filter(|c| !c.is_control()).take(300).collect();
        if !text.is_empty() && !parts.iter().any(|part| part.contains(&text)) {
            parts.push(text);
        }
    }
    parts
}
