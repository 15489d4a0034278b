//! Every way to be let in: tokens, private CAs, client certificates, ssh.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::{Answer, Mirror, Repo, fetch, fetcher, serve, serve_over};
use hub_git::{FetchError, Fetcher};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tempfile::TempDir;

/// `x-access-token:s3cret`.
const TOKEN: &str = "Basic eC1hY2Nlc3MtdG9rZW46czNjcmV0";
/// `me:s3cret`.
const USER: &str = "Basic bWU6czNjcmV0";
/// A key pair made for these tests alone.
const KEY: &str = include_str!("keys/signer");

#[test]
fn child() {
    common::child();
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for a name, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }

    /// Serves over TLS, to all or to those with a certificate of `clients`.
    fn serve(&self, answer: Answer, clients: Option<&Self>) -> SocketAddr {
        let (certificate, key) = self.issue("localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let config = match clients {
            None => config.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.0.der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = Arc::new(config.with_single_cert(vec![certificate.der().clone()], key).unwrap());
        serve_over(answer, move |tcp| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(Box::new(rustls::StreamOwned::new(session, tcp)))
        })
    }
}

fn git(repo: &Repo, asks: Option<&'static str>) -> Answer {
    Answer::Git { root: repo.path().to_owned(), asks }
}

fn over_https(address: SocketAddr) -> Mirror {
    Mirror::of(&format!("https://localhost:{}/.git", address.port()), "main")
}

#[tokio::test]
async fn https_with_a_token_and_a_private_ca() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let authority = Authority::new();
    let mut mirror = over_https(authority.serve(git(&repo, Some(TOKEN)), None));
    let ca = authority.pem();
    mirror.folder(&[("token", "s3cret"), ("ca.pem", &ca)]);
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);
    // What is rotated works at once.
    mirror.folder(&[("token", "wr0ng"), ("ca.crt", &ca)]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }) && !error.to_string().contains("wr0ng"), "{error}");
    mirror.folder(&[("ca.crt", &ca)]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }), "{error}");

    // The system's CAs, where the source names none.
    let file = mirror.dir.path().join("ca.pem");
    fs::write(&file, &ca).unwrap();
    mirror.credentials("s3cret");
    let trusting = fetcher().env("SSL_CERT_FILE", &file);
    assert_eq!(trusting.fetch(&mirror.source).await.unwrap().commit, head);
    // Folders, with files that are named by a hash.
    let folder = mirror.dir.path().join("certificates");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("0123abcd.0"), &ca).unwrap();
    let folders = std::env::join_paths([mirror.dir.path().join("none"), folder]).unwrap();
    let trusting = fetcher().env("SSL_CERT_DIR", &folders);
    assert_eq!(trusting.fetch(&mirror.source).await.unwrap().commit, head);
}

/// A server that is let answer for a while must not get what is meant for the one that was named.
#[tokio::test]
async fn a_redirect_is_not_followed_and_another_server_learns_no_login() {
    let (authority, logins) = (Authority::new(), Arc::new(Mutex::new(Vec::new())));
    let nosy = authority.serve(Answer::Nosy(Arc::clone(&logins)), None);
    let ca = authority.pem();
    let to = format!("https://localhost:{}", nosy.port());
    let over_tls = over_https(authority.serve(Answer::Elsewhere(to.clone()), None));
    let plain = Mirror::of(&format!("http://{}/.git", serve(Answer::Elsewhere(to.clone()))), "main");
    for mut mirror in [over_tls, plain] {
        let basic = [("username", "me"), ("password", "s3cret"), ("ca.pem", &ca)];
        for folder in [
            &basic[..],
            &[("token", "s3cret"), ("ca.pem", &ca)],
            &[("bearerToken", "s3cret"), ("ca.pem", &ca)],
            &[("ca.pem", &ca)],
        ] {
            mirror.folder(folder);
            let error = fetch(&mirror.source).await.unwrap_err();
            let expected = FetchError::Moved { url: mirror.source.url.clone(), to: format!("{to}/.git") };
            assert_eq!(error, expected, "{error}");
        }
    }
    assert_eq!(*logins.lock().unwrap(), [""; 0], "nobody was asked there");
}

