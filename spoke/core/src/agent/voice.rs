//! What is said in the cluster itself: Events on what changes, and a ConfigMap with how it stands.
//!
//! Both are for people without the hub. They are said on changes alone, in bounded numbers, by the
//! spoke that holds the Lease; nothing waits for them and what fails is not mended.

use std::collections::BTreeMap;

use proto_model::{Digest, Health, Identity, Report, Sync, limits};

use super::{Agent, Effect};
use crate::diff::Why;
use crate::local::{text, time};
use crate::note::{About, Note};
use crate::port::{Failure, Outcome, Reason};
use crate::suspend::CLUSTER;

/// Bundle under which the spoke speaks of its cluster.
const WHOLE: &str = CLUSTER;
const MINUTE_MILLIS: u64 = 60_000;

/// What was said, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Voice {
    /// The name of the cluster.
    pub(super) cluster: String,
    /// The way to the hub, as it is; `None` before the first look.
    pub(super) link: Option<Link>,
    /// Since when the hub is there as far as people are told: short breaks do not count.
    attached_unix_millis: Option<u64>,
    /// Whether people were told that the hub is lost.
    is_hub_lost: bool,
    /// What each bundle said within a minute.
    minutes: BTreeMap<String, Minute>,
    /// What was said within the time in which it is not said again, by a digest of it.
    recent: BTreeMap<Digest, Recent>,
    /// Objects deleted and not told of yet: how many, and when to tell.
    deleted: BTreeMap<String, (u64, u64)>,
    /// Whether the status may be another than was published.
    is_changed: bool,
    /// The generation that the status shows.
    generation: u64,
    /// What was published, and what is being published.
    published: Option<Digest>,
    publishing: Option<Digest>,
    /// No sooner than this, on the monotonic clock.
    publish_at: u64,
    failures: u32,
}

/// Whether a session with the hub stands, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) is_up: bool,
    pub(super) mono_millis: u64,
    pub(super) unix_millis: u64,
}

#[derive(Debug)]
struct Minute {
    began: u64,
    told: u32,
    left_out: u64,
}

#[derive(Debug)]
struct Recent {
    told_at: u64,
    /// Since it was told: how often it happened, and when first.
    count: u64,
    first_unix_millis: u64,
}

impl Voice {
    /// The status is worth another look, in a moment: changes come together.
    pub(super) fn status_changed(&mut self, now: u64) {
        if !self.is_changed {
            self.is_changed = true;
            self.publish_at = self.publish_at.max(now + limits::STATUS_GATHER_MILLIS);
        }
    }

    /// As people are told: whether the hub is there, and since when it is or is not.
    pub(super) fn told_link(&self) -> (bool, Option<u64>) {
        if self.is_hub_lost {
            return (false, self.link.map(|link| link.unix_millis));
        }
        (self.attached_unix_millis.is_some(), self.attached_unix_millis)
    }

    /// Whether a bundle may say one thing more, and how much it had to leave out before; what it may
    /// not say is counted.
    fn admits(&mut self, bundle: &str, now: u64) -> Option<u64> {
        let is_over = |minute: &Minute| now.saturating_sub(minute.began) >= MINUTE_MILLIS;
        self.minutes.retain(|_, minute| !is_over(minute) || minute.left_out > 0);
        let own = (bundle, limits::BUNDLE_NOTES_PER_MINUTE_MAX);
        let all = ("", limits::NOTES_PER_MINUTE_MAX);
        let mut left_out = 0;
        for (who, max) in [own, all] {
            let minute = self.minutes.entry(who.to_owned()).or_insert(Minute { began: now, told: 0, left_out: 0 });
            if is_over(minute) {
                left_out = if who == bundle { minute.left_out } else { left_out };
                *minute = Minute { began: now, told: 0, left_out: 0 };
            }
            if minute.told >= max {
                minute.left_out += 1;
                return None;
            }
            minute.told += 1;
        }
        Some(left_out)
    }

