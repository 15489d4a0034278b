//! What becomes of a webhook: who sent it first, and only then what it is about, so that nobody
//! learns anything here who knows no secret. Pure.

use std::collections::BTreeSet;

use hyper::HeaderMap;
use hyper::StatusCode;
use serde_json::json;
use zeroize::Zeroizing;

use super::payload::{self, Event, Push};
use super::repository::{Repository, follows};
use super::verify::{Proof, Provider};

/// Characters of a webhook's own words that an answer repeats.
const WORDS_CHARS: usize = 60;

/// A source that webhooks may be about.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) url: String,
    pub(super) reference: String,
    /// Any of them signs.
    pub(super) secrets: Vec<Zeroizing<String>>,
}

/// What became of a webhook; also a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Sources are looked at now.
    Poked,
    /// The server tried whether anybody listens.
    Ping,
    /// No source follows what was pushed.
    Unmatched,
    /// Nothing was pushed.
    Ignored,
    /// It proves not who sent it.
    Refused,
    /// It is no webhook.
    Invalid,
    /// It is larger than any may be.
    TooLarge,
    /// It did not arrive in time.
    TooSlow,
    /// Too many come at once.
    TooMany,
}

impl Outcome {
    /// As it stands in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Poked => "poked",
            Self::Ping => "ping",
            Self::Unmatched => "unmatched",
            Self::Ignored => "ignored",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::TooLarge => "tooLarge",
            Self::TooSlow => "tooSlow",
            Self::TooMany => "tooMany",
        }
    }
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) outcome: Outcome,
    /// Sources to look at.
    pub(super) sources: Vec<String>,
    pub(super) message: String,
}

impl Answer {
    pub(super) fn new(status: StatusCode, outcome: Outcome, message: impl Into<String>) -> Self {
        Self { status, outcome, sources: Vec::new(), message: message.into() }
    }

    /// The same words whatever is wrong: a missing signature, a wrong one, or no secret here.
    pub(super) fn refused() -> Self {
        let message = "the signature is missing, or not by the webhook secret of a source here; give the server and \
                       the hub the same secret";
        Self::new(StatusCode::UNAUTHORIZED, Outcome::Refused, message)
    }

    /// One line.
    pub(super) fn text(&self) -> String {
        let Self { outcome, sources, message, .. } = self;
        format!("{}\n", json!({"outcome": outcome.name(), "sources": sources, "message": message}))
    }
}

/// Decides. A secret speaks for the sources that have it, and no others.
pub(super) fn decide(provider: Provider, headers: &HeaderMap, body: &[u8], known: &[Known]) -> Answer {
    let Some(proof) = Proof::of(provider, headers) else { return Answer::refused() };
    // Each is tried once, however many sources share it: that costs as much as the body is long.
    let secrets: BTreeSet<&str> = known.iter().flat_map(|one| &one.secrets).map(|secret| secret.as_str()).collect();
    let good: BTreeSet<&str> = secrets.into_iter().filter(|secret| proof.is_good(secret, body)).collect();
    let is_good = |one: &&Known| one.secrets.iter().any(|secret| good.contains(secret.as_str()));
    let vouched: Vec<&Known> = known.iter().filter(is_good).collect();
    if vouched.is_empty() {
        return Answer::refused();
    }
    match payload::read(provider, headers, body) {
        Err(message) => Answer::new(StatusCode::BAD_REQUEST, Outcome::Invalid, message),
        Ok(Event::Ping) => Answer::new(StatusCode::OK, Outcome::Ping, "the signature is good; pushes will be seen"),
        Ok(Event::Other(kind)) => {
            let message = format!("{} changes no ref; send pushes alone", shown(&kind));
            Answer::new(StatusCode::ACCEPTED, Outcome::Ignored, message)
        }
        Ok(Event::Push(push)) => pushed(&push, &vouched),
    }
}

