//! One object of a bundle: what is wanted of it, what is known of it, and what follows.

use proto_model::wishes::Prune;
use proto_model::{Digest, Health, Identity, Wishes, limits};

use super::bundle::{Attempt, Trouble};
use crate::diff::{self, Seen, Sight, Verdict, Why};
use crate::inventory::Tracked;
use crate::order::Stage;
use crate::retry;
use crate::target::Target;

/// One object of a bundle's inventory, with what is wanted and known of it.
#[derive(Debug, Default)]
pub(super) struct Slot {
    /// What the bundle wants; `None`: it shall go.
    pub(super) target: Option<Target>,
    /// Digest of what is wanted, marks included.
    pub(super) bound: Digest,
    /// Its line of the inventory.
    pub(super) tracked: Tracked,
    /// Whether the durable inventory has that line.
    pub(super) is_durable: bool,
    pub(super) sight: Sight,
    /// When it was last looked for and not there, on the monotonic clock.
    pub(super) absent_at: u64,
    /// The run of its kind's watch in which the watch last told of it.
    pub(super) seen_in: Option<u32>,
    /// Something happened that only a look can tell.
    pub(super) look: bool,
    /// Whether a dry-run of what is wanted found nothing against it, or could not tell.
    pub(super) is_rehearsed: bool,
    /// When to look at it without a reason, where it may not be watched.
    pub(super) look_at: Option<u64>,
    /// Until when a status is waited for, on the monotonic clock.
    pub(super) status_until: Option<u64>,
    /// Whether a request about it is under way.
    pub(super) is_busy: bool,
    pub(super) trouble: Option<Trouble>,
    /// A field can't be changed: delete and apply anew.
    pub(super) recreate: bool,
    /// Somebody else's, to be made only where there is none: it is left as it was found.
    pub(super) is_left: bool,
    /// Whether an autoscaler that no bundle brings scales it, once that was looked up.
    pub(super) is_scaled: Option<bool>,
    /// Whether the services that it calls were seen to answer.
    pub(super) is_answered: bool,
    /// When it was last put right, and how often in a row.
    pub(super) corrected_at: u64,
    pub(super) corrections: u32,
    /// Who changed it, while it is drifted, and what is being put right.
    pub(super) changed_by: Option<String>,
    pub(super) mending: Option<Why>,
    /// Who keeps changing it back, in words, once that was looked up.
    pub(super) contest: Option<String>,
}

impl Slot {
    pub(super) fn of(tracked: Tracked, is_durable: bool) -> Self {
        Self { tracked, is_durable, ..Self::default() }
    }

    /// Whether what is wanted was applied, or is made only once and there.
    pub(super) fn is_applied(&self) -> bool {
        self.tracked.applied == Some(self.bound) || self.is_kept_as_made() || self.is_finished_as_wanted()
    }

    /// Whether it came to its end as it is wanted and is gone, whatever marks it bore.
    fn is_finished_as_wanted(&self) -> bool {
        let wanted = self.target.as_ref().map(|target| target.content);
        self.sight == Sight::Absent
            && self.tracked.finished.is_some()
            && wanted.is_some()
            && self.tracked.finished_content == wanted
    }

    /// Notes that it came to its end, and what did.
    pub(super) fn finish(&mut self, has_succeeded: bool) {
        self.tracked.finished = Some(has_succeeded);
        self.tracked.finished_content = self.target.as_ref().map(|target| target.content);
    }

    /// Whether it is there and, made once, is changed no more.
    fn is_kept_as_made(&self) -> bool {
        self.is_made_once()
            && self.tracked.former.is_none()
            && (self.is_left || (matches!(self.sight, Sight::Live(_)) && self.tracked.uid.is_some()))
    }

