//! Signatures of commits and tags, checked before anything is read.
//!
//! The head alone is verified: its id commits to the whole tree and to all of its history, merges
//! included. Whoever may sign answers for what they put their signature on.

mod openpgp;
mod ssh;

use std::fs;
use std::io::Read as _;

use gix::ObjectId;
use gix::objs::Kind;
use proto_model::limits;

use crate::credentials::wrong;
use crate::error::{Distrust, FetchError, explain};
use crate::source::Signers;

/// Annotated tags that may point at one another.
const TAGS_MAX: usize = 5;
const PGP_KEY: (&str, &str) = ("-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----");
const PGP_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
const SSH_SIGNATURE: &str = "-----BEGIN SSH SIGNATURE-----";
const X509_SIGNATURE: &str = "-----BEGIN SIGNED MESSAGE-----";

/// The public keys of those who may sign.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    ssh: Vec<ssh::Key>,
    openpgp: Vec<openpgp::Key>,
}

impl Keys {
    pub(crate) fn load(signers: &Signers) -> Result<Self, FetchError> {
        let mut keys = Self::default();
        match signers {
            Signers::File(path) => {
                let file = fs::File::open(path).map_err(|error| wrong(path, &error.to_string()))?;
                let max = limits::SIGNERS_BYTES_MAX;
                let mut text = String::new();
                let read = file.take(max as u64 + 1).read_to_string(&mut text);
                read.map_err(|error| wrong(path, &error.to_string()))?;
                if text.len() > max {
                    return Err(wrong(path, &format!("it is larger than {max} bytes: keep the keys that may sign")));
                }
                keys.add(&text).map_err(|why| wrong(path, &why))?;
                if keys.is_empty() {
                    return Err(wrong(path, "it holds no public key that may sign"));
                }
            }
            Signers::Keys(texts) => {
                for text in texts {
                    keys.add(text).map_err(FetchError::Signers)?;
                }
                if keys.is_empty() {
                    return Err(FetchError::Signers("there is no public key that may sign".to_owned()));
                }
            }
        }
        Ok(keys)
    }

    fn is_empty(&self) -> bool {
        self.ssh.is_empty() && self.openpgp.is_empty()
    }

    /// Takes SSH public keys, lines of an `allowed_signers` file, and armored OpenPGP keys.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let line = line.trim();
            let at = |why: String| format!("line {}: {why}", number + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line == PGP_KEY.0 {
                let mut block = format!("{line}\n");
                for (_, line) in lines.by_ref() {
                    block.push_str(line.trim_end());
                    block.push('\n');
                    if line.trim() == PGP_KEY.1 {
                        break;
                    }
                }
                self.openpgp.extend(openpgp::parse(&block).map_err(at)?);
            } else if line.contains("PRIVATE KEY") {
                return Err(at("this is a private key: give public ones, and make a new key".to_owned()));
            } else {
                self.ssh.push(ssh::Key::parse(line).map_err(at)?);
            }
        }
        Ok(())
    }

    /// Whether one of the keys signed; `now` is in seconds since 1970.
    fn verify(&self, signed: &Signed, now: i64) -> Result<(), Distrust> {
        let Some(signature) = &signed.signature else { return Err(Distrust::Unsigned) };
        if signature.starts_with(SSH_SIGNATURE) {
            ssh::verify(&self.ssh, signature, &signed.payload, signed.time)
        } else if signature.starts_with(PGP_SIGNATURE) {
            openpgp::verify(&self.openpgp, signature, &signed.payload, now)
        } else if signature.starts_with(X509_SIGNATURE) {
            Err(Distrust::Unsupported("it is one of X.509".to_owned()))
        } else {
            Err(Distrust::Unsupported("its kind is not known".to_owned()))
        }
    }
}

/// What was signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Signed {
    payload: Vec<u8>,
    /// `None` where there is none.
    signature: Option<String>,
    /// When it says that it was made, in seconds since 1970; 0 where it does not say.
    time: i64,
}

