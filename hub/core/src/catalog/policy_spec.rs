//! Rollout policies and maintenance windows, as people write them.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::amount::{Amount, Span};
use super::guard::GuardSpec;
use crate::select::Selector;

/// How a release moves across the fleet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RolloutPolicySpec {
    /// In order; a cluster is in the first wave that it matches. Clusters that match none form an
    /// implicit last wave.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// Per cluster: from the moment its dependencies are met to Healthy.
    #[serde(default = "deadline")]
    pub deadline: Span,
    /// Failed clusters tolerated per wave (of the group with `groupBy`).
    #[serde(default = "none")]
    pub failure_budget: Amount,
    /// What happens when the budget is spent.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// What happens with clusters that were silent before they were given the release.
    #[serde(default)]
    pub offline: Offline,
    /// The deletion guard. It can only be tighter than the hub's own.
    #[serde(default)]
    pub guard: GuardSpec,
}

/// A group of clusters that may take a release once the wave before is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Wave {
    /// Its name, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Which clusters; `{}` means all.
    #[serde(default)]
    pub selector: Selector,
    /// At most that many of the clusters that match, chosen stably by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take: Option<Amount>,
    /// Clusters under way at the same time; at least 1.
    #[serde(default = "all")]
    pub max_concurrent: Amount,
    /// How long all clusters of the wave must stay Healthy.
    #[serde(default)]
    pub soak: Span,
    /// Whether an operator must agree before the wave starts.
    #[serde(default)]
    pub approval: Approval,
    /// Name of a label: its groups go one after another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group_by: Option<String>,
    /// When moves may start: `cluster`, for the maintenance of each cluster, or a list of windows.
    /// Left out: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
}

/// Whether an operator must agree before a wave starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Approval {
    /// No.
    #[default]
    None,
    /// Yes.
    Required,
}

/// What happens when the failure budget is spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// No further cluster is given the release.
    #[default]
    Pause,
    /// Those that have it go back to their last good variant.
    Rollback,
    /// The rollout goes on.
    Continue,
}

/// What happens with clusters that were silent before they were given the release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Offline {
    /// The wave waits for them.
    Wait,
    /// They are set aside.
    #[default]
    Skip,
    /// They count as failed.
    Fail,
}

/// A time that comes again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// When it begins: five fields of cron.
    pub schedule: String,
    /// How long it lasts.
    pub duration: Span,
    /// IANA name of the time zone of the schedule.
    #[serde(default = "utc")]
    pub timezone: String,
}

/// When moves of a wave may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Windows {
    /// In the maintenance of each cluster.
    Cluster,
    /// In these.
    Own(Vec<Window>),
}

impl Serialize for Windows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Cluster => serializer.serialize_str("cluster"),
            Self::Own(windows) => windows.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Windows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Windows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`cluster` or a list of windows")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Windows, E> {
                match text {
                    "cluster" => Ok(Windows::Cluster),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Windows, A::Error> {
                let mut windows = Vec::new();
                while let Some(window) = items.next_element()? {
                    windows.push(window);
                }
                Ok(Windows::Own(windows))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl JsonSchema for Windows {
    fn schema_name() -> Cow<'static, str> {
        "Windows".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let window = generator.subschema_for::<Window>();
        json_schema!({
            "description": "`cluster`, for the maintenance of each cluster, or a list of windows.",
            "anyOf": [{"const": "cluster"}, {"type": "array", "items": window}],
        })
    }
}

fn deadline() -> Span {
    Span::minutes(15)
}

fn none() -> Amount {
    Amount::Count(0)
}

fn all() -> Amount {
    Amount::Percent(100)
}

fn utc() -> String {
    "UTC".into()
}
