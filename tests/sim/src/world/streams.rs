//! The hub's side of streams: who is admitted, sessions, and what is sent when the transport takes
//! it.

use hub_core::command::{Command, Quarantine};
use hub_core::fleet::{Cluster, Fleet};
use hub_core::session::{Item, News, Session, Target, told};
use proto_model::delta::{Hello, Refusal, ToHub, ToSpoke, level};
use proto_model::{Digest, Fence};

use super::World;
use crate::bug::Bug;
use crate::counts::Event;
use crate::invariants::Seen;

/// Messages that the transport takes before the spoke has read one.
const WINDOW: usize = 6;

/// One stream at the hub.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) cluster: String,
    pub(super) incarnation: u64,
    pub(super) session: u64,
    pub(super) state: Stage,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Its Attach is on its way through the log.
    Attaching(Box<Hello>),
    /// It stands.
    Open(Box<Session>),
}

fn mac(parts: &[&[u8]]) -> Vec<u8> {
    let secret: &[u8] = b"the hub's own key";
    Digest::of_parts(std::iter::once(secret).chain(parts.iter().copied())).0.to_vec()
}

fn fence_mac(cluster: &str, fence: &Fence) -> Vec<u8> {
    let numbers = [fence.epoch, fence.incarnation, fence.generation].map(u64::to_be_bytes);
    mac(&[b"fence", cluster.as_bytes(), fence.hub_id.as_bytes(), numbers.as_flattened()])
}

fn session_token(cluster: &str, incarnation: u64, session: u64) -> Vec<u8> {
    let mut token = session.to_be_bytes().to_vec();
    token.extend(mac(&[b"session", cluster.as_bytes(), &incarnation.to_be_bytes(), &token]));
    token
}

fn read_token(cluster: &str, incarnation: u64, token: &[u8]) -> Option<u64> {
    let (counter, _) = token.split_first_chunk::<8>()?;
    let session = u64::from_be_bytes(*counter);
    (session_token(cluster, incarnation, session) == token).then_some(session)
}

/// Whether a certificate's holder is served at all.
fn standing<'a>(fleet: &'a Fleet, cluster: &str, key: Digest) -> Result<&'a Cluster, Refusal> {
    let known = fleet.clusters.get(cluster).ok_or(Refusal::Removed)?;
    if known.revoked || known.key != Some(key) {
        return Err(Refusal::Revoked);
    }
    match known.quarantine {
        Some(Quarantine::DuplicateIdentity) => Err(Refusal::DuplicateIdentity),
        Some(Quarantine::OtherCluster) => Err(Refusal::OtherCluster),
        Some(Quarantine::ForeignFence) => Err(Refusal::ForeignFence),
        None => Ok(known),
    }
}

/// Whether a Hello may open a session. `confirmed` is the last session in which the spoke has
/// spoken: Welcomes after it may all have been lost on their way.
fn admit(known: &Cluster, cluster: &str, hello: &Hello, confirmed: u64) -> Result<(), Quarantine> {
    if !hello.fence.hub_id.is_empty() && fence_mac(cluster, &hello.fence) != hello.fence_mac {
        return Err(Quarantine::ForeignFence);
    }
    if known.uid.as_ref().is_some_and(|uid| *uid != hello.cluster_uid) {
        return Err(Quarantine::OtherCluster);
    }
    let presented = read_token(cluster, known.incarnation, &hello.session_token).unwrap_or(0);
    let is_known = presented == known.session || (confirmed..known.session).contains(&presented);
    if is_known { Ok(()) } else { Err(Quarantine::DuplicateIdentity) }
}

impl World {
    pub(super) fn hub_gets(&mut self, stream: u64, message: ToHub) {
        let Some((cluster, key)) = self.arrived_at_hub(stream) else { return };
        if let ToHub::Hello(hello) = message {
            return self.hub_greets(stream, &cluster, key, hello);
        }
        let Some(node) = &mut self.hub.node else { return };
        let Some(served) = node.streams.get_mut(&stream) else { return };
        let heard = (served.incarnation, served.session);
        let Stage::Open(session) = &mut served.state else { return };
        node.confirmed.insert(cluster.clone(), heard);
        if matches!(message, ToHub::Need { .. }) {
            self.counts.event(Event::Needed);
        }
        let is_answer = matches!(message, ToHub::Ack { .. } | ToHub::Nack { .. });
        let news = session.receive(message);
        if is_answer {
            self.see(&Seen::Answered { stream });
        }
        match news {
            Some(News::Report(report)) => self.hub_hears_report(&cluster, report),
            Some(News::Nacked(generation, why)) => {
                self.counts.event(Event::Nacked);
                self.tell(|| format!("hub: {cluster} refused generation {generation}: {why}"));
            }
            Some(News::Protocol(why)) => {
                self.tell(|| format!("hub: ends the stream of {cluster}: {why}"));
                self.hub_closes(stream);
            }
            Some(News::Acked(_) | News::Renew(_) | News::Answer(_)) | None => {}
        }
        self.pump(stream);
    }