    /// Whether something is to be said now, how often it happened and since when; what was said just
    /// now is only counted.
    fn counts(&mut self, what: Digest, mono_millis: u64, unix_millis: u64) -> Option<(u64, u64)> {
        let is_old = |recent: &Recent| mono_millis.saturating_sub(recent.told_at) >= limits::NOTE_REPEAT_MILLIS;
        let before = self.recent.get_mut(&what);
        if let Some(recent) = before {
            let first = if recent.count == 0 { unix_millis } else { recent.first_unix_millis };
            recent.count += 1;
            recent.first_unix_millis = first;
            if !is_old(recent) {
                return None;
            }
            let told = (recent.count, first);
            *recent = Recent { told_at: mono_millis, count: 0, first_unix_millis: unix_millis };
            return Some(told);
        }
        if self.recent.len() >= limits::NOTES_REMEMBERED_MAX {
            self.recent.retain(|_, recent| !is_old(recent));
        }
        if self.recent.len() >= limits::NOTES_REMEMBERED_MAX {
            let oldest = self.recent.iter().min_by_key(|(_, recent)| recent.told_at).map(|(what, _)| *what);
            oldest.and_then(|what| self.recent.remove(&what));
        }
        self.recent.insert(what, Recent { told_at: mono_millis, count: 0, first_unix_millis: unix_millis });
        Some((1, unix_millis))
    }

    /// How many things it remembers.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.minutes.len() + self.recent.len() + self.deleted.len()
    }
}

impl Agent {
    /// Takes the name of the cluster, for people.
    pub fn introduce(&mut self, cluster: impl Into<String>) {
        self.voice.cluster = cluster.into();
    }

    /// Says something of a bundle ([`CLUSTER`]: of all) where people look for the spoke.
    pub(super) fn tell_status(&mut self, reason: &'static str, is_warning: bool, bundle: &str, message: &str) {
        self.tell_note(About::Status, bundle, reason, is_warning, message);
    }

    /// Says something of an object where people look at it; nothing where it has not been made.
    fn tell_object(&mut self, bundle: &str, identity: &Identity, reason: &'static str, is_warning: bool, words: &str) {
        let slot = self.bundles.get(bundle).and_then(|one| one.slots.get(identity));
        let Some(slot) = slot.filter(|slot| slot.exists()) else {
            return;
        };
        let uid = slot.tracked.uid.clone().unwrap_or_default();
        let about = About::Object { identity: identity.clone(), version: slot.tracked.version.clone(), uid };
        self.tell_note(about, bundle, reason, is_warning, &format!("{words} (bundle {bundle})"));
    }

    fn tell_note(&mut self, about: About, bundle: &str, reason: &'static str, is_warning: bool, message: &str) {
        if !self.may_act() {
            return;
        }
        let now = self.now;
        let place = match &about {
            About::Object { uid, .. } => uid.as_str(),
            About::Status => "",
        };
        let what = Digest::of_parts([place, bundle, reason, message].map(str::as_bytes));
        let Some((count, first_unix_millis)) = self.voice.counts(what, now.mono_millis, now.unix_millis) else {
            return;
        };
        let Some(left_out) = self.voice.admits(bundle, now.mono_millis) else {
            return;
        };
        let mut message = message.to_owned();
        if left_out > 0 {
            message.push_str(&format!(" ({left_out} more things happened to the bundle and were not told)"));
        }
        let message = cut(message);
        let last_unix_millis = now.unix_millis;
        let note = Note { about, is_warning, reason, message, count, first_unix_millis, last_unix_millis };
        self.out.push(Effect::Tell(note));
    }

