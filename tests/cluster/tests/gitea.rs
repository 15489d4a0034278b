//! Sources on a real Git server: Gitea over HTTPS with a CA of its own and a token, and over ssh with
//! the real ssh program.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hub_git::{FetchError, Fetched, Fetcher, Source, read};
use tempfile::TempDir;
use tests_tools::gitea::{Gitea, ssh_key};

const CHILD: &str = "DROVER_TEST_GIT_CHILD";

#[test]
fn child() {
    if std::env::var_os(CHILD).is_some() {
        let _ = hub_git::child_run();
    }
}

fn fetch(source: &Source) -> Result<Fetched, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let program = std::env::current_exe().unwrap();
    let fetcher = Fetcher::new(program, ["--exact", "child", "--nocapture"]).env(CHILD, "1");
    runtime.block_on(fetcher.fetch(source))
}

/// A Gitea with one repository, and a work tree that is pushed to it.
struct Served {
    gitea: Gitea,
    dir: TempDir,
}

impl Served {
    fn new() -> Self {
        let served = Self { gitea: Gitea::start().unwrap(), dir: tempfile::tempdir().unwrap() };
        served.gitea.create("fleet").unwrap();
        fs::create_dir(served.tree()).unwrap();
        served.git(&["init", "-q", "-b", "main"]);
        served
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn git(&self, args: &[&str]) -> String {
        self.gitea.git(&self.tree(), args).unwrap()
    }

    fn push(&self, text: &str) -> String {
        fs::write(self.tree().join("a.yaml"), text).unwrap();
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", text]);
        self.git(&["push", "-q", &self.gitea.https("fleet"), "main"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn source(&self, url: String, mirror: &str) -> Source {
        Source {
            url,
            reference: "main".to_owned(),
            dir: self.dir.path().join(mirror),
            credentials: Some(self.dir.path().join("credentials")),
            signers: None,
            accepted: None,
        }
    }

    /// Puts these files, and no others, into the folder of credentials.
    fn credentials(&self, files: &[(&str, &str)]) {
        let folder = self.dir.path().join("credentials");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

fn text(source: &Source, commit: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tree = runtime.block_on(read(&source.dir, commit, "", |_, _| true)).unwrap();
    String::from_utf8(tree.snapshot.read("a.yaml").unwrap().to_vec()).unwrap()
}

fn key(dir: &Path, name: &str) -> (String, String) {
    let path = dir.join(name);
    ssh_key(&path).unwrap();
    (fs::read_to_string(&path).unwrap(), fs::read_to_string(path.with_extension("pub")).unwrap())
}

#[test]
fn gitea_over_https_with_its_own_ca_and_a_token() {
    let served = Served::new();
    let first = served.push("one");
    let source = served.source(served.gitea.https("fleet"), "mirror");
    let (ca, token) = (served.gitea.ca(), served.gitea.token());
    served.credentials(&[("token", token), ("ca.crt", ca)]);
    assert_eq!(fetch(&source).unwrap().commit, first);
    let second = served.push("two");
    assert_eq!(fetch(&source).unwrap().commit, second);
    assert_eq!(text(&source, &second), "two");
    served.credentials(&[("username", "drover"), ("password", token), ("ca.crt", ca)]);
    assert!(fetch(&source).unwrap().unchanged);

    served.credentials(&[("token", "0123456789012345678901234567890123456789"), ("ca.crt", ca)]);
    assert!(matches!(fetch(&source), Err(FetchError::Refused { .. })));
    served.credentials(&[("ca.crt", ca)]);
    assert!(matches!(fetch(&source), Err(FetchError::Refused { .. })));
    served.credentials(&[("token", token)]);
    assert!(matches!(fetch(&source), Err(FetchError::Untrusted { .. })));
    served.credentials(&[("token", token), ("ca.crt", ca)]);
    let absent = served.source(served.gitea.https("absent"), "other");
    assert!(matches!(fetch(&absent), Err(FetchError::NotARepository { .. })));
    assert_eq!(text(&source, &second), "two");
}

#[test]
fn gitea_over_ssh_with_a_key_and_known_hosts() {
    let served = Served::new();
    let first = served.push("one");
    let source = served.source(served.gitea.ssh("fleet"), "mirror");
    let known = served.gitea.known_hosts().unwrap();
    let ((private, public), (other, _)) = (key(served.dir.path(), "key"), key(served.dir.path(), "other"));
    served.gitea.admit(&public).unwrap();
    served.credentials(&[("identity", &private), ("known_hosts", &known)]);
    assert_eq!(fetch(&source).unwrap().commit, first);
    let second = served.push("two");
    assert_eq!(fetch(&source).unwrap().commit, second);
    assert!(fetch(&source).unwrap().unchanged);
    assert_eq!(text(&source, &second), "two");
    let absent = served.source(served.gitea.ssh("absent"), "elsewhere");
    let error = fetch(&absent).unwrap_err();
    assert!(matches!(error, FetchError::NotARepository { .. }), "{error}");

    served.credentials(&[("identity", &other), ("known_hosts", &known)]);
    let error = fetch(&source).unwrap_err();
    assert!(matches!(error, FetchError::Refused { .. }), "{error}");
    // Another server than the one that was known, and one that was never known.
    let (address, _) = known.split_once(' ').unwrap();
    let (_, stranger) = key(served.dir.path(), "stranger");
    for hosts in [format!("{address} {stranger}"), format!("example.com {stranger}")] {
        served.credentials(&[("identity", &private), ("known_hosts", &hosts)]);
        let error = fetch(&source).unwrap_err();
        assert!(matches!(error, FetchError::Untrusted { .. }), "{error}");
    }
    assert_eq!(text(&source, &second), "two");
}
