//! One spoke's stream.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hub_core::command::Command;
use hub_core::fleet::{Cluster, Fleet};
use hub_core::session::{Item, News, Session, Target, told};
use prost::Message as _;
use proto_model::delta::{Hello, Refusal, ToHub, ToSpoke};
use proto_model::{Fence, limits};
use proto_wire::sync::{HubMessage, SpokeMessage};
use proto_wire::{Encoded, Messages, to_hub, to_spoke};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tonic::{Status, Streaming};
use tracing::{debug, error, info, warn};

use super::admit::{self, Denied};
use crate::hub::Hub;
use crate::identity::authority::Request;
use crate::identity::{Name, Peer};
use crate::node;

type Out = mpsc::Sender<Result<HubMessage, Status>>;

/// How a stream ends.
#[derive(Debug)]
enum End {
    /// The spoke went away, or the transport did.
    Gone,
    /// The spoke is told why.
    Refused(Refusal),
    /// The spoke does not speak the protocol.
    Broken(String),
    /// This hub stops; the spoke goes elsewhere, or comes again.
    Drained,
}

/// The message of a refusal.
pub(super) fn refused(reason: Refusal) -> HubMessage {
    let encoded = to_spoke::encode(&ToSpoke::Refused(reason)).unwrap_or_default();
    encoded.into_iter().next().unwrap_or_default()
}

/// Serves one stream to its end.
pub(super) async fn serve(hub: Arc<Hub>, cluster: String, peer: Arc<Peer>, inbound: Streaming<SpokeMessage>, out: Out) {
    let mut inbound = Inbound { messages: inbound, reader: to_hub::Reader::default() };
    let end = match Live::attach(&hub, &cluster, &peer, &mut inbound).await {
        Ok(mut live) => {
            info!(cluster, session = live.number, "spoke attached");
            hub.metrics.streams.inc();
            let end = live.run(&mut inbound, &out).await;
            hub.metrics.streams.dec();
            live.stream.asks.close();
            hub.node.detach(&cluster, &live.stream);
            if !hub.state().fleet().clusters.contains_key(&cluster) {
                hub.node.forget(&cluster);
            }
            end
        }
        Err(end) => {
            hub.metrics.streams_refused.inc();
            end
        }
    };
    let last = match end {
        End::Gone => {
            debug!(cluster, "spoke went away");
            return;
        }
        End::Refused(reason) => {
            info!(cluster, reason = reason.message(), "stream ended");
            Ok(refused(reason))
        }
        End::Broken(reason) => {
            warn!(cluster, reason, "stream broken");
            Err(Status::invalid_argument(reason))
        }
        End::Drained => {
            debug!(cluster, "spoke sent elsewhere: this hub stops");
            Ok(to_spoke::encode_move(Vec::new()).unwrap_or_default())
        }
    };
    // A peer that does not read must not keep the task.
    let _ = timeout(Duration::from_secs(limits::HELLO_SECS_MAX), out.send(last)).await;
}

/// The messages of a spoke, put together.
struct Inbound {
    messages: Streaming<SpokeMessage>,
    reader: to_hub::Reader,
}

impl Inbound {
    /// The next complete word. Cancelling it loses nothing.
    async fn next(&mut self) -> Result<ToHub, End> {
        loop {
            let message = match self.messages.message().await {
                Ok(Some(message)) => message,
                Ok(None) | Err(_) => return Err(End::Gone),
            };
            match self.reader.accept(message) {
                Ok(Some(word)) => return Ok(word),
                Ok(None) => {}
                Err(error) => return Err(End::Broken(error.to_string())),
            }
        }
    }

    async fn hello(&mut self) -> Result<Hello, End> {
        match timeout(Duration::from_secs(limits::HELLO_SECS_MAX), self.next()).await {
            Ok(Ok(ToHub::Hello(hello))) => Ok(hello),
            Ok(Ok(_)) => Err(End::Broken("the first message must be a Hello".into())),
            Ok(Err(end)) => Err(end),
            Err(_) => Err(End::Broken("no Hello came in time".into())),
        }
    }
}

/// What is on its way to the transport.
struct Going {
    messages: std::iter::Peekable<Messages<HubMessage>>,
    /// Whether its bytes count as sent content.
    counts: bool,
}

