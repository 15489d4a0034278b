//! A rule: how to read the status of one kind.

use proto_model::report::cut;
use proto_model::{Health, object};
use serde_json::Value as Json;

use super::super::conditions::{Condition, Conditions};
use super::super::{Assessment, generation_lag, text};

/// How to read a status. The questions are asked in the order of the fields, and the first that has an answer decides,
/// save that of `phase`, `good`, `by_hand` and `parts` an answer of Degraded counts before any other. Where none has
/// an answer, the object is Healthy.
pub(in crate::health) struct Rule {
    /// Somebody wants it to rest: Healthy, whatever else is there.
    pub(super) rest: &'static [Rest],
    /// Whether some controllers never write a status, so that there is nothing to wait for.
    pub(super) may_stay_silent: bool,
    /// Degraded while one of these conditions is True.
    pub(super) bad: &'static [Bad],
    /// Progressing while one of these conditions is True.
    pub(super) busy: &'static [&'static str],
    /// A word that says where it stands.
    pub(super) phase: Option<Phase>,
    /// All of these conditions must be True.
    pub(super) good: &'static [Good],
    /// Conditions that say more where a good one is not True.
    pub(super) more: &'static [&'static str],
    /// What needs counting; it minds the observed generation itself. `None`: has no objection.
    pub(super) by_hand: Option<fn(&Json, &Conditions<'_>) -> Option<Assessment>>,
    /// Parts with conditions of their own.
    pub(super) parts: Option<Parts>,
    /// Progressing while one of these conditions is True, though all that must be True is.
    pub(super) finishing: &'static [&'static str],
}

/// A sign that an object is meant to rest: suspended, paused, switched off.
pub(super) enum Rest {
    /// A field is true.
    Flag(&'static str),
    /// A field has this value.
    Is(&'static str, &'static str),
    /// An annotation has this value; an empty one stands for any.
    Annotation(&'static str, &'static str),
    /// A condition is True.
    Condition(&'static str),
}

/// A condition that is bad news when it is True.
pub(super) struct Bad {
    pub(super) name: &'static str,
    /// Reasons with which it means nothing bad.
    pub(super) unless: &'static [&'static str],
}

/// A condition that must be True.
pub(super) struct Good {
    pub(super) name: &'static str,
    /// What it means when it is False. Anything else that is not True means Progressing.
    pub(super) when_false: WhenFalse,
    /// Reasons with which False means the other of Degraded and Progressing.
    pub(super) unless: &'static [&'static str],
    /// Whether it must be there.
    pub(super) is_needed: bool,
}

/// What a condition that must be True means when it is False.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFalse {
    /// Something is wrong.
    Degraded,
    /// It is on its way.
    Progressing,
    /// The condition says it itself: with severity Error something is wrong.
    AsSevere,
}

/// A word in the status.
pub(super) struct Phase {
    /// Where it stands.
    pub(super) at: &'static str,
    /// Words that have no objection. All that are in no list mean Progressing.
    pub(super) healthy: &'static [&'static str],
    /// Words for trouble.
    pub(super) degraded: &'static [&'static str],
    /// Where the status says why.
    pub(super) why: &'static [&'static str],
}

/// A list in the status, each item with conditions of its own.
pub(super) struct Parts {
    /// Where the list stands.
    pub(super) list: &'static str,
    /// What an item is called.
    pub(super) called: &'static str,
    /// Where an item says its name.
    pub(super) name: &'static [&'static str],
    /// As of a rule.
    pub(super) bad: &'static [Bad],
    /// As of a rule.
    pub(super) good: &'static [Good],
    /// Whether there must be an item about the current generation.
    pub(super) is_needed: bool,
}

impl Rule {
    /// A rule without any question.
    pub(super) const NONE: Self = Self {
        rest: &[],
        may_stay_silent: false,
        bad: &[],
        busy: &[],
        phase: None,
        good: &[],
        more: &[],
        by_hand: None,
        parts: None,
        finishing: &[],
    };

    /// How an object is doing that is not being deleted.
    pub(in crate::health) fn assess(&self, object: &Json, conditions: &Conditions<'_>) -> Assessment {
        if self.rest.iter().any(|rest| rest.holds(object, conditions)) {
            return Assessment::healthy();
        }
        if !conditions.has_status {
            return Assessment { lacks_status: !self.may_stay_silent, ..Assessment::healthy() };
        }
        self.lag(object, conditions)
            .or_else(|| trouble(self.bad, conditions))
            .or_else(|| busy(self.busy, conditions))
            .or_else(|| self.objection(object, conditions))
            .or_else(|| busy(self.finishing, conditions))
            .unwrap_or_else(Assessment::healthy)
    }

    /// What stands in the way of Healthy: trouble comes before what is on its way.
    fn objection(&self, object: &Json, conditions: &Conditions<'_>) -> Option<Assessment> {
        let objections = [
            self.phase.as_ref().and_then(|phase| phase.objection(object)),
            shortcoming(self.good, conditions).map(|found| self.with_more(found, conditions)),
            self.by_hand.and_then(|judge| judge(object, conditions)),
            self.parts.as_ref().and_then(|parts| parts.objection(object)),
        ];
        worst(objections.into_iter().flatten())
    }

