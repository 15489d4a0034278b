//! Renderings that failed for a reason that may pass: they are tried again, ever less often, and until
//! then their defect is shown. Instants come in as values.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hub_core::catalog::Defect;
use hub_core::release::RenderInput;
use proto_model::{Digest, limits};

/// What is to be tried again, by the digest of its input.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    all: BTreeMap<Digest, Wait>,
}

#[derive(Debug)]
struct Wait {
    input: RenderInput,
    /// None where it was not begun, since another one of its bundle had failed.
    defects: Vec<Defect>,
    tries: u32,
    due: Instant,
}

impl Waiting {
    /// Forgets what is no input any more.
    pub(super) fn retain(&mut self, current: &BTreeSet<Digest>) {
        self.all.retain(|input, _| current.contains(input));
    }

    /// It was rendered, or is wrong for good.
    pub(super) fn settled(&mut self, input: &Digest) {
        self.all.remove(input);
    }

    /// It failed, or was not begun for what failed of its bundle.
    pub(super) fn failed(&mut self, input: RenderInput, defects: Vec<Defect>, now: Instant) {
        let tries = self.all.get(&input.digest).map_or(0, |wait| wait.tries);
        let due = now + pause(tries);
        self.all.insert(input.digest, Wait { input, defects, tries: tries.saturating_add(1), due });
    }

    /// Whether it waits to be tried again.
    pub(super) fn has(&self, input: &Digest) -> bool {
        self.all.contains_key(input)
    }

    /// Whether it is not its turn yet.
    pub(super) fn is_early(&self, input: &Digest, now: Instant) -> bool {
        self.all.get(input).is_some_and(|wait| wait.due > now)
    }

    /// What is to be tried now, beside what is being tried.
    pub(super) fn due(&self, now: Instant, is_tried: impl Fn(&Digest) -> bool) -> Vec<RenderInput> {
        let due = self.all.values().filter(|wait| wait.due <= now && !is_tried(&wait.input.digest));
        due.map(|wait| wait.input.clone()).collect()
    }

    /// Puts off what is due and is not being tried, so that nothing is tried without a pause.
    pub(super) fn put_off(&mut self, now: Instant, is_tried: impl Fn(&Digest) -> bool) {
        for wait in self.all.values_mut().filter(|wait| wait.due <= now && !is_tried(&wait.input.digest)) {
            (wait.due, wait.tries) = (now + pause(wait.tries), wait.tries.saturating_add(1));
        }
    }

    /// When there is something to try, beside what is being tried.
    pub(super) fn next(&self, is_tried: impl Fn(&Digest) -> bool) -> Option<Instant> {
        self.all.values().filter(|wait| !is_tried(&wait.input.digest)).map(|wait| wait.due).min()
    }

    /// What is wrong with one meanwhile.
    pub(super) fn defects(&self, input: &Digest) -> &[Defect] {
        self.all.get(input).map_or(&[], |wait| &wait.defects)
    }
}

fn pause(tries: u32) -> Duration {
    let secs = limits::RENDER_RETRY_SECS_MIN.saturating_mul(1u64.checked_shl(tries).unwrap_or(u64::MAX));
    Duration::from_secs(secs.min(limits::RENDER_RETRY_SECS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(name: &str) -> RenderInput {
        RenderInput { digest: Digest::of(name.as_bytes()), bundle: name.to_owned(), ..RenderInput::default() }
    }

    fn defect(message: &str) -> Defect {
        Defect { file: "f".into(), line: 0, message: message.into(), bundle: None, note: false }
    }

    const fn nobody(_: &Digest) -> bool {
        false
    }

    #[test]
    fn what_failed_is_tried_ever_less_often_and_says_why_meanwhile() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        let a = input("a");
        let secs = |secs: u64| start + Duration::from_secs(secs);
        assert_eq!(waiting.next(nobody), None);
        waiting.failed(a.clone(), vec![defect("no room")], start);
        assert!(waiting.is_early(&a.digest, start) && waiting.due(start, nobody).is_empty());
        let first = limits::RENDER_RETRY_SECS_MIN;
        assert_eq!(waiting.next(nobody), Some(secs(first)));
        assert_eq!(waiting.due(secs(first), nobody), std::slice::from_ref(&a));
        assert!(!waiting.is_early(&a.digest, secs(first)));
        waiting.failed(a.clone(), vec![defect("no time")], secs(first));
        assert_eq!(waiting.next(nobody), Some(secs(first + 2 * first)));
        assert_eq!(waiting.defects(&a.digest), [defect("no time")]);
        for _ in 0..100 {
            waiting.failed(a.clone(), Vec::new(), start);
        }
        assert_eq!(waiting.next(nobody), Some(secs(limits::RENDER_RETRY_SECS_MAX)));
        waiting.settled(&a.digest);
        assert_eq!((waiting.next(nobody), waiting.defects(&a.digest)), (None, &[][..]));
    }

    #[test]
    fn what_could_not_even_be_tried_is_put_off() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.failed(input("a"), vec![defect("no room")], start);
        let due = waiting.next(nobody).unwrap_or(start);
        waiting.put_off(due, nobody);
        assert_eq!(waiting.next(nobody), Some(due + Duration::from_secs(2 * limits::RENDER_RETRY_SECS_MIN)));
        assert_eq!(waiting.defects(&input("a").digest).len(), 1);
    }

    #[test]
    fn what_is_being_tried_is_not_due_meanwhile() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        waiting.failed(input("a"), Vec::new(), start);
        let tried = |one: &Digest| *one == input("a").digest;
        let later = start + Duration::from_secs(limits::RENDER_RETRY_SECS_MIN);
        waiting.put_off(later, tried);
        assert_eq!((waiting.next(tried), waiting.due(later, tried)), (None, Vec::new()));
        assert_eq!((waiting.next(nobody), waiting.due(later, nobody)), (Some(later), vec![input("a")]));
    }

    #[test]
    fn what_is_no_input_any_more_is_forgotten() {
        let (mut waiting, now) = (Waiting::default(), Instant::now());
        waiting.failed(input("a"), Vec::new(), now);
        waiting.failed(input("b"), Vec::new(), now);
        waiting.retain(&[input("b").digest].into());
        assert!(!waiting.is_early(&input("a").digest, now) && waiting.is_early(&input("b").digest, now));
    }
}
