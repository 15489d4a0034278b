//! Join tokens: one string that holds all a spoke needs to join a hub.
//!
//! `drv1.` and then base64url, without padding, of
//! `{"v":1,"addresses":["host:port"],"ca":"<SHA-256 of the CA certificate, DER>","id":"…","secret":"…"}`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::{Digest, limits};

const PREFIX: &str = "drv1.";

/// What a join token says.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// Where replicas of the hub listen, `host:port`; at least one.
    pub addresses: Vec<String>,
    /// SHA-256 of the hub's CA certificate in DER: the spoke trusts this CA and no other.
    pub ca: Digest,
    /// Names the token at the hub; not secret.
    pub id: String,
    /// Proves that the token was given to whoever presents it.
    pub secret: String,
}

// The secret stays out of logs and errors.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("addresses", &self.addresses)
            .field("ca", &self.ca)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Why a text is no join token. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadToken {
    /// It does not begin as one.
    #[error(
        "not a join token: it does not begin with `drv1.`; make one with \
         `drover cluster join-token`"
    )]
    Prefix,
    /// It was cut off or changed on its way.
    #[error("the join token is damaged; copy it again, whole and on one line")]
    Damaged,
    /// It says something that cannot be.
    #[error("the join token has {0}; make a new one with `drover cluster join-token`")]
    Field(&'static str),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    v: u32,
    addresses: Vec<String>,
    ca: Digest,
    id: String,
    secret: String,
}

impl JoinToken {
    /// The token as one string.
    #[must_use]
    pub fn encode(&self) -> String {
        let stored = Stored {
            v: 1,
            addresses: self.addresses.clone(),
            ca: self.ca,
            id: self.id.clone(),
            secret: self.secret.clone(),
        };
        // Writing plain texts to memory has no way to fail; an empty result would not parse.
        let json = serde_json::to_vec(&stored).unwrap_or_default();
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads a token; white space around it is ignored.
    ///
    /// # Errors
    /// The text is no token, or one that no hub of this version made.
    pub fn parse(text: &str) -> Result<Self, BadToken> {
        let text = text.trim();
        let body = text.strip_prefix(PREFIX).ok_or(BadToken::Prefix)?;
        if text.len() > limits::JOIN_TOKEN_BYTES_MAX {
            return Err(BadToken::Damaged);
        }
        let json = URL_SAFE_NO_PAD.decode(body).map_err(|_| BadToken::Damaged)?;
        let stored: Stored = serde_json::from_slice(&json).map_err(|_| BadToken::Damaged)?;
        if stored.v != 1 {
            return Err(BadToken::Field("a version that this spoke does not know"));
        }
        if stored.addresses.is_empty() || !stored.addresses.iter().all(|text| is_address(text)) {
            return Err(BadToken::Field("no usable hub address"));
        }
        if stored.id.is_empty() || stored.secret.is_empty() {
            return Err(BadToken::Field("no id or no secret"));
        }
        let Stored { addresses, ca, id, secret, .. } = stored;
        Ok(Self { addresses, ca, id, secret })
    }
}

/// Whether a text is `host:port`, with a host that is not empty.
#[must_use]
pub fn is_address(text: &str) -> bool {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
    printable
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> JoinToken {
        JoinToken {
            addresses: vec!["hub.example.com:7443".into(), "[::1]:7443".into()],
            ca: Digest::of(b"ca"),
            id: "t1".into(),
            secret: "swordfish".into(),
        }
    }

    #[test]
    fn a_token_round_trips() {
        let text = token().encode();
        assert!(text.starts_with("drv1."));
        assert_eq!(JoinToken::parse(&format!("  {text}\n")), Ok(token()));
    }

    #[test]
    fn damage_is_found_and_the_secret_stays_hidden() {
        let text = token().encode();
        assert_eq!(JoinToken::parse("abc"), Err(BadToken::Prefix));
        assert_eq!(JoinToken::parse(&text[..text.len() - 9]), Err(BadToken::Damaged));
        assert!(!format!("{:?}", token()).contains("swordfish"));
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        let refused = |change: fn(&mut JoinToken)| {
            let mut token = token();
            change(&mut token);
            JoinToken::parse(&token.encode())
        };
        for change in [
            (|token: &mut JoinToken| token.addresses.clear()) as fn(&mut JoinToken),
            |token| token.addresses = vec!["hub".into()],
            |token| token.addresses = vec!["hub:0".into()],
            |token| token.addresses = vec!["http://hub:1".into()],
            |token| token.secret.clear(),
        ] {
            assert!(matches!(refused(change), Err(BadToken::Field(_))));
        }
    }
}
