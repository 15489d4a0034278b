//! `drover.lock`: which bytes a chart's name and version mean. It lies in Git beside what uses it,
//! so that one commit always means one content.

use core::net::IpAddr;

use proto_model::Digest;
use serde::{Deserialize, Serialize};

use crate::catalog::spec::HelmSpec;
use crate::yaml;

/// The path of the lock, relative to the source's path.
pub const LOCK_FILE: &str = "drover.lock";
const API_VERSION: &str = "drover.dev/v1alpha1";
const KIND: &str = "Lock";

/// Charts that are taken from elsewhere, pinned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lock {
    /// In the order of the file.
    pub charts: Vec<Locked>,
}

/// Where a chart comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// A chart repository, `https://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repo: Option<String>,
    /// A folder of an OCI registry, `oci://…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<String>,
    /// Name of the chart.
    pub chart: String,
    /// Its exact version.
    pub version: String,
}

/// One chart and the bytes that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Locked {
    /// Where it comes from.
    pub origin: Origin,
    /// SHA-256 of the archive.
    pub digest: Digest,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    api_version: String,
    kind: String,
    charts: Vec<Entry>,
}

// `deny_unknown_fields` and `flatten` do not go together.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repo: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oci: Option<String>,
    chart: String,
    version: String,
    digest: String,
}

impl Origin {
    /// Where a bundle takes its chart from; `None` where it lies in the source itself.
    ///
    /// # Errors
    /// The field that is missing or wrong, below `spec.render.helm`, and what to do.
    pub fn of(spec: &HelmSpec) -> Result<Option<Self>, (&'static str, String)> {
        let (repo, oci) = (spec.repo.clone(), spec.oci.clone());
        match (&repo, &oci) {
            (None, None) => {
                return match (&spec.version, &spec.credentials) {
                    (Some(_), _) => {
                        Err(("version", "version goes with repo or oci; a chart in Git has its own".into()))
                    }
                    (None, Some(_)) => {
                        Err(("credentials", "credentials go with repo or oci; a chart in Git needs none".into()))
                    }
                    (None, None) => Ok(None),
                };
            }
            (Some(_), Some(_)) => return Err(("oci", "repo and oci exclude each other".into())),
            (Some(url), None) if !is_safe(url, &["https://", "http://127.0.0.1:", "http://localhost:"]) => {
                return Err(("repo", format!("{url:?} is no https URL without a user")));
            }
            (None, Some(url)) if !is_safe(url, &["oci://"]) => {
                return Err(("oci", format!("{url:?} is no oci:// URL without a user")));
            }
            _ => {}
        }
        let is_name = |text: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            !text.is_empty() && text.bytes().all(good) && !text.starts_with(['.', '-'])
        };
        if !is_name(&spec.chart) {
            return Err(("chart", format!("{:?} is no name of a chart in that place", spec.chart)));
        }
        let is_exact = |text: &str| {
            text.starts_with(|first: char| first.is_ascii_digit() || first == 'v')
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-+.".contains(&byte))
        };
        match spec.version.as_deref() {
            None => Err(("version", "needs the chart's exact version".into())),
            Some(version) if !is_exact(version) => {
                Err(("version", format!("{version:?} is no exact version; ranges are not followed, write one out")))
            }
            Some(version) => Ok(Some(Self { repo, oci, chart: spec.chart.clone(), version: version.into() })),
        }
    }

    /// Whether it lies on the machine that fetches it, or on the link that the machine alone is on. There
    /// listens what trusts whoever can reach it, so that nobody may have the hub ask who only writes to a
    /// repository. What stands for a number and is none counts, too: some resolvers take it for one.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        let host = self.host();
        match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_unspecified() || v4.is_link_local(),
            Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
            Err(_) => {
                let last = host.rsplit('.').next().unwrap_or_default();
                last == "localhost" || last.starts_with(|first: char| first.is_ascii_digit())
            }
        }
    }

    /// The host that it lies on, in lower case, without a port.
    #[must_use]
    pub fn host(&self) -> String {
        let url = self.repo.as_deref().or(self.oci.as_deref()).unwrap_or_default();
        let authority =
            url.split_once("://").map_or(url, |(_, rest)| rest).split(['/', '?', '#']).next().unwrap_or_default();
        let host = match authority.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => authority.split(':').next().unwrap_or_default(),
        };
        host.trim_end_matches('.').to_ascii_lowercase()
    }

    /// It in words, for people.
    #[must_use]
    pub fn words(&self) -> String {
        let place = self.repo.as_deref().or(self.oci.as_deref()).unwrap_or_default();
        format!("chart {} {} of {place}", self.chart, self.version)
    }
}

fn is_safe(url: &str, schemes: &[&str]) -> bool {
    schemes.iter().any(|scheme| url.starts_with(scheme))
        && !url.contains(char::is_whitespace)
        && !url.contains(char::is_control)
        && !url.contains('@')
}

