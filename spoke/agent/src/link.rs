//! The way to the hub: join, connect, keep a stream, and when it ends begin again.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto_model::delta::{Refusal, ToSpoke};
use proto_model::token::JoinToken;
use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use tonic::Code;
use tracing::{debug, info, warn};

use crate::channel::{self, chain, is_expired};
use crate::enrol::{self, EnrolError};
use crate::enrolment::{Identity, Validity};
use crate::outbox::Outbox;
use crate::pace::{Addresses, Backoff};
use crate::session::{End, Stream};
use crate::tls;

/// What the link tells the loop.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// A connection stands; what is put into the outbox is sent on it.
    Up(Arc<Outbox>),
    /// The hub said something.
    Word(ToSpoke),
    /// The stream is gone.
    Down,
    /// Why no stream stands.
    Trouble(String),
}

/// Why no stream came to stand.
#[derive(Debug)]
pub(crate) struct Failed {
    why: String,
    /// Trying again soon cannot help.
    is_final: bool,
    /// Our certificate has ended, by the hub's clock.
    is_expired: bool,
}

impl Failed {
    pub(crate) fn plain(why: impl Into<String>) -> Self {
        Self { why: why.into(), is_final: false, is_expired: false }
    }

    pub(crate) fn of(error: &(dyn StdError + 'static), why: String) -> Self {
        Self { why, is_final: false, is_expired: is_expired(error) }
    }
}

impl From<EnrolError> for Failed {
    fn from(error: EnrolError) -> Self {
        let is_final = match &error {
            EnrolError::Refused(status) => !matches!(
                status.code(),
                Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Unknown
            ),
            EnrolError::Connect { .. } => false,
            _ => true,
        };
        Self { why: error.to_string(), is_final, is_expired: false }
    }
}

/// The task that keeps the way to the hub.
pub(crate) struct Link {
    identity: Identity,
    token: Option<JoinToken>,
    events: mpsc::Sender<LinkEvent>,
    /// Whether the machine is ready to say Hello.
    ready: watch::Receiver<bool>,
    addresses: Addresses,
    backoff: Backoff,
    /// The hub takes the certificate for ended, whatever our clock says.
    must_renew: bool,
    /// The hub refuses what we are; the token, a newer one, may help.
    must_join: bool,
    /// The renewed certificate did not work last time: try the one before.
    doubts_next: bool,
    /// The present configuration, with the chain it presents: kept, since it holds TLS tickets.
    tls: Option<(String, Arc<ClientConfig>)>,
}

impl Link {
    pub(crate) fn new(
        identity: Identity,
        token: Option<JoinToken>,
        events: mpsc::Sender<LinkEvent>,
        ready: watch::Receiver<bool>,
    ) -> Self {
        let known = identity.enrolment().map(|held| held.addresses.clone());
        let known = known.or_else(|| token.as_ref().map(|token| token.addresses.clone()));
        Self {
            addresses: Addresses::new(&known.unwrap_or_default(), rand::random()),
            identity,
            token,
            events,
            ready,
            backoff: Backoff::default(),
            must_renew: false,
            must_join: false,
            doubts_next: false,
            tls: None,
        }
    }

    /// Goes on until the loop is gone.
    pub(crate) async fn run(mut self) {
        while !self.events.is_closed() {
            let address = self.addresses.next();
            let (wait, why) = match self.attempt(&address).await {
                Ok(end) => {
                    let why = end.why();
                    (self.after(end, &address), why)
                }
                Err(failed) => (self.after_failure(&failed, &address), failed.why),
            };
            // A loop that is gone needs no telling.
            let _ = self.events.send(LinkEvent::Trouble(format!("{address}: {why}"))).await;
            debug!(millis = wait.as_millis(), "waiting before the next try to reach the hub");
            tokio::time::sleep(wait).await;
        }
    }

    async fn attempt(&mut self, address: &str) -> Result<End, Failed> {
        self.be_enrolled(address).await?;
        if self.ready.wait_for(|ready| *ready).await.is_err() {
            return Err(Failed::plain("this spoke ends"));
        }
        let (tls, validity) = self.tls()?;
        let channel = channel::connect(address, tls).await.map_err(|error| Failed::of(&error, chain(&error)))?;
        let outbox = Arc::new(Outbox::default());
        if self.events.send(LinkEvent::Up(Arc::clone(&outbox))).await.is_err() {
            return Err(Failed::plain("this spoke ends"));
        }
        let (identity, events) = (&mut self.identity, &self.events);
        let stream = Stream { identity, outbox: &outbox, events, validity, address };
        let end = Box::pin(stream.keep(channel)).await;
        outbox.close("the stream is gone");
        // A loop that is gone needs no telling.
        let _ = self.events.send(LinkEvent::Down).await;
        end
    }

