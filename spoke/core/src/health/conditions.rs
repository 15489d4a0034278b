//! Conditions in an object's status.

use proto_model::report::cut;
use serde_json::Value as Json;

use super::{Assessment, text};

// Where one of these is there, it says whether a custom resource is as it should be; the first wins.
const GOOD: [&str; 6] = ["Ready", "Available", "Healthy", "Succeeded", "Established", "Complete"];
// Words for "going on for good": nothing will change without help.
const STUCK: [&str; 2] = ["Stalled", "Failed"];

/// One condition.
pub(super) struct Condition<'a> {
    pub(super) name: &'a str,
    pub(super) status: &'a str,
    pub(super) reason: &'a str,
    message: &'a str,
    /// How bad it is that it is not True, where the condition says so.
    pub(super) severity: &'a str,
    /// Whether it names the generation that it is about.
    pub(super) is_dated: bool,
    /// Whether it is about the current generation, as far as it says.
    pub(super) is_current: bool,
}

impl Condition<'_> {
    /// What it tells people.
    pub(super) fn message(&self) -> &str {
        self.message.trim()
    }

    /// The condition in words.
    pub(super) fn say(&self) -> String {
        let mut said = format!("condition {} is {}", self.name, self.status);
        for part in [self.reason.trim(), self.message.trim()] {
            if !part.is_empty() {
                said.push_str(": ");
                said.push_str(part);
            }
        }
        cut(&said)
    }
}

/// The conditions of one object.
pub(super) struct Conditions<'a> {
    all: Vec<Condition<'a>>,
    /// Whether there is any status at all.
    pub(super) has_status: bool,
}

impl<'a> Conditions<'a> {
    /// Reads them; none where there is no status.
    pub(super) fn of(object: &'a Json) -> Self {
        Self {
            all: read(object, object.pointer("/status/conditions")),
            has_status: object
                .get("status")
                .is_some_and(|status| !status.is_null() && status.as_object().is_none_or(|map| !map.is_empty())),
        }
    }

    /// Reads those of a part of the object's status.
    pub(super) fn of_part(object: &'a Json, part: &'a Json) -> Self {
        Self { all: read(object, part.get("conditions")), has_status: true }
    }

    /// Whether one of them is about the current generation.
    pub(super) fn is_any_current(&self) -> bool {
        self.all.iter().any(|condition| condition.is_current)
    }

    /// All of them, in the order of the object.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Condition<'a>> {
        self.all.iter()
    }

    /// One condition by name.
    pub(super) fn get(&self, name: &str) -> Option<&Condition<'a>> {
        self.all.iter().find(|condition| condition.name == name)
    }

    /// One condition, if it is True.
    pub(super) fn when_true(&self, name: &str) -> Option<&Condition<'a>> {
        self.get(name).filter(|condition| condition.status == "True")
    }

    /// Healthy once the condition is True.
    pub(super) fn must_be_true(&self, name: &str) -> Assessment {
        match self.get(name) {
            None => Assessment::progressing(format!("has no condition {name} yet")),
            Some(condition) if condition.status != "True" => Assessment::progressing(condition.say()),
            Some(condition) if !condition.is_current => {
                Assessment::progressing(format!("condition {name} is about an older generation"))
            }
            Some(_) => Assessment::healthy(),
        }
    }

    /// Degraded while the condition is there and not True.
    pub(super) fn degraded_unless(&self, name: &str) -> Assessment {
        match self.get(name).filter(|condition| condition.status == "False") {
            Some(condition) => Assessment::degraded(condition.say()),
            None => Assessment::healthy(),
        }
    }

    /// What the conditions of a kind say that is not known here.
    pub(super) fn generic(&self) -> Assessment {
        if !self.has_status {
            return Assessment { lacks_status: true, ..Assessment::healthy() };
        }
        for name in STUCK {
            if let Some(condition) = self.when_true(name) {
                return Assessment::degraded(condition.say());
            }
        }
        if let Some(condition) = self.when_true("Reconciling") {
            return Assessment::progressing(condition.say());
        }
        match GOOD.into_iter().find(|name| self.get(name).is_some()) {
            Some(name) => self.must_be_true(name),
            None => Assessment::healthy(),
        }
    }
}

fn read<'a>(object: &'a Json, conditions: Option<&'a Json>) -> Vec<Condition<'a>> {
    let generation = object.pointer("/metadata/generation").and_then(Json::as_i64);
    let items = conditions.and_then(Json::as_array);
    let read = |item: &'a Json| {
        let observed = item.get("observedGeneration").and_then(Json::as_i64);
        Condition {
            name: text(item, "/type"),
            status: text(item, "/status"),
            reason: text(item, "/reason"),
            message: text(item, "/message"),
            severity: text(item, "/severity"),
            is_dated: observed.is_some(),
            is_current: observed.zip(generation).is_none_or(|(observed, generation)| observed >= generation),
        }
    };
    items.into_iter().flatten().map(read).collect()
}