#[tokio::test]
async fn a_certificate_of_another_ca_is_not_trusted_and_learns_nothing() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let (authority, other) = (Authority::new(), Authority::new());
    let mut mirror = over_https(authority.serve(git(&repo, Some(TOKEN)), None));
    mirror.folder(&[("token", "s3cret"), ("ca.pem", &authority.pem())]);
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);

    mirror.folder(&[("token", "s3cret"), ("ca.pem", &other.pem())]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("ca.pem") && !error.to_string().contains("s3cret"), "{error}");
    // The CA of the source alone counts, whatever the system trusts.
    let file = mirror.dir.path().join("ca.pem");
    fs::write(&file, authority.pem()).unwrap();
    let trusting = fetcher().env("SSL_CERT_FILE", &file);
    assert!(matches!(trusting.fetch(&mirror.source).await, Err(FetchError::Untrusted { .. })));
    mirror.credentials("s3cret");
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Untrusted { .. }), "{error}");
    common::still_reads(&mirror, &head).await;
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let (authority, clients, others) = (Authority::new(), Authority::new(), Authority::new());
    let mut mirror = over_https(authority.serve(git(&repo, Some(USER)), Some(&clients)));
    let ca = authority.pem();
    let (certificate, key) = clients.issue("drover");
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    mirror.folder(&[("ca.crt", &ca), ("tls.crt", &pem), ("tls.key", &key), ("username", "me"), ("password", "s3cret")]);
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);

    mirror.folder(&[("ca.crt", &ca), ("username", "me"), ("password", "s3cret")]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("client.pem and client.key"), "{error}");
    let (certificate, key) = others.issue("drover");
    let (pem, key) = (certificate.pem(), key.serialize_pem());
    mirror.folder(&[("ca.pem", &ca), ("client.pem", &pem), ("client.key", &key)]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. } | FetchError::Unreachable { .. }), "{error}");
    common::still_reads(&mirror, &head).await;
}

#[tokio::test]
async fn a_bearer_token_goes_with_every_request() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let authority = Authority::new();
    let mut mirror = over_https(authority.serve(git(&repo, Some("Bearer s3cret")), None));
    mirror.folder(&[("bearerToken", "s3cret\n"), ("ca.pem", &authority.pem())]);
    assert_eq!(fetch(&mirror.source).await.unwrap().commit, head);
    mirror.folder(&[("bearerToken", "wr0ng"), ("ca.pem", &authority.pem())]);
    let error = fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }) && !error.to_string().contains("wr0ng"), "{error}");

    let url = format!("http://{}/.git", serve(git(&repo, Some("Bearer s3cret"))));
    let mut plain = Mirror::of(&url, "main");
    plain.folder(&[("bearerToken", "s3cret")]);
    assert_eq!(fetch(&plain.source).await.unwrap().commit, head);
}

#[tokio::test]
async fn credentials_that_everyone_may_read_are_refused() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let mut mirror = Mirror::of(&format!("http://{}/.git", serve(git(&repo, Some(TOKEN)))), "main");
    mirror.folder(&[("token", "s3cret")]);
    let token = mirror.source.credentials.as_ref().unwrap().join("token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let error = fetch(&mirror.source).await.unwrap_err().to_string();
    assert!(error.contains("chmod") && error.contains("credentials/token"), "{error}");
}

/// A program called ssh that notes what it was started with, and then does what `then` says.
struct FakeSsh(TempDir);

impl FakeSsh {
    fn new(then: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            r#"#!/bin/sh
# All that it may write.
cd "$HOME"
printf '%s\n' "$@" >args
env >environment
for word; do
  case "$word" in
    UserKnownHostsFile=*) cat "${{word#*=}}" >known_hosts ;;
  esac
  [ "$before" = -i ] && cat "$word" >key && stat -L -c %a "$word" >mode
  before=$word
done
{then}
"#
        );
        fs::write(dir.path().join("ssh"), script).unwrap();
        fs::set_permissions(dir.path().join("ssh"), fs::Permissions::from_mode(0o755)).unwrap();
        Self(dir)
    }

    fn fetcher(&self) -> Fetcher {
        let path = std::env::var("PATH").unwrap();
        fetcher().env("PATH", format!("{}:{path}", self.0.path().display()))
    }
}

