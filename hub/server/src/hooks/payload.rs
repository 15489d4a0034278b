//! What a webhook says happened. Pure; what is not needed is not looked at.

use hyper::HeaderMap;
use serde::Deserialize;

use super::repository::Repository;
use super::verify::Provider;

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The server tries whether anybody listens.
    Ping,
    /// Refs of a repository changed.
    Push(Push),
    /// Something that changes no ref.
    Other(String),
}

/// Refs of a repository changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Push {
    /// All names of the repository.
    pub(super) repositories: Vec<Repository>,
    /// Full names below `refs/`.
    pub(super) refs: Vec<String>,
    /// Its default branch, where it is told.
    pub(super) default_branch: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    #[serde(default, rename = "ref")]
    reference: Option<String>,
    /// GitHub and Gitea, of refs that come and go: `branch` or `tag`.
    #[serde(default)]
    ref_type: Option<String>,
    /// GitLab's system hooks, of several refs at once.
    #[serde(default)]
    refs: Vec<String>,
    #[serde(default)]
    object_kind: Option<String>,
    #[serde(default)]
    event_name: Option<String>,
    #[serde(default)]
    repository: Names,
    #[serde(default)]
    project: Names,
}

/// What the servers call a repository's URLs.
#[derive(Default, Deserialize)]
struct Names {
    #[serde(default)]
    clone_url: Option<String>,
    #[serde(default)]
    ssh_url: Option<String>,
    #[serde(default)]
    html_url: Option<String>,
    #[serde(default)]
    git_url: Option<String>,
    #[serde(default)]
    http_url: Option<String>,
    #[serde(default)]
    web_url: Option<String>,
    #[serde(default)]
    git_http_url: Option<String>,
    #[serde(default)]
    git_ssh_url: Option<String>,
    #[serde(default)]
    default_branch: Option<String>,
}

impl Names {
    fn urls(&self) -> impl Iterator<Item = &str> {
        let all = [
            &self.clone_url,
            &self.ssh_url,
            &self.html_url,
            &self.git_url,
            &self.http_url,
            &self.web_url,
            &self.git_http_url,
            &self.git_ssh_url,
        ];
        all.into_iter().filter_map(Option::as_deref)
    }
}

