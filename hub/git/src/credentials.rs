//! Credentials of a source: a file with a token, or a folder as Kubernetes mounts a Secret. They
//! are read at each fetch, in the child, so that a rotated Secret works at once; never shown.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use hub_core::access::{Access, Login};
use proto_model::limits;
use reqwest::{Certificate, Identity};
use zeroize::Zeroizing;

use crate::error::FetchError;

/// Whom a token without a user name is for: GitHub asks for this name, the others for any.
const TOKEN_USER: &str = "x-access-token";

const TOKEN: &[&str] = &["token"];
const BEARER: &[&str] = &["bearerToken"];
const USER: &[&str] = &["username"];
const PASSWORD: &[&str] = &["password"];
const SSH_KEY: &[&str] = &["ssh-key", "identity", "ssh-privatekey", "sshPrivateKey"];
const KNOWN_HOSTS: &[&str] = &["known_hosts"];
const CA: &[&str] = &["ca.pem", "ca.crt"];
const CLIENT_CERTIFICATE: &[&str] = &["client.pem", "tls.crt", "tlsClientCertData"];
/// The secrets that webhooks are signed with; read by whoever takes those.
pub const WEBHOOK: &str = "webhook";
const CLIENT_KEY: &[&str] = &["client.key", "tls.key", "tlsClientCertKey"];

/// The folder of the credentials that a source names.
///
/// # Errors
/// Where the name is none that a folder of credentials can have.
pub fn credentials_folder(dir: &Path, name: &str) -> Result<PathBuf, FetchError> {
    let is_name = !name.is_empty()
        && !name.starts_with('.')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if is_name {
        return Ok(dir.join(name));
    }
    let why = format!("{name:?} is no name of credentials: use letters, digits, '-', '_' and '.'");
    Err(FetchError::Credentials { path: dir.to_owned(), why })
}

/// The credentials of that name, for a server that is no Git server: one of charts.
///
/// # Errors
/// There are none of that name, or something is wrong with them: which file, and what to do.
pub fn access(dir: &Path, name: &str) -> Result<Access, FetchError> {
    let path = credentials_folder(dir, name)?;
    if !path.is_dir() {
        return Err(wrong(&path, "there is no such folder: make it, with a file for each part of these credentials"));
    }
    let folder = Folder(&path);
    // All that is wrong is said in one place, whatever they are for.
    folder.load()?;
    let (login, client) = (folder.login()?, folder.client()?);
    let authorities = folder.part(CA, false)?.map(|(_, bytes)| bytes.to_vec());
    if login.is_none() && client.is_none() && authorities.is_none() {
        let why = "it holds none of token, username and password, bearerToken, ca.pem, client.pem: a server of charts \
                   takes nothing else";
        return Err(wrong(&path, why));
    }
    let client = client.map(|(_, certificate, key)| (certificate.to_vec(), key));
    Ok(Access { name: name.to_owned(), place: path.display().to_string(), login, authorities, client })
}

type Secret = Zeroizing<Vec<u8>>;

/// What a source proves itself with, and whom it trusts.
#[derive(Default)]
pub(crate) struct Credentials {
    /// Where they come from.
    pub(crate) path: PathBuf,
    pub(crate) login: Option<Login>,
    /// A private key in a form that ssh reads.
    pub(crate) ssh_key: Option<Secret>,
    /// Lines as ssh-keyscan prints them.
    pub(crate) known_hosts: Option<Secret>,
    /// The CAs that alone are trusted for this source.
    pub(crate) authorities: Option<Vec<Certificate>>,
    /// A certificate and its key.
    pub(crate) identity: Option<Identity>,
}

impl Credentials {
    pub(crate) fn load(path: &Path) -> Result<Self, FetchError> {
        if path.is_dir() { Folder(path).load() } else { Self::token(path) }
    }

