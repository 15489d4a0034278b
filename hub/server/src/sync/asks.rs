//! Asks of operators on their way to one spoke: one at a time, those about one bundle answered together.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use proto_model::ask::{Answer, BundleDiff};
use proto_model::limits;
use tokio::sync::oneshot;

/// What comes of an ask: the spoke's answer, or why it gave none.
pub(super) type Outcome = Result<Arc<BundleDiff>, String>;

/// The asks of one stream.
#[derive(Debug, Default)]
pub struct Asks {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_id: u64,
    under_way: Option<(u64, Instant, Ask)>,
    waiting: VecDeque<Ask>,
}

#[derive(Debug)]
struct Ask {
    bundle: String,
    askers: Vec<oneshot::Sender<Outcome>>,
}

impl Ask {
    /// Whether anybody still waits for it.
    fn is_wanted(&self) -> bool {
        self.askers.iter().any(|asker| !asker.is_closed())
    }
}

impl Asks {
    /// Asks about a bundle; the stream must be told to look. `None`: too many wait already.
    #[must_use]
    pub fn ask(&self, bundle: &str) -> Option<oneshot::Receiver<Outcome>> {
        let (asker, answer) = oneshot::channel();
        let mut state = self.lock();
        state.waiting.retain(Ask::is_wanted);
        let under_way = state.under_way.as_mut().map(|(_, _, ask)| ask).filter(|ask| ask.bundle == bundle);
        if let Some(ask) = under_way {
            return ask.join(asker).then_some(answer);
        }
        if let Some(ask) = state.waiting.iter_mut().find(|ask| ask.bundle == bundle) {
            return ask.join(asker).then_some(answer);
        }
        if state.waiting.len() >= limits::ASKS_PER_CLUSTER_MAX {
            return None;
        }
        state.waiting.push_back(Ask { bundle: bundle.to_owned(), askers: vec![asker] });
        Some(answer)
    }

    /// The next ask to send, if none is under way, or none that can still be answered in time.
    pub(crate) fn next(&self, now: Instant) -> Option<(u64, String)> {
        let mut state = self.lock();
        let patience = Duration::from_secs(limits::ASK_SECS_MAX);
        if state.under_way.as_ref().is_some_and(|(_, since, _)| now.duration_since(*since) < patience) {
            return None;
        }
        state.under_way = None;
        let ask = loop {
            let ask = state.waiting.pop_front()?;
            if ask.is_wanted() {
                break ask;
            }
        };
        state.last_id += 1;
        let (id, bundle) = (state.last_id, ask.bundle.clone());
        state.under_way = Some((id, now, ask));
        Some((id, bundle))
    }

    /// The spoke answered. An answer that nobody waits for is nobody's.
    pub(crate) fn answered(&self, answer: Answer) {
        let mut state = self.lock();
        let Some((_, _, ask)) = state.under_way.take_if(|(id, _, _)| *id == answer.id) else { return };
        drop(state);
        let outcome = answer.outcome.map(Arc::new);
        for asker in ask.askers {
            // Who has gone does not want it.
            let _ = asker.send(outcome.clone());
        }
    }

    /// The stream has ended: whoever waits is told by the end of their channel.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.under_way = None;
        state.waiting.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ask {
    fn join(&mut self, asker: oneshot::Sender<Outcome>) -> bool {
        self.askers.retain(|asker| !asker.is_closed());
        let has_room = self.askers.len() < limits::ASKERS_MAX;
        if has_room {
            self.askers.push(asker);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn answer(id: u64, same: u64) -> Answer {
        Answer { id, outcome: Ok(BundleDiff { same, ..BundleDiff::default() }) }
    }

    #[test]
    fn one_ask_at_a_time_and_one_answer_for_all_who_ask_the_same() {
        let (asks, now) = (Asks::default(), Instant::now());
        let mut first = asks.ask("main/a").unwrap();
        let mut second = asks.ask("main/b").unwrap();
        assert_eq!(asks.next(now), Some((1, "main/a".into())));
        let mut third = asks.ask("main/a").unwrap();
        assert_eq!(asks.next(now), None);
        asks.answered(answer(9, 9));
        assert!(first.try_recv().is_err(), "an answer to another ask");
        asks.answered(answer(1, 3));
        for one in [&mut first, &mut third] {
            assert_eq!(one.try_recv().unwrap().unwrap().same, 3);
        }
        assert_eq!(asks.next(now), Some((2, "main/b".into())));
        asks.close();
        assert!(second.try_recv().is_err());
    }

    #[test]
    fn what_is_not_answered_in_time_makes_room_and_what_nobody_waits_for_is_not_asked() {
        let (asks, now) = (Asks::default(), Instant::now());
        let _slow = asks.ask("main/a").unwrap();
        drop(asks.ask("main/b"));
        let _last = asks.ask("main/c").unwrap();
        assert_eq!(asks.next(now), Some((1, "main/a".into())));
        let later = now + Duration::from_secs(limits::ASK_SECS_MAX);
        assert_eq!(asks.next(later), Some((2, "main/c".into())));
    }

    #[test]
    fn waiting_is_bounded() {
        let asks = Asks::default();
        let kept: Vec<_> = (0..limits::ASKS_PER_CLUSTER_MAX).map(|n| asks.ask(&format!("main/{n}")).unwrap()).collect();
        assert!(asks.ask("main/one-more").is_none());
        let joined: Vec<_> = (1..limits::ASKERS_MAX).map(|_| asks.ask("main/0").unwrap()).collect();
        assert!(asks.ask("main/0").is_none());
        drop((kept, joined));
        assert!(asks.ask("main/one-more").is_some());
    }
}