/// A copy of a repository where a fake ssh, which may touch nothing else, can serve it.
fn served(repo: &Repo, mirror: &Mirror) -> String {
    let path = mirror.source.dir.join("served").to_str().unwrap().to_owned();
    if !Path::new(&path).exists() {
        repo.git(&["init", "-q", "--bare", &path]);
    }
    repo.git(&["push", "-q", &path, "main"]);
    format!("exec git-upload-pack '{path}'")
}

/// What the fake ssh noted.
fn noted(mirror: &Mirror, name: &str) -> String {
    fs::read_to_string(mirror.source.dir.join(name)).unwrap()
}

fn over_ssh(path: &Path) -> Mirror {
    let mut mirror = Mirror::of(&format!("ssh://git@git.example.com:2222{}", path.display()), "main");
    mirror.folder(&[("ssh-key", KEY), ("known_hosts", "git.example.com ssh-ed25519 AAAA")]);
    mirror
}

#[tokio::test]
async fn ssh_gets_a_key_and_known_hosts_and_nothing_else() {
    let repo = Repo::new();
    let first = repo.commit("a.yaml", "one");
    let mut mirror = over_ssh(repo.path());
    let ssh = FakeSsh::new(&served(&repo, &mirror));
    assert_eq!(ssh.fetcher().fetch(&mirror.source).await.unwrap().commit, first);
    assert!(mirror.git_dir().join("shallow").exists(), "the first fetch is shallow");
    let second = repo.commit("a.yaml", "two");
    served(&repo, &mirror);
    assert_eq!(ssh.fetcher().fetch(&mirror.source).await.unwrap().commit, second);
    assert!(ssh.fetcher().fetch(&mirror.source).await.unwrap().unchanged);

    assert_eq!((noted(&mirror, "key").as_str(), noted(&mirror, "mode").trim()), (KEY, "600"));
    assert_eq!(noted(&mirror, "known_hosts").trim(), "git.example.com ssh-ed25519 AAAA");
    let args = noted(&mirror, "args").replace('\n', " ");
    for flag in ["-F none", "-o StrictHostKeyChecking=yes", "-o BatchMode=yes", "-o IdentitiesOnly=yes"] {
        assert!(args.contains(flag), "{args}");
    }
    let end = format!("-p2222 git@git.example.com git-upload-pack '{}' ", repo.path().display());
    assert!(args.ends_with(&end), "{args}");
    let secret = KEY.lines().nth(1).unwrap();
    assert!(!args.contains(secret) && !noted(&mirror, "environment").contains(secret));
    assert!(!noted(&mirror, "environment").contains("SSH_AUTH_SOCK"));

    mirror.source.url = format!("git@git.example.com:{}", repo.path().display());
    assert!(ssh.fetcher().fetch(&mirror.source).await.unwrap().unchanged);
    assert!(noted(&mirror, "args").contains("\ngit@git.example.com\n"));
}

#[tokio::test]
async fn ssh_without_known_hosts_is_refused_before_anything_is_sent() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let ssh = FakeSsh::new("exit 1");
    let mut mirror = over_ssh(repo.path());
    mirror.folder(&[("ssh-key", KEY)]);
    let error = ssh.fetcher().fetch(&mirror.source).await.unwrap_err().to_string();
    assert!(error.contains("`ssh-keyscan -p 2222 git.example.com`"), "{error}");
    mirror.source.credentials = None;
    let error = ssh.fetcher().fetch(&mirror.source).await.unwrap_err().to_string();
    assert!(error.contains("ssh-key and known_hosts"), "{error}");
    assert!(!mirror.source.dir.join("args").exists(), "ssh was not started");
}

