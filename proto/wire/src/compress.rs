//! zstd, with the previous version of a thing as prefix where both sides hold it.
//!
//! What comes out of [`decompress`] is not verified here: the caller compares its digest.

use std::io::{self, Read as _, Write as _};

use zstd::stream::{raw, read, write};

// Levels above cost the hub more time than they save bytes on manifests.
const LEVEL: i32 = 6;
// Largest window that a decoder accepts, as a power of two: 16 MiB. It bounds the memory that a
// hostile frame can ask for.
const WINDOW_LOG_MAX: u32 = 24;
const WINDOW_LOG_MIN: u32 = 10;
// Slots of the table that zstd takes by itself for inputs of our size, as a power of two.
const HASH_LOG_DEFAULT: u32 = 17;

/// Why bytes do not decompress.
#[derive(Debug, thiserror::Error)]
pub enum DecompressError {
    /// More came out than was allowed.
    #[error("decompresses to more than {0} bytes")]
    TooLarge(usize),
    /// No zstd, or made with another prefix.
    #[error("is not zstd of the named base")]
    Corrupt(#[source] io::Error),
}

/// Compresses `bytes`, with `prefix` (an older version of the same thing) as dictionary where the
/// receiver holds it.
///
/// # Errors
/// zstd reports one, which for memory to memory means that memory ran out.
pub fn compress(bytes: &[u8], prefix: Option<&[u8]>) -> io::Result<Vec<u8>> {
    let prefix = prefix.unwrap_or_default();
    let mut encoder =
        if prefix.is_empty() { raw::Encoder::new(LEVEL)? } else { raw::Encoder::with_ref_prefix(LEVEL, prefix)? };
    // Without this the window could end before the prefix begins.
    let span = (prefix.len() + bytes.len()).max(1).ilog2() + 1;
    encoder.set_parameter(raw::CParameter::WindowLog(span.clamp(WINDOW_LOG_MIN, WINDOW_LOG_MAX)))?;
    // zstd indexes only the last eight bytes of a prefix per slot of its table.
    if span > HASH_LOG_DEFAULT + 3 {
        encoder.set_parameter(raw::CParameter::HashLog(span.min(WINDOW_LOG_MAX) - 2))?;
    }
    encoder.set_pledged_src_size(Some(bytes.len() as u64))?;
    let mut out = write::Encoder::with_encoder(Vec::with_capacity(bytes.len() / 4), encoder);
    out.write_all(bytes)?;
    out.finish()
}

/// Undoes [`compress`] with the same prefix, giving at most `bytes_max` bytes.
///
/// # Errors
/// The result would be larger, or the bytes are not what `compress` makes.
pub fn decompress(data: &[u8], prefix: Option<&[u8]>, bytes_max: usize) -> Result<Vec<u8>, DecompressError> {
    let decoder = read::Decoder::with_ref_prefix(data, prefix.unwrap_or_default());
    let mut decoder = decoder.map_err(DecompressError::Corrupt)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(DecompressError::Corrupt)?;
    let mut out = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut out).map_err(DecompressError::Corrupt)?;
    if out.len() > bytes_max { Err(DecompressError::TooLarge(bytes_max)) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_prefix_makes_a_small_change_small() {
        let old: Vec<u8> = (0..4000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let mut new = old.clone();
        new[7000] ^= 1;
        let alone = compress(&new, None).unwrap();
        let beside = compress(&new, Some(&old)).unwrap();
        assert!(beside.len() * 20 < alone.len(), "{} against {}", beside.len(), alone.len());
        assert_eq!(decompress(&beside, Some(&old), new.len()).unwrap(), new);
        assert_eq!(decompress(&alone, None, new.len()).unwrap(), new);
    }

    #[test]
    fn the_window_reaches_over_a_large_prefix() {
        let old: Vec<u8> = (0..500_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let beside = compress(&old, Some(&old)).unwrap();
        assert!(beside.len() * 10 < old.len(), "{}", beside.len());
        assert_eq!(decompress(&beside, Some(&old), old.len()).unwrap(), old);
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let bomb = compress(&vec![0; 1 << 22], None).unwrap();
        assert!(matches!(decompress(&bomb, None, 1000), Err(DecompressError::TooLarge(1000))));
    }

    #[test]
    fn cut_off_bytes_are_refused() {
        let whole = compress(b"some text that is worth keeping", None).unwrap();
        assert!(decompress(&whole[..whole.len() - 3], None, 1000).is_err());
    }
}
