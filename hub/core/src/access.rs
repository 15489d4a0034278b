//! Credentials by name: what a server is told, and whom to trust. They are read in one place and
//! handed to whoever talks to that server; nothing that prints them shows a secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// What a server that is asked over HTTP is told.
#[derive(Clone)]
pub enum Login {
    /// User and password; a token is one.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// A token for `Authorization: Bearer`.
    Bearer(Zeroizing<String>),
}

impl Login {
    /// The value of an `Authorization` header.
    #[must_use]
    pub fn header(&self) -> Zeroizing<String> {
        match self {
            Self::Basic { user, password } => Zeroizing::new(format!("Basic {}", *pair(user, password))),
            Self::Bearer(token) => Zeroizing::new(format!("Bearer {}", **token)),
        }
    }

    /// Its secret alone, so that it can be looked for in what is about to be shown.
    #[must_use]
    pub fn secret(&self) -> &str {
        match self {
            Self::Basic { password: secret, .. } | Self::Bearer(secret) => secret,
        }
    }
}

/// User and password as HTTP and the files of registries have them.
#[must_use]
pub fn pair(user: &str, password: &str) -> Zeroizing<String> {
    let pair = Zeroizing::new(format!("{user}:{password}"));
    Zeroizing::new(STANDARD.encode(pair.as_bytes()))
}

/// One set of credentials.
#[derive(Clone, Default)]
pub struct Access {
    /// Its name.
    pub name: String,
    /// Where it lies, for people.
    pub place: String,
    /// What the server is told.
    pub login: Option<Login>,
    /// The CAs that alone are trusted, in PEM.
    pub authorities: Option<Vec<u8>>,
    /// A certificate with its chain and its key, both in PEM.
    pub client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("name", &self.name).field("place", &self.place).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_shows_no_secret() {
        let login = Login::Basic { user: "ada".into(), password: Zeroizing::new("hunter2".into()) };
        assert_eq!(*login.header(), "Basic YWRhOmh1bnRlcjI=");
        let access = Access { name: "charts".into(), login: Some(login), ..Access::default() };
        let shown = format!("{access:?}");
        assert!(shown.contains("charts") && !shown.contains("hunter2"), "{shown}");
    }
}
