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
    is_current: bool,
}

impl Condition<'_> {
    /// The condition in words.
    pub(super) fn say(&self) -> String {
        let mut said = format!("condition {} is {}", self.name, self.status);
        for part in [self.reason, self.message] {
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
    has_status: bool,
}

impl<'a> Conditions<'a> {
    /// Reads them; none where there is no status.
    pub(super) fn of(object: &'a Json) -> Self {
        let generation = object.pointer("/metadata/generation").and_then(Json::as_i64);
        let items = object.pointer("/status/conditions").and_then(Json::as_array);
        let read = |item: &'a Json| Condition {
            name: text(item, "/type"),
            status: text(item, "/status"),
            reason: text(item, "/reason"),
            message: text(item, "/message"),
            is_current: match (item.get("observedGeneration").and_then(Json::as_i64), generation) {
                (Some(observed), Some(generation)) => observed >= generation,
                _ => true,
            },
        };
        Self {
            all: items.into_iter().flatten().map(read).collect(),
            has_status: object
                .get("status")
                .is_some_and(|status| !status.is_null() && status.as_object().is_none_or(|map| !map.is_empty())),
        }
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
