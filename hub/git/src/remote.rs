//! One conversation with a repository: credentials, refs, and what errors mean.

use std::sync::{Arc, Mutex};

use gix::ObjectId;
use gix::credentials::helper::{Action, NextAction};
use gix::credentials::protocol::{Context, Outcome};
use gix::progress::Discard;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http;
use gix::remote::fetch::{RefMap, Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use gix::sec::identity::Account;

use crate::error::{FetchError, explain};
use crate::source::{Credentials, Location, Reference};

/// Branches that are named where a ref is missing.
const HINTS_MAX: usize = 5;

/// A repository to talk to.
pub(crate) struct Remote<'a> {
    pub(crate) location: &'a Location,
    pub(crate) credentials: Option<&'a Credentials>,
}

/// What a source's ref is on its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What to ask for: a full name or an id.
    pub(crate) spec: String,
    /// The commit, as far as the server says: a tag may be left to peel.
    pub(crate) id: ObjectId,
}

type Connected<'a, 'repo> = Connection<'a, 'static, 'repo, Box<dyn Transport + Send>>;

impl Remote<'_> {
    /// What the ref names on the server now.
    pub(crate) fn resolve(
        &self,
        repository: &gix::Repository,
        reference: &Reference,
        asked: &str,
    ) -> Result<Target, FetchError> {
        let names = match reference {
            Reference::Commit(id) => return Ok(Target { spec: id.to_string(), id: *id }),
            Reference::Names(names) => names,
        };
        let specs: Vec<String> =
            names.iter().enumerate().map(|(n, name)| format!("+{name}:refs/drover/seen/{n}")).collect();
        let refs = self.list(repository, &specs, true).map_err(|error| self.failure(&error))?;
        for name in names {
            let found = refs.mappings.iter().find(|m| m.remote.as_name().is_some_and(|n| n == name.as_str()));
            if let Some(id) = found.and_then(|mapping| mapping.remote.peeled_id()) {
                return Ok(Target { spec: name.clone(), id: id.to_owned() });
            }
        }
        Err(self.missing(repository, asked))
    }

    /// Why a ref was not found.
    fn missing(&self, repository: &gix::Repository, asked: &str) -> FetchError {
        let url = self.location.url();
        let all = ["+refs/heads/*:refs/drover/seen/*".to_owned()];
        let refs = match self.list(repository, &all, false) {
            Ok(refs) => refs,
            Err(error) => return self.failure(&error),
        };
        let names = refs.remote_refs.iter().map(|r| r.unpack());
        let mut heads = names.filter(|(_, id, _)| id.is_some()).map(|(name, ..)| name.to_string()).peekable();
        if heads.peek().is_none() {
            return FetchError::Empty { url };
        }
        let found =
            heads.filter_map(|name| Some(name.strip_prefix("refs/heads/")?.to_owned())).take(HINTS_MAX).collect();
        FetchError::MissingRef { url, reference: asked.to_owned(), found }
    }

    fn list(&self, repository: &gix::Repository, specs: &[String], only_these: bool) -> gix::Result<RefMap> {
        let remote = self.remote(repository, specs)?;
        let options = ref_map::Options { prefix_from_spec_as_filter_on_remote: only_these, ..Default::default() };
        Ok(self.connect(&remote)?.ref_map(Discard, options)?.0)
    }

    /// Fetches `target` and lets `local` name it.
    pub(crate) fn receive(
        &self,
        repository: &gix::Repository,
        target: &Target,
        local: &str,
        shallow: Shallow,
    ) -> Result<(), FetchError> {
        let receive = || -> gix::Result<()> {
            let remote = self.remote(repository, &[format!("+{}:{local}", target.spec)])?;
            let prepared = self.connect(&remote)?.prepare_fetch(Discard, ref_map::Options::default())?;
            prepared.with_shallow(shallow).receive(Discard, &gix::interrupt::IS_INTERRUPTED)?;
            Ok(())
        };
        receive().map_err(|error| self.failure(&error))
    }

    fn remote<'repo>(&self, repository: &'repo gix::Repository, specs: &[String]) -> gix::Result<gix::Remote<'repo>> {
        let remote = repository.remote_at_without_url_rewrite(self.location.url().as_str())?;
        remote.with_fetch_tags(Tags::None).with_refspecs(specs.iter().map(String::as_str), Direction::Fetch)
    }

    fn connect<'a, 'repo>(&self, remote: &'a gix::Remote<'repo>) -> gix::Result<Connected<'a, 'repo>> {
        let connection = remote.connect(Direction::Fetch)?;
        let credentials = self.credentials.cloned();
        match (self.location, credentials) {
            // gix sends no credentials over plain HTTP. To this machine itself it is no danger.
            (Location::Http { loopback: true, .. }, Some(credentials)) => {
                Ok(connection.with_credentials(|_| Ok(None)).with_transport_options(Box::new(header(credentials))))
            }
            (_, credentials) => Ok(connection.with_credentials(move |action| Ok(answer(action, credentials.as_ref())))),
        }
    }

    /// What an error of a conversation means to whoever configured the source.
    fn failure(&self, error: &gix::Error) -> FetchError {
        let url = self.location.url();
        let why = explain(error);
        if error.is_unauthenticated()
            || error.is_permission_denied()
            || says(&why, &["status 401", "status 403", "No credentials"])
        {
            let why = match self.credentials {
                Some(_) => " with the credentials given".to_owned(),
                None => String::new(),
            };
            return FetchError::Refused { url, why };
        }
        if let Location::Local(_) = self.location
            && says(&why, &["valid git directory", "Could not access remote repository"])
        {
            return FetchError::NotARepository { url, why: String::new() };
        }
        if says(&why, &["status 404", "'smart' protocol"]) {
            return FetchError::NotARepository { url, why: format!(" ({why})") };
        }
        if says(&why, &["error sending request", "status 5"]) {
            return FetchError::Unreachable { url, why };
        }
        FetchError::Failed { url, why }
    }
}

fn says(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

/// Answers a server that asks who we are. What it liked or not is not stored anywhere.
fn answer(action: Action, credentials: Option<&Credentials>) -> Option<Outcome> {
    let Action::Get(context) = action else { return None };
    let credentials = credentials?;
    let identity = Account {
        username: credentials.user.clone(),
        password: credentials.token.to_string(),
        oauth_refresh_token: None,
    };
    Some(Outcome { identity, next: NextAction::from(Context { url: context.url, ..Context::default() }) })
}

/// Options that put the credentials on every request; gix then follows no redirect.
fn header(credentials: Credentials) -> http::Options {
    let backend = http::reqwest::Options {
        configure_client: None,
        configure_request: Some(Box::new(move |request| {
            if let Ok(value) = credentials.basic().parse() {
                request.headers_mut().insert("authorization", value);
            }
            Ok(())
        })),
    };
    http::Options { backend: Some(Arc::new(Mutex::new(backend))), ..http::Options::default() }
}