/// A stream that stands.
struct Live<'a> {
    hub: &'a Hub,
    cluster: &'a str,
    peer: &'a Peer,
    /// The session's counter.
    number: u64,
    incarnation: u64,
    stream: Arc<node::Stream>,
    session: Session,
    fence: Fence,
    going: Option<Going>,
    /// A renewed certificate to send next, PEM.
    certificate: Option<Vec<u8>>,
    /// Whether the log knows that its cluster has left.
    has_parted: bool,
}

impl<'a> Live<'a> {
    /// From the Hello to a session that stands in the log.
    async fn attach(hub: &'a Hub, cluster: &'a str, peer: &'a Peer, inbound: &mut Inbound) -> Result<Self, End> {
        let hello = inbound.hello().await?;
        let (session, presented) = admitted(hub, cluster, peer, &hello).await?;
        let uid = hello.cluster_uid.clone();
        let command = Command::Attach { cluster: cluster.to_owned(), session, presented, uid };
        hub.leader.command(command).await.map_err(|refused| {
            debug!(cluster, %refused, "attach refused");
            End::Refused(Refusal::Retry)
        })?;
        let stream = hub.node.attach(cluster, session, &hello).ok_or(End::Refused(Refusal::Displaced))?;
        let opened = Self::open(hub, cluster, peer, &hello, session, Arc::clone(&stream));
        if opened.is_err() {
            hub.node.detach(cluster, &stream);
        }
        opened
    }

    fn open(
        hub: &'a Hub,
        cluster: &'a str,
        peer: &'a Peer,
        hello: &Hello,
        number: u64,
        stream: Arc<node::Stream>,
    ) -> Result<Self, End> {
        let state = hub.state();
        let known = admit::standing(state.fleet(), cluster, peer).map_err(End::Refused)?;
        let target = target(hub, state.fleet(), known).ok_or(End::Refused(Refusal::Retry))?;
        let (fence, incarnation) = (target.fence.clone(), known.incarnation);
        let mut session = Session::open(hello, target, hub.node.level(cluster)).map_err(End::Refused)?;
        session.suspend(&state.fleet().suspensions_of(cluster));
        if session.is_current() {
            // Nothing is sent to it, so nothing will be acked.
            let held = fence.generation;
            hub.node.update(cluster, |connection| connection.acked_generation = held);
        }
        let (going, certificate, has_parted) = (None, None, false);
        Ok(Self { hub, cluster, peer, number, incarnation, stream, session, fence, going, certificate, has_parted })
    }

