//! The key that seals secrets at rest, and its file.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::error::KeyError;

const KEY_BYTES: usize = 32;
/// First line of the file; the second is the key, hexadecimal.
const HEADER: &str = "drover sealing key v1";

/// A 256-bit key for AES-GCM. It is never shown.
pub struct SealingKey {
    key: RandomizedNonceKey,
}

/// Bytes could not be sealed or opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The system has no random numbers, or there are more than 64 GiB.
    #[error("bytes cannot be sealed: the system gives no random numbers")]
    Seal,
    /// Sealed bytes are not from this key, for this purpose, or not whole.
    #[error("sealed bytes cannot be opened: they were changed, or sealed with another key")]
    Open,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    /// Makes a random key and its file, readable for its owner alone. The file is on disk when
    /// this returns.
    ///
    /// # Errors
    /// Where the file exists or cannot be written.
    pub fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(bytes.as_mut()).map_err(|_| io(std::io::Error::other("no random numbers")))?;
        let text = Zeroizing::new(format!("{HEADER}\n{}\n", *Zeroizing::new(hex::encode(bytes.as_ref()))));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Self::from_bytes(&bytes).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    /// Reads the file that [`SealingKey::create`] made.
    ///
    /// # Errors
    /// Where it cannot be read, is no key, or others may read it.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(fs::read(path).map_err(io)?);
        Self::parse(&text).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.strip_prefix(HEADER.as_bytes())?.strip_prefix(b"\n")?.trim_ascii_end();
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(digits, bytes.as_mut()).ok()?;
        Self::from_bytes(&bytes)
    }

    fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        Some(Self { key: RandomizedNonceKey::new(&AES_256_GCM, bytes).ok()? })
    }

    /// Seals bytes for a purpose: nonce, ciphertext and tag. [`SealingKey::open`] opens them
    /// only for the same purpose, which itself is not part of the result.
    ///
    /// # Errors
    /// [`SealError::Seal`].
    pub fn seal(&self, purpose: &[u8], bytes: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = bytes.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(purpose), &mut body);
        let nonce = nonce.map_err(|_| SealError::Seal)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + body.len());
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens what [`SealingKey::seal`] made.
    ///
    /// # Errors
    /// Where a bit of it or of the purpose differs, or the key.
    pub fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Open)?;
        let mut body = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(nonce, Aad::from(purpose), &mut body);
        let length = opened.map_err(|_| SealError::Open)?.len();
        body.truncate(length);
        Ok(body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_private_and_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        let sealed = SealingKey::create(&path).unwrap().seal(b"a", b"plain").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(SealingKey::create(&path), Err(KeyError::Io { .. })));
        let key = SealingKey::load(&path).unwrap();
        assert_eq!(key.open(b"a", &sealed).unwrap().as_slice(), b"plain");
        assert_eq!(key.open(b"b", &sealed).unwrap_err(), SealError::Open);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = SealingKey::load(&path).unwrap_err().to_string();
        assert!(error.contains("mode 640") && error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seal.key");
        SealingKey::create(&path).unwrap();
        let good = fs::read_to_string(&path).unwrap();
        for bad in ["", "key", &good[..40], &good.replace("v1", "v2"), &format!("{good}00")] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(SealingKey::load(&path), Err(KeyError::Malformed { .. })), "{bad:?}");
        }
    }

    #[test]
    fn every_changed_bit_of_sealed_bytes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let key = SealingKey::create(&dir.path().join("one")).unwrap();
        let other = SealingKey::create(&dir.path().join("two")).unwrap();
        let sealed = key.seal(b"p", b"plain").unwrap();
        assert_ne!(sealed, key.seal(b"p", b"plain").unwrap(), "nonces differ");
        assert_eq!(other.open(b"p", &sealed).unwrap_err(), SealError::Open);
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(key.open(b"p", &bad).is_err(), "byte {at}");
            assert!(key.open(b"p", &sealed[..at]).is_err(), "length {at}");
        }
    }
}
