//! One conversation with a repository: credentials, refs, and what errors mean.

use std::any::Any;
use std::sync::{Arc, Mutex};

use gix::ObjectId;
use gix::credentials::helper::{Action, NextAction};
use gix::credentials::protocol::{Context, Outcome};
use gix::progress::Discard;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::client::blocking_io::http;
use gix::protocol::transport::client::blocking_io::http::options::FollowRedirects;
use gix::remote::fetch::{RefMap, Shallow, Tags};
use gix::remote::{Connection, Direction, ref_map};
use gix::sec::identity::Account;
use hub_core::access::Login;
use proto_model::limits;
use reqwest::blocking::ClientBuilder;
use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::redirect::Policy;

use crate::credentials::Credentials;
use crate::error::{FetchError, causes, explain};
use crate::source::{Location, Reference};
use crate::ssh::Ssh;

/// Branches that are named where a ref is missing.
const HINTS_MAX: usize = 5;
/// Where below its URL a server tells its refs.
const REFS: &str = "/info/refs";
/// What is asked for there.
const SERVICE: &str = "service=git-upload-pack";

/// A repository to talk to.
pub(crate) struct Remote<'a> {
    pub(crate) location: &'a Location,
    credentials: Option<&'a Credentials>,
    ssh: Option<Ssh>,
}

/// What a source's ref is on its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What to ask for: a full name or an id.
    pub(crate) spec: String,
    /// What it names: a commit, or a tag. Of two tags of one commit, one may be signed.
    pub(crate) id: ObjectId,
}

type Connected<'a, 'repo> = Connection<'a, 'static, 'repo, Box<dyn Transport + Send>>;

impl<'a> Remote<'a> {
    pub(crate) fn new(location: &'a Location, credentials: Option<&'a Credentials>) -> Result<Self, FetchError> {
        let ssh = match location {
            Location::Ssh { url } => Some(Ssh::new(url, credentials)?),
            Location::Local(_) | Location::Http { .. } => None,
        };
        Ok(Self { location, credentials, ssh })
    }