    /// Some controllers write the observed generation of the whole status only after a success: where the condition
    /// that decides names a generation, that counts.
    fn lag(&self, object: &Json, conditions: &Conditions<'_>) -> Option<Assessment> {
        if self.by_hand.is_some() {
            return None;
        }
        let decides = self.good.iter().find_map(|good| conditions.get(good.name));
        let is_dated = decides.is_some_and(|condition| condition.is_dated && condition.is_current);
        if is_dated { None } else { generation_lag(object) }
    }

    fn with_more(&self, found: Assessment, conditions: &Conditions<'_>) -> Assessment {
        let more = self.more.iter().find_map(|name| conditions.get(name).filter(|more| more.status == "False"));
        match more {
            Some(more) if !more.reason.is_empty() => {
                Assessment { message: cut(&format!("{}; {}", found.message, more.say())), ..found }
            }
            _ => found,
        }
    }
}

impl Rest {
    fn holds(&self, object: &Json, conditions: &Conditions<'_>) -> bool {
        match self {
            Self::Flag(at) => object.pointer(at).and_then(Json::as_bool).unwrap_or(false),
            Self::Is(at, value) => text(object, at) == *value,
            Self::Annotation(name, value) => {
                object::annotation(object, name).is_some_and(|found| value.is_empty() || found == *value)
            }
            Self::Condition(name) => conditions.when_true(name).is_some(),
        }
    }
}

/// The first bad condition that is True.
fn trouble(bad: &[Bad], conditions: &Conditions<'_>) -> Option<Assessment> {
    bad.iter().find_map(|bad| {
        let found = conditions.when_true(bad.name).filter(|condition| condition.is_current)?;
        (!bad.unless.contains(&found.reason)).then(|| Assessment::degraded(found.say()))
    })
}

/// The first of some conditions that is True and says that it goes on.
fn busy(names: &[&str], conditions: &Conditions<'_>) -> Option<Assessment> {
    let mut found = names.iter().filter_map(|name| conditions.when_true(name));
    found.find(|condition| condition.is_current).map(|condition| Assessment::progressing(condition.say()))
}

/// The first good condition that is not True; one that means Degraded comes first.
fn shortcoming(good: &[Good], conditions: &Conditions<'_>) -> Option<Assessment> {
    worst(good.iter().filter_map(|good| good.objection(conditions)))
}

/// The first that is Degraded, else the first.
fn worst(found: impl Iterator<Item = Assessment>) -> Option<Assessment> {
    let mut first = None;
    for one in found {
        if one.health == Health::Degraded {
            return Some(one);
        }
        first = first.or(Some(one));
    }
    first
}

impl Good {
    fn objection(&self, conditions: &Conditions<'_>) -> Option<Assessment> {
        let name = self.name;
        match conditions.get(name) {
            None if self.is_needed => Some(Assessment::progressing(format!("has no condition {name} yet"))),
            None => None,
            Some(condition) if !condition.is_current => {
                Some(Assessment::progressing(format!("condition {name} is about an older generation")))
            }
            Some(condition) if condition.status == "True" => None,
            Some(condition) if condition.status == "False" && self.is_trouble(condition) => {
                Some(Assessment::degraded(condition.say()))
            }
            Some(condition) => Some(Assessment::progressing(condition.say())),
        }
    }

    fn is_trouble(&self, condition: &Condition<'_>) -> bool {
        let is_other = self.unless.contains(&condition.reason);
        match self.when_false {
            WhenFalse::Degraded => !is_other,
            WhenFalse::Progressing => is_other,
            WhenFalse::AsSevere => condition.severity == "Error",
        }
    }
}

impl Phase {
    /// What a word is called: the last step of its path.
    pub(super) fn called(&self) -> &'static str {
        self.at.rsplit('/').next().unwrap_or(self.at)
    }

    fn objection(&self, object: &Json) -> Option<Assessment> {
        let (called, phase) = (self.called(), text(object, self.at));
        if phase.is_empty() {
            return Some(Assessment::progressing(format!("has no {called} yet")));
        }
        if self.healthy.contains(&phase) {
            return None;
        }
        let why = self.why.iter().map(|at| text(object, at)).find(|why| !why.is_empty());
        let said = match why {
            Some(why) => cut(&format!("{called} is {phase}: {why}")),
            None => format!("{called} is {phase}"),
        };
        let is_trouble = self.degraded.contains(&phase);
        Some(if is_trouble { Assessment::degraded(said) } else { Assessment::progressing(said) })
    }
}

impl Parts {
    fn objection(&self, object: &Json) -> Option<Assessment> {
        let items = object.pointer(self.list).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let parts: Vec<(&Json, Conditions<'_>)> = items
            .iter()
            .map(|item| (item, Conditions::of_part(object, item)))
            // Others are left of a reference that the spec no longer makes.
            .filter(|(_, conditions)| conditions.is_any_current())
            .collect();
        if self.is_needed && parts.is_empty() {
            return Some(Assessment::progressing(format!("no {} has answered yet", self.called)));
        }
        worst(parts.iter().filter_map(|(item, conditions)| {
            let found = trouble(self.bad, conditions).or_else(|| shortcoming(self.good, conditions))?;
            let message = cut(&format!("{} {}: {}", self.called, self.name_of(item), found.message));
            Some(Assessment { message, ..found })
        }))
    }

    fn name_of(&self, item: &Json) -> String {
        let names: Vec<&str> = self.name.iter().map(|at| text(item, at)).filter(|name| !name.is_empty()).collect();
        names.join("/")
    }
}