    /// A file with `TOKEN` or `USER:TOKEN` in its first line.
    fn token(path: &Path) -> Result<Self, FetchError> {
        let Some(bytes) = read(path, true)? else {
            return Err(wrong(path, "there is no such file or folder"));
        };
        let line = line(path, &bytes)?;
        let (user, password) = line.split_once(':').unwrap_or((TOKEN_USER, &line));
        if user.is_empty() || password.is_empty() {
            return Err(wrong(path, "its first line must be TOKEN or USER:TOKEN"));
        }
        let login = Login::Basic { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) };
        Ok(Self { path: path.to_owned(), login: Some(login), ..Self::default() })
    }
}

/// A folder of credentials: one file for each part.
struct Folder<'a>(&'a Path);

impl Folder<'_> {
    fn load(&self) -> Result<Credentials, FetchError> {
        let found = Credentials {
            path: self.0.to_owned(),
            login: self.login()?,
            ssh_key: self.part(SSH_KEY, true)?.map(|(path, bytes)| ssh_key(&path, &bytes)).transpose()?,
            known_hosts: self.part(KNOWN_HOSTS, false)?.map(|(_, bytes)| bytes),
            authorities: self.part(CA, false)?.map(|(path, bytes)| authorities(&path, &bytes)).transpose()?,
            identity: self.identity()?,
        };
        let is_empty =
            found.login.is_none() && found.ssh_key.is_none() && found.authorities.is_none() && found.identity.is_none();
        // A source that anybody may read can still have webhooks.
        if is_empty && !self.0.join(WEBHOOK).exists() {
            let why = "it holds none of token, username and password, bearerToken, ssh-key, ca.pem, client.pem";
            return Err(wrong(self.0, why));
        }
        Ok(found)
    }

    fn login(&self) -> Result<Option<Login>, FetchError> {
        let text = |names, private| -> Result<Option<Zeroizing<String>>, FetchError> {
            self.part(names, private)?.map(|(path, bytes)| line(&path, &bytes)).transpose()
        };
        let user = text(USER, false)?.map(|user| user.to_string());
        match (text(TOKEN, true)?, text(PASSWORD, true)?, text(BEARER, true)?) {
            (None, None, None) => Ok(None),
            (Some(password), None, None) => {
                let user = user.unwrap_or_else(|| TOKEN_USER.to_owned());
                Ok(Some(Login::Basic { user, password }))
            }
            (None, Some(password), None) => match user {
                Some(user) => Ok(Some(Login::Basic { user, password })),
                // Flux puts the passphrase of an ssh key here.
                None if self.part(SSH_KEY, true)?.is_some() => Ok(None),
                None => Err(wrong(self.0, "it has a password and no username: add it, or call the file token")),
            },
            (None, None, Some(token)) => Ok(Some(Login::Bearer(token))),
            _ => Err(wrong(self.0, "it has more than one of token, password and bearerToken: keep one")),
        }
    }

    fn identity(&self) -> Result<Option<Identity>, FetchError> {
        let Some((path, certificate, key)) = self.client()? else { return Ok(None) };
        let pair = Zeroizing::new([certificate.as_slice(), b"\n", key.as_slice()].concat());
        let identity = Identity::from_pem(&pair);
        identity.map(Some).map_err(|_| wrong(&path, "it and its key are no certificate and private key in PEM"))
    }

    /// A certificate, by its path, and its key.
    fn client(&self) -> Result<Option<(PathBuf, Secret, Secret)>, FetchError> {
        match (self.part(CLIENT_CERTIFICATE, false)?, self.part(CLIENT_KEY, true)?) {
            (None, None) => Ok(None),
            (Some((path, certificate)), Some((_, key))) => Ok(Some((path, certificate, key))),
            (Some((path, _)), None) => Err(wrong(&path, "a client certificate needs its key beside it, in client.key")),
            (None, Some((path, _))) => Err(wrong(&path, "a client key needs its certificate beside it, in client.pem")),
        }
    }

    /// The one file that has one of these names.
    fn part(&self, names: &[&str], private: bool) -> Result<Option<(PathBuf, Secret)>, FetchError> {
        let mut found = None;
        for name in names {
            let path = self.0.join(name);
            let Some(bytes) = read(&path, private)? else { continue };
            if found.is_some() {
                return Err(wrong(self.0, &format!("it has more than one of {}: keep one", names.join(", "))));
            }
            found = Some((path, bytes));
        }
        Ok(found)
    }
}

