//! What the fetching process may touch: it parses what strangers send.

use std::env;
use std::fs;
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
/// is a server's, read nothing but `dir` and the system's programs; of `private` nothing but `dir` in
/// any case. Limits the address space, too. A kernel that knows less restricts less: the hub runs there
/// too.
pub(crate) fn to(dir: &Path, location: &Location, private: Option<&Path>) {
    let max = limits::FETCH_ADDRESS_BYTES_MAX;
    let hard = getrlimit(Resource::As).maximum;
    let _ = setrlimit(Resource::As, Rlimit { current: Some(hard.map_or(max, |hard| hard.min(max))), maximum: hard });
    let _ = restrict(dir, location, private);
}

fn restrict(dir: &Path, location: &Location, private: Option<&Path>) -> Result<(), RulesetError> {
    let mut read: Vec<PathBuf> = match location {
        // It may lead anywhere: worktrees and alternates name other directories.
        Location::Local(_) => vec!["/".into()],
        Location::Http { .. } | Location::Ssh { .. } => {
            let programs = env::var_os("PATH").unwrap_or_default();
            let programs = env::split_paths(&programs).filter(|path| path.is_absolute());
            SYSTEM.iter().chain(&LINKS).map(PathBuf::from).chain(programs).collect()
        }
    };
    if let Some(private) = private.and_then(|private| private.canonicalize().ok()) {
        read = beside(read, &private);
        // The repository may lie in there itself.
        read.extend(match location {
            Location::Local(path) if path.canonicalize().is_ok_and(|path| path.starts_with(&private)) => {
                Some(path.clone())
            }
            _ => None,
        });
    }
    let file = env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let folders = env::var_os("SSL_CERT_DIR").map(|all| env::split_paths(&all).collect::<Vec<_>>());
    read.extend(file.into_iter().chain(folders.into_iter().flatten()).filter(|path| path.is_absolute()));
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

/// `paths` without `private` and what is below it. A rule is for all below a folder, so that in place
/// of a folder around it stands what else is in there.
fn beside(paths: Vec<PathBuf>, private: &Path) -> Vec<PathBuf> {
    let (mut pending, mut found) = (paths, Vec::new());
    while let Some(path) = pending.pop() {
        let Ok(real) = path.canonicalize() else { continue };
        if real.starts_with(private) {
            continue;
        }
        if !private.starts_with(&real) {
            found.push(path);
            continue;
        }
        let entries = fs::read_dir(&real).into_iter().flatten().flatten();
        // What a link leads to lies somewhere else, or is meant by itself.
        let entries = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        pending.extend(entries.map(|entry| entry.path()));
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn all_that_lies_beside_a_private_directory() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        for folder in ["a/b/hub/keys", "a/b/c", "a/d", "e", "ahub"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::write(root.join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("/", root.join("a/root")).unwrap();
        let private = root.join("a/b/hub");
        let mut found = beside(vec![root.clone()], &private);
        found.sort();
        let expected = ["a/b/c", "a/d", "a/file", "ahub", "e"].map(|path| root.join(path));
        assert_eq!(found, expected);
        assert_eq!(beside(vec![root.join("e"), private.join("keys"), private.clone()], &private), [root.join("e")]);
    }
}