    async fn run(&mut self, inbound: &mut Inbound, out: &Out) -> End {
        let mut stop = self.hub.stop.clone();
        let left = self.peer.not_after.duration_since(SystemTime::now()).unwrap_or_default();
        let mut expired = std::pin::pin!(tokio::time::sleep(left));
        let again = Duration::from_secs(limits::NACK_RETRY_SECS);
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + again, again);
        loop {
            if let Err(end) = self.prepare() {
                return end;
            }
            self.part().await;
            let stream = Arc::clone(&self.stream);
            let step = tokio::select! {
                () = stream.displaced.notified() => Err(End::Refused(Refusal::Displaced)),
                () = stopping(&mut stop) => Err(End::Drained),
                () = expired.as_mut() => Err(End::Refused(Refusal::Retry)),
                _ = again.tick() => {
                    self.session.try_again();
                    self.look_again()
                }
                () = stream.changed.notified() => self.look_again(),
                room = out.reserve(), if self.going.is_some() => match room {
                    Ok(room) => {
                        self.send(room);
                        Ok(())
                    }
                    Err(_) => Err(End::Gone),
                },
                word = inbound.next() => match word {
                    Ok(word) => self.receive(word).await,
                    Err(end) => Err(end),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Encodes the next thing to send, where there is one and nothing is on its way.
    fn prepare(&mut self) -> Result<(), End> {
        if self.going.is_some() {
            return Ok(());
        }
        if let Some(pem) = self.certificate.take() {
            self.going = Some(going(&encoded(&ToSpoke::Certificate(pem))?, false));
            return Ok(());
        }
        let Some(item) = self.session.next(&*self.hub.bodies) else {
            if let Some((id, bundle)) = self.stream.asks.next(Instant::now()) {
                self.going = Some(going(&encoded(&ToSpoke::Ask { id, bundle })?, false));
            }
            return Ok(());
        };
        let bodies = &self.hub.bodies;
        self.going = Some(match item {
            Item::Welcome { want_holding, want_reports } => {
                if want_reports {
                    self.hub.node.forget_reports(self.cluster);
                }
                let mac = &self.hub.identity.mac;
                let session_token = mac.session(self.cluster, self.incarnation, self.number);
                let welcome = ToSpoke::Welcome { session_token, want_holding, want_reports };
                going(&encoded(&welcome)?, false)
            }
            Item::Delta(mut delta) => {
                delta.fence_mac = self.hub.identity.mac.fence(self.cluster, &delta.fence);
                going(&encoded(&ToSpoke::Delta(delta))?, true)
            }
            Item::Variant { digest, base } => going(&found(bodies.variant_part(digest, base), &digest)?, true),
            Item::Body { digest, base } => going(&found(bodies.body_part(digest, base), &digest)?, true),
            Item::Suspensions(all) => going(&encoded(&ToSpoke::Suspensions(told(&all, node::unix_millis())))?, false),
            Item::Refused(reason) => return Err(End::Refused(reason)),
        });
        Ok(())
    }

    /// Says that a cluster which leaves has let go of everything, once its spoke has stored that it holds nothing.
    async fn part(&mut self) {
        if self.has_parted {
            return;
        }
        let state = self.hub.state();
        let fleet = state.fleet();
        let known = fleet.clusters.get(self.cluster).filter(|known| known.leaving.is_some());
        let has_left =
            known.is_some_and(|known| self.session.holds(&fleet.fence(known)) && fleet.bundles_in(known).is_empty());
        if !has_left {
            return;
        }
        let command = Command::Left { cluster: self.cluster.to_owned() };
        // The next change ends the stream. Where this is refused, something came between, which is a change, too.
        self.has_parted = self.hub.leader.command(command).await.is_ok();
    }

    fn send(&mut self, room: mpsc::Permit<'_, Result<HubMessage, Status>>) {
        let Some(going) = &mut self.going else { return };
        if let Some(message) = going.messages.next() {
            if going.counts {
                let bytes = message.encoded_len() as u64;
                self.hub.node.sent(self.cluster, bytes);
                self.hub.metrics.delta_bytes.inc_by(bytes);
            }
            room.send(Ok(message));
        }
        if going.messages.peek().is_none() {
            self.going = None;
        }
    }

    async fn receive(&mut self, word: ToHub) -> Result<(), End> {
        self.hub.node.heard(self.cluster, self.incarnation, self.number);
        match self.session.receive(word) {
            None => {}
            Some(News::Acked(generation)) => {
                self.hub.metrics.acks.inc();
                self.hub.node.update(self.cluster, |connection| {
                    connection.acked_generation = generation;
                    connection.nack = None;
                });
                return self.look_again();
            }
            Some(News::Nacked(generation, message)) => {
                warn!(cluster = self.cluster, generation, "the spoke refused a delta: {message}");
                let nack = Some(message);
                self.hub.node.update(self.cluster, |connection| connection.nack = nack);
                return self.look_again();
            }
            Some(News::Report(report)) => {
                self.hub.metrics.reports.inc();
                // Whatever else a spoke makes up takes no place in the leader's queue.
                let is_known = self.hub.state().fleet().bundles.contains_key(&report.bundle);
                if self.hub.node.report(self.cluster, &report) && is_known {
                    self.hub.leader.report(self.cluster, report, Instant::now()).await;
                }
            }
            Some(News::Renew(csr)) => self.renew(&csr)?,
            Some(News::Answer(answer)) => self.stream.asks.answered(answer),
            Some(News::Protocol(what)) => return Err(End::Broken(what.into())),
        }
        Ok(())
    }

    /// Fleet changed: is this spoke still served, and what must it hold now?
    fn look_again(&mut self) -> Result<(), End> {
        let state = self.hub.state();
        let known = admit::standing(state.fleet(), self.cluster, self.peer).map_err(End::Refused)?;
        if known.incarnation != self.incarnation {
            return Err(End::Refused(Refusal::Retry));
        }
        self.session.suspend(&state.fleet().suspensions_of(self.cluster));
        if state.fleet().fence(known) == self.fence {
            return Ok(());
        }
        // One delta is under way at a time: what comes after it is worked out once it has arrived,
        // however often Fleet changes meanwhile.
        if self.session.is_under_way() {
            return Ok(());
        }
        // A body that is missing is an error that was told; it is looked for again.
        if let Some(target) = target(self.hub, state.fleet(), known) {
            self.fence = target.fence.clone();
            self.session.retarget(target);
        }
        Ok(())
    }

    /// Signs the enrolled key anew. Another key must join, with a token.
    fn renew(&mut self, csr: &[u8]) -> Result<(), End> {
        let state = self.hub.state();
        admit::standing(state.fleet(), self.cluster, self.peer).map_err(End::Refused)?;
        let request = Request::parse(csr).map_err(|error| End::Broken(error.to_string()))?;
        if request.key() != self.peer.key {
            return Err(End::Broken("a renewal must be for the enrolled key".into()));
        }
        let name = Name::Cluster(self.cluster.to_owned());
        let signed = self.hub.identity.authority.sign(&request, &name, SystemTime::now());
        let pem = signed.map_err(|error| End::Broken(error.to_string()))?;
        self.certificate = Some(pem.into_bytes());
        Ok(())
    }
}

/// Checks a Hello against Fleet; gives the number of the session that it may open, and of the one
/// whose token it presents.
async fn admitted(hub: &Hub, cluster: &str, peer: &Peer, hello: &Hello) -> Result<(u64, u64), End> {
    let state = hub.state();
    let known = admit::standing(state.fleet(), cluster, peer).map_err(End::Refused)?;
    let confirmed = hub.node.confirmed(cluster, known.incarnation);
    let mac = &hub.identity.mac;
    match admit::admit(state.fleet(), known, cluster, hello, mac, confirmed) {
        Ok(presented) => Ok((known.session + 1, presented)),
        Err(Denied::Refused(reason)) => Err(End::Refused(reason)),
        Err(Denied::Ahead) => {
            error!(
                cluster,
                generation = hello.fence.generation,
                "a spoke is ahead of this hub, whose directory is older than the fleet: nothing is \
                 planned any more; stop it and start it on the newest directory"
            );
            hub.leader.stop_planning().await;
            Err(End::Refused(Refusal::ForeignFence))
        }
        Err(Denied::Quarantined(reason)) => {
            let refusal = admit::refusal(reason);
            warn!(cluster, reason = refusal.message(), "identity quarantined");
            let command = Command::Quarantine { cluster: cluster.to_owned(), reason };
            if let Err(error) = hub.leader.command(command).await {
                warn!(cluster, %error, "the quarantine is not in the log yet");
            }
            Err(End::Refused(refusal))
        }
    }
}

fn target(hub: &Hub, fleet: &Fleet, known: &Cluster) -> Option<Target> {
    let entries = fleet.entries(known, |digest| hub.bodies.variables(digest))?;
    Some(Target { fence: fleet.fence(known), entries: Arc::new(entries) })
}

fn going(encoded: &Encoded<HubMessage>, counts: bool) -> Going {
    Going { messages: encoded.messages().peekable(), counts }
}

fn encoded(word: &ToSpoke) -> Result<Encoded<HubMessage>, End> {
    to_spoke::encode_shared(word).map_err(|error| {
        // What was accepted into the fleet must fit; the limits of the catalog see to it.
        error!(%error, "a message to a spoke is too large");
        End::Refused(Refusal::Retry)
    })
}

fn found(part: Option<crate::bodies::Part>, digest: &proto_model::Digest) -> Result<crate::bodies::Part, End> {
    part.ok_or_else(|| {
        error!(%digest, "a body that is assigned or asked for is not in the store");
        End::Refused(Refusal::Retry)
    })
}

async fn stopping(stop: &mut watch::Receiver<bool>) {
    // A hub that is gone without a word has stopped, too.
    let _ = stop.wait_for(|stop| *stop).await;
}