    fn hub_hears_report(&mut self, cluster: &str, mut report: proto_model::Report) {
        let Some(node) = &mut self.hub.node else { return };
        if self.bug == Some(Bug::OlderHealthCounted)
            && let Some(known) = node.fleet.clusters.get(cluster)
        {
            report.generation = known.generation;
        }
        let reports = node.reports.entry(cluster.to_owned()).or_default();
        reports.insert(report.bundle.clone(), report.clone());
        node.waiting.report(cluster.to_owned(), report);
        self.wake_hub();
    }

    fn hub_greets(&mut self, stream: u64, cluster: &str, key: Digest, hello: Hello) {
        let Some(node) = &mut self.hub.node else { return };
        let known = match standing(&node.fleet, cluster, key) {
            Ok(known) => known,
            Err(refusal) => return self.refuse(stream, cluster, refusal),
        };
        let confirmed = match node.confirmed.get(cluster) {
            Some((incarnation, session)) if *incarnation == known.incarnation => *session,
            _ => 0,
        };
        if let Err(reason) = admit(known, cluster, &hello, confirmed) {
            node.waiting.push(Command::Quarantine { cluster: cluster.to_owned(), reason });
            self.tell(|| format!("hub: quarantines {cluster}: {reason:?}"));
            if !self.may_be_quarantined(cluster) {
                let what = format!("{cluster} is quarantined without cause: {reason:?}");
                self.broken("liveness", what);
            }
            self.wake_hub();
            return self.refuse(stream, cluster, Refusal::Retry);
        }
        let pending = node.streams.values().filter(|one| one.cluster == cluster);
        let last = pending.map(|one| one.session).max().unwrap_or_default();
        let served = Served {
            cluster: cluster.to_owned(),
            incarnation: known.incarnation,
            session: known.session.max(last) + 1,
            state: Stage::Attaching(Box::new(hello.clone())),
        };
        node.waiting.push(Command::Attach {
            cluster: cluster.to_owned(),
            session: served.session,
            presented: read_token(cluster, known.incarnation, &hello.session_token).unwrap_or(0),
            uid: hello.cluster_uid,
        });
        node.streams.insert(stream, served);
        self.wake_hub();
    }

    fn refuse(&mut self, stream: u64, cluster: &str, refusal: Refusal) {
        self.tell(|| format!("hub: refuses {cluster}: {refusal:?}"));
        self.send_to_spoke(stream, ToSpoke::Refused(refusal));
        self.hub_closes(stream);
    }

    /// After each entry: opens what was attached, ends what is no longer served, and tells the
    /// others what is assigned now.
    pub(super) fn serve_all(&mut self) {
        let Some(node) = &self.hub.node else { return };
        let streams: Vec<u64> = node.streams.keys().copied().collect();
        for stream in streams {
            self.serve(stream);
        }
    }

