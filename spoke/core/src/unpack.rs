//! Decompression of what the hub sends, within a limit.

use std::io::Read;

// Largest window that is accepted, as a power of two: 16 MiB, the largest that the hub uses. It
// bounds the memory that a frame can ask for.
const WINDOW_LOG_MAX: u32 = 24;

/// Why bytes could not be unpacked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// Not zstd, cut short, or made against another prefix.
    #[error("does not decompress")]
    Broken,
    /// Larger than it may be.
    #[error("is larger than {0} bytes")]
    TooLarge(usize),
}

/// Decompresses zstd that was compressed with `prefix` as reference; empty for none.
///
/// # Errors
/// The bytes do not decompress, or to more than `bytes_max`.
pub fn unpack(bytes: &[u8], prefix: &[u8], bytes_max: usize) -> Result<Vec<u8>, UnpackError> {
    let decoder = zstd::stream::read::Decoder::with_ref_prefix(bytes, prefix).map_err(|_| UnpackError::Broken)?;
    let mut decoder = decoder.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX).map_err(|_| UnpackError::Broken)?;
    let mut plain = Vec::new();
    decoder.take(bytes_max as u64 + 1).read_to_end(&mut plain).map_err(|_| UnpackError::Broken)?;
    if plain.len() > bytes_max {
        return Err(UnpackError::TooLarge(bytes_max));
    }
    Ok(plain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub(crate) mod tests {
    use std::io::Write as _;

    use super::*;

    /// Compresses as the hub does.
    pub(crate) fn pack(plain: &[u8], prefix: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::with_ref_prefix(Vec::new(), 3, prefix).unwrap();
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_prefix_makes_it_small_and_comes_back() {
        let old: Vec<u8> = (0..40_000_u32).flat_map(|n| (n * n).to_be_bytes()).collect();
        let mut new = old.clone();
        new.extend_from_slice(b"more");
        let packed = pack(&new, &old);
        assert!(packed.len() < 1_000, "{}", packed.len());
        assert_eq!(unpack(&packed, &old, 1 << 20), Ok(new));
        assert_eq!(unpack(&packed, b"other", 1 << 20), Err(UnpackError::Broken));
    }

    #[test]
    fn a_bomb_is_stopped_at_the_limit() {
        let packed = pack(&vec![0; 1 << 20], b"");
        assert_eq!(unpack(&packed, b"", 1000), Err(UnpackError::TooLarge(1000)));
        assert_eq!(unpack(b"plain text", b"", 1000), Err(UnpackError::Broken));
    }
}
