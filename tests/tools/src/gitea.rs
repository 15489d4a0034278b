//! A real Git server: Gitea with HTTPS under a CA of its own, ssh, and one administrator with a token.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::free_port;
use crate::process::{self, Listening, Process};
use crate::tools::{self, Gitea as Program};

/// The one user, an administrator.
pub const USER: &str = "drover";
const PASSWORD: &str = "of-no-importance-1";
const START_MAX: Duration = Duration::from_secs(60);
/// Ports are taken by others between being found and being used.
const TRIES: usize = 5;

/// A running Gitea; it ends when dropped.
#[derive(Debug)]
pub struct Gitea {
    process: Process,
    dir: TempDir,
    https_port: u16,
    ssh_port: u16,
    ca: String,
    token: String,
}

impl Gitea {
    /// Starts one on free ports of 127.0.0.1, with an empty database.
    ///
    /// # Errors
    /// Those of [`tools::gitea`], and if it does not start, with the end of its log.
    pub fn start() -> Result<Self> {
        let program = tools::gitea()?;
        let dir = tempfile::tempdir().context("cannot make a directory for Gitea")?;
        let ca = certificates(dir.path())?;
        ssh_key(&dir.path().join("host-key"))?;
        for _ in 0..TRIES {
            let (https_port, ssh_port) = (free_port()?, free_port()?);
            configure(dir.path(), &program, https_port, ssh_port)?;
            run(&program, dir.path(), &["migrate"])?;
            let mut command = command(&program, dir.path(), &["web"]);
            command.env("GITEA_WORK_DIR", dir.path());
            let mut process = Process::start("gitea", command, &dir.path().join("gitea.log"))?;
            let listens = [https_port, ssh_port].map(|port| process.wait_listening(port, START_MAX));
            let [https, ssh] = listens;
            if let (Listening::PortTaken, _) | (_, Listening::PortTaken) = (https?, ssh?) {
                continue;
            }
            let user = ["admin", "user", "create", "--admin", "--username", USER, "--password", PASSWORD];
            let email = ["--email", "drover@example.com", "--must-change-password=false"];
            run(&program, dir.path(), &[&user[..], &email].concat())?;
            let token = ["admin", "user", "generate-access-token", "--username", USER, "--scopes", "all", "--raw"];
            let printed = run(&program, dir.path(), &token)?;
            let token = printed.lines().last().context("Gitea printed no token")?.trim().to_owned();
            return Ok(Self { process, dir, https_port, ssh_port, ca, token });
        }
        bail!("other programs took each port that was found free, {TRIES} times")
    }

    /// The URL of a repository of the user, over HTTPS.
    #[must_use]
    pub fn https(&self, repository: &str) -> String {
        format!("https://localhost:{}/{USER}/{repository}.git", self.https_port)
    }

    /// Where its HTTPS is, as `HOST:PORT`.
    #[must_use]
    pub fn host(&self) -> String {
        format!("localhost:{}", self.https_port)
    }

    /// The URL of a repository of the user, over ssh.
    #[must_use]
    pub fn ssh(&self, repository: &str) -> String {
        format!("ssh://git@127.0.0.1:{}/{USER}/{repository}.git", self.ssh_port)
    }

    /// A token that may do everything.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The CA of its certificate, in PEM.
    #[must_use]
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Its host key as a line of `known_hosts`.
    ///
    /// # Errors
    /// If the key is gone.
    pub fn known_hosts(&self) -> Result<String> {
        let key = fs::read_to_string(self.dir.path().join("host-key.pub")).context("cannot read the host key")?;
        Ok(format!("[127.0.0.1]:{} {key}", self.ssh_port))
    }

