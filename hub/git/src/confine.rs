//! What the fetching process may touch: it parses what strangers send.

use std::env;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    path_beneath_rules,
};
use proto_model::limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::source::Location;

/// Where programs, libraries, certificates and the names of hosts and users are. Not `/run` and
/// `/var` as a whole, where Secrets and the hub's own keys are.
const SYSTEM: [&str; 11] =
    ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt", "/nix", "/etc", "/proc", "/dev"];
/// What in `/etc` is often a link to elsewhere; where it leads may be read as well.
const LINKS: [&str; 6] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
];
const ACCESS: ABI = ABI::V5;

/// Lets this thread, and all that it starts, write nowhere but into `dir`, and, where the source
/// is a server's, read nothing but `dir` and the system's programs; and limits memory. A kernel that
/// knows less restricts less: the hub runs there too.
pub(crate) fn to(dir: &Path, location: &Location) {
    let max = limits::FETCH_ADDRESS_BYTES_MAX;
    let hard = getrlimit(Resource::As).maximum;
    let _ = setrlimit(Resource::As, Rlimit { current: Some(hard.map_or(max, |hard| hard.min(max))), maximum: hard });
    let _ = restrict(dir, location);
}

fn restrict(dir: &Path, location: &Location) -> Result<(), RulesetError> {
    let read: Vec<PathBuf> = match location {
        // It may lead anywhere: worktrees and alternates name other directories.
        Location::Local(_) => vec!["/".into()],
        Location::Http { .. } | Location::Ssh { .. } => {
            let programs = env::var_os("PATH").unwrap_or_default();
            let certificates = ["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(env::var_os);
            let named = env::split_paths(&programs).chain(certificates.map(PathBuf::from));
            SYSTEM.iter().chain(&LINKS).map(PathBuf::from).chain(named.filter(|path| path.is_absolute())).collect()
        }
    };
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(ACCESS))?
        .create()?
        .add_rules(path_beneath_rules(read, AccessFs::from_read(ACCESS)))?
        .add_rules(path_beneath_rules([dir], AccessFs::from_all(ACCESS)))?;
    if let Ok(null) = PathFd::new("/dev/null") {
        rules = rules.add_rule(PathBeneath::new(null, AccessFs::from_file(ACCESS)))?;
    }
    rules.restrict_self().map(drop)
}
