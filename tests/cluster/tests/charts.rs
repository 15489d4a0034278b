//! Charts from registries that want to know who asks: Gitea's, as an OCI registry and as a repository over HTTPS,
//! both with a CA of its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value as Json, json};
use tests_tools::fleet::{Fleet, Repo, Where, bundle, program};
use tests_tools::gitea::{Gitea, USER};
use tests_tools::{Program, process, tools};

const CLUSTER: &str = "apiVersion: drover.dev/v1alpha1\nkind: Cluster\nmetadata: {name: a}\n---\n";

/// A Gitea whose user has two charts and keeps them to itself: `web` in the registry, `api` in the repository.
struct Registry {
    gitea: Gitea,
    dir: tempfile::TempDir,
}

impl Registry {
    fn start() -> Result<Self> {
        let registry = Self { gitea: Gitea::start()?, dir: tempfile::tempdir()? };
        let settings = json!({"visibility": "private"});
        registry.gitea.api("PATCH", "user/settings", &settings)?;
        registry.credentials("charts", registry.gitea.token())?;
        let (ca, login) = (registry.folder("charts").join("ca.pem"), registry.dir.path().join("login.json"));
        let web = registry.package("web")?;
        let host = registry.gitea.host();
        let mut signs_in = helm()?;
        let secret = ["--username", USER, "--password", registry.gitea.token()];
        signs_in.args(["registry", "login", &host]).args(secret).arg("--ca-file").arg(&ca);
        good(&signs_in.arg("--registry-config").arg(&login).output()?)?;
        let mut push = helm()?;
        push.arg("push").arg(web).arg(registry.oci()).arg("--ca-file").arg(&ca);
        good(&push.arg("--registry-config").arg(&login).output()?)?;
        let archive = fs::read(registry.package("api")?)?;
        registry.gitea.upload(&format!("api/packages/{USER}/helm/api/charts"), archive)?;
        Ok(registry)
    }

    fn package(&self, name: &str) -> Result<PathBuf> {
        let chart = self.dir.path().join(name);
        fs::create_dir_all(chart.join("templates"))?;
        fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 1.2.3\n"))?;
        let object = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n");
        fs::write(chart.join("templates/config.yaml"), object)?;
        good(&helm()?.arg("package").arg(&chart).arg("-d").arg(self.dir.path()).output()?)?;
        Ok(self.dir.path().join(format!("{name}-1.2.3.tgz")))
    }

    fn oci(&self) -> String {
        format!("oci://{}/{USER}", self.gitea.host())
    }

    fn repo(&self) -> String {
        format!("https://{}/api/packages/{USER}/helm", self.gitea.host())
    }

    /// The directory of credentials.
    fn credentials_dir(&self) -> PathBuf {
        self.dir.path().join("credentials")
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.credentials_dir().join(name)
    }

