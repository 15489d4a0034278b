//! SSH signatures, as Git makes them with `gpg.format=ssh`.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use crate::error::Distrust;

/// What Git signs for.
const NAMESPACE: &str = "git";

/// One who may sign: a line of an `allowed_signers` file, or a public key alone.
#[derive(Debug)]
pub(super) struct Key {
    key: PublicKey,
    /// What it may sign is something else.
    is_for_other: bool,
    /// From when and until when, in seconds since 1970.
    after: Option<i64>,
    before: Option<i64>,
}

impl Key {
    /// `KEYTYPE BASE64 [COMMENT]`, or `PRINCIPALS [OPTIONS] KEYTYPE BASE64 [COMMENT]`.
    pub(super) fn parse(line: &str) -> Result<Self, String> {
        let words = words(line);
        let start = words.iter().position(|word| is_key_type(word)).filter(|&start| start <= 2);
        let start = start.ok_or("this is no SSH public key, no line of allowed_signers and no armored OpenPGP key")?;
        let text = words[start..].join(" ");
        let key = PublicKey::from_openssh(&text).map_err(|error| format!("this SSH public key: {error}"))?;
        let mut found = Self { key, is_for_other: false, after: None, before: None };
        if start == 2 {
            for option in split(&words[1], |c| c == ',') {
                found.option(&option)?;
            }
        }
        Ok(found)
    }

    fn option(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" => {
                self.is_for_other = !value.split(',').any(|pattern| matches!(pattern.trim(), NAMESPACE | "*"));
            }
            "valid-after" => self.after = Some(time(name, value)?),
            "valid-before" => self.before = Some(time(name, value)?),
            _ => return Err(format!("the option {name:?} is not supported: give a key without it")),
        }
        Ok(())
    }

    fn is_valid_at(&self, time: i64) -> bool {
        self.after.is_none_or(|after| after <= time) && self.before.is_none_or(|before| time < before)
    }
}

/// Whether one of the keys signed `payload` at `time`, in seconds since 1970.
pub(super) fn verify(keys: &[Key], signature: &str, payload: &[u8], time: i64) -> Result<(), Distrust> {
    let bad = |error: ssh_key::Error| match error {
        ssh_key::Error::AlgorithmUnknown | ssh_key::Error::AlgorithmUnsupported { .. } => {
            Distrust::Unsupported(error.to_string())
        }
        error => Distrust::Bad(error.to_string()),
    };
    let signature = SshSig::from_pem(signature.trim_end().as_bytes()).map_err(bad)?;
    let by: &KeyData = signature.public_key();
    let fingerprint = by.fingerprint(HashAlg::Sha256).to_string();
    let mut its = keys.iter().filter(|key| key.key.key_data() == by && !key.is_for_other).peekable();
    let Some(first) = its.peek() else { return Err(Distrust::UnknownKey(fingerprint)) };
    first.key.verify(NAMESPACE, payload, &signature).map_err(bad)?;
    if its.any(|key| key.is_valid_at(time)) { Ok(()) } else { Err(Distrust::Expired(fingerprint)) }
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|begin| word.starts_with(begin))
}

/// Words apart from one another, where they are not quoted.
fn words(line: &str) -> Vec<String> {
    split(line, |c| c.is_whitespace())
}

fn split(text: &str, at: impl Fn(char) -> bool) -> Vec<String> {
    let (mut parts, mut quoted) = (vec![String::new()], false);
    for c in text.chars() {
        quoted ^= c == '"';
        match parts.last_mut() {
            Some(part) if quoted || !at(c) => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// `YYYYMMDD[HHMM[SS]][Z]`, in seconds since 1970. Without `Z` it is taken as UTC too: the hub has
/// no time zone of its own.
fn time(name: &str, text: &str) -> Result<i64, String> {
    let wrong = || format!("{name}: {text:?} is no time: write YYYYMMDD or YYYYMMDDHHMMSS");
    let digits = text.trim_end_matches('Z');
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let padded = format!("{digits:0<14}+0000");
    let parsed = jiff::Timestamp::strptime("%Y%m%d%H%M%S%z", padded);
    parsed.map(jiff::Timestamp::as_second).map_err(|_| wrong())
}
