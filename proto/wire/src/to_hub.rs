//! What a spoke says to its hub, as messages and back.

use bytes::Bytes;
use prost::Message as _;
use proto_model::ask::Answer;
use proto_model::delta::ToHub;
use proto_model::{Digest, Report, limits, report};

use crate::chunk::{Assembler, Encoded};
use crate::convert::{WireError, at_most, decode_whole, digest, digest_bytes, read_holding, write_holding};
use crate::sync as msg;
use crate::sync::spoke_message::Kind;

/// Encodes one thing; its messages are made when they are asked for.
///
/// # Errors
/// It is larger than the hub takes.
pub fn encode_shared(word: &ToHub) -> Result<Encoded<msg::SpokeMessage>, WireError> {
    let (blob, bytes): (Blob, Bytes) = match word {
        ToHub::Hello(hello) => return one("hello", Kind::Hello(hello.into())),
        ToHub::Ack { generation, root } => {
            let ack = msg::Ack { generation: *generation, root: digest_bytes(root) };
            return one("ack", Kind::Ack(ack));
        }
        ToHub::Nack { generation, message } => {
            let nack = msg::Nack { generation: *generation, message: report::cut(message) };
            return one("nack", Kind::Nack(nack));
        }
        ToHub::Holding(holding) => (Blob::Holding, write_holding(holding).encode_to_vec().into()),
        ToHub::Need { variants, bodies } => {
            let need = msg::Need {
                variants: variants.iter().map(digest_bytes).collect(),
                bodies: bodies.iter().map(digest_bytes).collect(),
            };
            (Blob::Need, need.encode_to_vec().into())
        }
        ToHub::Report(report) => (Blob::Report, msg::Report::from(report).encode_to_vec().into()),
        ToHub::Renew(csr) => (Blob::Renew, Bytes::copy_from_slice(csr)),
        ToHub::Answer(answer) => (Blob::Answer, msg::Answer::from(answer).encode_to_vec().into()),
    };
    at_most(blob.name(), bytes.len(), blob.bytes_max())?;
    Ok(Encoded::blob(blob.wrap(), bytes))
}

/// Encodes one thing into messages of at most `limits::SYNC_MESSAGE_BYTES_MAX`.
///
/// # Errors
/// It is larger than the hub takes.
pub fn encode(word: &ToHub) -> Result<Vec<msg::SpokeMessage>, WireError> {
    Ok(encode_shared(word)?.messages().collect())
}

/// The hub's side: puts messages together. One for each stream.
#[derive(Debug, Default)]
pub struct Reader {
    assembler: Assembler<Blob>,
}

impl Reader {
    /// Takes the next message; gives what is complete with it.
    ///
    /// # Errors
    /// The message is not understood; the stream is of no more use.
    pub fn accept(&mut self, message: msg::SpokeMessage) -> Result<Option<ToHub>, WireError> {
        let kind = message.kind.ok_or(WireError::UnknownField("spoke message"))?;
        let (blob, chunk) = match kind {
            Kind::Holding(chunk) => (Blob::Holding, chunk),
            Kind::Need(chunk) => (Blob::Need, chunk),
            Kind::Report(chunk) => (Blob::Report, chunk),
            Kind::Renew(chunk) => (Blob::Renew, chunk),
            Kind::Answer(chunk) => (Blob::Answer, chunk),
            single => {
                self.assembler.expect_idle()?;
                return read_single(single).map(Some);
            }
        };
        let whole = self.assembler.push(blob, chunk, blob.bytes_max())?;
        whole.map(|bytes| read_blob(blob, bytes)).transpose()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blob {
    Holding,
    Need,
    Report,
    Renew,
    Answer,
}

impl Blob {
    fn name(self) -> &'static str {
        match self {
            Self::Holding => "holding",
            Self::Need => "need",
            Self::Report => "report",
            Self::Renew => "renew",
            Self::Answer => "answer",
        }
    }

    fn wrap(self) -> fn(msg::Chunk) -> msg::SpokeMessage {
        match self {
            Self::Holding => |chunk| msg::SpokeMessage { kind: Some(Kind::Holding(chunk)) },
            Self::Need => |chunk| msg::SpokeMessage { kind: Some(Kind::Need(chunk)) },
            Self::Report => |chunk| msg::SpokeMessage { kind: Some(Kind::Report(chunk)) },
            Self::Renew => |chunk| msg::SpokeMessage { kind: Some(Kind::Renew(chunk)) },
            Self::Answer => |chunk| msg::SpokeMessage { kind: Some(Kind::Answer(chunk)) },
        }
    }

    // What one spoke may make the hub hold is far less than what the hub may send.
    fn bytes_max(self) -> usize {
        match self {
            Self::Holding => limits::SYNC_HOLDING_BYTES_MAX,
            Self::Need => limits::SYNC_NEED_BYTES_MAX,
            Self::Report => limits::SYNC_REPORT_BYTES_MAX,
            Self::Renew => limits::SYNC_CERTIFICATE_BYTES_MAX,
            Self::Answer => limits::SYNC_ANSWER_BYTES_MAX,
        }
    }
}

fn one(field: &'static str, kind: Kind) -> Result<Encoded<msg::SpokeMessage>, WireError> {
    let message = msg::SpokeMessage { kind: Some(kind) };
    at_most(field, message.encoded_len(), limits::SYNC_MESSAGE_BYTES_MAX)?;
    Ok(Encoded::one(message))
}

fn read_single(kind: Kind) -> Result<ToHub, WireError> {
    Ok(match kind {
        Kind::Hello(hello) => ToHub::Hello(hello.try_into()?),
        Kind::Ack(ack) => ToHub::Ack { generation: ack.generation, root: digest("ack.root", &ack.root)? },
        Kind::Nack(nack) => {
            at_most("nack.message", nack.message.len(), limits::PROBLEM_BYTES_MAX)?;
            ToHub::Nack { generation: nack.generation, message: nack.message }
        }
        Kind::Holding(_) | Kind::Need(_) | Kind::Report(_) | Kind::Renew(_) | Kind::Answer(_) => {
            return Err(WireError::UnknownField("spoke message"));
        }
    })
}

fn read_blob(blob: Blob, bytes: Bytes) -> Result<ToHub, WireError> {
    let name = blob.name();
    Ok(match blob {
        Blob::Holding => ToHub::Holding(read_holding(decode_whole(name, bytes)?)?),
        Blob::Need => {
            let need: msg::Need = decode_whole(name, bytes)?;
            ToHub::Need {
                variants: read_digests("need.variants", &need.variants)?,
                bodies: read_digests("need.bodies", &need.bodies)?,
            }
        }
        Blob::Report => ToHub::Report(Report::try_from(decode_whole::<msg::Report>(name, bytes)?)?),
        Blob::Answer => ToHub::Answer(Answer::try_from(decode_whole::<msg::Answer>(name, bytes)?)?),
        Blob::Renew if bytes.is_empty() => return Err(WireError::Missing(name)),
        Blob::Renew => ToHub::Renew(bytes.into()),
    })
}

fn read_digests(field: &'static str, list: &[Bytes]) -> Result<Vec<Digest>, WireError> {
    list.iter().map(|bytes| digest(field, bytes)).collect()
}