    /// Writes credentials with Gitea's CA and a token.
    fn credentials(&self, name: &str, token: &str) -> Result<()> {
        let folder = self.folder(name);
        fs::create_dir_all(&folder)?;
        for (file, text) in [("token", token), ("username", USER), ("ca.pem", self.gitea.ca())] {
            fs::write(folder.join(file), text)?;
            fs::set_permissions(folder.join(file), fs::Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    /// A bundle of each chart, with these credentials.
    fn bundles(&self, credentials: &str) -> String {
        let of = |name: &str, place: String| {
            format!(
                "apiVersion: drover.dev/v1alpha1\nkind: Bundle\nmetadata: {{name: {name}}}\nspec:\n  namespace: shop\n  \
                 targets: [{{selector: {{}}}}]\n  render:\n    helm:\n      {place}\n      chart: {name}\n      \
                 version: 1.2.3\n      {credentials}\n---\n"
            )
        };
        of("web", format!("oci: {}", self.oci())) + &of("api", format!("repo: {}", self.repo()))
    }

    /// `drover lock` of a folder, with a cache of its own so that nothing is kept from before.
    fn lock(&self, source: &Path, with_credentials: bool) -> Result<Output> {
        let mut lock = Command::new(program("drover")?);
        lock.arg("lock").arg(source).arg("--helm").arg(tools::program(Program::Helm)?);
        lock.env("XDG_CACHE_HOME", self.dir.path().join("cache"));
        if with_credentials {
            lock.arg("--credentials-dir").arg(self.credentials_dir());
        }
        process::output(lock)
    }

    /// What `drover lock` says where it must not go well.
    fn refused(&self, source: &Path, with_credentials: bool) -> Result<String> {
        let output = self.lock(source, with_credentials)?;
        ensure!(!output.status.success(), "it was pinned");
        ensure!(!source.join("drover.lock").exists(), "something was written");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!said.contains(self.gitea.token()) && !said.contains("of-no-use"), "it shows the token");
        Ok(said)
    }
}

fn helm() -> Result<Command> {
    Ok(Command::new(tools::program(Program::Helm)?))
}

fn good(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(())
}

#[test]
fn private_charts_are_pinned_and_followed() -> Result<()> {
    let registry = Registry::start()?;
    let mut fleet = Fleet::new()?;
    fleet.use_renderers()?;
    let declare =
        |credentials: &str| fleet.repo.write("drover.yaml", &(CLUSTER.to_owned() + &registry.bundles(credentials)));

    // Without a name, with one that is nowhere, and with a token that will not do.
    declare("lookup: refuse")?;
    let said = registry.refused(fleet.repo.dir(), true)?;
    ensure!(
        said.contains("cannot be fetched")
            && said.contains("ca.pem")
            && said.contains("`credentials: NAME` beside oci"),
        "{said}"
    );
    declare("credentials: charts")?;
    let said = registry.refused(fleet.repo.dir(), false)?;
    ensure!(said.contains("needs credentials charts") && said.contains("--credentials-dir"), "{said}");
    declare("credentials: absent")?;
    let said = registry.refused(fleet.repo.dir(), true)?;
    ensure!(said.contains("/absent") && said.contains("no such folder"), "{said}");
    registry.credentials("wrong", "of-no-use")?;
    declare("credentials: wrong")?;
    let said = registry.refused(fleet.repo.dir(), true)?;
    ensure!(said.contains("refuses credentials wrong (") && said.contains("user and token"), "{said}");

    declare("credentials: charts")?;
    good(&registry.lock(fleet.repo.dir(), true)?)?;
    let lock = fs::read_to_string(fleet.repo.dir().join("drover.lock"))?;
    ensure!(lock.matches("sha256:").count() == 2 && !lock.contains("charts\"}"), "{lock}");

    // A hub whose token is wrong says so, and goes on by itself once it is right.
    let commit = fleet.repo.commit("private charts")?;
    registry.credentials("charts", "of-no-use")?;
    let folder = registry.credentials_dir();
    fleet.hub_args(&["--credentials-dir", folder.to_str().context("a path that is no text")?]);
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    let status = fleet.wait("the refusal is told", |status| {
        let defects = status["sources"][0]["defects"].as_array().cloned().unwrap_or_default();
        let of = |name: &str| {
            let begins = format!("chart {name} 1.2.3 of ");
            defects.iter().any(|one| one["message"].as_str().is_some_and(|message| message.starts_with(&begins)))
        };
        of("web") && of("api")
    })?;
    for defect in status["sources"][0]["defects"].as_array().context("no defects")? {
        let message = defect["message"].as_str().unwrap_or_default();
        ensure!(message.contains("refuses credentials charts ("), "{defect}");
        ensure!(defect["file"] == "drover.lock", "{defect}");
    }
    registry.credentials("charts", registry.gitea.token())?;
    fleet.wait_settled(&commit).with_context(|| fleet.hub_log())?;
    let log = fleet.hub_log();
    ensure!(!log.contains(registry.gitea.token()) && !log.contains("of-no-use"), "the log shows a token");
    Ok(())
}

#[test]
fn a_further_source_uses_the_credentials_that_the_root_gives_it() -> Result<()> {
    let registry = Registry::start()?;
    let mut fleet = Fleet::new()?;
    fleet.use_renderers()?;
    let team = Repo::new(fleet.dir().join("team"))?;
    team.write("drover.yaml", &registry.bundles("credentials: charts"))?;
    good(&registry.lock(team.dir(), true)?)?;
    let commit = team.commit("private charts")?;
    let source = |may: &str| {
        let url = team.dir().display();
        format!(
            "{CLUSTER}apiVersion: drover.dev/v1alpha1\nkind: Source\nmetadata: {{name: team}}\nspec:\n  url: {url}\n  \
             may: {{{may}}}\n"
        )
    };
    fleet.repo.write("drover.yaml", &source("credentials: [others]"))?;
    fleet.repo.commit("the team may use others")?;
    let folder = registry.credentials_dir();
    fleet.hub_args(&["--credentials-dir", folder.to_str().context("a path that is no text")?]);
    fleet.start_hub()?;
    fleet.join("a", Where::Memory)?;
    let of_team = |status: &Json| {
        let all = status["sources"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["source"] == "team").unwrap_or_default()
    };
    let status = fleet.wait("the refusal is told", |status| {
        of_team(status)["defects"].as_array().is_some_and(|all| all.len() == 2)
    })?;
    let defect = of_team(&status)["defects"][0].clone();
    let message = defect["message"].as_str().unwrap_or_default();
    ensure!(message.contains("may not use credentials charts") && defect["line"].as_u64() > Some(1), "{defect}");
    ensure!(bundle(&status, "a", "team/web").is_none(), "{status:#}");

    fleet.repo.write("drover.yaml", &source("credentials: [charts]"))?;
    fleet.repo.commit("the team may use these")?;
    fleet.wait("the team's charts run", |status| {
        ["team/web", "team/api"].iter().all(|name| {
            bundle(status, "a", name).is_some_and(|one| one["commit"] == commit.as_str() && one["sync"] == "Applied")
        })
    })?;
    Ok(())
}
