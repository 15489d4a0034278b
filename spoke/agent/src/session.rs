//! One stream to the hub, from Hello to its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto_model::delta::{Refusal, ToHub, ToSpoke};
use proto_model::limits;
use proto_wire::WireError;
use proto_wire::sync::sync_client::SyncClient;
use proto_wire::to_spoke::{FromHub, Reader};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tonic::codec::Streaming;
use tonic::transport::Channel;
use tracing::info;

use crate::channel::chain;
use crate::enrolment::{Identity, Validity};
use crate::link::{Failed, LinkEvent};
use crate::outbox::{Outbox, Outgoing};

/// How a stream ended that stood for a while.
#[derive(Debug)]
pub(crate) enum End {
    /// It was lost, or the hub or the machine ended it.
    Over(String),
    /// The hub refuses this spoke.
    Refused(Refusal),
    /// The hub asks to go to one of these addresses, or any other.
    Move(Vec<String>),
    /// There is a new certificate to stand on.
    Renewed,
}

impl End {
    /// In words, for people.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Over(why) => why.clone(),
            Self::Refused(refusal) => format!("the hub ends the session: {}", refusal.message()),
            Self::Move(_) => "the hub asked to attach to another replica".into(),
            Self::Renewed => "the certificate was renewed".into(),
        }
    }
}

/// When to ask for a new certificate. Pure.
#[derive(Debug)]
struct Renewal {
    at: SystemTime,
}

impl Renewal {
    /// Whether to ask now. Until it is answered, it is asked for again from time to time.
    fn asks(&mut self, now: SystemTime) -> bool {
        let asks = now >= self.at;
        if asks {
            self.at = now + Duration::from_secs(limits::RENEWAL_RETRY_SECS);
        }
        asks
    }
}

/// A stream that is being kept.
pub(crate) struct Stream<'a> {
    pub(crate) identity: &'a mut Identity,
    pub(crate) outbox: &'a Arc<Outbox>,
    pub(crate) events: &'a mpsc::Sender<LinkEvent>,
    /// The certificate that the connection stands on.
    pub(crate) validity: Validity,
    pub(crate) address: &'a str,
}

impl Stream<'_> {
    /// Keeps it until it ends. `Ok` once the hub has said welcome, `Err` where it never did.
    pub(crate) async fn keep(mut self, channel: Channel) -> Result<End, Failed> {
        let patience = Instant::now() + Duration::from_secs(limits::WELCOME_SECS_MAX);
        let mut messages = tokio::select! {
            opened = open(channel, self.outbox) => opened?,
            why = self.outbox.closed() => return Err(Failed::plain(why)),
            () = sleep_until(patience) => return Err(silent()),
        };
        let mut reader = Reader::default();
        let mut renewal = Renewal { at: self.validity.renew_at(rand::random()) };
        let mut is_welcome = false;
        let mut tick = Instant::now();
        loop {
            let message = tokio::select! {
                why = self.outbox.closed() => return over(is_welcome, why),
                () = sleep_until(patience), if !is_welcome => return Err(silent()),
                // Short sleeps: a timer over days would miss a machine that slept.
                () = sleep_until(tick), if is_welcome => {
                    tick = Instant::now() + Duration::from_secs(60);
                    self.renew(&mut renewal);
                    continue;
                }
                message = messages.message() => message,
            };
            let heard = match message {
                Ok(Some(message)) => reader.accept(message),
                Ok(None) => return over(is_welcome, "the hub ended the stream".into()),
                Err(status) if is_welcome => return Ok(End::Over(why(&status))),
                Err(status) => return Err(Failed::of(&status, why(&status))),
            };
            match heard.map_err(|error| unreadable(&error))? {
                None => {}
                Some(FromHub::Move(addresses)) => return Ok(End::Move(addresses)),
                Some(FromHub::Word(word)) => {
                    if let Some(end) = self.hear(word, &mut is_welcome).await? {
                        return Ok(end);
                    }
                }
            }
        }
    }

    async fn hear(&mut self, word: ToSpoke, is_welcome: &mut bool) -> Result<Option<End>, Failed> {
        let refusal = match &word {
            ToSpoke::Certificate(pem) => return self.take(pem).map(Some),
            ToSpoke::Welcome { .. } => {
                *is_welcome = true;
                info!(address = self.address, "attached to the hub");
                // This stream stands on the newest certificate, or it was the only one.
                if self.stands_on_next() {
                    self.identity.promote().map_err(|error| Failed::plain(error.to_string()))?;
                }
                None
            }
            ToSpoke::Refused(refusal) => Some(End::Refused(*refusal)),
            _ => None,
        };
        if self.events.send(LinkEvent::Word(word)).await.is_err() {
            return Ok(Some(End::Over("this spoke ends".into())));
        }
        Ok(refusal)
    }

    fn stands_on_next(&self) -> bool {
        let next = self.identity.enrolment().and_then(|held| held.next.as_deref());
        next.and_then(Validity::of) == Some(self.validity)
    }

    fn renew(&self, renewal: &mut Renewal) {
        if renewal.asks(SystemTime::now()) {
            match self.identity.request() {
                Ok(request) => self.outbox.push(ToHub::Renew(request.into())),
                Err(error) => {
                    tracing::error!(%error, "no certificate signing request could be made")
                }
            }
        }
    }

    fn take(&mut self, pem: &[u8]) -> Result<End, Failed> {
        let chain = String::from_utf8(pem.to_vec()).unwrap_or_default();
        let validity = Validity::of(&chain).filter(|one| !one.has_ended(SystemTime::now()));
        if validity.is_none() || !self.identity.owns(&chain) {
            return Err(Failed::plain("the hub sent a certificate that is of no use here"));
        }
        self.identity.keep_next(chain).map_err(|error| Failed::plain(error.to_string()))?;
        info!("the certificate was renewed");
        Ok(End::Renewed)
    }
}

async fn open(channel: Channel, outbox: &Arc<Outbox>) -> Result<Streaming<proto_wire::sync::HubMessage>, Failed> {
    let mut client = SyncClient::new(channel).max_decoding_message_size(limits::SYNC_MESSAGE_BYTES_MAX);
    let opened = client.connect(Outgoing(Arc::clone(outbox))).await;
    opened.map(tonic::Response::into_inner).map_err(|status| Failed::of(&status, why(&status)))
}

fn over(is_welcome: bool, why: String) -> Result<End, Failed> {
    if is_welcome { Ok(End::Over(why)) } else { Err(Failed::plain(why)) }
}

fn silent() -> Failed {
    Failed::plain("the hub does not answer")
}

fn unreadable(error: &WireError) -> Failed {
    Failed::plain(format!("what the hub says is not understood: {error}"))
}

fn why(status: &Status) -> String {
    let cause = std::error::Error::source(status).map(chain);
    match cause {
        Some(cause) if status.message().is_empty() => cause,
        Some(cause) if !status.message().contains(&cause) => {
            format!("{}: {cause}", status.message())
        }
        _ => format!("{} ({:?})", status.message(), status.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renewal_is_asked_for_again_but_not_at_once() {
        let second = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        let mut renewal = Renewal { at: second(1000) };
        assert!(!renewal.asks(second(999)));
        assert!(renewal.asks(second(1001)));
        assert!(!renewal.asks(second(1000 + limits::RENEWAL_RETRY_SECS)));
        assert!(renewal.asks(second(1001 + limits::RENEWAL_RETRY_SECS)));
    }
}
