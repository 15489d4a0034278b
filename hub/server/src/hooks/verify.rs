//! Who sent a webhook: signatures as the servers make them. Pure.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::HeaderMap;
use zeroize::Zeroizing;

/// Begins a signing token of GitLab, which follows the Standard Webhooks specification.
const SIGNING_TOKEN: &str = "whsec_";

/// What sends webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Gitea and Forgejo.
    Gitea,
}

impl Provider {
    /// From the last part of the path.
    pub(super) fn of(name: &str) -> Option<Self> {
        [Self::Github, Self::Gitlab, Self::Gitea].into_iter().find(|one| one.name() == name)
    }

    /// As it stands in the path and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Github => "github",
            Self::Gitlab => "gitlab",
            Self::Gitea => "gitea",
        }
    }
}

/// What a request carries to prove who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// HMAC-SHA256 of the body.
    Body(Vec<u8>),
    /// The secret itself.
    Plain(Zeroizing<String>),
    /// HMAC-SHA256 of id, time and body; any of several.
    Standard {
        /// `id.time.`, which precedes the body.
        prefix: String,
        /// What may be the signature.
        tags: Vec<Vec<u8>>,
    },
}

impl Proof {
    /// What the headers carry; `None` where there is nothing, or nothing that can be one.
    pub(super) fn of(provider: Provider, headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let hex = |text: &str| hex::decode(text.trim()).ok().map(Self::Body);
        match provider {
            Provider::Github => hex(text("x-hub-signature-256")?.strip_prefix("sha256=")?),
            Provider::Gitea => hex(text("x-gitea-signature").or_else(|| text("x-forgejo-signature"))?),
            Provider::Gitlab => match text("webhook-signature") {
                Some(all) => {
                    let prefix = format!("{}.{}.", text("webhook-id")?, text("webhook-timestamp")?);
                    let tags = all.split(' ').filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok());
                    Some(Self::Standard { prefix, tags: tags.collect() })
                }
                None => text("x-gitlab-token").map(|token| Self::Plain(token.to_owned().into())),
            },
        }
    }

    /// Whether who sent it knows the secret. Takes as long whatever is wrong.
    pub(super) fn is_good(&self, secret: &str, body: &[u8]) -> bool {
        // An empty secret is one that everybody knows.
        if secret.is_empty() {
            return false;
        }
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        match self {
            Self::Body(tag) => hmac::verify(&key(secret.as_bytes()), body, tag).is_ok(),
            Self::Plain(token) => {
                !secret.starts_with(SIGNING_TOKEN)
                    && constant_time::verify_slices_are_equal(token.as_bytes(), secret.as_bytes()).is_ok()
            }
            Self::Standard { prefix, tags } => {
                let bytes = secret.strip_prefix(SIGNING_TOKEN).and_then(|rest| STANDARD.decode(rest).ok());
                let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()).map(Zeroizing::new) else { return false };
                let mut signed = hmac::Context::with_key(&key(&bytes));
                signed.update(prefix.as_bytes());
                signed.update(body);
                let signed = signed.sign();
                tags.iter().any(|tag| constant_time::verify_slices_are_equal(tag, signed.as_ref()).is_ok())
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn proof(provider: Provider, headers: &[(&'static str, &str)]) -> Option<Proof> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Proof::of(provider, &headers)
    }

    #[test]
    fn the_vector_of_githubs_own_documentation() {
        let tag = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let proof = proof(Provider::Github, &[("x-hub-signature-256", tag)]).unwrap();
        assert!(proof.is_good("It's a Secret to Everybody", b"Hello, World!"));
        assert!(!proof.is_good("It's a Secret to Everybody", b"Hello, World?"));
        assert!(!proof.is_good("another", b"Hello, World!"));
    }

    #[test]
    fn gitea_and_forgejo_sign_in_plain_hex() {
        let tag = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        for name in ["x-gitea-signature", "x-forgejo-signature"] {
            let proof = proof(Provider::Gitea, &[(name, tag)]).unwrap();
            assert!(proof.is_good("It's a Secret to Everybody", b"Hello, World!"), "{name}");
        }
    }

    #[test]
    fn gitlab_sends_the_secret_or_signs_as_standard_webhooks_do() {
        let plain = proof(Provider::Gitlab, &[("x-gitlab-token", "s3cret")]).unwrap();
        assert!(plain.is_good("s3cret", b"whatever"));
        assert!(!plain.is_good("s3cre", b"") && !plain.is_good("", b"") && !plain.is_good("whsec_s3cret", b""));
        // The example of the specification.
        let headers = [
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            (
                "webhook-signature",
                "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ];
        let signed = proof(Provider::Gitlab, &headers).unwrap();
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        assert!(signed.is_good(secret, br#"{"test": 2432232314}"#));
        assert!(!signed.is_good(secret, br#"{"test": 2432232315}"#));
        assert!(!signed.is_good("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", br#"{"test": 2432232314}"#));
        assert_eq!(proof(Provider::Gitlab, &headers[1..]), None, "without its id nothing can be told");
    }

    #[test]
    fn what_is_no_signature_proves_nothing() {
        for (provider, headers) in [
            (Provider::Github, vec![]),
            (Provider::Github, vec![("x-hub-signature-256", "757107ea")]),
            (Provider::Github, vec![("x-hub-signature-256", "sha256=zz")]),
            (Provider::Github, vec![("x-hub-signature", "sha1=757107ea")]),
            (Provider::Gitea, vec![("x-gitlab-token", "s")]),
            (Provider::Gitlab, vec![("x-gitea-signature", "00")]),
        ] {
            assert_eq!(proof(provider, &headers), None, "{headers:?}");
        }
        let short = proof(Provider::Github, &[("x-hub-signature-256", "sha256=")]).unwrap();
        assert!(!short.is_good("s", b""));
    }
}