impl Signed {
    /// A commit carries its signature in a header of its own, with the lines after the first
    /// indented; what was signed is the commit without it.
    fn commit(raw: &[u8]) -> Result<Self, Distrust> {
        let (mut payload, mut signature) = (Vec::with_capacity(raw.len()), None::<Vec<u8>>);
        let (mut in_signature, mut in_other, mut in_body) = (false, false, false);
        for line in raw.split_inclusive(|&byte| byte == b'\n') {
            let more = line.strip_prefix(b" ").filter(|_| !in_body);
            if let Some(signature) = signature.as_mut().filter(|_| in_signature)
                && let Some(more) = more
            {
                signature.extend_from_slice(more);
                continue;
            }
            if in_other && more.is_some() {
                continue;
            }
            (in_signature, in_other) = (false, false);
            if !in_body && let Some(first) = line.strip_prefix(b"gpgsig ") {
                if signature.is_some() {
                    return Err(Distrust::Bad("it has two signatures".to_owned()));
                }
                signature = Some(first.to_vec());
                in_signature = true;
            } else if !in_body && line.starts_with(b"gpgsig") {
                // Of the same commit under another hash.
                in_other = true;
            } else {
                in_body |= line == b"\n";
                payload.extend_from_slice(line);
            }
        }
        let signature = signature.map(text).transpose()?;
        let time = time(&payload, b"committer ");
        Ok(Self { payload, signature, time })
    }

    /// A tag carries its signature at the end of its message.
    fn tag(raw: &[u8]) -> Result<Self, Distrust> {
        let (mut at, mut start) = (0, None);
        for line in raw.split_inclusive(|&byte| byte == b'\n') {
            if [PGP_SIGNATURE, SSH_SIGNATURE, X509_SIGNATURE].iter().any(|begin| line.starts_with(begin.as_bytes())) {
                start = Some(at);
            }
            at += line.len();
        }
        let (payload, signature) = raw.split_at(start.unwrap_or(raw.len()));
        let signature = start.map(|_| text(signature.to_vec())).transpose()?;
        Ok(Self { payload: payload.to_vec(), signature, time: time(payload, b"tagger ") })
    }
}

fn text(bytes: Vec<u8>) -> Result<String, Distrust> {
    String::from_utf8(bytes).map_err(|_| Distrust::Bad("it is no text".to_owned()))
}

/// The time of a header that names a person.
fn time(raw: &[u8], header: &[u8]) -> i64 {
    let mut lines = raw.split(|&byte| byte == b'\n').take_while(|line| !line.is_empty());
    let line = lines.find_map(|line| line.strip_prefix(header)).unwrap_or_default();
    let after = line.rsplit(|&byte| byte == b'>').next().unwrap_or_default();
    let words = String::from_utf8_lossy(after);
    words.split_whitespace().next().and_then(|secs| secs.parse().ok()).unwrap_or(0)
}

/// Whether the object `id` that `spec` names was signed by one of the keys: the commit, or, where a
/// tag is followed, that tag itself under its own name. A tag that another one leads to, or that is on a
/// branch, proves nothing: whoever may push could give any signed release another name.
pub(crate) fn head(
    repository: &gix::Repository,
    id: ObjectId,
    spec: &str,
    keys: &Keys,
    now: i64,
) -> Result<(), FetchError> {
    let mut id = id;
    let mut tagged: Option<(String, Distrust)> = None;
    for depth in 0..=TAGS_MAX {
        let object = repository.find_object(id).map_err(|error| unreadable(id, &explain(&error)))?;
        match object.kind {
            Kind::Tag => {
                let tag = object.try_to_tag_ref().map_err(|error| unreadable(id, &explain(&error)))?;
                if let Some(asked) = spec.strip_prefix("refs/tags/").filter(|_| depth == 0) {
                    let judged = if tag.name == asked.as_bytes() {
                        Signed::tag(&object.data).and_then(|signed| keys.verify(&signed, now))
                    } else {
                        Err(Distrust::OtherTag(tag.name.to_string()))
                    };
                    match judged {
                        Ok(()) => return Ok(()),
                        Err(Distrust::Unsigned) => {}
                        Err(why) => tagged = Some((format!("tag {id}"), why)),
                    }
                }
                id = tag.target();
            }
            Kind::Commit => {
                let judged = Signed::commit(&object.data).and_then(|signed| keys.verify(&signed, now));
                return judged.map_err(|why| match (tagged, why) {
                    (Some((object, why)), Distrust::Unsigned) => FetchError::Unverified { object, why },
                    (_, why) => FetchError::Unverified { object: format!("commit {id}"), why },
                });
            }
            Kind::Tree | Kind::Blob => break,
        }
    }
    Err(unreadable(id, "it leads to no commit"))
}