    /// A bundle's report changed: what of that people want to know.
    pub(super) fn tell_change(&mut self, name: &str, before: Option<&Report>, report: &Report) {
        self.voice.status_changed(self.now.mono_millis);
        let of = |sync: Sync| before.is_some_and(|before| before.sync == sync);
        let had = |health: Health| before.is_some_and(|before| before.health == health);
        let worst = report.problems.first();
        let words = worst.map_or_else(String::new, |problem| match &problem.object {
            Some(object) => format!("{object} {}", problem.message),
            None => problem.message.clone(),
        });
        let same_problem = before.and_then(|before| before.problems.first()) == worst;
        if report.sync == Sync::Failed && !(of(Sync::Failed) && same_problem) {
            self.tell_status("Failed", true, name, &format!("{name}: failed: {words}"));
            self.tell_worst(name, report, "Failed");
        } else if report.sync == Sync::Applied && before.is_some() && !of(Sync::Applied) {
            let message = format!("{name}: all {} objects are as assigned", report.objects);
            self.tell_status("Applied", false, name, &message);
        }
        if report.health == Health::Degraded && !had(Health::Degraded) {
            self.tell_status("Degraded", true, name, &format!("{name}: is Degraded: {words}"));
            self.tell_worst(name, report, "Degraded");
        } else if report.health == Health::Healthy && had(Health::Degraded) {
            self.tell_status("Healthy", false, name, &format!("{name}: is Healthy again"));
        }
    }

    fn tell_worst(&mut self, name: &str, report: &Report, reason: &'static str) {
        if let Some(problem) = report.problems.first()
            && let Some(object) = &problem.object
        {
            self.tell_object(name, object, reason, true, &problem.message);
        }
    }

    /// An apply came to its end: one that put something right is told of.
    pub(super) fn tell_corrected(&mut self, name: &str, identity: &Identity) {
        let Some(slot) = self.slot_mut(name, identity) else {
            return;
        };
        let Some(why) = slot.mending.take() else { return };
        if slot.trouble.is_some() {
            return;
        }
        let who = slot.changed_by.take().map_or_else(String::new, |who| format!(" (field manager {who} wrote last)"));
        let message = match why {
            Why::Missing => "was missing, and was made again as assigned".to_owned(),
            _ => format!("was changed{who}, and was put back as assigned"),
        };
        self.tell_object(name, identity, "DriftCorrected", false, &message);
    }

    /// Somebody keeps changing an object back.
    pub(super) fn tell_contested(&mut self, name: &str, identity: &Identity) {
        let contest = self.slot_mut(name, identity).and_then(|slot| slot.contest.clone());
        if let Some(contest) = contest {
            self.tell_object(name, identity, "Contested", true, &contest);
            self.tell_status("Contested", true, name, &format!("{name}: {identity} {contest}"));
        }
    }

    /// A deletion was answered; several are told of at once. What is deleted to be made anew does not count.
    pub(super) fn count_deleted(&mut self, name: &str, identity: &Identity, outcome: &Outcome) {
        let is_wanted = self.slot_mut(name, identity).is_some_and(|slot| slot.target.is_some());
        if *outcome == Outcome::Deleted && !is_wanted {
            let due = self.now.mono_millis + limits::NOTE_GATHER_MILLIS;
            self.voice.deleted.entry(name.to_owned()).or_insert((0, due)).0 += 1;
        }
    }

    /// What the ConfigMap says came to be, or not.
    pub(super) fn published(&mut self, result: Result<(), Failure>) {
        let publishing = self.voice.publishing.take();
        match result {
            Ok(()) => {
                self.voice.published = publishing;
                self.voice.failures = 0;
            }
            Err(failure) => {
                let is_lasting = matches!(failure.reason, Reason::Forbidden | Reason::Invalid);
                let doubled = limits::STATUS_MILLIS_MIN << self.voice.failures.min(10);
                let wait = if is_lasting { limits::STATUS_RETRY_MILLIS_MAX } else { doubled };
                self.voice.failures = self.voice.failures.saturating_add(1);
                self.voice.publish_at = self.now.mono_millis + wait.min(limits::STATUS_RETRY_MILLIS_MAX);
                self.voice.is_changed = true;
            }
        }
    }

