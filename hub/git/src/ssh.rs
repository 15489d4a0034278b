//! How ssh is run, and what it means when it complains.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use proto_model::limits;
use rustix::fs::{MemfdFlags, Mode, fchmod, memfd_create};
use rustix::thread::gettid;

use crate::credentials::{Credentials, wrong};
use crate::error::FetchError;

/// What of its complaints is shown, in characters.
const COMPLAINT_CHARS_MAX: usize = 300;

/// A key and known hosts that ssh reads from this process's memory: they are in no file, no
/// argument and no environment, and end with this process.
pub(crate) struct Ssh {
    key: File,
    known_hosts: File,
}

impl Ssh {
    pub(crate) fn new(url: &str, credentials: Option<&Credentials>) -> Result<Self, FetchError> {
        let Some(credentials) = credentials else {
            let why = "ssh needs credentials: a folder with ssh-key and known_hosts".to_owned();
            return Err(FetchError::Unsupported { url: url.to_owned(), why });
        };
        let path = &credentials.path;
        let Some(key) = &credentials.ssh_key else {
            return Err(wrong(path, "ssh needs a private key: put it there as ssh-key"));
        };
        let Some(known_hosts) = &credentials.known_hosts else {
            let host = host(url);
            let why = format!(
                "ssh needs the server's host key: compare what `ssh-keyscan {host}` prints with what the server's \
                 administrator says, and put it there as known_hosts"
            );
            return Err(wrong(path, &why));
        };
        let known_hosts = [known_hosts.as_slice(), b"\n"].concat();
        let held = |name, bytes| in_memory(name, bytes).map_err(|error| wrong(path, &error.to_string()));
        Ok(Self { key: held("key", key)?, known_hosts: held("known_hosts", &known_hosts)? })
    }

    /// The command as Git's `core.sshCommand` has it; it reads no configuration, asks nobody and
    /// trusts nobody but the hosts that are known.
    pub(crate) fn command(&self) -> String {
        // Of this thread: a restricted process is let see into those restricted as it is alone.
        let of = format!("/proc/{}/task/{}/fd", std::process::id(), gettid());
        let (key, known_hosts) = (self.key.as_raw_fd(), self.known_hosts.as_raw_fd());
        let connect_secs = limits::SSH_CONNECT_SECS_MAX;
        format!(
            "ssh -F none -T -a -x -i {of}/{key} -o UserKnownHostsFile={of}/{known_hosts} \
             -o GlobalKnownHostsFile=none -o StrictHostKeyChecking=yes -o UpdateHostKeys=no -o BatchMode=yes \
             -o IdentitiesOnly=yes -o IdentityAgent=none -o PreferredAuthentications=publickey \
             -o ClearAllForwardings=yes -o ConnectTimeout={connect_secs} -o ServerAliveInterval={connect_secs} \
             -o ServerAliveCountMax=3"
        )
    }
}

fn in_memory(name: &str, bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create(name, MemfdFlags::CLOEXEC)?);
    // ssh takes no key that others may read.
    fchmod(&file, Mode::RUSR | Mode::WUSR)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// What of a URL is given to ssh-keyscan.
fn host(url: &str) -> String {
    match url.strip_prefix("ssh://") {
        Some(rest) => {
            let authority = rest.split('/').next().unwrap_or_default();
            let host = authority.rsplit('@').next().unwrap_or_default();
            match host.rsplit_once(':') {
                Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => format!("-p {port} {host}"),
                _ => host.to_owned(),
            }
        }
        None => {
            let authority = url.split(':').next().unwrap_or_default();
            authority.rsplit('@').next().unwrap_or_default().to_owned()
        }
    }
}