fn pushed(push: &Push, vouched: &[&Known]) -> Answer {
    let of_repository = |one: &&&Known| Repository::of(&one.url).is_some_and(|url| push.repositories.contains(&url));
    let same: Vec<_> = vouched.iter().filter(of_repository).collect();
    let branch = push.default_branch.as_deref();
    let is_followed = |one: &Known| push.refs.iter().any(|pushed| follows(&one.reference, pushed, branch));
    let sources: Vec<String> = same.iter().filter(|one| is_followed(one)).map(|one| one.name.clone()).collect();
    let message = match (same.is_empty(), sources.is_empty()) {
        (true, _) => "no source with this secret reads that repository; compare its url with what the server calls it",
        (false, true) => "no source follows that ref",
        (false, false) => "the sources are looked at now",
    };
    let outcome = if sources.is_empty() { Outcome::Unmatched } else { Outcome::Poked };
    Answer { sources, ..Answer::new(StatusCode::ACCEPTED, outcome, message) }
}

fn shown(text: &str) -> String {
    text.chars().filter(|one| !one.is_control()).take(WORDS_CHARS).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use aws_lc_rs::hmac;

    use super::*;

    fn known(name: &str, url: &str, reference: &str, secret: &str) -> Known {
        let secrets = vec![secret.to_owned().into()];
        Known { name: name.into(), url: url.into(), reference: reference.into(), secrets }
    }

    fn sources() -> Vec<Known> {
        vec![
            known("main", "https://git.example.com/acme/fleet.git", "main", "root"),
            known("next", "git@git.example.com:acme/fleet.git", "next", "root"),
            known("team", "https://git.example.com/acme/fleet", "main", "team"),
        ]
    }

    fn push(secret: &str, event: &str, body: &str) -> Answer {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", format!("sha256={}", hex::encode(tag)).parse().unwrap());
        headers.insert("x-github-event", event.parse().unwrap());
        decide(Provider::Github, &headers, body.as_bytes(), &sources())
    }

    const MAIN: &str =
        r#"{"ref": "refs/heads/main", "repository": {"clone_url": "https://GIT.example.com/acme/fleet.git"}}"#;

    #[test]
    fn exactly_the_sources_of_the_ref_whose_secret_it_is_are_poked() {
        assert_eq!(push("root", "push", MAIN).sources, ["main"]);
        assert_eq!(push("team", "push", MAIN).sources, ["team"]);
        let next = MAIN.replace("heads/main", "heads/next");
        assert_eq!(push("root", "push", &next).sources, ["next"]);
        let none = push("team", "push", &next);
        assert_eq!((none.status, none.outcome), (StatusCode::ACCEPTED, Outcome::Unmatched));
        let other = push("root", "push", &MAIN.replace("acme", "else"));
        assert!(other.outcome == Outcome::Unmatched && other.sources.is_empty(), "{other:?}");
    }

    #[test]
    fn forged_webhooks_learn_nothing() {
        let other = MAIN.replace("acme", "else");
        for (event, body) in [("push", MAIN), ("push", &*other), ("push", "{"), ("ping", "{}"), ("issues", "{}")] {
            assert_eq!(push("guess", event, body), Answer::refused(), "{event}");
            assert_eq!(push("", event, body), Answer::refused(), "{event}");
        }
        let unsigned = decide(Provider::Github, &HeaderMap::new(), MAIN.as_bytes(), &sources());
        assert_eq!(unsigned, Answer::refused());
        // No secret at all admits nobody, not even those who sign with nothing.
        let mut bare = sources();
        bare.iter_mut().for_each(|one| one.secrets = vec![String::new().into()]);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, b""), MAIN.as_bytes());
        let mut headers = HeaderMap::new();
        headers.insert("x-hub-signature-256", format!("sha256={}", hex::encode(tag)).parse().unwrap());
        assert_eq!(decide(Provider::Github, &headers, MAIN.as_bytes(), &bare), Answer::refused());
    }

    #[test]
    fn every_answer_is_one_line_of_json() {
        for (event, body, status, outcome) in [
            ("ping", "{}", 200, "ping"),
            ("push", MAIN, 202, "poked"),
            ("push", "{", 400, "invalid"),
            ("star", "{}", 202, "ignored"),
        ] {
            let answer = push("root", event, body);
            let text = answer.text();
            let json: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(text.ends_with('\n') && text.lines().count() == 1, "{text}");
            assert_eq!((answer.status.as_u16(), json["outcome"].as_str()), (status, Some(outcome)), "{text}");
        }
    }
}
