//! Renderings under way. They go on beside whoever asked for them, so that one that takes a minute holds up its
//! own bundle and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::stream::{SelectAll, Stream, StreamExt as _, once};
use hub_core::release::RenderInput;
use proto_model::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// What somebody is rendering, by the digests of the inputs. `T` is what becomes of one.
pub(super) struct UnderWay<T> {
    words: SelectAll<Words<T>>,
    /// What each piece of work did not tell of yet.
    works: BTreeMap<u64, BTreeSet<Digest>>,
    wanted: Wanted,
    next: u64,
}

/// What one piece of work tells.
type Words<T> = Pin<Box<dyn Stream<Item = Word<T>> + Send + Sync>>;

enum Word<T> {
    Over(u64, Box<(RenderInput, T)>),
    /// It was not begun, or given up, since it was not wanted then.
    Skipped(u64, Digest),
    /// Nothing more comes of it.
    End(u64),
}

/// What came of the work.
#[derive(Debug, PartialEq)]
pub(super) enum Came<T> {
    /// One rendering is over.
    Over(Box<(RenderInput, T)>),
    /// One was given up while nobody wanted it, and is wanted again.
    Skipped,
    /// Some are wanted, and will never be: the work on them broke.
    Lost,
}

/// What is wanted still; the rest need not be begun.
#[derive(Clone, Default)]
pub(super) struct Wanted(Arc<Mutex<BTreeSet<Digest>>>);

impl Wanted {
    /// Whether this one is.
    pub(super) fn has(&self, input: &Digest) -> bool {
        self.lock().contains(input)
    }

    /// What a thread that panicked left is whole: each write is one.
    fn lock(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells what came of a piece of work.
pub(super) struct Teller<T> {
    work: u64,
    sender: mpsc::Sender<Word<T>>,
    pub(super) wanted: Wanted,
}

impl<T> Teller<T> {
    /// One rendering is over.
    pub(super) fn tell(&self, input: RenderInput, became: T) {
        self.say(Word::Over(self.work, Box::new((input, became))));
    }

    /// One was not wanted when it was its turn, or not to the end.
    pub(super) fn skip(&self, input: Digest) {
        self.say(Word::Skipped(self.work, input));
    }

    fn say(&self, word: Word<T>) {
        // There is room for each input once; where nobody listens any more, nobody wants it.
        drop(self.sender.try_send(word));
    }
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        Self { words: SelectAll::new(), works: BTreeMap::new(), wanted: Wanted::default(), next: 0 }
    }
}

impl<T> Drop for UnderWay<T> {
    fn drop(&mut self) {
        self.wanted.lock().clear();
    }
}

impl<T: Send + 'static> UnderWay<T> {
    /// From now on these alone are wanted.
    pub(super) fn want(&mut self, inputs: BTreeSet<Digest>) {
        *self.wanted.lock() = inputs;
    }

    /// These are wanted, too.
    pub(super) fn want_also(&mut self, inputs: impl IntoIterator<Item = Digest>) {
        self.wanted.lock().extend(inputs);
    }

    /// Begins a piece of work, which ends with its teller; gives its number.
    pub(super) fn begin(&mut self, inputs: impl Iterator<Item = Digest>, work: impl FnOnce(Teller<T>)) -> u64 {
        let (id, inputs): (u64, BTreeSet<Digest>) = (self.next, inputs.collect());
        self.next += 1;
        let (sender, words) = mpsc::channel(inputs.len().max(1));
        self.words.push(Box::pin(ReceiverStream::new(words).chain(once(async move { Word::End(id) }))));
        self.works.insert(id, inputs);
        work(Teller { work: id, sender, wanted: self.wanted.clone() });
        id
    }

    /// Whether a piece of work has still to tell of anything.
    pub(super) fn goes_on(&self, work: u64) -> bool {
        self.works.get(&work).is_some_and(|left| !left.is_empty())
    }

    /// Whether somebody is at this one.
    pub(super) fn has(&self, input: &Digest) -> bool {
        self.works.values().any(|inputs| inputs.contains(input))
    }

    /// Whether anything that is wanted is under way.
    pub(super) fn is_any(&self) -> bool {
        let wanted = self.wanted.lock();
        self.works.values().flatten().any(|input| wanted.contains(input))
    }

    /// The next that is over and wanted; waits for ever where nothing is under way. Nothing is lost where it is
    /// not waited for to the end.
    pub(super) async fn next(&mut self) -> Came<T> {
        loop {
            let Some(word) = self.words.next().await else { pending().await };
            if let Some(came) = self.heard(word) {
                return came;
            }
        }
    }