    /// Says what is due.
    pub(super) fn mind_voice(&mut self) {
        self.mind_link();
        let now = self.now.mono_millis;
        let due: Vec<String> =
            self.voice.deleted.iter().filter(|(_, (_, at))| *at <= now).map(|(name, _)| name.clone()).collect();
        for name in due {
            if let Some((count, _)) = self.voice.deleted.remove(&name) {
                let objects = if count == 1 { "object" } else { "objects" };
                self.tell_status("Deleted", false, &name, &format!("{name}: deleted {count} {objects}"));
            }
        }
        if self.voice.generation != self.ledger.fence.generation {
            self.voice.generation = self.ledger.fence.generation;
            self.voice.status_changed(now);
        }
        let may_publish = self.may_act() && self.voice.is_changed && self.voice.publishing.is_none();
        // A spoke that was never told anything has nothing to say.
        if !may_publish || now < self.voice.publish_at || !self.has_something_to_say() {
            return;
        }
        self.voice.is_changed = false;
        let data = text::summary(&self.status_told());
        let digest = Digest::of_parts(data.iter().flat_map(|(key, value)| [key.as_bytes(), value.as_bytes()]));
        if self.voice.published != Some(digest) {
            self.voice.publishing = Some(digest);
            self.voice.publish_at = now + limits::STATUS_MILLIS_MIN;
            self.out.push(Effect::Publish { data });
        }
    }

    fn mind_link(&mut self) {
        let (now, is_up) = (self.now, self.is_attached());
        let fresh = Link { is_up, mono_millis: now.mono_millis, unix_millis: now.unix_millis };
        if self.voice.link.is_none() {
            // A spoke that starts finds its hub in a moment: that is worth one word, not two.
            self.voice.publish_at = now.mono_millis + limits::STATUS_MILLIS_MIN;
        }
        let before = *self.voice.link.get_or_insert(fresh);
        if before.is_up != is_up {
            self.voice.link = Some(fresh);
        }
        let is_first = self.voice.attached_unix_millis.is_none();
        if is_up && (is_first || self.voice.is_hub_lost) {
            if self.voice.is_hub_lost {
                let away = time::span(now.mono_millis.saturating_sub(before.mono_millis) / 1_000);
                self.tell_status("HubBack", false, WHOLE, &format!("the hub is there again, after {away}"));
            }
            self.voice.attached_unix_millis = Some(now.unix_millis);
            self.voice.is_hub_lost = false;
            self.voice.status_changed(now.mono_millis);
        }
        let is_away = !is_up && !before.is_up;
        if is_away && !self.voice.is_hub_lost && now.mono_millis >= before.mono_millis + limits::HUB_LOST_MILLIS {
            self.voice.is_hub_lost = true;
            self.voice.status_changed(now.mono_millis);
            let since = time::utc(before.unix_millis);
            let generation = self.ledger.fence.generation;
            let message = format!("the hub was not reached since {since}; generation {generation} is kept as it is");
            self.tell_status("HubLost", true, WHOLE, &message);
        }
    }

    /// Whether the cluster is in a fleet, or was while this process ran.
    fn has_something_to_say(&self) -> bool {
        !self.ledger.fence.hub_id.is_empty() || self.voice.published.is_some()
    }

    /// When there is something to say next.
    pub(super) fn voice_wake(&self) -> Option<u64> {
        let voice = &self.voice;
        if !self.may_act() {
            return None;
        }
        let deleted = voice.deleted.values().map(|(_, due)| *due);
        let lost = voice.link.filter(|link| !link.is_up && !voice.is_hub_lost);
        let lost = lost.map(|link| link.mono_millis + limits::HUB_LOST_MILLIS);
        let is_publishing = voice.is_changed && voice.publishing.is_none() && self.has_something_to_say();
        let publish = is_publishing.then_some(voice.publish_at);
        deleted.chain(lost).chain(publish).min()
    }
}

fn cut(mut text: String) -> String {
    let mut end = text.len().min(limits::NOTE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