impl Lock {
    /// Reads a lock file.
    ///
    /// # Errors
    /// Line and what is wrong there.
    pub fn read(bytes: &[u8]) -> Result<Self, (u32, String)> {
        let documents = yaml::read(bytes).map_err(|error| (error.line, error.message))?;
        let mut roots = documents.into_iter().filter(|one| !one.root.is_null());
        let Some(first) = roots.next() else { return Ok(Self::default()) };
        let file: File = yaml::from_node(&first.root).map_err(|error| (error.line, error.message))?;
        if file.api_version != API_VERSION || file.kind != KIND {
            return Err((1, format!("is no lock of this version; `drover lock` writes {API_VERSION} {KIND}")));
        }
        let read = |(at, entry): (usize, Entry)| {
            let line = first.root.line_at(["charts", &at.to_string()]);
            let digest = entry.digest.strip_prefix("sha256:").and_then(|hex| hex.parse().ok());
            let digest =
                digest.ok_or_else(|| (line, "digest is no sha256:… of 64 digits; run `drover lock`".into()))?;
            let Entry { repo, oci, chart, version, .. } = entry;
            Ok(Locked { origin: Origin { repo, oci, chart, version }, digest })
        };
        let charts = file.charts.into_iter().enumerate().map(read).collect::<Result<_, (u32, String)>>()?;
        Ok(Self { charts })
    }

    /// The bytes of the file, one chart a line, in order.
    #[must_use]
    pub fn write(&self) -> String {
        let mut charts = self.charts.clone();
        charts.sort_by(|a, b| a.origin.cmp(&b.origin));
        let mut text = format!("# Written by `drover lock`.\napiVersion: {API_VERSION}\nkind: {KIND}\ncharts:");
        if charts.is_empty() {
            text.push_str(" []");
        }
        text.push('\n');
        for Locked { origin: Origin { repo, oci, chart, version }, digest } in charts {
            let digest = format!("sha256:{digest}");
            let entry = Entry { repo, oci, chart, version, digest };
            // Writing plain maps to memory has no way to fail. JSON is YAML.
            text += &format!("- {}\n", serde_json::to_string(&entry).unwrap_or_default());
        }
        text
    }

    /// What a chart is pinned to.
    #[must_use]
    pub fn digest(&self, origin: &Origin) -> Option<Digest> {
        self.charts.iter().find(|locked| locked.origin == *origin).map(|locked| locked.digest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn spec(text: &str) -> HelmSpec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again_in_order() {
        let origin = |chart: &str| {
            let text = format!(r#"{{"repo":"https://charts.example.com","chart":"{chart}","version":"1.2.3"}}"#);
            Origin::of(&spec(&text)).unwrap().unwrap()
        };
        let digest = Digest::of(b"chart");
        let locked = |chart| Locked { origin: origin(chart), digest };
        let lock = Lock { charts: vec![locked("b"), locked("a")] };
        let text = lock.write();
        let again = Lock::read(text.as_bytes()).unwrap();
        assert_eq!(again.charts, [locked("a"), locked("b")]);
        assert_eq!(again.digest(&origin("b")), Some(digest));
        assert_eq!(again.digest(&origin("c")), None);
        assert_eq!(Lock::read(Lock::default().write().as_bytes()).unwrap(), Lock::default());
    }

    #[test]
    fn a_broken_lock_names_its_line() {
        let text =
            "apiVersion: drover.dev/v1alpha1\nkind: Lock\ncharts:\n- {repo: r, chart: c, version: '1', digest: x}\n";
        assert_eq!(Lock::read(text.as_bytes()).unwrap_err().0, 4);
        assert!(Lock::read(b"kind: Lock\n").is_err());
    }

    #[test]
    fn what_lies_on_this_machine_is_told() {
        let of = |repo: Option<&str>, oci: Option<&str>| {
            let (repo, oci) = (repo.map(str::to_owned), oci.map(str::to_owned));
            Origin { repo, oci, chart: "c".into(), version: "1".into() }.is_of_this_machine()
        };
        for host in [
            "127.0.0.1:80",
            "127.8.9.1",
            "localhost",
            "LOCALHOST.:9",
            "x.localhost",
            "[::1]:5",
            "[::ffff:127.0.0.1]",
            "0.0.0.0",
            "169.254.169.254",
            "[fe80::1]",
            "2130706433",
            "127.1",
            "0x7f.1",
        ] {
            assert!(of(Some(&format!("https://{host}/charts")), None), "{host}");
            assert!(of(None, Some(&format!("oci://{host}"))), "{host}");
        }
        for host in
            ["charts.example.com", "10.0.0.1:5000", "[2001:db8::1]", "127.0.0.1.example.com", "localhost.example.com"]
        {
            assert!(!of(Some(&format!("https://{host}/charts")), None), "{host}");
        }
    }

    #[test]
    fn only_exact_versions_from_safe_places() {
        let field = |text: &str| Origin::of(&spec(text)).unwrap_err().0;
        assert_eq!(Origin::of(&spec(r#"{"chart":"./chart"}"#)), Ok(None));
        assert_eq!(field(r#"{"chart":"c","version":"1"}"#), "version");
        assert_eq!(field(r#"{"chart":"c","credentials":"x"}"#), "credentials");
        assert_eq!(field(r#"{"repo":"https://x","chart":"c","version":"^1.0"}"#), "version");
        assert_eq!(field(r#"{"repo":"https://x","chart":"c"}"#), "version");
        assert_eq!(field(r#"{"repo":"https://x","chart":"../c","version":"1"}"#), "chart");
        assert_eq!(field(r#"{"repo":"http://x","chart":"c","version":"1"}"#), "repo");
        assert_eq!(field(r#"{"repo":"https://u:p@x","chart":"c","version":"1"}"#), "repo");
        assert_eq!(field(r#"{"repo":"https://x","oci":"oci://x","chart":"c","version":"1"}"#), "oci");
        assert_eq!(field(r#"{"oci":"https://x","chart":"c","version":"1"}"#), "oci");
    }
}