    /// The same, where it is there already.
    pub(super) fn next_now(&mut self) -> Option<Came<T>> {
        self.next().now_or_never()
    }

    fn ended(&mut self, work: u64, input: &Digest) {
        if let Some(left) = self.works.get_mut(&work) {
            left.remove(input);
        }
    }

    fn heard(&mut self, word: Word<T>) -> Option<Came<T>> {
        match word {
            Word::Over(work, over) => {
                self.ended(work, &over.0.digest);
                self.wanted.has(&over.0.digest).then_some(Came::Over(over))
            }
            Word::Skipped(work, input) => {
                self.ended(work, &input);
                self.wanted.has(&input).then_some(Came::Skipped)
            }
            Word::End(work) => {
                let left = self.works.remove(&work).unwrap_or_default();
                left.iter().any(|input| self.wanted.has(input)).then_some(Came::Lost)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn input(name: &str) -> RenderInput {
        RenderInput { digest: Digest::of(name.as_bytes()), bundle: name.to_owned(), ..RenderInput::default() }
    }

    fn digests(names: &str) -> impl Iterator<Item = Digest> {
        names.split(' ').map(|name| input(name).digest)
    }

    /// Work on some inputs that is told of by hand.
    fn begun(under_way: &mut UnderWay<u8>, names: &str) -> Teller<u8> {
        let mut teller = None;
        let work = under_way.begin(digests(names), |given| teller = Some(given));
        assert!(under_way.goes_on(work));
        teller.unwrap()
    }

    fn over(name: &str, became: u8) -> Option<Came<u8>> {
        Some(Came::Over(Box::new((input(name), became))))
    }

    #[test]
    fn what_takes_long_keeps_nothing_else_waiting() {
        let mut under_way = UnderWay::default();
        under_way.want(digests("slow quick other").collect());
        assert!(under_way.next_now().is_none() && !under_way.is_any());
        let (first, second) = (begun(&mut under_way, "slow quick"), begun(&mut under_way, "other"));
        assert!(under_way.has(&input("slow").digest) && under_way.next_now().is_none());
        first.tell(input("quick"), 1);
        second.tell(input("other"), 2);
        let mut came = [under_way.next_now(), under_way.next_now()].map(|came| match came {
            Some(Came::Over(over)) => (over.0.bundle, over.1),
            _ => Default::default(),
        });
        came.sort();
        assert_eq!(came, [("other".to_owned(), 2), ("quick".to_owned(), 1)]);
        assert!(under_way.is_any() && !under_way.has(&input("quick").digest));
        assert!(under_way.goes_on(0) && !under_way.goes_on(1));
        first.tell(input("slow"), 3);
        drop((first, second));
        assert_eq!(under_way.next_now(), over("slow", 3));
        assert!(under_way.next_now().is_none() && !under_way.is_any());
    }

    #[test]
    fn what_nobody_wants_any_more_is_not_begun_and_not_told() {
        let mut under_way = UnderWay::default();
        under_way.want(digests("old kept").collect());
        let teller = begun(&mut under_way, "old kept");
        under_way.want(digests("kept").collect());
        under_way.want_also(digests("new"));
        assert!(!teller.wanted.has(&input("old").digest) && teller.wanted.has(&input("new").digest));
        assert!(under_way.has(&input("old").digest));
        teller.skip(input("old").digest);
        teller.tell(input("kept"), 2);
        assert_eq!(under_way.next_now(), over("kept", 2));
        assert!(!under_way.is_any() && !under_way.has(&input("old").digest));
        // The same, where it is wanted again before that is heard.
        under_way.want(digests("again").collect());
        begun(&mut under_way, "again").skip(input("again").digest);
        assert_eq!(under_way.next_now(), Some(Came::Skipped));
        let wanted = teller.wanted.clone();
        drop(under_way);
        assert!(!wanted.has(&input("kept").digest), "who is gone wants nothing");
    }

    #[test]
    fn work_that_breaks_leaves_nothing_under_way_for_ever() {
        let mut under_way = UnderWay::default();
        under_way.want(digests("a b").collect());
        let teller = begun(&mut under_way, "a b c");
        teller.tell(input("a"), 1);
        drop(teller);
        assert_eq!(under_way.next_now(), over("a", 1));
        assert_eq!(under_way.next_now(), Some(Came::Lost));
        assert!(under_way.next_now().is_none() && !under_way.has(&input("b").digest));
    }
}