#[tokio::test]
async fn a_wrong_key_and_a_wrong_host_are_told_apart() {
    let repo = Repo::new();
    let head = repo.commit("a.yaml", "one");
    let mirror = over_ssh(repo.path());
    let good = FakeSsh::new(&served(&repo, &mirror));
    good.fetcher().fetch(&mirror.source).await.unwrap();

    let denied = FakeSsh::new("echo 'git@git.example.com: Permission denied (publickey).' >&2; exit 255");
    let error = denied.fetcher().fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }), "{error}");
    let host = FakeSsh::new("echo 'Host key verification failed.' >&2; exit 255");
    let error = host.fetcher().fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Untrusted { .. }), "{error}");
    let absent = FakeSsh::new("echo 'ERROR: Repository not found.' >&2; exit 1");
    let error = absent.fetcher().fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::NotARepository { .. }), "{error}");
    let down = FakeSsh::new("echo 'ssh: connect to host git.example.com port 2222: Connection refused' >&2; exit 255");
    let error = down.fetcher().fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    common::still_reads(&mirror, &head).await;
}

#[tokio::test]
async fn an_ssh_that_hangs_ends_with_the_deadline() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let ssh = FakeSsh::new("echo $$ >pid; exec sleep 600");
    let mirror = over_ssh(repo.path());
    let fetching = ssh.fetcher().deadline(std::time::Duration::from_secs(3));
    let error = fetching.fetch(&mirror.source).await.unwrap_err();
    assert!(matches!(error, FetchError::Deadline { .. }), "{error}");
    let status = format!("/proc/{}/stat", noted(&mirror, "pid").trim());
    let state = fs::read_to_string(status).unwrap_or_default();
    let is_running = state.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['S', 'R', 'D']));
    assert!(!is_running, "{state}");
}

/// What a server could make the process do that reads its answers.
#[tokio::test]
async fn the_process_that_fetches_reads_and_writes_its_own() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let elsewhere = tempfile::tempdir().unwrap();
    let (secret, target) = (elsewhere.path().join("secret"), elsewhere.path().join("target"));
    fs::write(&secret, "s3cret").unwrap();
    let (read, write) = (secret.display(), target.display());
    let ssh = FakeSsh::new(&format!("cat '{read}' >stolen; echo x >'{write}'; echo done >tried; exit 1"));
    let mirror = over_ssh(repo.path());
    assert!(ssh.fetcher().fetch(&mirror.source).await.is_err());
    assert_eq!(noted(&mirror, "tried"), "done\n");
    // Landlock came with Linux 5.13.
    assert_eq!(noted(&mirror, "stolen"), "", "what is not the source's cannot be read");
    assert!(!target.exists(), "nothing is written outside the mirror");
}

/// A repository of this machine may lead anywhere, but not to the hub's keys.
#[tokio::test]
async fn the_hubs_directory_is_closed_to_the_process_that_fetches() {
    let repo = Repo::new();
    repo.commit("a.yaml", "one");
    let mirror = Mirror::main(&repo);
    let hub = mirror.dir.path();
    fs::create_dir_all(hub.join("keys")).unwrap();
    fs::write(hub.join("keys/secret"), "s3cret").unwrap();
    let (programs, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(elsewhere.path().join("shared"), "objects").unwrap();
    let (hidden, shared) = (hub.join("keys/secret"), elsewhere.path().join("shared"));
    let script = format!(
        "#!/bin/sh\ncd \"$HOME\"\ncat '{}' >stolen\ncat '{}' >shared\nexit 1\n",
        hidden.display(),
        shared.display()
    );
    let program = programs.path().join("git-upload-pack");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    assert!(fetcher().private(hub).env("PATH", path).fetch(&mirror.source).await.is_err());
    assert_eq!((noted(&mirror, "shared").as_str(), noted(&mirror, "stolen").as_str()), ("objects", ""));
    assert!(fetcher().private(hub).fetch(&mirror.source).await.is_ok());
}
