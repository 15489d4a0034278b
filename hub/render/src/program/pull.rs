//! Fetching a chart: Helm once more, this time with the network, and still with no file of this
//! machine but those that name servers and say whom to trust.

use std::path::{Path, PathBuf};

use hub_core::release::lock::Origin;
use proto_model::limits;

use super::child::Online;
use super::run::Failure;
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

impl Programs {
    /// Fetches the archive of a chart. Blocks while Helm runs.
    ///
    /// # Errors
    /// Helm is missing, the chart is not there, or the server cannot be reached.
    pub fn pull(&self, origin: &Origin) -> Result<Vec<u8>, String> {
        self.pulled(origin).map_err(|failure| match failure {
            Failure::Start(why) | Failure::Complaint(why) => first_line(&why),
            other => format!("helm {other}"),
        })
    }

    fn pulled(&self, origin: &Origin) -> Result<Vec<u8>, Failure> {
        let work = self.work()?;
        let folder = work.home().join("charts");
        let failed = |error: std::io::Error| Failure::Start(format!("{}: {error}", folder.display()));
        std::fs::create_dir_all(&folder).map_err(failed)?;
        self.run_online(Tool::Helm, &work, arguments(origin, &folder), online())?;
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

fn arguments(origin: &Origin, folder: &Path) -> Vec<String> {
    let mut args = vec!["pull".to_owned()];
    match (&origin.repo, &origin.oci) {
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

fn online() -> Online {
    let variables = NETWORK_VARIABLES.iter();
    let variables: Vec<(String, String)> =
        variables.filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?))).collect();
    let named = variables.iter().filter(|(name, _)| name.starts_with("SSL_")).map(|(_, path)| PathBuf::from(path));
    let read = NETWORK_FILES.iter().map(PathBuf::from).chain(named).collect();
    Online { read, variables }
}

/// What Helm says first, without the word that it begins with.
fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("it gave no reason");
    line.trim_start_matches("Error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helm_is_asked_for() {
        let origin = |repo: Option<&str>, oci: Option<&str>| Origin {
            repo: repo.map(str::to_owned),
            oci: oci.map(str::to_owned),
            chart: "web".into(),
            version: "1.2.3".into(),
        };
        let of = |origin: &Origin| arguments(origin, Path::new("/o")).join(" ");
        let repo = of(&origin(Some("https://c.example.com"), None));
        assert_eq!(repo, "pull web --repo https://c.example.com --version 1.2.3 --destination /o");
        let oci = of(&origin(None, Some("oci://r.example.com/charts/")));
        assert_eq!(oci, "pull oci://r.example.com/charts/web --version 1.2.3 --destination /o");
        assert_eq!(first_line("\nError: no such chart\nmore"), "no such chart");
    }
}
