//! Which repository a URL means, whatever its spelling. Pure.

/// A repository: equal where two URLs name the same one.
///
/// Scheme, user and port are left out, since a server gives the same repository over https and
/// ssh; case is left out, since the known servers ignore it. Where that takes two repositories for
/// one, a source is looked at once too often, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Repository {
    host: String,
    path: String,
}

impl Repository {
    /// `None` where the text is no URL of a repository.
    pub(super) fn of(url: &str) -> Option<Self> {
        let (authority, path) = match url.split_once("://") {
            Some(("file", path)) => ("", path),
            Some((_, rest)) => rest.split_once('/')?,
            None => match url.split_once(':') {
                // As ssh has it, `user@host:path`; a path has no colon before its first slash.
                Some((authority, path)) if !authority.contains('/') => (authority, path),
                _ => ("", url),
            },
        };
        let path = path.split(['?', '#']).next().unwrap_or_default().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/');
        let host = host(authority).to_ascii_lowercase();
        (!path.is_empty()).then(|| Self { host, path: path.to_ascii_lowercase() })
    }
}

/// The host of an authority, without user, port and the names under which the large servers take
/// ssh on the port of https.
fn host(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    ["ssh.github.com", "altssh.gitlab.com"]
        .iter()
        .find(|alias| host.eq_ignore_ascii_case(alias))
        .and_then(|alias| alias.split_once('.'))
        .map_or(host, |(_, host)| host)
}

/// Whether a source that follows `reference` may have changed when `pushed`, a full name below
/// `refs/`, was.
pub(super) fn follows(reference: &str, pushed: &str, default_branch: Option<&str>) -> bool {
    let branch = pushed.strip_prefix("refs/heads/");
    match reference {
        "HEAD" => default_branch.is_none() || branch == default_branch,
        full if full.starts_with("refs/") => full == pushed,
        name => branch == Some(name) || pushed.strip_prefix("refs/tags/") == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_repository_is_the_same() {
        let one = Repository::of("https://github.com/Acme/Fleet.git");
        assert!(one.is_some());
        for url in [
            "https://github.com/acme/fleet",
            "https://GitHub.com/Acme/Fleet/",
            "https://user:secret@github.com:8443/Acme/Fleet.git",
            "http://github.com/Acme/Fleet?x=1",
            "git@github.com:Acme/Fleet.git",
            "github.com:Acme/Fleet",
            "ssh://git@github.com/Acme/Fleet.git",
            "ssh://git@ssh.github.com:443/Acme/Fleet.git",
            "git://github.com/Acme/Fleet.git/",
        ] {
            assert_eq!(Repository::of(url), one, "{url}");
        }
        for url in
            ["https://github.com/acme/other", "https://gitlab.com/acme/fleet", "https://github.com/acme/fleet/deep"]
        {
            assert_ne!(Repository::of(url), one, "{url}");
        }
        for url in ["", "https://github.com", "https://github.com/", "https://github.com/.git", "git@github.com:"] {
            assert_eq!(Repository::of(url), None, "{url}");
        }
        assert_eq!(Repository::of("/srv/git/fleet.git"), Repository::of("file:///srv/git/fleet"));
        assert_eq!(Repository::of("https://[::1]:3000/a/b"), Repository::of("ssh://git@[::1]:22/a/b"));
    }

    #[test]
    fn a_push_matters_to_those_who_follow_its_ref() {
        for (reference, pushed, follow) in [
            ("main", "refs/heads/main", true),
            ("main", "refs/tags/main", true),
            ("main", "refs/heads/mainly", false),
            ("refs/heads/main", "refs/heads/main", true),
            ("refs/heads/main", "refs/tags/main", false),
            ("feature/x", "refs/heads/feature/x", true),
            ("v1", "refs/tags/v1", true),
            ("HEAD", "refs/heads/trunk", true),
            ("HEAD", "refs/heads/main", false),
            ("0123456789012345678901234567890123456789", "refs/heads/main", false),
        ] {
            assert_eq!(follows(reference, pushed, Some("trunk")), follow, "{reference} {pushed}");
        }
        assert!(follows("HEAD", "refs/heads/main", None), "nobody knows the default branch");
    }
}
