//! Large things on a stream of small messages: cut into chunks that share one allocation, and put
//! together again within a limit.

use bytes::{Bytes, BytesMut};
use proto_model::limits;

use crate::sync::Chunk;

/// One thing to send, encoded once. Clones are cheap and share the bytes, so that many streams can
/// send the same thing.
#[derive(Clone, Debug)]
pub struct Encoded<M>(Form<M>);

#[derive(Clone, Debug)]
enum Form<M> {
    One(M),
    Blob { wrap: fn(Chunk) -> M, bytes: Bytes },
}

impl<M> Encoded<M> {
    pub(crate) fn one(message: M) -> Self {
        Self(Form::One(message))
    }

    pub(crate) fn blob(wrap: fn(Chunk) -> M, bytes: Bytes) -> Self {
        Self(Form::Blob { wrap, bytes })
    }

    /// The messages, in the order in which they must go, each made when it is asked for.
    #[must_use]
    pub fn messages(&self) -> Messages<M>
    where
        M: Clone,
    {
        Messages(Some(self.0.clone()))
    }

    /// Bytes of the blob, without the few that each chunk adds; 0 for what needs no chunks.
    #[must_use]
    pub fn blob_bytes(&self) -> usize {
        match &self.0 {
            Form::One(_) => 0,
            Form::Blob { bytes, .. } => bytes.len(),
        }
    }
}

/// The messages of one [`Encoded`] that have not been sent yet.
#[derive(Clone, Debug)]
pub struct Messages<M>(Option<Form<M>>);

impl<M> Iterator for Messages<M> {
    type Item = M;

    fn next(&mut self) -> Option<M> {
        match self.0.take()? {
            Form::One(message) => Some(message),
            Form::Blob { wrap, mut bytes } => {
                let data = bytes.split_to(bytes.len().min(limits::SYNC_CHUNK_BYTES_MAX));
                let last = bytes.is_empty();
                if !last {
                    self.0 = Some(Form::Blob { wrap, bytes });
                }
                Some(wrap(Chunk { data, last }))
            }
        }
    }
}

/// Why chunks do not make a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Something else came before the last chunk.
    #[error("something else came between the chunks of one thing")]
    Interleaved,
    /// More than the limit.
    #[error("chunks add up to more than {0} bytes")]
    TooLarge(usize),
    /// A chunk that brings nothing and promises more could go on for ever.
    #[error("an empty chunk that is not the last")]
    Empty,
}

/// Puts chunks together. `K` says what is being put together; a stream has one assembler for each
/// direction.
#[derive(Debug)]
pub struct Assembler<K> {
    under_way: Option<(K, BytesMut)>,
}

impl<K> Default for Assembler<K> {
    fn default() -> Self {
        Self { under_way: None }
    }
}

impl<K: Copy + PartialEq> Assembler<K> {
    /// Takes the next chunk; gives the whole thing with its last one.
    ///
    /// # Errors
    /// Another thing is under way, or it grows beyond `bytes_max`. What was under way is dropped.
    pub fn push(&mut self, kind: K, chunk: Chunk, bytes_max: usize) -> Result<Option<Bytes>, ChunkError> {
        let begun = self.under_way.take();
        if begun.as_ref().is_some_and(|(begun, _)| *begun != kind) {
            return Err(ChunkError::Interleaved);
        }
        let length = begun.as_ref().map_or(0, |(_, bytes)| bytes.len());
        if chunk.data.len() > bytes_max.saturating_sub(length) {
            return Err(ChunkError::TooLarge(bytes_max));
        }
        if chunk.data.is_empty() && !chunk.last {
            return Err(ChunkError::Empty);
        }
        let mut bytes = match begun {
            None if chunk.last => return Ok(Some(chunk.data)),
            None => BytesMut::new(),
            Some((_, bytes)) => bytes,
        };
        bytes.extend_from_slice(&chunk.data);
        if chunk.last {
            return Ok(Some(bytes.freeze()));
        }
        self.under_way = Some((kind, bytes));
        Ok(None)
    }

    /// Checks that nothing is half received, before something that is no chunk is taken.
    ///
    /// # Errors
    /// Something is. It is dropped.
    pub fn expect_idle(&mut self) -> Result<(), ChunkError> {
        if self.under_way.take().is_some() { Err(ChunkError::Interleaved) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(data: &'static [u8], last: bool) -> Chunk {
        Chunk { data: Bytes::from_static(data), last }
    }

    #[test]
    fn chunks_share_one_allocation() {
        let bytes = Bytes::from(vec![7; 3 * limits::SYNC_CHUNK_BYTES_MAX + 1]);
        let encoded = Encoded::blob(|chunk| chunk, bytes.clone());
        let chunks: Vec<Chunk> = encoded.messages().collect();
        assert_eq!(chunks.len(), 4);
        for (n, chunk) in chunks.iter().enumerate() {
            let from = n * limits::SYNC_CHUNK_BYTES_MAX;
            assert_eq!(chunk.data.as_ptr(), bytes[from..].as_ptr());
            assert_eq!(chunk.last, n == 3);
        }
    }

    #[test]
    fn an_empty_thing_is_one_empty_chunk() {
        let chunks: Vec<Chunk> = Encoded::blob(|chunk| chunk, Bytes::new()).messages().collect();
        assert_eq!(chunks, [chunk(b"", true)]);
        assert_eq!(Assembler::default().push(1, chunk(b"", true), 9), Ok(Some(Bytes::new())));
    }

    #[test]
    fn things_are_put_together_within_the_limit() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(1, chunk(b"ab", false), 4), Ok(None));
        assert_eq!(assembler.push(1, chunk(b"cd", true), 4), Ok(Some(Bytes::from_static(b"abcd"))));
        assert_eq!(assembler.push(1, chunk(b"ab", false), 4), Ok(None));
        assert_eq!(assembler.push(1, chunk(b"cde", true), 4), Err(ChunkError::TooLarge(4)));
        assert_eq!(assembler.push(1, chunk(b"", false), 4), Err(ChunkError::Empty));
    }

    #[test]
    fn interleaving_is_refused_and_forgotten() {
        let mut assembler = Assembler::default();
        assert_eq!(assembler.push(1, chunk(b"ab", false), 9), Ok(None));
        assert_eq!(assembler.push(2, chunk(b"x", true), 9), Err(ChunkError::Interleaved));
        assert_eq!(assembler.push(1, chunk(b"ab", false), 9), Ok(None));
        assert_eq!(assembler.expect_idle(), Err(ChunkError::Interleaved));
        assert_eq!(assembler.expect_idle(), Ok(()));
    }
}