    /// Everything it printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        self.process.log()
    }

    /// Calls its API with a JSON body; gives the answer.
    ///
    /// # Errors
    /// If it cannot be reached, or answers with an error, which is quoted.
    pub fn api(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let text = self.send(method, &format!("api/v1/{path}"), "application/json", body.to_string().into_bytes())?;
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Posts bytes to a path below its root.
    ///
    /// # Errors
    /// Those of [`Self::api`].
    pub fn upload(&self, path: &str, body: Vec<u8>) -> Result<()> {
        self.send("POST", path, "application/octet-stream", body).map(drop)
    }

    fn send(&self, method: &str, path: &str, kind: &str, body: Vec<u8>) -> Result<String> {
        let ca = reqwest::Certificate::from_pem(self.ca.as_bytes())?;
        let client = reqwest::blocking::Client::builder().tls_certs_only([ca]).no_proxy().build()?;
        let url = format!("https://{}/{path}", self.host());
        let request = client
            .request(method.parse()?, &url)
            .header("authorization", format!("token {}", self.token))
            .header("content-type", kind)
            .body(body);
        let answer = request.send().with_context(|| format!("cannot reach {url}"))?;
        let (status, text) = (answer.status(), answer.text()?);
        if !status.is_success() {
            bail!("{method} {url}: {status}: {text}");
        }
        Ok(text)
    }

    /// Makes an empty repository of the user.
    ///
    /// # Errors
    /// Those of [`Self::api`].
    pub fn create(&self, repository: &str) -> Result<()> {
        let body = serde_json::json!({"name": repository, "default_branch": "main", "private": true});
        self.api("POST", "user/repos", &body).map(drop)
    }

    /// Has it post every push to a repository of the user somewhere.
    ///
    /// # Errors
    /// Those of [`Self::api`].
    pub fn hook(&self, repository: &str, url: &str, secret: &str) -> Result<()> {
        let config = serde_json::json!({"url": url, "content_type": "json", "secret": secret});
        let body = serde_json::json!({"type": "gitea", "active": true, "events": ["push"], "config": config});
        self.api("POST", &format!("repos/{USER}/{repository}/hooks"), &body).map(drop)
    }

    /// Lets an SSH public key read and write what the user may.
    ///
    /// # Errors
    /// Those of [`Self::api`].
    pub fn admit(&self, public_key: &str) -> Result<()> {
        let body = serde_json::json!({"title": "a key", "key": public_key.trim()});
        self.api("POST", "user/keys", &body).map(drop)
    }

    /// Runs `git` in a work tree, in a way that it may push to [`Self::https`].
    ///
    /// # Errors
    /// If git fails, with what it printed.
    pub fn git(&self, tree: &Path, args: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.current_dir(tree).args(["-c", &format!("http.extraHeader=Authorization: token {}", self.token)]).args(args);
        git.env("GIT_SSL_CAINFO", self.dir.path().join("ca.pem")).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "Ada").env(format!("GIT_{role}_EMAIL"), "ada@example.com");
        }
        printed(&format!("git {}", args.join(" ")), &process::output(git)?)
    }
}

/// Makes an Ed25519 key pair for ssh at `path` and `path.pub`.
///
/// # Errors
/// If ssh-keygen cannot be run or fails.
pub fn ssh_key(path: &Path) -> Result<()> {
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path);
    printed("ssh-keygen", &process::output(keygen)?).map(drop)
}

/// A CA, and a certificate for localhost; the CA is the answer.
fn certificates(dir: &Path) -> Result<String> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let certificate = CertificateParams::new(names)?.signed_by(&key, &authority)?;
    fs::write(dir.join("ca.pem"), authority.pem())?;
    fs::write(dir.join("tls.crt"), certificate.pem())?;
    fs::write(dir.join("tls.key"), key.serialize_pem())?;
    fs::set_permissions(dir.join("tls.key"), fs::Permissions::from_mode(0o600))?;
    Ok(authority.pem())
}

fn configure(dir: &Path, program: &Program, https_port: u16, ssh_port: u16) -> Result<()> {
    let (at, files) = (dir.display(), program.files.display());
    let config = format!(
        "I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {at}
[server]
STATIC_ROOT_PATH = {files}
PROTOCOL = https
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {https_port}
DOMAIN = localhost
ROOT_URL = https://localhost:{https_port}/
CERT_FILE = {at}/tls.crt
KEY_FILE = {at}/tls.key
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_LISTEN_HOST = 127.0.0.1
SSH_PORT = {ssh_port}
SSH_LISTEN_PORT = {ssh_port}
SSH_SERVER_HOST_KEYS = {at}/host-key
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = {at}/gitea.db
[security]
INSTALL_LOCK = true
SECRET_KEY = of-no-importance
INTERNAL_TOKEN = eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJuYmYiOjE3MDQxNjQ2NDV9.of-no-importance
[webhook]
ALLOWED_HOST_LIST = loopback
[queue]
TYPE = channel
[cron]
ENABLED = false
[log]
MODE = console
LEVEL = Warn
"
    );
    fs::write(dir.join("app.ini"), config).context("cannot write Gitea's configuration")
}

fn command(program: &Program, dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(&program.program);
    command.args(args).arg("--config").arg(dir.join("app.ini"));
    command.env("HOME", dir).env("GITEA_WORK_DIR", dir).current_dir(dir);
    command
}

fn run(program: &Program, dir: &Path, args: &[&str]) -> Result<String> {
    printed(&format!("gitea {}", args.join(" ")), &process::output(command(program, dir, args))?)
}

fn printed(what: &str, output: &Output) -> Result<String> {
    if !output.status.success() {
        let said = [&output.stdout[..], &output.stderr[..]].concat();
        return Err(anyhow!(
            "{what} failed ({}): {}",
            output.status,
            process::last_lines(&String::from_utf8_lossy(&said))
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
