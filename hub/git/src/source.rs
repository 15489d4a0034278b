//! Where to fetch from: the source as it is named, and what the names mean.

use std::path::PathBuf;

use proto_model::limits;
use serde::{Deserialize, Serialize};

use crate::error::FetchError;
use crate::schedule::Place;

/// A repository and the ref that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A path, `file://`, `https://` (`http://` of this machine alone), `ssh://` or `user@host:path`.
    /// Never with a password.
    pub url: String,
    /// A branch, a tag, a full name below `refs/`, `HEAD`, or a complete commit id.
    pub reference: String,
    /// The directory for the mirror, of this source alone; made where it is missing.
    pub dir: PathBuf,
    /// A file with `TOKEN` or `USER:TOKEN` in its first line, or a folder as
    /// [`crate::credentials_folder`] gives it. Read at each fetch.
    pub credentials: Option<PathBuf>,
    /// Where they are given, the head must be signed by one of them, or it is not read.
    pub signers: Option<Signers>,
    /// The head that was accepted last: history is fetched until it shows whether the new one
    /// descends from it, within `limits::HISTORY_COMMITS_MAX`.
    pub accepted: Option<String>,
}

/// What the child is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) source: Source,
    pub(crate) limits: Limits,
    /// A directory of which nothing but the source's own may be read.
    pub(crate) private: Option<PathBuf>,
}

/// How much a fetch may cost.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// What one fetch may bring, in bytes of packs.
    pub(crate) fetch_bytes_max: u64,
    /// What the process may hold in memory, in bytes.
    pub(crate) memory_bytes_max: u64,
    /// Time until the process is killed, in milliseconds.
    pub(crate) deadline_millis: u64,
    /// A mirror that is larger is made anew.
    pub(crate) mirror_bytes_max: u64,
    /// A mirror with more packs is made anew.
    pub(crate) mirror_packs_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fetch_bytes_max: limits::FETCH_BYTES_MAX,
            memory_bytes_max: limits::FETCH_MEMORY_BYTES_MAX,
            deadline_millis: limits::FETCH_SECS_MAX * 1000,
            mirror_bytes_max: limits::MIRROR_BYTES_MAX,
            mirror_packs_max: limits::MIRROR_PACKS_MAX,
        }
    }
}

/// The public keys of those who may sign: SSH keys, lines of an `allowed_signers` file, and armored
/// OpenPGP keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signers {
    /// A file with them, read at each fetch.
    File(PathBuf),
    /// They themselves, each text with one or more.
    Keys(Vec<String>),
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The full id of the commit that the ref names; it lies in the mirror.
    pub commit: String,
    /// Whether the mirror had it as its head already.
    pub unchanged: bool,
}

const SSH_FORM: &str = "write ssh://[USER@]HOST[:PORT]/PATH or USER@HOST:PATH, without a password";

/// What a URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A repository of this machine, by its absolute path.
    Local(PathBuf),
    /// A server; `loopback` is plain HTTP on this machine.
    Http { url: String, loopback: bool },
    /// A server that the program ssh reaches.
    Ssh { url: String },
}

/// How often a URL is looked at: a path of this machine, or a server. What no URL means counts as a
/// server.
#[must_use]
pub fn place(url: &str) -> Place {
    match Location::parse(url) {
        Ok(Location::Local(_)) => Place::Local,
        _ => Place::Remote,
    }
}

/// The host of a URL, in small letters and without its port; empty for this machine, and where a URL
/// means nothing.
#[must_use]
pub fn host(url: &str) -> String {
    let url = match Location::parse(url) {
        Ok(Location::Http { url, .. } | Location::Ssh { url }) => url,
        Ok(Location::Local(_)) | Err(_) => return String::new(),
    };
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let authority = without_user(rest.split('/').next().unwrap_or_default());
    let end = if authority.starts_with('[') { authority.find(']').map(|at| at + 1) } else { authority.find(':') };
    authority[..end.unwrap_or(authority.len())].to_ascii_lowercase()
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, FetchError> {
        let refuse = |url: &str, why: &str| FetchError::Unsupported { url: url.to_owned(), why: why.to_owned() };
        if url.is_empty() || url.chars().any(char::is_control) {
            return Err(refuse("the source", "has no URL, or one with control characters"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            let before_slash = url.split('/').next().unwrap_or_default();
            if let Some((host, _)) = before_slash.split_once(':') {
                let path = &url[host.len() + 1..];
                let found = Self::ssh(url, host, path).filter(|_| !before_slash[host.len()..].contains('@'));
                return found.ok_or_else(|| refuse(without_user(url), SSH_FORM));
            }
            return Self::local(url);
        };
        match scheme {
            "file" => Self::local(rest),
            "http" | "https" => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if authority.contains('@') {
                    let safe = format!("{scheme}://{}", without_user(rest));
                    return Err(refuse(
                        &safe,
                        "the URL holds a user: put user and token into the source's credentials",
                    ));
                }
                let loopback = scheme == "http";
                if loopback && !is_loopback(authority) {
                    return Err(refuse(url, "http would show content and token to the network: use https"));
                }
                Ok(Self::Http { url: url.to_owned(), loopback })
            }
            "ssh" | "git+ssh" => {
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let safe = format!("ssh://{}", without_user(rest));
                Self::ssh(&format!("ssh://{rest}"), authority, path).ok_or_else(|| refuse(&safe, SSH_FORM))
            }
            _ => Err(refuse(without_user(url), "unknown kind of URL: use a path, file://, https:// or ssh://")),
        }
    }

    /// `authority` is `[user@]host[:port]`. It goes to a program's arguments: nothing in it may be
    /// taken for another one.
    fn ssh(url: &str, authority: &str, path: &str) -> Option<Self> {
        let (user, host) = authority.rsplit_once('@').unwrap_or(("git", authority));
        let plain = |text: &str, more: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
        };
        (plain(user, "._-+") && plain(host, ".-_:[]") && !path.is_empty() && !path.starts_with('-'))
            .then(|| Self::Ssh { url: url.to_owned() })
    }

    fn local(path: &str) -> Result<Self, FetchError> {
        let absolute = std::path::absolute(path);
        absolute
            .map(Self::Local)
            .map_err(|error| FetchError::Unsupported { url: path.to_owned(), why: error.to_string() })
    }

    /// As it is given to gix, and shown.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::Local(path) => path.display().to_string(),
            Self::Http { url, .. } | Self::Ssh { url } => url.clone(),
        }
    }
}

