//! A hub as a real process over a fresh repository, and what operators do with it.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use hub_server::dir::Dir;
use hub_server::identity::authority::Request;
use hub_server::identity::{Authority, Context, Identity, Name};
use hub_store::SealingKey;
use proto_model::limits;
use proto_model::token::JoinToken;
use proto_wire::control::control_client::ControlClient;
use proto_wire::control::execute_request::Command;
use proto_wire::control::get_request::What;
use proto_wire::control::{
    Cluster, CreateJoinToken, ExecuteRequest, ExecuteResponse, GetClusters, GetRequest, StatusRequest, StatusResponse,
};
use proto_wire::enroll::enroll_client::EnrollClient;
use proto_wire::enroll::{JoinRequest, JoinResponse, RenewRequest};
use rcgen::{CertificateParams, KeyPair};
use tests_tools::fleet::Fleet;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Response, Status};

use crate::PATIENCE;

/// What the key of a hub's CA is sealed for in its directory.
const AUTHORITY_KEY: &[u8] = b"drover ca key";

/// Clusters `a` and `b`, and the bundle `web` that both run.
pub const DECLARATIONS: &str = "\
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: a}
---
apiVersion: drover.dev/v1alpha1
kind: Cluster
metadata: {name: b}
---
apiVersion: drover.dev/v1alpha1
kind: Bundle
metadata: {name: web}
spec:
  path: web
  namespace: shop
  targets: [{name: all, selector: {}}]
";

/// A ConfigMap with one value, as YAML.
#[must_use]
pub fn config_map(name: &str, value: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{key: \"{value}\"}}\n")
}

/// A certificate and its key, both PEM.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The certificate, leaf first.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// A hub that runs, and all that its directory holds.
pub struct Hub {
    /// Its process, its repository, and real spokes.
    pub fleet: Fleet,
    /// The first administrator's context.
    pub context: Context,
    /// Its CA and MACs, for what only a thief of its directory could make.
    pub identity: Identity,
    requests: AtomicU64,
}

impl Hub {
    /// A hub over a repository with [`DECLARATIONS`] and one object.
    ///
    /// # Errors
    /// A program is missing or fails.
    pub fn start() -> Result<Self> {
        Self::start_with(&[("drover.yaml", DECLARATIONS), ("web/web.yaml", &config_map("web", "one"))])
    }

    /// A hub over a repository with these files.
    ///
    /// # Errors
    /// A program is missing or fails.
    pub fn start_with(files: &[(&str, &str)]) -> Result<Self> {
        Self::start_with_args(files, &[])
    }

    /// A hub over a repository with these files, started with more arguments.
    ///
    /// # Errors
    /// A program is missing or fails.
    pub fn start_with_args(files: &[(&str, &str)], args: &[&str]) -> Result<Self> {
        let mut fleet = Fleet::new()?;
        fleet.hub_args(args);
        for (path, text) in files {
            fleet.repo.write(path, text)?;
        }
        fleet.repo.commit("the first")?;
        fleet.start_hub()?;
        let context = serde_json::from_slice(&fs::read(fleet.context())?).context("the context file is no JSON")?;
        let dir = Dir::new(fleet.hub_dir());
        let identity = Identity::load(&dir, &SealingKey::load(&dir.sealing_key())?)?;
        Ok(Self { fleet, context, identity, requests: AtomicU64::new(0) })
    }

    /// Kills the process, as a loss of power would, and starts it again.
    ///
    /// # Errors
    /// It does not come back.
    pub fn restart(&mut self) -> Result<()> {
        self.fleet.kill_hub();
        self.fleet.start_hub()
    }

    /// Its process id.
    ///
    /// # Errors
    /// It does not run.
    pub fn pid(&self) -> Result<u32> {
        self.fleet.hub_pid().context("the hub does not run")
    }

    /// Writes a file and commits it; the full id is the answer.
    ///
    /// # Errors
    /// Git fails.
    pub fn commit(&self, path: &str, text: &str) -> Result<String> {
        self.fleet.repo.write(path, text)?;
        self.fleet.repo.commit("a change")
    }