    // Joins where it never has, or must again; renews a certificate that has ended.
    async fn be_enrolled(&mut self, address: &str) -> Result<(), Failed> {
        let wants_to_join = self.identity.enrolment().is_none() || self.must_join;
        if let Some(token) = self.token.as_ref().filter(|_| wants_to_join) {
            self.must_join = false;
            enrol::join(&mut self.identity, token, address).await?;
            self.tls = None;
            info!(address, "joined the hub");
            return Ok(());
        }
        let held = self.identity.enrolment();
        let newest = held.map(|held| held.next.as_ref().unwrap_or(&held.certificates));
        let ended =
            newest.and_then(|chain| Validity::of(chain)).is_none_or(|validity| validity.has_ended(SystemTime::now()));
        if ended || self.must_renew {
            self.must_renew = false;
            if let Err(error) = enrol::renew(&mut self.identity, address).await {
                self.must_join = self.has_another_token();
                return Err(error.into());
            }
            self.tls = None;
            info!("the certificate had ended and was renewed");
        }
        Ok(())
    }

    fn has_another_token(&self) -> bool {
        let joined_by = self.identity.enrolment().map(|held| held.token_id.as_str());
        self.token.as_ref().is_some_and(|token| Some(token.id.as_str()) != joined_by)
    }

    fn tls(&mut self) -> Result<(Arc<ClientConfig>, Validity), Failed> {
        let Some(held) = self.identity.enrolment() else {
            return Err(Failed::plain("not joined yet"));
        };
        let next = held.next.as_ref().filter(|_| !self.doubts_next);
        let chain = next.unwrap_or(&held.certificates);
        let validity = Validity::of(chain).ok_or_else(|| Failed::plain("the certificate does not read"))?;
        if let Some((_, tls)) = self.tls.as_ref().filter(|(present, _)| present == chain) {
            return Ok((Arc::clone(tls), validity));
        }
        let own = Some((chain.as_str(), self.identity.key_der()));
        let tls = tls::enrolled(&held.roots, own)
            .map_err(|error| Failed::plain(format!("the stored certificates: {error}")))?;
        self.tls = Some((chain.clone(), Arc::clone(&tls)));
        Ok((tls, validity))
    }

    // How long to wait after a stream that stood.
    fn after(&mut self, end: End, address: &str) -> Duration {
        self.doubts_next = false;
        self.backoff.reset();
        match end {
            End::Over(why) => {
                info!(address, why, "the stream to the hub ended");
                self.addresses.stay(address);
                self.backoff.next(rand::random())
            }
            End::Renewed => {
                self.addresses.stay(address);
                Duration::ZERO
            }
            End::Move(addresses) => {
                info!(address, "the hub asks this spoke to attach to another replica");
                self.addresses.prefer(addresses, address);
                self.backoff.next(rand::random())
            }
            End::Refused(Refusal::Retry) => {
                debug!(address, "the hub is busy");
                self.backoff.next(0.5);
                self.backoff.next(0.5);
                self.backoff.next(rand::random())
            }
            End::Refused(refusal) => {
                warn!(address, "the hub ends the session: {}", refusal.message());
                self.must_join = self.has_another_token() && matches!(refusal, Refusal::Revoked | Refusal::Removed);
                if self.must_join {
                    // It joins at most once with each token, so soon is not often.
                    info!("joining again, with the token that was given");
                    return self.backoff.next(rand::random());
                }
                self.backoff.slow(rand::random())
            }
        }
    }

    fn after_failure(&mut self, failed: &Failed, address: &str) -> Duration {
        // Repetitions say nothing new.
        if self.backoff.is_first() || failed.is_final {
            warn!(address, "no stream to the hub: {}", failed.why);
        } else {
            debug!(address, "no stream to the hub: {}", failed.why);
        }
        self.must_renew |= failed.is_expired;
        self.doubts_next = !self.doubts_next && self.identity.enrolment().is_some_and(|held| held.next.is_some());
        if failed.is_final { self.backoff.slow(rand::random()) } else { self.backoff.next(rand::random()) }
    }
}