/// What a ref means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A complete commit id.
    Commit(gix::ObjectId),
    /// Full names, the first that exists counts.
    Names(Vec<String>),
}

impl Reference {
    pub(crate) fn parse(url: &str, text: &str) -> Result<Self, FetchError> {
        if text.len() == 40
            && let Ok(id) = gix::ObjectId::from_hex(text.as_bytes())
        {
            return Ok(Self::Commit(id));
        }
        if text == "HEAD" {
            return Ok(Self::Names(vec![text.to_owned()]));
        }
        if gix::validate::reference::name_partial(text.into()).is_err() {
            let why = format!("{text:?} cannot be a ref: give a branch, a tag or a complete commit id");
            return Err(FetchError::Unsupported { url: url.to_owned(), why });
        }
        if text.starts_with("refs/") {
            return Ok(Self::Names(vec![text.to_owned()]));
        }
        Ok(Self::Names(vec![format!("refs/heads/{text}"), format!("refs/tags/{text}")]))
    }
}

/// What follows the user and password of a URL.
pub(crate) fn without_user(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, rest)| rest)
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Location, String> {
        Location::parse(url).map_err(|error| error.to_string())
    }

    #[test]
    fn urls_that_are_followed() {
        assert_eq!(parse("/srv/git"), Ok(Location::Local("/srv/git".into())));
        assert_eq!(parse("file:///srv/git"), Ok(Location::Local("/srv/git".into())));
        let here = std::env::current_dir().unwrap().join("a");
        assert_eq!(parse("./a"), Ok(Location::Local(here)));
        let https = "https://example.com:8443/a/b.git";
        assert_eq!(parse(https), Ok(Location::Http { url: https.to_owned(), loopback: false }));
        for url in ["http://127.0.0.1:80/x", "http://localhost/x", "http://[::1]:9/x"] {
            assert_eq!(parse(url), Ok(Location::Http { url: url.to_owned(), loopback: true }));
        }
    }

    #[test]
    fn urls_that_ssh_reaches() {
        let ssh = |url: &str| Ok(Location::Ssh { url: url.to_owned() });
        for url in ["ssh://git@example.com:2222/a/b.git", "ssh://[::1]/a", "git@example.com:a/b.git", "host:~/b"] {
            assert_eq!(parse(url), ssh(url));
            assert_eq!(place(url), Place::Remote);
        }
        assert_eq!(parse("git+ssh://git@example.com/a"), ssh("ssh://git@example.com/a"));
        assert_eq!(place("./a:b"), Place::Local);
    }

    #[test]
    fn hosts() {
        for (url, expected) in [
            ("https://Git.example.com:8443/a/b.git", "git.example.com"),
            ("ssh://git@git.example.com:2222/a", "git.example.com"),
            ("git@git.example.com:a/b.git", "git.example.com"),
            ("http://[::1]:9/x", "[::1]"),
            ("/srv/git", ""),
            ("nonsense://x", ""),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }

    #[test]
    fn urls_that_are_refused_show_no_password() {
        for (url, word) in [
            ("https://me:hunter2@example.com/a", "credentials"),
            ("ssh://me:hunter2@example.com/a", "without a password"),
            ("me:hunter2@example.com:a/b", "without a password"),
            ("ssh://example.com", "ssh://[USER@]"),
            ("ssh://-oProxyCommand=x/a", "ssh://[USER@]"),
            ("-oProxyCommand=x:a", "ssh://[USER@]"),
            ("git@-example.com:a", "ssh://[USER@]"),
            ("git@example.com:-a", "ssh://[USER@]"),
            ("http://example.com/a", "use https"),
            ("http://127.0.0.1.example.com/a", "use https"),
            ("ftp://me:hunter2@example.com/a", "unknown kind"),
            ("", "no URL"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn refs() {
        let names = |names: &[&str]| Ok(Reference::Names(names.iter().map(|&n| n.to_owned()).collect()));
        assert_eq!(Reference::parse("u", "main"), names(&["refs/heads/main", "refs/tags/main"]));
        assert_eq!(Reference::parse("u", "HEAD"), names(&["HEAD"]));
        assert_eq!(Reference::parse("u", "refs/pull/1/head"), names(&["refs/pull/1/head"]));
        let id = "0123456789012345678901234567890123456789";
        assert_eq!(Reference::parse("u", id), Ok(Reference::Commit(gix::ObjectId::from_hex(id.as_bytes()).unwrap())));
        for bad in ["", "a b", "a..b", "a:b", "*", "-x/../y", "a.lock"] {
            assert!(Reference::parse("u", bad).is_err(), "{bad:?}");
        }
    }
}
