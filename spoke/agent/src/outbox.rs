//! What is to be said to the hub, until the transport takes it: reports coalesced, the rest in
//! order. One for each session.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::Stream;
use proto_model::delta::ToHub;
use proto_model::{Report, limits};
use proto_wire::sync::SpokeMessage;
use proto_wire::{Messages, to_hub};
use tokio::sync::Notify;

/// The queue itself. Words go before reports; of each bundle only the newest report is kept.
#[derive(Debug, Default)]
struct Queue {
    words: VecDeque<ToHub>,
    reports: BTreeMap<String, Report>,
    /// Bundles with a report, longest waiting first.
    turns: VecDeque<String>,
}

impl Queue {
    /// Whether there was room.
    fn push(&mut self, word: ToHub) -> bool {
        if let ToHub::Report(report) = word {
            let bundle = report.bundle.clone();
            if self.reports.insert(bundle.clone(), report).is_none() {
                self.turns.push_back(bundle);
            }
            return true;
        }
        self.words.push_back(word);
        self.words.len() <= limits::SPOKE_WORDS_MAX
    }

    fn pop(&mut self) -> Option<ToHub> {
        if let Some(word) = self.words.pop_front() {
            return Some(word);
        }
        let bundle = self.turns.pop_front()?;
        self.reports.remove(&bundle).map(ToHub::Report)
    }
}

#[derive(Debug, Default)]
struct State {
    queue: Queue,
    /// What is left of the word that is being sent: its chunks must follow each other.
    sending: Option<Messages<SpokeMessage>>,
    waker: Option<Waker>,
    /// Why the session ends, once it does.
    closed: Option<String>,
}

/// The way to the hub, for one session.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    closed: Notify,
}

impl Outbox {
    /// Queues a word. Nothing is queued once the session ends.
    pub(crate) fn push(&self, word: ToHub) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        let fits = state.queue.push(word);
        let waker = state.waker.take();
        drop(state);
        if !fits {
            self.close("the hub does not take what this spoke says");
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ends the session; the first reason counts.
    pub(crate) fn close(&self, why: &str) {
        let mut state = self.state();
        state.closed.get_or_insert_with(|| why.to_owned());
        state.queue = Queue::default();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        self.closed.notify_one();
    }

    /// Waits until the session ends; says why.
    pub(crate) async fn closed(&self) -> String {
        loop {
            if let Some(why) = &self.state().closed {
                return why.clone();
            }
            self.closed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poll(&self, context: &Context<'_>) -> Poll<Option<SpokeMessage>> {
        let mut state = self.state();
        loop {
            if let Some(message) = state.sending.as_mut().and_then(Iterator::next) {
                return Poll::Ready(Some(message));
            }
            state.sending = None;
            if state.closed.is_some() {
                return Poll::Ready(None);
            }
            let Some(word) = state.queue.pop() else {
                state.waker = Some(context.waker().clone());
                return Poll::Pending;
            };
            match to_hub::encode_shared(&word) {
                Ok(encoded) => state.sending = Some(encoded.messages()),
                Err(error) => {
                    state.closed = Some(format!("a message cannot be sent: {error}"));
                    self.closed.notify_one();
                }
            }
        }
    }
}

/// The messages of an outbox, each made when the transport takes it.
#[derive(Debug)]
pub(crate) struct Outgoing(pub(crate) Arc<Outbox>);

impl Stream for Outgoing {
    type Item = SpokeMessage;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<SpokeMessage>> {
        self.0.poll(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

    use proto_model::{Digest, Health, Sync};

    use super::*;

    fn report(bundle: &str, generation: u64) -> ToHub {
        ToHub::Report(Report {
            bundle: bundle.into(),
            generation,
            variant: None,
            variables: Digest::of(b""),
            sync: Sync::Applied,
            health: Health::Healthy,
            drifted: false,
            suspended: false,
            installed: true,
            objects: 0,
            problems: Vec::new(),
            problems_more: 0,
            since_unix_millis: 0,
        })
    }

    fn ack(generation: u64) -> ToHub {
        ToHub::Ack { generation, root: Digest::of(b"") }
    }

    fn drain(outbox: &Outbox) -> Vec<ToHub> {
        let mut reader = to_hub::Reader::default();
        let context = Context::from_waker(Waker::noop());
        let mut out = Vec::new();
        while let Poll::Ready(Some(message)) = outbox.poll(&context) {
            out.extend(reader.accept(message).unwrap());
        }
        out
    }

    #[test]
    fn the_newest_report_of_a_bundle_is_sent_and_words_keep_their_order() {
        let outbox = Outbox::default();
        outbox.push(report("main/a", 1));
        outbox.push(ack(1));
        outbox.push(report("main/b", 1));
        outbox.push(report("main/a", 2));
        outbox.push(ack(2));
        let out = drain(&outbox);
        assert_eq!(out, [ack(1), ack(2), report("main/a", 2), report("main/b", 1)]);
        outbox.push(report("main/a", 3));
        assert_eq!(drain(&outbox), [report("main/a", 3)]);
    }

    #[test]
    fn chunks_of_one_word_are_not_parted() {
        let outbox = Outbox::default();
        let bodies = vec![Digest::of(b"x"); 500];
        outbox.push(ToHub::Need { variants: Vec::new(), bodies: bodies.clone() });
        let context = Context::from_waker(Waker::noop());
        let mut reader = to_hub::Reader::default();
        let Poll::Ready(Some(first)) = outbox.poll(&context) else { panic!("nothing to send") };
        assert_eq!(reader.accept(first), Ok(None));
        outbox.push(ack(1));
        let mut out = Vec::new();
        while let Poll::Ready(Some(message)) = outbox.poll(&context) {
            out.extend(reader.accept(message).unwrap());
        }
        assert_eq!(out, [ToHub::Need { variants: Vec::new(), bodies }, ack(1)]);
    }

    #[tokio::test]
    async fn a_hub_that_does_not_listen_ends_the_session() {
        let outbox = Outbox::default();
        for generation in 0..limits::SPOKE_WORDS_MAX as u64 + 1 {
            outbox.push(ack(generation));
        }
        assert!(outbox.closed().await.contains("does not take"));
        let context = Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll(&context), Poll::Ready(None));
        outbox.close("later");
        assert!(outbox.closed().await.contains("does not take"));
    }
}