/// What an error means when ssh wrote `complaint` meanwhile. What is wrong with the source itself
/// stays as it is.
pub(crate) fn refine(error: FetchError, credentials: Option<&Path>, complaint: &str) -> FetchError {
    let (url, why) = match &error {
        FetchError::Failed { url, why }
        | FetchError::Unreachable { url, why }
        | FetchError::Refused { url, why }
        | FetchError::NotARepository { url, why } => (url.clone(), why),
        _ => return error,
    };
    let said = format!("{complaint}\n{why}");
    let says = |parts: &[&str]| parts.iter().any(|part| said.contains(part));
    let shown = shown(complaint, why);
    if says(&["IDENTIFICATION HAS CHANGED", "Host key verification failed", "host key is known for"]) {
        let host = host(&url);
        let why = format!(
            "its host key is not the one in known_hosts of the source's credentials: compare what `ssh-keyscan {host}` \
             prints with what the server's administrator says"
        );
        return FetchError::Untrusted { url, why };
    }
    if says(&["Load key", "invalid format", "error in libcrypto"]) {
        let path = credentials.map(Path::to_owned).unwrap_or_default();
        return FetchError::Credentials { path, why: "ssh cannot read its private key".to_owned() };
    }
    if matches!(error, FetchError::Refused { .. }) || says(&["Permission denied", "Too many authentication failures"]) {
        return FetchError::Refused { url, why: " with the key given".to_owned() };
    }
    if says(&["not found", "does not appear to be a git repository", "does not exist", "Cannot find repository"]) {
        return FetchError::NotARepository { url, why: format!(" ({shown})") };
    }
    if says(&["resolve hostname", "connect to host", "Connection ", "timed out", "kex_exchange", "not responding"]) {
        return FetchError::Unreachable { url, why: shown };
    }
    FetchError::Failed { url, why: shown }
}

fn shown(complaint: &str, why: &str) -> String {
    let text = if complaint.trim().is_empty() { why } else { complaint.trim() };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(COMPLAINT_CHARS_MAX).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_ssh_says_and_what_it_means() {
        let url = "ssh://git@example.com:2222/a.git";
        let told = |complaint: &str| {
            let error = FetchError::Failed { url: url.to_owned(), why: "the line ended".to_owned() };
            refine(error, Some(Path::new("/c/x")), complaint).to_string()
        };
        for (complaint, expected) in [
            (
                "No ED25519 host key is known for [example.com]:2222 and you have requested strict checking.\r\nHost key verification failed.",
                "`ssh-keyscan -p 2222 example.com`",
            ),
            ("@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "host key is not the one in known_hosts"),
            ("git@example.com: Permission denied (publickey).", "refuses access with the key given"),
            ("Load key \"/proc/7/fd/5\": error in libcrypto", "credentials /c/x: ssh cannot read"),
            (
                "ssh: Could not resolve hostname example.com: Name or service not known",
                "cannot be reached: ssh: Could not",
            ),
            ("ssh: connect to host example.com port 2222: Connection refused", "cannot be reached"),
            ("ERROR: Repository not found.\nfatal: x", "is no Git repository (ERROR: Repository not found. fatal: x)"),
            ("", "cannot be fetched: the line ended"),
            ("No user exists for uid 1000", "cannot be fetched: No user exists"),
        ] {
            let error = told(complaint);
            assert!(error.contains(expected), "{error}");
        }
        let empty = FetchError::Empty { url: url.to_owned() };
        assert_eq!(refine(empty.clone(), None, "Permission denied"), empty);
    }

    #[test]
    fn what_ssh_needs_is_asked_for() {
        let error = Ssh::new("git@example.com:a", None).err().unwrap().to_string();
        assert!(error.contains("ssh-key and known_hosts"), "{error}");
        let mut credentials = Credentials { path: "/c/x".into(), ..Credentials::default() };
        let error = Ssh::new("git@example.com:a", Some(&credentials)).err().unwrap().to_string();
        assert!(error.contains("/c/x") && error.contains("private key"), "{error}");
        credentials.ssh_key = Some(b"key".to_vec().into());
        let error = Ssh::new("git@example.com:a", Some(&credentials)).err().unwrap().to_string();
        assert!(error.contains("`ssh-keyscan example.com`"), "{error}");
    }

    #[test]
    fn a_key_is_read_from_memory() {
        let credentials = Credentials {
            ssh_key: Some(b"key".to_vec().into()),
            known_hosts: Some(b"example.com k v".to_vec().into()),
            ..Credentials::default()
        };
        let ssh = Ssh::new("git@example.com:a", Some(&credentials)).unwrap();
        let command = ssh.command();
        let after = |word: &str| command.split(word).nth(1).unwrap().split(' ').next().unwrap();
        assert_eq!(std::fs::read(after("-i ")).unwrap(), b"key");
        assert_eq!(std::fs::read(after("UserKnownHostsFile=")).unwrap(), b"example.com k v\n");
    }
}
