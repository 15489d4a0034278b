//! What the hub says to a spoke, as messages and back.

use bytes::Bytes;
use prost::Message as _;
use proto_model::delta::{BodyPart, Delta, ToSpoke, VariantPart};
use proto_model::limits;
use proto_model::name::check_full_bundle;

use crate::chunk::{Assembler, Encoded};
use crate::convert::{WireError, at_most, decode_whole, read_suspensions, required, write_suspensions};
use crate::sync as msg;
use crate::sync::hub_message::Kind;

/// Encodes once what may then go to many spokes: clones share the bytes.
///
/// # Errors
/// It is larger than the receiver takes.
pub fn encode_shared(word: &ToSpoke) -> Result<Encoded<msg::HubMessage>, WireError> {
    let (blob, what) = match word {
        ToSpoke::Welcome { session_token, want_holding, want_reports } => {
            at_most("welcome.session_token", session_token.len(), limits::SESSION_TOKEN_BYTES_MAX)?;
            return Ok(one(Kind::Welcome(msg::Welcome {
                session_token: Bytes::copy_from_slice(session_token),
                want_holding: *want_holding,
                want_reports: *want_reports,
            })));
        }
        ToSpoke::Refused(refusal) => return Ok(one(Kind::Refused((*refusal).into()))),
        ToSpoke::Ask { id, bundle } => return Ok(one(Kind::Ask(msg::Ask { id: *id, bundle: bundle.clone() }))),
        ToSpoke::Delta(delta) => (msg::Delta::from(delta).encode_to_vec().into(), Blob::Delta),
        ToSpoke::Variant(part) => (msg::VariantPart::from(part).encode_to_vec().into(), Blob::Variant),
        ToSpoke::Body(part) => (msg::BodyPart::from(part).encode_to_vec().into(), Blob::Body),
        ToSpoke::Certificate(pem) => (Bytes::copy_from_slice(pem), Blob::Certificate),
        ToSpoke::Suspensions(all) => (write_suspensions(all).encode_to_vec().into(), Blob::Suspensions),
    };
    at_most(what.name(), blob.len(), what.bytes_max())?;
    Ok(Encoded::blob(what.wrap(), blob))
}

/// Encodes one thing into messages of at most `limits::SYNC_MESSAGE_BYTES_MAX`.
///
/// # Errors
/// It is larger than the receiver takes.
pub fn encode(word: &ToSpoke) -> Result<Vec<msg::HubMessage>, WireError> {
    Ok(encode_shared(word)?.messages().collect())
}

/// Asks a spoke to attach to another replica: one of `addresses`, or any other that it knows where
/// there is none.
///
/// # Errors
/// The addresses do not fit into one message.
pub fn encode_move(addresses: Vec<String>) -> Result<msg::HubMessage, WireError> {
    let message = msg::HubMessage { kind: Some(Kind::Move(msg::Move { addresses })) };
    at_most("move.addresses", message.encoded_len(), limits::SYNC_MESSAGE_BYTES_MAX)?;
    Ok(message)
}

/// What a spoke hears from its hub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHub {
    /// A word for the state machine.
    Word(ToSpoke),
    /// Attach to another replica: one of these addresses, or any other.
    Move(Vec<String>),
}

/// The spoke's side: puts messages together. One for each stream.
#[derive(Debug, Default)]
pub struct Reader {
    assembler: Assembler<Blob>,
}