/// Reads a file, where there is one. A private one must not be readable by everyone.
fn read(path: &Path, private: bool) -> Result<Option<Secret>, FetchError> {
    let found = match fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(path, &error.to_string())),
    };
    if private && found.permissions().mode() & 0o007 != 0 {
        return Err(wrong(path, "everyone on this machine may read it: run `chmod o-rwx` on it"));
    }
    if found.len() > limits::CREDENTIAL_BYTES_MAX as u64 {
        let max = limits::CREDENTIAL_BYTES_MAX;
        return Err(wrong(path, &format!("it is larger than {max} bytes, too large for a credential")));
    }
    fs::read(path).map(|bytes| Some(Zeroizing::new(bytes))).map_err(|error| wrong(path, &error.to_string()))
}

/// The first line, as it goes into a header.
fn line(path: &Path, bytes: &[u8]) -> Result<Zeroizing<String>, FetchError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(path, "it is no text"))?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() || line.chars().any(char::is_control) {
        return Err(wrong(path, "its first line is empty or has control characters"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// A private key as ssh takes it: with plain line ends, the last one too.
fn ssh_key(path: &Path, bytes: &[u8]) -> Result<Secret, FetchError> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(path, "it is no private key as text"))?;
    let text = Zeroizing::new(text.replace('\r', ""));
    let text = text.trim();
    if !text.starts_with("-----BEGIN ") || !text.contains("PRIVATE KEY-----") {
        return Err(wrong(path, "it is no private key: it must begin with -----BEGIN … PRIVATE KEY-----"));
    }
    let sealed = match ssh_key::PrivateKey::from_openssh(text) {
        Ok(key) => key.is_encrypted(),
        // Other forms say it in their head; whether ssh can read them is ssh's to say.
        Err(_) => text.lines().take(3).any(|line| line.contains("ENCRYPTED")),
    };
    if sealed {
        let why = "the key has a passphrase, which nobody could type: remove it from a copy with `ssh-keygen -p -N ''`";
        return Err(wrong(path, why));
    }
    Ok(Zeroizing::new(format!("{text}\n").into_bytes()))
}

fn authorities(path: &Path, bytes: &[u8]) -> Result<Vec<Certificate>, FetchError> {
    let found = Certificate::from_pem_bundle(bytes).unwrap_or_default();
    if found.is_empty() {
        return Err(wrong(path, "it holds no certificate in PEM"));
    }
    Ok(found)
}

pub(crate) fn wrong(path: &Path, why: &str) -> FetchError {
    FetchError::Credentials { path: path.to_owned(), why: why.to_owned() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str, mode: u32) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn login(found: Result<Credentials, FetchError>) -> String {
        found.map_or_else(|error| error.to_string(), |found| found.login.unwrap().header().to_string())
    }

    fn error(found: Result<Credentials, FetchError>) -> String {
        found.err().unwrap().to_string()
    }

    #[test]
    fn a_file_holds_a_token() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let load = |text: &str, mode: u32| {
            put(&path, text, mode);
            Credentials::load(&path)
        };
        // `x-access-token:tok` and `me:to:k`.
        assert_eq!(login(load("tok\n", 0o600)), "Basic eC1hY2Nlc3MtdG9rZW46dG9r");
        assert_eq!(login(load("me:to:k", 0o640)), "Basic bWU6dG86aw==");
        assert!(error(load("tok", 0o644)).contains("chmod"));
        assert!(load("\n", 0o600).is_err() && load(":x", 0o600).is_err());
        let long = error(load(&"x".repeat(limits::CREDENTIAL_BYTES_MAX + 1), 0o600));
        assert!(long.contains("too large") && !long.contains("xxx"), "{long}");
        assert!(error(Credentials::load(&dir.path().join("absent"))).contains("no such"));
    }

    /// Loads a folder with these files, private and readable by all.
    fn folder(private: &[(&str, &str)], public: &[(&str, &str)]) -> Result<Credentials, FetchError> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in private {
            put(&dir.path().join(name), text, 0o600);
        }
        for (name, text) in public {
            put(&dir.path().join(name), text, 0o644);
        }
        Credentials::load(dir.path())
    }

    #[test]
    fn a_folder_holds_what_secrets_hold() {
        assert_eq!(login(folder(&[("token", "tok")], &[])), "Basic eC1hY2Nlc3MtdG9rZW46dG9r");
        assert_eq!(login(folder(&[("token", "to:k")], &[("username", "me\n")])), "Basic bWU6dG86aw==");
        assert_eq!(login(folder(&[("password", "to:k\n")], &[("username", "me")])), "Basic bWU6dG86aw==");
        assert_eq!(login(folder(&[("bearerToken", "tok"), ("webhook", "other")], &[])), "Bearer tok");
        for (private, word) in [
            (&[][..], "none of token"),
            (&[("password", "x")], "no username"),
            (&[("token", "x"), ("bearerToken", "x")], "more than one of token"),
            (&[("client.key", "x")], "client.pem"),
            (&[("tls.crt", "x")], "client.key"),
            (&[("tls.crt", "x"), ("tls.key", "y")], "no certificate"),
            (&[("ca.crt", "x")], "no certificate"),
            (&[("ca.crt", "x"), ("ca.pem", "x")], "more than one of ca.pem"),
            (&[("identity", "x")], "no private key"),
        ] {
            let error = error(folder(private, &[]));
            assert!(error.contains(word), "{error}");
        }
        assert!(error(folder(&[], &[("token", "x")])).contains("chmod"));
        assert!(folder(&[("webhook", "x")], &[]).is_ok_and(|found| found.login.is_none()));
    }

    #[test]
    fn a_private_key_is_taken_as_ssh_wants_it() {
        let rsa = "-----BEGIN RSA PRIVATE KEY-----\r\nabc\r\n-----END RSA PRIVATE KEY-----";
        let found = folder(&[("ssh-privatekey", rsa), ("password", "of the key")], &[("known_hosts", "h k")]).unwrap();
        assert_eq!(
            found.ssh_key.unwrap().as_slice(),
            rsa.replace('\r', "").as_bytes().iter().chain(b"\n").copied().collect::<Vec<_>>()
        );
        assert!(found.known_hosts.is_some() && found.login.is_none());
        let sealed = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nabc\n-----END RSA PRIVATE KEY-----\n";
        assert!(error(folder(&[("identity", sealed)], &[])).contains("ssh-keygen -p"));
        assert!(error(folder(&[("identity", include_str!("../tests/keys/sealed"))], &[])).contains("ssh-keygen -p"));
        assert!(folder(&[("identity", include_str!("../tests/keys/signer"))], &[]).is_ok());
    }

    #[test]
    fn what_a_server_of_charts_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let error = |name: &str| access(dir.path(), name).err().unwrap().to_string();
        let missing = error("charts");
        assert!(missing.contains("charts") && missing.contains("no such folder"), "{missing}");
        let folder = dir.path().join("charts");
        fs::create_dir(&folder).unwrap();
        assert!(error("../charts").contains("no name of credentials"));
        put(&folder.join("identity"), include_str!("../tests/keys/signer"), 0o600);
        assert!(error("charts").contains("a server of charts takes nothing else"));
        put(&folder.join("token"), "tok", 0o644);
        assert!(error("charts").contains("chmod"));
        put(&folder.join("token"), "tok", 0o600);
        let found = access(dir.path(), "charts").unwrap();
        assert_eq!((found.name.as_str(), found.login.unwrap().secret()), ("charts", "tok"));
        assert!(found.place.ends_with("/charts") && found.authorities.is_none() && found.client.is_none());
    }

    #[test]
    fn names_of_credentials() {
        assert_eq!(credentials_folder(Path::new("/c"), "gitea-1.x"), Ok(PathBuf::from("/c/gitea-1.x")));
        for name in ["", ".", "..", "..data", "a/b", "a b", "/etc"] {
            assert!(credentials_folder(Path::new("/c"), name).is_err(), "{name:?}");
        }
    }
}