/// Reads a webhook of which the sender is known.
///
/// # Errors
/// What is wrong with it, in words that carry nothing of it.
pub(super) fn read(provider: Provider, headers: &HeaderMap, body: &[u8]) -> Result<Event, String> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let named = match provider {
        Provider::Github => header("x-github-event"),
        Provider::Gitea => header("x-gitea-event").or_else(|| header("x-forgejo-event")),
        Provider::Gitlab => None,
    };
    if named.as_deref() == Some("ping") {
        return Ok(Event::Ping);
    }
    let payload: Payload = serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        format!("the body is no JSON that a push has (line {line}, column {column})")
    })?;
    let kind = match provider {
        Provider::Gitlab => payload.object_kind.clone().or_else(|| payload.event_name.clone()),
        Provider::Github | Provider::Gitea => named,
    };
    let kind = kind.ok_or("it does not say what happened: the header or field with its event is missing")?;
    let refs = match (kind.as_str(), payload.ref_type.as_deref(), payload.reference) {
        ("push" | "tag_push", _, Some(full)) => vec![full],
        ("create" | "delete", Some("branch"), Some(name)) => vec![format!("refs/heads/{name}")],
        ("create" | "delete", Some("tag"), Some(name)) => vec![format!("refs/tags/{name}")],
        ("repository_update", ..) => payload.refs,
        ("push" | "tag_push" | "create" | "delete", ..) => return Err("a push without its ref".into()),
        _ => return Ok(Event::Other(kind)),
    };
    let names = [&payload.repository, &payload.project];
    let mut repositories: Vec<Repository> =
        names.iter().flat_map(|one| one.urls()).filter_map(Repository::of).collect();
    repositories.sort();
    repositories.dedup();
    if repositories.is_empty() {
        return Err("a push without a URL of its repository".into());
    }
    let default_branch = payload.repository.default_branch.or(payload.project.default_branch);
    Ok(Event::Push(Push { repositories, refs, default_branch }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn event(provider: Provider, name: &str, body: &str) -> Result<Event, String> {
        let mut headers = HeaderMap::new();
        let header = match provider {
            Provider::Github => "x-github-event",
            Provider::Gitea => "x-gitea-event",
            Provider::Gitlab => "x-gitlab-event",
        };
        headers.insert(header, name.parse().unwrap());
        read(provider, &headers, body.as_bytes())
    }

    fn push(event: Event) -> Push {
        let Event::Push(push) = event else { panic!("another event: {event:?}") };
        push
    }

    #[test]
    fn pushes_of_every_server() {
        let hub = r#"{"ref": "refs/heads/main", "after": "b0", "commits": [{"id": "b0"}], "repository": {
            "id": 1, "clone_url": "https://h/a/b.git", "ssh_url": "git@h:a/b.git", "html_url": "https://h/a/b",
            "url": "https://api.h/repos/a/b", "default_branch": "main"}}"#;
        let lab = r#"{"object_kind": "push", "event_name": "push", "ref": "refs/heads/main",
            "project": {"git_http_url": "https://h/a/b.git", "git_ssh_url": "git@h:a/b.git", "default_branch": "main"},
            "repository": {"url": "git@h:a/b.git", "git_http_url": "https://h/a/b.git"}}"#;
        for (provider, name, body) in
            [(Provider::Github, "push", hub), (Provider::Gitea, "push", hub), (Provider::Gitlab, "Push Hook", lab)]
        {
            let found = push(event(provider, name, body).unwrap());
            assert_eq!(found.repositories, [Repository::of("https://h/a/b").unwrap()]);
            assert_eq!(found.refs, ["refs/heads/main"]);
            assert_eq!(found.default_branch.as_deref(), Some("main"));
        }
    }

    #[test]
    fn tags_and_system_hooks() {
        let tag = r#"{"ref": "v1", "ref_type": "tag", "repository": {"clone_url": "https://h/a/b"}}"#;
        assert_eq!(push(event(Provider::Gitea, "create", tag).unwrap()).refs, ["refs/tags/v1"]);
        let tag = r#"{"object_kind": "tag_push", "ref": "refs/tags/v1", "project": {"web_url": "https://h/a/b"}}"#;
        assert_eq!(push(event(Provider::Gitlab, "Tag Push Hook", tag).unwrap()).refs, ["refs/tags/v1"]);
        let many = r#"{"event_name": "repository_update", "refs": ["refs/heads/a", "refs/heads/b"],
            "project": {"web_url": "https://h/a/b"}}"#;
        assert_eq!(push(event(Provider::Gitlab, "System Hook", many).unwrap()).refs.len(), 2);
    }

    #[test]
    fn what_changes_no_ref_and_what_is_none() {
        assert_eq!(event(Provider::Github, "ping", "{\"zen\": \"…\"}"), Ok(Event::Ping));
        assert_eq!(event(Provider::Github, "issues", "{}"), Ok(Event::Other("issues".into())));
        for (provider, name, body, word) in [
            (Provider::Github, "push", "not json", "no JSON"),
            (Provider::Github, "push", "{\"ref\": 5}", "no JSON"),
            (Provider::Github, "push", "{}", "without its ref"),
            (Provider::Gitlab, "Push Hook", "{}", "what happened"),
            (Provider::Github, "push", "{\"ref\": \"refs/heads/main\"}", "without a URL"),
        ] {
            let error = event(provider, name, body).unwrap_err();
            assert!(error.contains(word), "{body}: {error}");
        }
        let deep = "[".repeat(100_000);
        assert!(event(Provider::Github, "push", &deep).is_err());
    }
}