    /// Settings that the repository which is fetched into is opened with, as `key=value`.
    pub(crate) fn settings(&self) -> Vec<String> {
        let mut settings = vec![format!("gitoxide.objects.allocLimit={}", limits::FETCH_OBJECT_BYTES_MAX)];
        if let Some(ssh) = &self.ssh {
            settings.extend([format!("core.sshCommand={}", ssh.command()), "ssh.variant=ssh".to_owned()]);
        }
        settings
    }

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
            if let Some(id) = found.and_then(|mapping| mapping.remote.as_id()) {
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

    fn connect<'r, 'repo>(&self, remote: &'r gix::Remote<'repo>) -> gix::Result<Connected<'r, 'repo>> {
        let mut connection = remote.connect(Direction::Fetch)?;
        let mut login = self.credentials.and_then(|credentials| credentials.login.clone());
        if let Location::Http { loopback, .. } = self.location {
            // gix answers a server that asks with a user and password alone, and over plain HTTP with
            // nothing. To this machine itself that is no danger.
            let header = login.take_if(|login| *loopback || matches!(login, Login::Bearer(_)));
            let options = http::Options {
                backend: Some(self.backend(header)),
                // What we prove ourselves with is for the server that was named.
                follow_redirects: FollowRedirects::None,
                ..http::Options::default()
            };
            connection = connection.with_transport_options(Box::new(options));
        }
        Ok(connection.with_credentials(move |action| Ok(answer(action, login.as_ref()))))
    }

    /// Whom the client trusts, what it proves itself with, and what it says with every request.
    fn backend(&self, header: Option<Login>) -> Arc<Mutex<dyn Any + Send + Sync>> {
        let mut backend =
            http::reqwest::Options { configure_client: Some(Box::new(self.client())), configure_request: None };
        if let Some(login) = header {
            backend.configure_request = Some(Box::new(move |request| {
                if let Ok(mut value) = HeaderValue::from_str(&login.header()) {
                    value.set_sensitive(true);
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                Ok(())
            }));
        }
        Arc::new(Mutex::new(backend))
    }

    /// Whom a client trusts, and the certificate that it shows.
    fn client(&self) -> impl FnMut(ClientBuilder) -> gix::Result<ClientBuilder> + Send + Sync + 'static {
        let authorities = self.credentials.and_then(|credentials| credentials.authorities.clone());
        let identity = self.credentials.and_then(|credentials| credentials.identity.clone());
        move |mut client| {
            if let Some(authorities) = &authorities {
                client = client.tls_certs_only(authorities.iter().cloned());
            }
            if let Some(identity) = &identity {
                client = client.identity(identity.clone());
            }
            Ok(client)
        }
    }

    /// Where a server leads that did not answer as Git does: gix does not say it.
    fn moved(&self) -> Option<String> {
        let Location::Http { url, .. } = self.location else { return None };
        let client = self.client()(ClientBuilder::new()).ok()?.redirect(Policy::none());
        let asked = format!("{}{REFS}?{SERVICE}", url.trim_end_matches('/'));
        let mut request = client.build().ok()?.get(&asked);
        if let Some(login) = self.credentials.and_then(|credentials| credentials.login.as_ref()) {
            let mut value = HeaderValue::from_str(&login.header()).ok()?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().ok()?;
        let to = answer.headers().get(LOCATION).filter(|_| answer.status().is_redirection())?;
        // It may be said from where it was asked for.
        let mut to = answer.url().join(to.to_str().ok()?).ok()?;
        let is_plain = to.set_username("").and_then(|()| to.set_password(None)).is_ok();
        // A query may be a login, too.
        to.set_query(None);
        let to: String = to.as_str().chars().take(limits::URL_BYTES_MAX).collect();
        is_plain.then(|| to.strip_suffix(REFS).unwrap_or(&to).to_owned())
    }

    /// What an error of a conversation means to whoever configured the source.
    fn failure(&self, error: &gix::Error) -> FetchError {
        let url = self.location.url();
        let why = explain(error);
        let all = causes(error).join(": ");
        if error.is_unauthenticated()
            || error.is_permission_denied()
            || says(&all, &["status 401", "status 403", "No credentials"])
        {
            let why = match self.credentials {
                Some(_) => " with the credentials given".to_owned(),
                None => String::new(),
            };
            return FetchError::Refused { url, why };
        }
        if let Location::Local(_) = self.location
            && says(&all, &["valid git directory", "Could not access remote repository"])
        {
            return FetchError::NotARepository { url, why: String::new() };
        }
        if says(&all, &["invalid peer certificate", "UnknownIssuer"]) {
            let why = format!(
                "its certificate is none that is trusted here ({why}): put the CA that signed it into ca.pem of the \
                 source's credentials"
            );
            return FetchError::Untrusted { url, why };
        }
        if says(&all, &["CertificateRequired", "CertificateUnknown", "status 400"]) {
            let why = format!(
                " ({why}): where it asks for a client certificate, put client.pem and client.key into the source's \
                 credentials; otherwise"
            );
            return FetchError::Refused { url, why };
        }
        if error.is_resource_exhausted() {
            return FetchError::TooMuchMemory { url, max: limits::FETCH_OBJECT_BYTES_MAX as u64 };
        }
        if says(&all, &["'smart' protocol"])
            && let Some(to) = self.moved()
        {
            return FetchError::Moved { url, to };
        }
        if says(&all, &["status 404", "'smart' protocol"]) {
            return FetchError::NotARepository { url, why: format!(" ({why})") };
        }
        if says(&all, &["error sending request", "status 5"]) {
            return FetchError::Unreachable { url, why };
        }
        FetchError::Failed { url, why }
    }
}

fn says(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}

/// Answers a server that asks who we are. What it liked or not is not stored anywhere.
fn answer(action: Action, login: Option<&Login>) -> Option<Outcome> {
    let Action::Get(context) = action else { return None };
    let Some(Login::Basic { user, password }) = login else { return None };
    let identity = Account { username: user.clone(), password: password.to_string(), oauth_refresh_token: None };
    Some(Outcome { identity, next: NextAction::from(Context { url: context.url, ..Context::default() }) })
}
