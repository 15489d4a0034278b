//! The conversation with the hub.

use std::collections::{BTreeMap, VecDeque};

use proto_model::ask;
use proto_model::assign::RULES;
use proto_model::delta::{self, Delta, Hello, Refusal, ToHub, ToSpoke};
use proto_model::{Digest, Fence, limits, suspend};

use super::store::Pending;
use super::tell::Essence;
use super::{Agent, Effect, Phase};
use crate::inbox::Inbox;

/// One stream to the hub, from Hello on.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    is_welcome: bool,
    /// Whether the hub waits for the list of what is held.
    owes_holding: bool,
    /// The report that the hub has of each bundle.
    pub(super) sent: BTreeMap<String, Sent>,
    inbox: Option<Inbox>,
    /// Messages that wait until a change is durable.
    waiting: VecDeque<ToSpoke>,
    /// When to ask for what is missing, and how long to wait the next time.
    need_at: u64,
    need_wait: u64,
    /// When reports that wait are due.
    pub(super) tell_at: Option<u64>,
    /// What the hub asked and is not being answered yet.
    pub(super) asked: Option<(u64, String)>,
}

/// A report that the hub has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) digest: Digest,
    /// What it said, and when it was sent in this session.
    pub(super) last: Option<(Essence, u64)>,
}

impl Agent {
    pub(super) fn connected(&mut self) {
        self.is_connected = true;
        self.session = None;
        self.asking = None;
    }

    pub(super) fn disconnected(&mut self) {
        self.is_connected = false;
        self.session = None;
        self.asking = None;
    }