fn unreadable(id: ObjectId, why: &str) -> FetchError {
    FetchError::Unverified { object: format!("object {id}"), why: Distrust::Bad(why.to_owned()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Some time at which all of the keys were good, and one at which Ada's had expired.
    const NOW: i64 = 1_735_700_000;
    const LATER: i64 = 1_800_000_000;

    const ADA: &str = include_str!("../tests/signed/ada.asc");
    const RSA: &str = include_str!("../tests/signed/rsa.asc");
    const NIST: &str = include_str!("../tests/signed/nist.asc");
    const GONE: &str = include_str!("../tests/signed/gone.asc");
    const REVOKED: &str = include_str!("../tests/signed/gone-revoked.asc");
    const SIGNER: &str = include_str!("../tests/keys/signer.pub");
    const SSH_RSA: &str = include_str!("../tests/signed/ssh-rsa.pub");
    const SSH_ECDSA: &str = include_str!("../tests/signed/ssh-ecdsa.pub");

    macro_rules! signed {
        ($name:literal) => {
            include_bytes!(concat!("../tests/signed/", $name)).as_slice()
        };
    }

    fn keys(text: &str) -> Keys {
        let mut keys = Keys::default();
        keys.add(text).unwrap();
        keys
    }

    fn judge(text: &str, raw: &[u8], now: i64) -> Result<(), Distrust> {
        let signed = if raw.starts_with(b"object ") { Signed::tag(raw) } else { Signed::commit(raw) };
        keys(text).verify(&signed.unwrap(), now)
    }

    #[test]
    fn what_git_signed_is_good_with_its_key() {
        for (key, raw) in [
            (ADA, signed!("gpg-ada.commit")),
            (RSA, signed!("gpg-rsa.commit")),
            (NIST, signed!("gpg-nist.commit")),
            (GONE, signed!("gpg-gone.commit")),
            (ADA, signed!("gpg.tag")),
            (SIGNER, signed!("ssh-ed25519.commit")),
            (SSH_RSA, signed!("ssh-rsa.commit")),
            (SSH_ECDSA, signed!("ssh-ecdsa.commit")),
            (SIGNER, signed!("ssh.tag")),
        ] {
            assert_eq!(judge(key, raw, NOW), Ok(()), "{}", String::from_utf8_lossy(raw));
            let all = [ADA, RSA, NIST, GONE, SIGNER, SSH_RSA, SSH_ECDSA].concat();
            assert_eq!(judge(&all, raw, NOW), Ok(()));
        }
    }

    #[test]
    fn another_key_is_unknown_and_named() {
        let fingerprint = "8e05f0bb0eb889e087014393cf56bc9c58339369".to_owned();
        let unknown = Err(Distrust::UnknownKey(fingerprint));
        assert_eq!(judge(&[RSA, SIGNER].concat(), signed!("gpg-ada.commit"), NOW), unknown);
        let Err(Distrust::UnknownKey(named)) = judge(&[ADA, SSH_RSA].concat(), signed!("ssh.tag"), NOW) else {
            panic!("another key was accepted");
        };
        assert!(named.starts_with("SHA256:"), "{named}");
    }

    #[test]
    fn what_was_changed_after_it_was_signed_is_bad() {
        for (key, raw) in [
            (ADA, signed!("gpg-ada.commit")),
            (RSA, signed!("gpg-rsa.commit")),
            (SIGNER, signed!("ssh-ed25519.commit")),
            (SIGNER, signed!("ssh.tag")),
        ] {
            let changed = String::from_utf8(raw.to_vec()).unwrap().replace("Ada <ada", "Eve <eve");
            let judged = judge(key, changed.as_bytes(), NOW);
            assert!(matches!(judged, Err(Distrust::Bad(_))), "{judged:?}");
        }
        let raw = String::from_utf8(signed!("gpg-ada.commit").to_vec()).unwrap();
        let hidden = raw.replace("\n\nsign", "\nx-more gpgsig\n more\n\nsign");
        assert!(matches!(judge(ADA, hidden.as_bytes(), NOW), Err(Distrust::Bad(_))));
        let header = raw.split("gpgsig ").nth(1).unwrap().split("\n\nsign").next().unwrap();
        let twice = raw.replace("\n\nsign", &format!("\ngpgsig {header}\n\nsign"));
        assert!(matches!(Signed::commit(twice.as_bytes()), Err(Distrust::Bad(_))));
        for broken in [&raw[..raw.len() / 2], &raw.replace("iIYE", "iIYF")] {
            assert!(judge(ADA, broken.as_bytes(), NOW).is_err(), "{broken}");
        }
    }

    #[test]
    fn unsigned_expired_and_revoked() {
        assert_eq!(judge(SIGNER, signed!("unsigned.commit"), NOW), Err(Distrust::Unsigned));
        let expired = judge(ADA, signed!("gpg-ada.commit"), LATER);
        assert!(matches!(expired, Err(Distrust::Expired(_))), "{expired:?}");
        let revoked = judge(REVOKED, signed!("gpg-gone.commit"), NOW);
        assert!(matches!(revoked, Err(Distrust::Revoked(_))), "{revoked:?}");
        // A key that stands there twice, as it was before and with its revocation.
        for keys in [[GONE, REVOKED], [REVOKED, GONE]] {
            let revoked = judge(&keys.concat(), signed!("gpg-gone.commit"), NOW);
            assert!(matches!(revoked, Err(Distrust::Revoked(_))), "{revoked:?}");
        }
        // Signed in what is still to come.
        let early = judge(RSA, signed!("gpg-rsa.commit"), 1_700_000_000);
        assert!(matches!(early, Err(Distrust::Bad(_))), "{early:?}");
    }

    #[test]
    fn a_line_of_allowed_signers_says_for_what_and_when() {
        let key = SIGNER.trim();
        let line = |options: &str| format!("ada@example.com,*@example.org {options} {key}");
        for options in ["", "namespaces=\"file,git\"", "valid-after=\"20240101\",valid-before=\"20240103Z\""] {
            assert_eq!(judge(&line(options), signed!("ssh-ed25519.commit"), NOW), Ok(()), "{options}");
        }
        for options in ["valid-before=\"20240102030405\"", "valid-after=\"202401020305\""] {
            let judged = judge(&line(options), signed!("ssh-ed25519.commit"), NOW);
            assert!(matches!(judged, Err(Distrust::Expired(_))), "{options}: {judged:?}");
        }
        let judged = judge(&line("namespaces=file"), signed!("ssh-ed25519.commit"), NOW);
        assert!(matches!(judged, Err(Distrust::UnknownKey(_))), "{judged:?}");
        for (options, word) in [
            ("cert-authority", "cert-authority"),
            ("valid-after=soon", "valid-after"),
            ("verify-required", "verify-required"),
        ] {
            let error = Keys::default().add(&line(options)).unwrap_err();
            assert!(error.starts_with("line 1: ") && error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_said_with_its_line() {
        for (text, expected) in [
            ("# keys\n\nhello", "line 3: "),
            ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n-----END PGP PUBLIC KEY BLOCK-----", "line 1: "),
            (include_str!("../tests/keys/sealed"), "line 1: this is a private key"),
            ("ssh-ed25519 AAAA", "line 1: "),
        ] {
            let error = Keys::default().add(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(Keys::load(&Signers::Keys(vec!["# none".to_owned()])).is_err());
    }
}
