//! Where to fetch from: the source as it is named, and what the names mean.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::FetchError;

/// Whom a token without a user name is for: GitHub asks for this name, the others for any.
const TOKEN_USER: &str = "x-access-token";
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;

/// A repository and the ref that is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// A path, `file://` or `https://` (`http://` of this machine alone). Never with a password.
    pub url: String,
    /// A branch, a tag, a full name below `refs/`, `HEAD`, or a complete commit id.
    pub reference: String,
    /// The directory for the mirror, of this source alone; made where it is missing.
    pub dir: PathBuf,
    /// A file with `TOKEN` or `USER:TOKEN` in its first line, for `https`.
    pub credentials: Option<PathBuf>,
    /// The head that was accepted last: history is fetched until it shows whether the new one
    /// descends from it, within `limits::HISTORY_COMMITS_MAX`.
    pub accepted: Option<String>,
}

/// What a fetch found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// The full id of the commit that the ref names; it lies in the mirror.
    pub commit: String,
    /// Whether the mirror had it as its head already.
    pub unchanged: bool,
}

/// What a URL means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// A repository of this machine, by its absolute path.
    Local(PathBuf),
    /// A server; `loopback` is plain HTTP on this machine.
    Http { url: String, loopback: bool },
}

impl Location {
    pub(crate) fn parse(url: &str) -> Result<Self, FetchError> {
        let refuse = |url: &str, why: &str| FetchError::Unsupported { url: url.to_owned(), why: why.to_owned() };
        if url.is_empty() || url.chars().any(char::is_control) {
            return Err(refuse("the source", "has no URL, or one with control characters"));
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            let before_slash = url.split('/').next().unwrap_or_default();
            if before_slash.contains(':') {
                return Err(refuse(without_user(url), "ssh is not supported yet: use https with a token"));
            }
            return Self::local(url);
        };
        match scheme {
            "file" => Self::local(rest),
            "http" | "https" => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                if authority.contains('@') {
                    let safe = format!("{scheme}://{}", without_user(rest));
                    return Err(refuse(&safe, "the URL holds a user: put user and token into the credentials file"));
                }
                let loopback = scheme == "http";
                if loopback && !is_loopback(authority) {
                    return Err(refuse(url, "http would show content and token to the network: use https"));
                }
                Ok(Self::Http { url: url.to_owned(), loopback })
            }
            "ssh" | "git+ssh" => {
                let safe = format!("{scheme}://{}", without_user(rest));
                Err(refuse(&safe, "ssh is not supported yet: use https with a token"))
            }
            _ => Err(refuse(without_user(url), "unknown kind of URL: use a path, file:// or https://")),
        }
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
            Self::Http { url, .. } => url.clone(),
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

/// A user and a token; never shown.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) token: Zeroizing<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}

impl Credentials {
    pub(crate) fn load(path: &Path) -> Result<Self, FetchError> {
        let wrong = |why: String| FetchError::Credentials { path: path.to_owned(), why };
        let found = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
        if found.permissions().mode() & 0o007 != 0 {
            return Err(wrong("everyone on this machine may read it: run `chmod o-rwx` on it".to_owned()));
        }
        if found.len() > CREDENTIALS_BYTES_MAX {
            return Err(wrong("it is too large for a token".to_owned()));
        }
        let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?);
        let line = text.lines().next().unwrap_or_default().trim();
        let (user, token) = line.split_once(':').unwrap_or((TOKEN_USER, line));
        if user.is_empty() || token.is_empty() || line.chars().any(char::is_control) {
            return Err(wrong("its first line must be TOKEN or USER:TOKEN".to_owned()));
        }
        Ok(Self { user: user.to_owned(), token: Zeroizing::new(token.to_owned()) })
    }

    /// The value of an `Authorization` header.
    pub(crate) fn basic(&self) -> Zeroizing<String> {
        let pair = Zeroizing::new(format!("{}:{}", self.user, *self.token));
        Zeroizing::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(pair.as_bytes()))))
    }
}

/// What follows the user and password of a URL.
fn without_user(url: &str) -> &str {
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
    fn urls_that_are_refused_show_no_password() {
        for (url, word) in [
            ("https://me:hunter2@example.com/a", "credentials file"),
            ("ssh://me:hunter2@example.com/a", "ssh"),
            ("git@example.com:a/b", "ssh"),
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

    #[test]
    fn credentials() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let load = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Credentials::load(&path)
        };
        let plain = load("tok\n", 0o600).unwrap();
        assert_eq!((plain.user.as_str(), plain.token.as_str()), (TOKEN_USER, "tok"));
        let named = load("me:to:k", 0o640).unwrap();
        assert_eq!((named.user.as_str(), named.token.as_str()), ("me", "to:k"));
        assert_eq!(named.basic().as_str(), "Basic bWU6dG86aw==");
        assert!(!format!("{named:?}").contains("to:k"));
        assert!(load("tok", 0o644).unwrap_err().to_string().contains("chmod"));
        assert!(load("\n", 0o600).is_err() && load(":x", 0o600).is_err());
    }
}