    /// Whether it is to be made where there is none, and never changed.
    pub(super) fn is_made_once(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.wishes.create_only)
    }

    /// Whether it is there, was another bundle's and is changed in nothing but whose it is.
    pub(super) fn is_taken_as_made(&self) -> bool {
        self.is_made_once() && self.tracked.former.is_some() && matches!(self.sight, Sight::Live(_))
    }

    /// Whether somebody asked, on the live object, that hands are kept off it.
    pub(super) fn is_hands_off(&self) -> bool {
        matches!(&self.sight, Sight::Live(seen) if seen.hands_off)
    }

    /// What its annotations ask for, as it is wanted; as it was applied where it is wanted no more.
    pub(super) fn wishes(&self) -> &Wishes {
        self.target.as_ref().map_or(&self.tracked.wishes, |target| &target.wishes)
    }

    /// Whether other content than what is wanted is known to be there.
    pub(super) fn is_replaced(&self) -> bool {
        self.tracked.applied.is_some_and(|applied| applied != self.bound)
    }

    /// Whether it is to be deleted to be made anew.
    pub(super) fn is_to_be_made_anew(&self) -> bool {
        self.recreate && self.target.is_some()
    }

    pub(super) fn verdict(&self) -> Verdict {
        self.judged(self.look)
    }

    fn judged(&self, look: bool) -> Verdict {
        match diff::verdict(self.bound, &self.tracked, &self.sight, look) {
            Verdict::Look if self.is_left && !look => Verdict::Settled,
            Verdict::Apply(Why::Content) if self.is_finished_as_wanted() => Verdict::Settled,
            Verdict::Apply(Why::Content | Why::Drifted) if self.is_kept_as_made() => Verdict::Settled,
            verdict => verdict,
        }
    }

    /// Whether somebody changed or removed the object and it was not put right.
    pub(super) fn is_drifted(&self) -> bool {
        matches!(self.judged(false), Verdict::Apply(Why::Drifted | Why::Missing))
    }

    /// The health that it shows, whatever was applied.
    pub(super) fn health(&self) -> (Health, &str) {
        match &self.sight {
            _ if self.is_left => (Health::Healthy, ""),
            Sight::Unknown => (Health::Unknown, "was not seen since the spoke started"),
            Sight::Foreign => (Health::Degraded, ""),
            Sight::Live(_) if self.awaits_status() => {
                (Health::Progressing, "waits for its controller to write a status")
            }
            Sight::Live(seen) => (seen.assessment.health, &seen.assessment.message),
            Sight::Absent => match self.tracked.finished {
                Some(true) => (Health::Healthy, ""),
                Some(false) => (Health::Degraded, "failed, and was cleaned away; change it in Git to run it again"),
                None => (Health::Progressing, "is missing"),
            },
        }
    }

    /// The object is somebody else's, as the message says: it is looked at again after a while.
    pub(super) fn stand_back(&mut self, message: String, seed: &str, now: u64) {
        self.sight = Sight::Foreign;
        let before = self.trouble.take();
        self.trouble = Some(Trouble::stated(before.as_ref(), Attempt::Look, message, true, seed, now));
    }

    /// Whether it waits because the object is somebody else's; its watch may have told of that object since.
    pub(super) fn stands_back(&self) -> bool {
        let is_refused = self.trouble.as_ref().is_some_and(|trouble| trouble.attempt == Attempt::Look);
        is_refused && self.target.is_some() && self.tracked.uid.is_none()
    }

    /// Whether the object counts among those that the bundle owns.
    pub(super) fn exists(&self) -> bool {
        self.tracked.uid.is_some() && !matches!(self.sight, Sight::Absent | Sight::Foreign)
    }

    /// Whether it is still the very object that the bundle made, as far as was seen: another in its place may be
    /// another bundle's.
    pub(super) fn is_there_as_made(&self) -> bool {
        let is_another = matches!(&self.sight, Sight::Live(seen) if Some(&seen.uid) != self.tracked.uid.as_ref());
        self.exists() && !is_another
    }

    /// When the next correction may happen; a fight is slowed down and then stopped for a while.
    pub(super) fn correct_at(&self, why: Why, seed: &str) -> u64 {
        let wait = match (self.corrections, why) {
            (0, _) => return 0,
            (limits::CORRECTIONS_MAX.., Why::Drifted) => limits::CONTEST_MILLIS,
            (count, _) => retry::wait_millis(count, false, None, seed),
        };
        self.corrected_at + wait
    }

    /// Whether somebody keeps changing the object back.
    pub(super) fn is_contested(&self) -> bool {
        self.corrections >= limits::CORRECTIONS_MAX && self.verdict() == Verdict::Apply(Why::Drifted)
    }

    /// Counts a correction that begins now.
    pub(super) fn count_correction(&mut self, now: u64) {
        if now.saturating_sub(self.corrected_at) >= limits::CONTEST_MILLIS {
            self.corrections = 0;
        }
        self.corrections += 1;
        self.corrected_at = now;
        self.contest = None;
        // What scales it may have come or gone since.
        self.is_scaled = None;
        self.mending = Some(if self.sight == Sight::Absent { Why::Missing } else { Why::Drifted });
    }

    /// Whether it was not there when it was looked for, and that is a while ago.
    pub(super) fn is_long_absent(&self, now: u64) -> bool {
        self.sight == Sight::Absent && now.saturating_sub(self.absent_at) >= limits::ABSENT_MILLIS
    }

    /// Whether it goes before the new objects come.
    pub(super) fn goes_first(&self) -> bool {
        self.target.is_none() && self.tracked.wishes.prune == Prune::First
    }

    /// Whether something that it calls must answer before it is made.
    pub(super) fn waits_for_services(&self) -> bool {
        let calls = self.target.as_ref().is_some_and(|target| !target.calls.is_empty());
        calls && !self.is_answered && !self.exists()
    }

    /// The stage in which it goes, in reverse.
    pub(super) fn removal_stage(&self, identity: &Identity) -> Stage {
        Stage::of(&identity.kind, self.tracked.order)
    }

    /// Takes a sight unless a newer one is known.
    pub(super) fn take_sight(&mut self, seen: Seen) {
        match &self.sight {
            Sight::Live(known) if known.uid == seen.uid && known.resource_version > seen.resource_version => {}
            _ => self.sight = Sight::Live(seen),
        }
    }

    /// Remembers that a Job came to its end as applied.
    pub(super) fn note_finish(&mut self) -> bool {
        let Sight::Live(seen) = &self.sight else {
            return false;
        };
        // One that is deleted when it failed must not run again for that.
        let has_failed = self.wishes().delete_failed && seen.assessment.health == Health::Degraded;
        let finished = seen.assessment.finished.or(has_failed.then_some(false));
        let is_news = finished.is_some() && self.is_applied() && self.tracked.finished != finished;
        if let Some(has_succeeded) = finished.filter(|_| is_news) {
            self.finish(has_succeeded);
            // Written down before it is cleaned away.
            self.is_durable &= !self.is_to_be_cleaned();
        }
        is_news
    }
}
