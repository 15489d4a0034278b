//! Fetching a chart: Helm once more, this time with the network, and still with no file of this
//! machine but those that name servers and say whom to trust.
//!
//! **Invariant:** a secret reaches Helm through a file that only this run's folder has, or through a
//! pipe. It is in no argument and in no variable, and in nothing that is told afterwards.

use std::io;
use std::path::{Path, PathBuf};

use hub_core::access::{Access, Login, pair};
use hub_core::release::lock::Origin;
use proto_model::limits;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::child::Online;
use super::run::{Failure, Secret};
use super::work::Work;
use super::{Programs, Tool};

/// What names servers and says whom to trust, where the system has it.
const NETWORK_FILES: [&str; 8] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/ssl",
    "/etc/pki",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/run/systemd/resolve",
];
/// What an operator sets for proxies and authorities of their own; Go reads these.
const NETWORK_VARIABLES: [&str; 8] =
    ["SSL_CERT_FILE", "SSL_CERT_DIR", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy"];
/// Where Helm looks for what registries are told, below its home.
const REGISTRIES: &str = "helm/config/registry/config.json";
/// What a repository with credentials is called in Helm's own list.
const REPOSITORY: &str = "private";
/// Docker's registry, and what files of logins call it.
const DOCKER: (&str, &str) = ("registry-1.docker.io", "https://index.docker.io/v1/");

impl Programs {
    /// Fetches the archive of a chart. Blocks while Helm runs.
    ///
    /// # Errors
    /// Helm is missing, the chart is not there, or the server cannot be reached or refuses.
    pub fn pull(&self, origin: &Origin, access: Option<&Access>) -> Result<Vec<u8>, String> {
        let why = match self.pulled(origin, access) {
            Ok(archive) => return Ok(archive),
            Err(Failure::Start(why) | Failure::Complaint(why)) => why,
            Err(other) => format!("helm {other}"),
        };
        let why = first_line(&why);
        let next = if is_refusal(&why) {
            advice(origin, access)
        } else if why.contains("x509: ") {
            distrust(origin, access)
        } else {
            String::new()
        };
        // Cut only now: half of a secret would not be found.
        Err(crate::output::shown(&without_secret(why, access)) + &next)
    }

    fn pulled(&self, origin: &Origin, access: Option<&Access>) -> Result<Vec<u8>, Failure> {
        let work = self.work()?;
        let folder = work.home().join("charts");
        let failed = |error: io::Error| Failure::Start(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut keys = Vec::new();
        if let Some(access) = access {
            keys = lay_out(&work, origin, access).map_err(failed)?;
            if let Some(repo) = &origin.repo {
                let (args, password) = registration(repo, access, &keys)?;
                self.run_online(Tool::Helm, &work, args, online(), password)?;
                // Helm remembers them with the repository.
                keys.clear();
            }
        }
        let args = arguments(origin, access.is_some(), &folder).into_iter().chain(keys).collect();
        self.run_online(Tool::Helm, &work, args, online(), None)?;
        let mut files = std::fs::read_dir(&folder).map_err(failed)?.flatten().map(|entry| entry.path());
        let archive = files.find(|path| path.extension().is_some_and(|end| end == "tgz"));
        let archive = archive.ok_or_else(|| Failure::Complaint("helm fetched no archive".into()))?;
        let length = std::fs::metadata(&archive).map_err(failed)?.len();
        let max = limits::FILE_BYTES_MAX;
        if usize::try_from(length).is_ok_and(|length| length <= max) {
            return std::fs::read(&archive).map_err(failed);
        }
        Err(Failure::Complaint(format!("the chart has {length} bytes, and at most {max} are taken")))
    }
}

fn arguments(origin: &Origin, is_registered: bool, folder: &Path) -> Vec<String> {
    let mut args = vec!["pull".to_owned()];
    match (&origin.repo, &origin.oci) {
        (Some(_), _) if is_registered => args.push(format!("{REPOSITORY}/{}", origin.chart)),
        (Some(repo), _) => args.extend([origin.chart.clone(), "--repo".into(), repo.clone()]),
        (None, oci) => {
            let folder = oci.as_deref().unwrap_or_default().trim_end_matches('/');
            args.push(format!("{folder}/{}", origin.chart));
        }
    }
    args.extend(["--version".into(), origin.version.clone()]);
    args.extend(["--destination".into(), folder.to_string_lossy().into_owned()]);
    args
}

/// Writes what Helm takes from files; gives the arguments that name those which have no fixed place.
fn lay_out(work: &Work, origin: &Origin, access: &Access) -> io::Result<Vec<String>> {
    let mut args = Vec::new();
    let mut name = |flag: &str, path: PathBuf| args.extend([flag.to_owned(), path.to_string_lossy().into_owned()]);
    if let Some(authorities) = &access.authorities {
        name("--ca-file", work.keep("keys/ca.pem", authorities)?);
    }
    if let Some((certificate, key)) = &access.client {
        name("--cert-file", work.keep("keys/client.pem", certificate)?);
        name("--key-file", work.keep("keys/client.key", key)?);
    }
    if let (Some(oci), Some(login)) = (&origin.oci, &access.login) {
        work.keep(REGISTRIES, registries(oci, login).as_bytes())?;
    }
    Ok(args)
}

/// The file of logins that Docker made customary, with the one registry that is asked.
fn registries(oci: &str, login: &Login) -> Zeroizing<String> {
    let host = oci.strip_prefix("oci://").unwrap_or(oci).split('/').next().unwrap_or_default();
    let entry = match login {
        Login::Basic { user, password } => json!({"auth": *pair(user, password)}),
        Login::Bearer(token) => json!({"registrytoken": **token}),
    };
    let names = [host].into_iter().chain((host == DOCKER.0).then_some(DOCKER.1));
    let entries: Map<String, _> = names.map(|name| (name.to_owned(), entry.clone())).collect();
    Zeroizing::new(json!({"auths": entries}).to_string())
}

/// How Helm is told of a repository, and the password that it reads. It fetches the list of charts
/// right away, so what is wrong with the credentials shows here.
fn registration(repo: &str, access: &Access, keys: &[String]) -> Result<(Vec<String>, Option<Secret>), Failure> {
    let mut args: Vec<String> = ["repo", "add", REPOSITORY, repo].map(ToOwned::to_owned).into();
    args.extend(keys.iter().cloned());
    match &access.login {
        None => Ok((args, None)),
        Some(Login::Basic { user, password }) => {
            args.extend([format!("--username={user}"), "--password-stdin".into()]);
            Ok((args, Some(Zeroizing::new(password.as_bytes().to_vec()))))
        }
        Some(Login::Bearer(_)) => {
            let Access { name, place, .. } = access;
            let why = format!(
                "credentials {name} ({place}) hold a bearerToken, which Helm shows to registries (oci) alone: put \
                 username and password there, or a token"
            );
            Err(Failure::Complaint(why))
        }
    }
}

fn online() -> Online {
    let variables = NETWORK_VARIABLES.iter();
    let variables: Vec<(String, String)> =
        variables.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    let read = NETWORK_FILES.iter().map(PathBuf::from).chain(authorities(&variables)).collect();
    Online { read, variables }
}

/// The files and folders that say whom to trust; of folders there may be a list.
fn authorities(variables: &[(String, String)]) -> Vec<PathBuf> {
    let paths = |(name, value): &(String, String)| match name.as_str() {
        "SSL_CERT_FILE" => vec![PathBuf::from(value)],
        "SSL_CERT_DIR" => value.split(':').filter(|path| !path.is_empty()).map(PathBuf::from).collect(),
        _ => Vec::new(),
    };
    variables.iter().flat_map(paths).collect()
}

/// What Helm says first, without the word that it begins with.
fn first_line(text: &str) -> String {
    // Warnings of its own come before what went wrong.
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let line = lines().find(|line| line.starts_with("Error: ")).or_else(|| lines().next());
    line.unwrap_or("it gave no reason").trim_start_matches("Error: ").to_owned()
}

/// Whether a server wants other credentials, or any.
fn is_refusal(why: &str) -> bool {
    const WORDS: [&str; 5] = ["401", "403", "unauthorized", "forbidden", "denied"];
    let why = why.to_lowercase();
    // As words: ports and digests have such numbers in them.
    let mut words = why.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.any(|word| WORDS.contains(&word)) || why.contains("credential not found")
}

fn advice(origin: &Origin, access: Option<&Access>) -> String {
    match access {
        Some(Access { name, place, .. }) => format!(
            "; the server refuses credentials {name} ({place}): put a user and token there that may read this chart"
        ),
        None => format!("; where the server wants to know who asks, write {}", naming(origin)),
    }
}

/// What to do where the certificate is of a CA that nobody here knows.
fn distrust(origin: &Origin, access: Option<&Access>) -> String {
    match access {
        Some(Access { name, place, .. }) => {
            format!("; put the server's CA into ca.pem of credentials {name} ({place})")
        }
        None => format!(
            "; where its CA is one of your own, put it into ca.pem of credentials, and write {}",
            naming(origin)
        ),
    }
}

fn naming(origin: &Origin) -> String {
    format!("`credentials: NAME` beside {}", if origin.repo.is_some() { "repo" } else { "oci" })
}

/// No server should send back what it was told, and none is trusted not to.
fn without_secret(text: String, access: Option<&Access>) -> String {
    let Some(login) = access.and_then(|access| access.login.as_ref()) else { return text };
    let mut text = text.replace(login.secret(), "***");
    if let Login::Basic { user, password } = login {
        text = text.replace(&**pair(user, password), "***");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn origin(repo: Option<&str>, oci: Option<&str>) -> Origin {
        let (repo, oci) = (repo.map(str::to_owned), oci.map(str::to_owned));
        Origin { repo, oci, chart: "web".into(), version: "1.2.3".into() }
    }

    fn access() -> Access {
        let login = Login::Basic { user: "ada".into(), password: Zeroizing::new("hunter2".into()) };
        Access { name: "charts".into(), place: "/c/charts".into(), login: Some(login), ..Access::default() }
    }

    #[test]
    fn what_helm_is_asked_for() {
        let of = |origin: &Origin, known| arguments(origin, known, Path::new("/o")).join(" ");
        let repo = origin(Some("https://c.example.com"), None);
        assert_eq!(of(&repo, false), "pull web --repo https://c.example.com --version 1.2.3 --destination /o");
        assert_eq!(of(&repo, true), "pull private/web --version 1.2.3 --destination /o");
        let oci = of(&origin(None, Some("oci://r.example.com/charts/")), true);
        assert_eq!(oci, "pull oci://r.example.com/charts/web --version 1.2.3 --destination /o");
        assert_eq!(first_line("\nWARNING: old\nError: no such chart\nmore"), "no such chart");
        assert_eq!(first_line("no such chart"), "no such chart");
    }

    #[test]
    fn no_argument_holds_a_secret() {
        let keys = ["--ca-file".to_owned(), "/k/ca.pem".to_owned()];
        let (args, password) = registration("https://c.example.com", &access(), &keys).unwrap();
        let args = args.join(" ");
        let wanted = "repo add private https://c.example.com --ca-file /k/ca.pem --username=ada --password-stdin";
        assert_eq!(args, wanted);
        assert_eq!(password.unwrap().as_slice(), b"hunter2");
        let bearer = Access { login: Some(Login::Bearer(Zeroizing::new("x".into()))), ..access() };
        let refused = registration("https://c.example.com", &bearer, &[]).err().unwrap().to_string();
        assert!(refused.contains("charts (/c/charts)") && refused.contains("username"), "{refused}");
    }

    #[test]
    fn a_registry_is_told_what_belongs_to_it() {
        let login = access().login.unwrap();
        let file = |oci: &str| registries(oci, &login).to_string();
        assert_eq!(
            file("oci://r.example.com:5000/a/b"),
            r#"{"auths":{"r.example.com:5000":{"auth":"YWRhOmh1bnRlcjI="}}}"#
        );
        assert!(file("oci://registry-1.docker.io/x").contains("https://index.docker.io/v1/"));
        let token = Login::Bearer(Zeroizing::new("tok".into()));
        assert_eq!(*registries("oci://r/x", &token), r#"{"auths":{"r":{"registrytoken":"tok"}}}"#);
    }

    #[test]
    fn a_refusal_names_the_credentials_and_no_secret() {
        let repo = origin(Some("https://c.example.com"), None);
        assert!(is_refusal("failed to fetch https://x : 401 Unauthorized") && is_refusal("status code 403: denied"));
        assert!(!is_refusal("dial tcp 127.0.0.1:40123: connection refused") && !is_refusal("no such host"));
        assert!(advice(&repo, Some(&access())).contains("credentials charts (/c/charts)"));
        assert!(advice(&repo, None).contains("`credentials: NAME` beside repo"));
        assert!(distrust(&repo, None).ends_with("write `credentials: NAME` beside repo"));
        assert!(distrust(&repo, Some(&access())).ends_with("ca.pem of credentials charts (/c/charts)"));
        let told = without_secret("said hunter2 and YWRhOmh1bnRlcjI=".into(), Some(&access()));
        assert_eq!(told, "said *** and ***");
    }

    #[test]
    fn what_the_environment_says_of_trust_and_proxies() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let variables = vec![
            variable("SSL_CERT_FILE", "/a/ca.pem"),
            variable("SSL_CERT_DIR", "/b::/c"),
            variable("HTTPS_PROXY", "http://user:hunter2@proxy:3128"),
        ];
        let read = authorities(&variables);
        assert_eq!(read, ["/a/ca.pem", "/b", "/c"].map(PathBuf::from));
        // The request is an argument, which everybody on the machine can read.
        let said = serde_json::to_string(&Online { read, variables }).unwrap_or_default();
        assert!(said.contains("/b") && !said.contains("hunter2"), "{said}");
    }
}