    /// The id of the newest commit.
    ///
    /// # Errors
    /// Git fails.
    pub fn head(&self) -> Result<String> {
        Ok(self.fleet.repo.git(&["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Its address, as every token of it says.
    ///
    /// # Errors
    /// The context file names none.
    pub fn address(&self) -> Result<&str> {
        Ok(self.context.addresses.first().context("no address in the context file")?)
    }

    /// A connection that is made with the first call. Its windows are as small as a real spoke's.
    ///
    /// # Errors
    /// The credentials are no PEM.
    pub fn channel(&self, credentials: Option<&Credentials>) -> Result<Channel> {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.context.ca))
            .domain_name(proto_wire::SERVER_NAME);
        if let Some(Credentials { certificate, key }) = credentials {
            tls = tls.identity(tonic::transport::Identity::from_pem(certificate, key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address()?))?
            .initial_stream_window_size(limits::SYNC_WINDOW_BYTES)
            .initial_connection_window_size(limits::SYNC_WINDOW_BYTES);
        Ok(endpoint.tls_config(tls)?.connect_lazy())
    }

    /// The first administrator's credentials.
    #[must_use]
    pub fn admin(&self) -> Credentials {
        Credentials { certificate: self.context.certificate.clone(), key: self.context.key.clone() }
    }

    /// The control API, with these credentials.
    ///
    /// # Errors
    /// The credentials are no PEM.
    pub fn control(&self, credentials: Option<&Credentials>) -> Result<ControlClient<Channel>> {
        let client = ControlClient::new(self.channel(credentials)?);
        Ok(client.max_decoding_message_size(64 * limits::CONTROL_MESSAGE_BYTES_MAX))
    }

    /// Waits until the status is as wanted.
    ///
    /// # Errors
    /// It is not in time; the error carries the last one.
    pub async fn status_until(&self, wanted: impl Fn(&StatusResponse) -> bool) -> Result<StatusResponse> {
        let mut control = self.control(Some(&self.admin()))?;
        let mut watch = control.watch(StatusRequest::default()).await?.into_inner();
        let mut last = None;
        let look = async {
            while let Some(status) = watch.message().await? {
                if wanted(&status) {
                    return Ok(status);
                }
                last = Some(status);
            }
            bail!("the watch ended")
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(found) => found,
            Err(_) => bail!("the status was never as wanted; the last: {last:#?}"),
        }
    }

    /// What is known of one cluster.
    ///
    /// # Errors
    /// The hub does not answer, or knows no such cluster.
    pub async fn cluster(&self, name: &str) -> Result<Cluster> {
        let ask = GetRequest { what: Some(What::Clusters(GetClusters {})), min_applied_index: 0 };
        let all = self.control(Some(&self.admin()))?.get(ask).await?.into_inner().clusters;
        all.into_iter().find(|one| one.cluster == name).with_context(|| format!("no cluster {name}"))
    }

    /// Executes a command as the first administrator.
    ///
    /// # Errors
    /// As the hub says.
    pub async fn execute(&self, command: Command) -> Result<ExecuteResponse, Status> {
        let request_id = format!("request-{}", self.requests.fetch_add(1, Ordering::Relaxed));
        let request = ExecuteRequest { request_id, reason: "a test".into(), command: Some(command) };
        let mut control = self.control(Some(&self.admin())).map_err(|error| Status::internal(error.to_string()))?;
        control.execute(request).await.map(Response::into_inner)
    }

    /// A join token for clusters of these names.
    ///
    /// # Errors
    /// The hub refuses.
    pub async fn token(&self, names: &str, uses: u32, ttl_secs: u64) -> Result<JoinToken> {
        let ask = CreateJoinToken { names: vec![names.into()], uses, ttl_secs, ..Default::default() };
        let answer = self.execute(Command::CreateJoinToken(ask)).await?;
        Ok(JoinToken::parse(&answer.token)?)
    }

    /// Asks to join.
    ///
    /// # Errors
    /// As the hub says.
    pub async fn join(&self, token: &JoinToken, cluster: &str, key: &KeyPair) -> Result<JoinResponse, Status> {
        let internal = |error: anyhow::Error| Status::internal(error.to_string());
        let request = JoinRequest {
            token_id: token.id.clone(),
            secret: token.secret.clone(),
            cluster: cluster.into(),
            csr: csr(key).map_err(internal)?.into(),
        };
        let mut client = EnrollClient::new(self.channel(None).map_err(internal)?);
        client.join(request).await.map(Response::into_inner)
    }

    /// Asks to renew a certificate that may have ended.
    ///
    /// # Errors
    /// As the hub says.
    pub async fn renew(&self, certificate: &str, key: &KeyPair) -> Result<JoinResponse, Status> {
        let internal = |error: anyhow::Error| Status::internal(error.to_string());
        let request = RenewRequest {
            certificate: certificate.as_bytes().to_vec().into(),
            csr: csr(key).map_err(internal)?.into(),
        };
        let mut client = EnrollClient::new(self.channel(None).map_err(internal)?);
        client.renew(request).await.map(Response::into_inner)
    }

    /// The hub's own signature under a key, as if it had been asked at another time.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn sign(&self, key: &KeyPair, name: &Name, at: SystemTime) -> Result<String> {
        Ok(self.identity.authority.sign(&Request::parse(&csr(key)?)?, name, at)?)
    }

    /// The hub's CA under the id of another hub.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn authority_of(&self, hub_id: &str) -> Result<Authority> {
        let dir = Dir::new(self.fleet.hub_dir());
        let sealed = fs::read(dir.authority_key())?;
        let key = SealingKey::load(&dir.sealing_key())?.open(AUTHORITY_KEY, &sealed)?;
        let roots = fs::read_to_string(dir.authority_certificate())?;
        Ok(Authority::load(hub_id, roots, std::str::from_utf8(&key)?)?)
    }
}

/// Credentials that an authority makes for a new key.
///
/// # Errors
/// The name cannot stand in a certificate.
pub fn issue(authority: &Authority, name: &Name, at: SystemTime) -> Result<Credentials> {
    let (certificate, key) = authority.issue(name, at)?;
    Ok(Credentials { certificate, key: key.to_string() })
}

/// A moment so many seconds ago.
#[must_use]
pub fn ago(secs: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(secs)
}

/// A certificate signing request for a key, PEM.
///
/// # Errors
/// The key cannot sign.
pub fn csr(key: &KeyPair) -> Result<Vec<u8>> {
    Ok(CertificateParams::default().serialize_request(key)?.pem()?.into_bytes())
}