    fn serve(&mut self, stream: u64) {
        let key = self.key_of(stream);
        let Some(node) = &mut self.hub.node else { return };
        let Some(served) = node.streams.get_mut(&stream) else { return };
        let cluster = served.cluster.clone();
        let known = match standing(&node.fleet, &cluster, key) {
            Ok(known) if known.incarnation == served.incarnation => known,
            Ok(_) => return self.refuse(stream, &cluster, Refusal::Revoked),
            Err(refusal) => return self.refuse(stream, &cluster, refusal),
        };
        if known.session > served.session {
            return self.refuse(stream, &cluster, Refusal::Displaced);
        }
        let Some(entries) = node.fleet.entries(known, |digest| self.bodies.shelf.variables(digest)) else {
            return;
        };
        let target = Target { fence: node.fleet.fence(known), entries: entries.into() };
        match &mut served.state {
            Stage::Attaching(_) if known.session < served.session => {}
            Stage::Attaching(hello) => {
                let reports = node.reports.get(&cluster);
                let level = reports.map(|all| level(all.values()));
                let (is_behind, hello) = (hello.fence != target.fence, hello.clone());
                match Session::open(&hello, target, level) {
                    Ok(mut session) => {
                        session.suspend(&node.fleet.suspensions_of(&cluster));
                        served.state = Stage::Open(Box::new(session));
                    }
                    Err(refusal) => {
                        let what = format!("{cluster} holds a state the hub never gave: {hello:?}");
                        self.refuse(stream, &cluster, refusal);
                        return self.broken("one_content", what);
                    }
                }
                if !is_behind {
                    self.counts.event(Event::Current);
                }
            }
            Stage::Open(session) => {
                if self.bug == Some(Bug::RetargetLost) && self.rng.chance(400) {
                    return;
                }
                session.suspend(&node.fleet.suspensions_of(&cluster));
                session.retarget(target);
            }
        }
        self.pump(stream);
    }

    /// Gives the transport what it takes.
    pub(super) fn pump(&mut self, stream: u64) {
        let now = self.hub_unix_millis();
        self.part(stream);
        while self.room(stream) < WINDOW {
            let Some(node) = &mut self.hub.node else { return };
            let Some(served) = node.streams.get_mut(&stream) else { return };
            let Stage::Open(session) = &mut served.state else { return };
            let cluster = served.cluster.clone();
            let Some(item) = session.next(&self.bodies.shelf) else { return };
            let token = session_token(&cluster, served.incarnation, served.session);
            let message = match item {
                Item::Welcome { want_holding, want_reports } => {
                    if want_reports {
                        node.reports.remove(&cluster);
                    }
                    ToSpoke::Welcome { session_token: token, want_holding, want_reports }
                }
                Item::Delta(mut delta) => {
                    delta.fence_mac = fence_mac(&cluster, &delta.fence);
                    if self.bug == Some(Bug::WrongBase) {
                        delta.base = delta.root;
                    }
                    ToSpoke::Delta(delta)
                }
                Item::Suspensions(all) => ToSpoke::Suspensions(told(&all, now)),
                Item::Refused(refusal) => ToSpoke::Refused(refusal),
                part => match self.bodies.part(&part) {
                    Some(message) => message,
                    None => return self.broken("liveness", format!("{part:?} has no body")),
                },
            };
            self.see(&Seen::Told { cluster: &cluster, stream, message: &message });
            self.send_to_spoke(stream, message);
        }
    }

    /// Says that a cluster which leaves has let go of everything, once its spoke has said that it holds nothing.
    fn part(&mut self, stream: u64) {
        let Some(node) = &mut self.hub.node else { return };
        let Some(Served { cluster, state: Stage::Open(session), .. }) = node.streams.get(&stream) else { return };
        let known = node.fleet.clusters.get(cluster);
        let Some(known) = known.filter(|known| known.leaving.is_some()) else { return };
        if session.holds(&node.fleet.fence(known))
            && node.fleet.bundles_in(known).is_empty()
            && node.parting.insert(cluster.clone(), known.generation) != Some(known.generation)
        {
            node.waiting.push(Command::Left { cluster: cluster.clone() });
            self.wake_hub();
        }
    }

    /// Whether the spoke of a cluster holds exactly what is assigned to it.
    #[must_use]
    pub fn is_current(&self, cluster: &str) -> bool {
        let Some(node) = &self.hub.node else { return false };
        node.streams.values().any(|served| {
            served.cluster == cluster && matches!(&served.state, Stage::Open(session) if session.is_current())
        })
    }

    /// What the last report of a bundle complains of.
    #[must_use]
    pub fn problems(&self, number: u32, bundle: &str) -> Vec<String> {
        let Some(node) = &self.hub.node else { return Vec::new() };
        let name = node.fleet.names.get(&number);
        let report = name.and_then(|name| node.reports.get(name)?.get(bundle));
        let Some(report) = report else { return vec!["no report".into()] };
        let said = report.problems.iter().map(|one| format!("{:?} {}", one.object, one.message));
        let head = format!("generation {} {} {}", report.generation, report.sync, report.health);
        std::iter::once(head).chain(said).collect()
    }
}