impl Reader {
    /// Takes the next message; gives what is complete with it.
    ///
    /// # Errors
    /// The message is not understood; the stream is of no more use.
    pub fn accept(&mut self, message: msg::HubMessage) -> Result<Option<FromHub>, WireError> {
        let kind = message.kind.ok_or(WireError::UnknownField("hub message"))?;
        let (blob, chunk) = match kind {
            // These end a stream, so they may cut off what is under way.
            Kind::Refused(refused) => return word(ToSpoke::Refused(refused.try_into()?)),
            Kind::Move(to) => return Ok(Some(FromHub::Move(to.addresses))),
            Kind::Ask(ask) => {
                self.assembler.expect_idle()?;
                check_full_bundle(&ask.bundle)?;
                return word(ToSpoke::Ask { id: ask.id, bundle: ask.bundle });
            }
            Kind::Welcome(welcome) => {
                self.assembler.expect_idle()?;
                return word(read_welcome(welcome)?);
            }
            Kind::Delta(chunk) => (Blob::Delta, chunk),
            Kind::Variant(chunk) => (Blob::Variant, chunk),
            Kind::Body(chunk) => (Blob::Body, chunk),
            Kind::Certificate(chunk) => (Blob::Certificate, chunk),
            Kind::Suspensions(chunk) => (Blob::Suspensions, chunk),
        };
        let whole = self.assembler.push(blob, chunk, blob.bytes_max())?;
        whole.map(|bytes| read_blob(blob, bytes).map(FromHub::Word)).transpose()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blob {
    Delta,
    Variant,
    Body,
    Certificate,
    Suspensions,
}

impl Blob {
    fn name(self) -> &'static str {
        match self {
            Self::Delta => "delta",
            Self::Variant => "variant",
            Self::Body => "body",
            Self::Certificate => "certificate",
            Self::Suspensions => "suspensions",
        }
    }

    fn wrap(self) -> fn(msg::Chunk) -> msg::HubMessage {
        match self {
            Self::Delta => |chunk| msg::HubMessage { kind: Some(Kind::Delta(chunk)) },
            Self::Variant => |chunk| msg::HubMessage { kind: Some(Kind::Variant(chunk)) },
            Self::Body => |chunk| msg::HubMessage { kind: Some(Kind::Body(chunk)) },
            Self::Certificate => |chunk| msg::HubMessage { kind: Some(Kind::Certificate(chunk)) },
            Self::Suspensions => |chunk| msg::HubMessage { kind: Some(Kind::Suspensions(chunk)) },
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Certificate => limits::SYNC_CERTIFICATE_BYTES_MAX,
            Self::Suspensions => limits::SYNC_SUSPENSIONS_BYTES_MAX,
            _ => limits::SYNC_BLOB_BYTES_MAX,
        }
    }
}

fn one(kind: Kind) -> Encoded<msg::HubMessage> {
    Encoded::one(msg::HubMessage { kind: Some(kind) })
}

#[allow(clippy::unnecessary_wraps, reason = "the shape that its callers return")]
fn word(word: ToSpoke) -> Result<Option<FromHub>, WireError> {
    Ok(Some(FromHub::Word(word)))
}

fn read_welcome(welcome: msg::Welcome) -> Result<ToSpoke, WireError> {
    let token = welcome.session_token;
    let token = required("welcome.session_token", Some(token).filter(|token| !token.is_empty()))?;
    at_most("welcome.session_token", token.len(), limits::SESSION_TOKEN_BYTES_MAX)?;
    Ok(ToSpoke::Welcome {
        session_token: token.into(),
        want_holding: welcome.want_holding,
        want_reports: welcome.want_reports,
    })
}

fn read_blob(blob: Blob, bytes: Bytes) -> Result<ToSpoke, WireError> {
    let name = blob.name();
    Ok(match blob {
        Blob::Delta => ToSpoke::Delta(Delta::try_from(decode_whole::<msg::Delta>(name, bytes)?)?),
        Blob::Variant => ToSpoke::Variant(VariantPart::try_from(decode_whole::<msg::VariantPart>(name, bytes)?)?),
        Blob::Body => ToSpoke::Body(BodyPart::try_from(decode_whole::<msg::BodyPart>(name, bytes)?)?),
        Blob::Certificate if bytes.is_empty() => return Err(WireError::Missing(name)),
        Blob::Certificate => ToSpoke::Certificate(bytes.into()),
        Blob::Suspensions => ToSpoke::Suspensions(read_suspensions(decode_whole::<msg::Suspensions>(name, bytes)?)?),
    })
}