    /// Whether a session stands in which the hub was heard.
    pub(super) fn is_attached(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.is_welcome)
    }

    /// Says Hello as soon as there is a stream and something to say.
    pub(super) fn maybe_hello(&mut self) {
        let may_speak = self.is_connected && self.has_lease && !self.is_stale;
        if !may_speak || self.session.is_some() || self.phase != Phase::Ready {
            return;
        }
        let reports = || self.bundles.values().filter_map(|bundle| bundle.report.as_ref());
        let (fence, fence_mac) = if !self.ledger.lost.is_empty() {
            // Something that was held is lost: the hub must not take it for held.
            (Fence::default(), Vec::new())
        } else {
            (self.ledger.fence.clone(), self.ledger.fence_mac.clone())
        };
        let hello = Hello {
            fence,
            fence_mac,
            root: self.ledger.root(),
            level: delta::level(reports()),
            session_token: self.ledger.session_token.clone(),
            cluster_uid: self.cluster_uid.clone(),
            rules: RULES,
            version: self.version.clone(),
            asks: ask::VERSION,
            suspends: suspend::VERSION,
            suspended: !self.ledger.hub_suspensions.is_empty(),
        };
        let sent =
            reports().map(|report| (report.bundle.clone(), Sent { digest: report.digest(), last: None })).collect();
        self.next_id += 1;
        self.session = Some(Session {
            id: self.next_id,
            is_welcome: false,
            owes_holding: false,
            sent,
            inbox: None,
            waiting: VecDeque::new(),
            need_at: 0,
            need_wait: 0,
            tell_at: None,
            asked: None,
        });
        self.out.push(Effect::Send(ToHub::Hello(hello)));
    }

    /// Ends the session; the next Hello is said on another stream.
    pub(super) fn end_session(&mut self, why: impl Into<String>) {
        self.is_connected = false;
        self.session = None;
        self.asking = None;
        self.out.push(Effect::EndSession { why: why.into() });
    }

    pub(super) fn hear(&mut self, message: ToSpoke) {
        // Until Hello was said, and after the end, what comes belongs to another session.
        if self.session.is_none() {
            return;
        }
        match message {
            ToSpoke::Welcome { session_token, want_holding, want_reports } => {
                self.welcomed(session_token, want_holding, want_reports);
            }
            ToSpoke::Refused(refusal) => {
                if refusal == Refusal::Removed {
                    self.part();
                }
                self.end_session(refusal.message());
            }
            ToSpoke::Suspensions(all) => self.heed(all),
            ToSpoke::Certificate(_) => {}
            // The hub says one at a time; what it says later it still waits for.
            ToSpoke::Ask { id, bundle } => {
                if let Some(session) = &mut self.session {
                    session.asked = Some((id, bundle));
                }
            }
            message @ (ToSpoke::Delta(_) | ToSpoke::Variant(_) | ToSpoke::Body(_)) => {
                let Some(session) = &mut self.session else {
                    return;
                };
                session.waiting.push_back(message);
                if session.waiting.len() > limits::INBOX_WAITING_MAX {
                    self.end_session("the hub sent more while a change was being written");
                    return;
                }
                self.hear_waiting();
            }
        }
    }

    /// The cluster left the fleet. Where nothing of it is held any more, no hub is remembered either, so that
    /// another one may take it; where something is, it is kept as it was assigned last.
    fn part(&mut self) {
        let is_empty = self.ledger.entries.is_empty() && self.ledger.lost.is_empty() && self.store.pending.is_none();
        if !is_empty || self.ledger.fence == Fence::default() && self.ledger.session_token.is_empty() {
            return;
        }
        self.ledger.fence = Fence::default();
        self.ledger.fence_mac.clear();
        self.ledger.session_token.clear();
        self.store.is_root_unsaved = true;
        self.voice.status_changed(self.now.mono_millis);
        self.heed(suspend::Suspensions::new());
    }

    /// Takes parts of changes, unless one is being written.
    pub(super) fn hear_waiting(&mut self) {
        while self.store.pending.is_none() && self.may_speak() {
            let Some(session) = &mut self.session else {
                return;
            };
            let Some(message) = session.waiting.pop_front() else {
                return;
            };
            session.need_wait = limits::NEED_MILLIS_MIN;
            session.need_at = self.now.mono_millis + session.need_wait;
            let taken = match message {
                ToSpoke::Delta(delta) => self.open(delta),
                ToSpoke::Variant(part) => self.take_part(|inbox, contents| inbox.take_variant(&part, contents)),
                ToSpoke::Body(part) => self.take_part(|inbox, contents| inbox.take_body(&part, contents)),
                _ => Ok(()),
            };
            match taken {
                Ok(()) => self.close_if_complete(),
                Err((generation, message)) => self.nack(generation, message),
            }
        }
    }

    fn welcomed(&mut self, token: Vec<u8>, want_holding: bool, want_reports: bool) {
        if self.ledger.session_token != token {
            self.ledger.session_token = token;
            self.store.is_root_unsaved = true;
        }
        if self.is_estranged {
            self.is_estranged = false;
            self.dirty.extend(self.bundles.keys().cloned());
        }
        if self.ledger.cluster_uid != self.cluster_uid {
            self.ledger.cluster_uid.clone_from(&self.cluster_uid);
            self.store.is_root_unsaved = true;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        session.is_welcome = true;
        if want_reports {
            session.sent.clear();
        }
        session.owes_holding = want_holding;
        self.reports_changed.extend(self.bundles.keys().cloned());
        self.speak();
    }

    /// Whether anything but Hello may be said: the hub was heard, and its token is durable. A spoke
    /// that spoke and then came back with an older token would be taken for a second one.
    pub(super) fn may_speak(&self) -> bool {
        self.is_attached() && !self.store.is_root_behind()
    }

    /// Says and hears what waited for the token.
    pub(super) fn speak(&mut self) {
        if !self.may_speak() {
            return;
        }
        if let Some(session) = &mut self.session
            && std::mem::take(&mut session.owes_holding)
        {
            self.out.push(Effect::Send(ToHub::Holding(self.ledger.holding())));
        }
        self.hear_waiting();
    }

    fn open(&mut self, delta: Delta) -> Result<(), (u64, String)> {
        let generation = delta.fence.generation;
        let refuse = |message: String| (generation, message);
        let inbox = Inbox::open(delta, &self.ledger, &self.contents).map_err(refuse)?;
        if inbox.is_none() {
            let root = self.ledger.root();
            self.out.push(Effect::Send(ToHub::Ack { generation, root }));
        }
        if let Some(session) = &mut self.session {
            session.inbox = inbox;
        }
        Ok(())
    }

    fn take_part(
        &mut self,
        take: impl FnOnce(&mut Inbox, &crate::inbox::Contents) -> Result<(), String>,
    ) -> Result<(), (u64, String)> {
        let Some(inbox) = self.session.as_mut().and_then(|session| session.inbox.as_mut()) else {
            return Ok(());
        };
        let generation = inbox.generation();
        take(inbox, &self.contents).map_err(|message| (generation, message))
    }

    fn close_if_complete(&mut self) {
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(inbox) = session.inbox.take_if(|inbox| inbox.is_complete()) else {
            return;
        };
        let (generation, id) = (inbox.generation(), session.id);
        match inbox.close(&self.ledger, &self.contents) {
            Ok(change) => self.store.pending = Some(Pending { change, session: id }),
            Err(message) => self.nack(generation, message),
        }
    }

    fn nack(&mut self, generation: u64, message: String) {
        if let Some(session) = &mut self.session {
            session.inbox = None;
        }
        let message = proto_model::report::cut(&message);
        self.out.push(Effect::Send(ToHub::Nack { generation, message }));
    }

    /// Asks for what of a change did not come by itself.
    pub(super) fn mind_inbox(&mut self) {
        let now = self.now.mono_millis;
        let Some(session) = &mut self.session else {
            return;
        };
        let Some(inbox) = &session.inbox else { return };
        if session.need_at > now {
            return;
        }
        let (variants, bodies) = inbox.missing();
        session.need_wait = (session.need_wait * 2).min(limits::NEED_MILLIS_MAX);
        session.need_at = now + session.need_wait;
        self.out.push(Effect::Send(ToHub::Need { variants, bodies }));
    }

    pub(super) fn session_wake(&self) -> Option<u64> {
        let session = self.session.as_ref()?;
        let need_at = session.inbox.as_ref().map(|_| session.need_at);
        // Where nothing may be said, what ends that wakes the machine.
        let tell_at = session.tell_at.filter(|_| self.may_speak());
        need_at.into_iter().chain(tell_at).min()
    }
}
