//! A hub that follows a repository on a real Git server: Gitea over HTTPS with a CA of its own and a token, over
//! ssh, and behind nginx that asks for a client certificate; and Gitea's own webhooks.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tests_tools::fleet::{Fleet, Where};
use tests_tools::gitea::{Gitea, ssh_key};
use tests_tools::nginx::Nginx;

const SECRET: &str = "what only the two of them know";
const DECLARATIONS: &str = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\n---\n\
                            apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {name: web}\n\
                            spec: {path: web, targets: [{selector: {}}]}\n";

/// A Gitea with a repository, and a hub that is about to follow it.
struct Served {
    gitea: Gitea,
    fleet: Fleet,
}

impl Served {
    fn new() -> Result<Self> {
        let served = Self { gitea: Gitea::start()?, fleet: Fleet::new()? };
        served.gitea.create("fleet")?;
        served.fleet.repo.write("drover.yaml", DECLARATIONS)?;
        served.push("one")?;
        Ok(served)
    }

    fn push(&self, text: &str) -> Result<String> {
        let object = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: web}}\ndata: {{text: {text}}}\n");
        self.fleet.repo.write("web/web.yaml", &object)?;
        let commit = self.fleet.repo.commit(text)?;
        self.gitea.git(self.fleet.repo.dir(), &["push", "-q", &self.gitea.https("fleet"), "HEAD:main"])?;
        Ok(commit)
    }

    /// Credentials by name, in a folder of their own.
    fn credentials(&self, files: &[(&str, &str)]) -> Result<PathBuf> {
        let folder = self.fleet.dir().join("credentials");
        fs::create_dir_all(folder.join("fleet"))?;
        for (name, text) in files {
            let path = folder.join("fleet").join(name);
            fs::write(&path, text)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        }
        Ok(folder)
    }

    /// Starts the hub and a spoke, and waits until the first commit runs there.
    fn start(&mut self, url: &str, folder: &Path, more: &[&str]) -> Result<()> {
        self.fleet.follow(url);
        let folder = folder.to_str().context("a path that is no text")?;
        let mut args = vec!["--credentials-dir", folder, "--credentials", "fleet"];
        args.extend(more);
        self.fleet.hub_args(&args);
        self.fleet.start_hub()?;
        self.fleet.join("a", Where::Memory)?;
        let head = self.fleet.repo.git(&["rev-parse", "HEAD"])?;
        self.fleet.wait_settled(head.trim()).with_context(|| self.fleet.hub_log()).map(drop)
    }
}

#[test]
fn a_push_to_gitea_reaches_clusters_by_its_webhook() -> Result<()> {
    let mut served = Served::new()?;
    let (ca, token) = (served.gitea.ca().to_owned(), served.gitea.token().to_owned());
    let folder = served.credentials(&[("token", &token), ("ca.pem", &ca), ("webhook", SECRET)])?;
    let url = served.gitea.https("fleet");
    // Polled once a day, so that whatever is seen in time the webhook showed.
    served.start(&url, &folder, &["--poll", "1d", "--hooks", "127.0.0.1:0"])?;
    served.gitea.hook("fleet", &format!("{}/hooks/gitea", served.fleet.hooks()?), SECRET)?;
    for text in ["two", "three"] {
        let commit = served.push(text)?;
        served.fleet.wait_settled(&commit).with_context(|| served.fleet.hub_log())?;
    }
    // A token that was rotated counts without a restart, and a wrong one keeps what runs.
    served.credentials(&[("token", "wrong")])?;
    let commit = served.push("four")?;
    let status = served.fleet.wait("the wrong token is told", |status| {
        status["sources"][0]["error"].as_str().is_some_and(|error| error.contains("refuses access"))
    })?;
    ensure!(status["sources"][0]["commit"] != commit.as_str(), "{status:#}");
    served.credentials(&[("token", &token)])?;
    let commit = served.push("five")?;
    served.fleet.wait_settled(&commit).map(drop)
}

#[test]
fn a_repository_is_followed_over_ssh() -> Result<()> {
    let mut served = Served::new()?;
    let key = served.fleet.dir().join("deploy-key");
    ssh_key(&key)?;
    served.gitea.admit(&fs::read_to_string(key.with_extension("pub"))?)?;
    let (private, hosts) = (fs::read_to_string(&key)?, served.gitea.known_hosts()?);
    let folder = served.credentials(&[("ssh-key", &private), ("known_hosts", &hosts)])?;
    let url = served.gitea.ssh("fleet");
    served.start(&url, &folder, &["--poll", "5s"])?;
    let commit = served.push("two")?;
    served.fleet.wait_settled(&commit).map(drop)
}

#[test]
fn nginx_lets_a_client_certificate_in_and_nobody_else() -> Result<()> {
    let mut served = Served::new()?;
    let direct = served.gitea.https("fleet");
    let origin: String = direct.split_inclusive('/').take(3).collect();
    let origin = origin.trim_end_matches('/');
    let nginx = Nginx::before(origin)?;
    let url = direct.replace(origin, &nginx.origin());
    let token = served.gitea.token().to_owned();

    // Without it nginx refuses, and the hub says what is asked for.
    let folder = served.credentials(&[("token", &token), ("ca.pem", nginx.ca())])?;
    served.fleet.follow(&url);
    let folder_text = folder.to_str().context("a path that is no text")?.to_owned();
    served.fleet.hub_args(&["--credentials-dir", &folder_text, "--credentials", "fleet", "--poll", "5s"]);
    served.fleet.start_hub()?;
    served.fleet.wait("the certificate is asked for", |status| {
        let error = status["sources"][0]["error"].as_str().unwrap_or_default();
        error.contains("refuses access") || error.contains("certificate")
    })?;
    // With it, and without a restart, everything goes.
    let (certificate, key) = nginx.client();
    served.credentials(&[("client.pem", certificate), ("client.key", key)])?;
    served.fleet.join("a", Where::Memory)?;
    let commit = served.push("two")?;
    served.fleet.wait_settled(&commit).with_context(|| served.fleet.hub_log()).map(drop)
}
