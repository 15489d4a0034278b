//! What the spoke tells people who have its cluster and no hub: words between `drover-spoke status`
//! and the running spoke. One line of JSON each way, versioned; no object content, no secret.

pub mod text;

pub use proto_model::time;
use serde::{Deserialize, Serialize};

/// The version of these words; both sides say theirs.
pub const VERSION: u32 = 1;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// The question or order.
    pub ask: Ask,
}

/// A question or an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// How the cluster stands.
    Status,
    /// Object by object: what is, and why it is not as it should be.
    Explain {
        /// Of this bundle; without one, only what is not as it should be, of all.
        bundle: Option<String>,
    },
    /// What each bundle owns.
    Inventory {
        /// Of this bundle; without one, of all.
        bundle: Option<String>,
    },
    /// Keep hands off for a while.
    Suspend {
        /// Of this bundle; without one, of all.
        bundle: Option<String>,
        /// For how long, in seconds.
        secs: u64,
        /// Why.
        reason: String,
    },
    /// End a suspension.
    Resume {
        /// Of this bundle; without one, that of all.
        bundle: Option<String>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// [`VERSION`] of the spoke that runs.
    pub version: u32,
    /// The answer, or why there is none and what to do.
    pub told: Result<Told, String>,
}

/// An answer, by question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// To [`Ask::Status`].
    Status(Box<Status>),
    /// To [`Ask::Explain`].
    Explained(Vec<Explanation>),
    /// To [`Ask::Inventory`].
    Inventory(Vec<Owned>),
    /// To [`Ask::Suspend`] and [`Ask::Resume`]: what is suspended now, durably.
    Suspended(Vec<Suspended>),
}

/// How a cluster stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// Name of the cluster.
    pub cluster: String,
    /// uid of its namespace `kube-system`; empty before the ledger was read.
    pub cluster_uid: String,
    /// Version of the spoke.
    pub version: String,
    /// When this was told, in milliseconds since 1970.
    pub now_unix_millis: u64,
    /// Why nothing is done in this cluster; empty where it is kept.
    pub idle_because: String,
    /// The way to the hub.
    pub hub: HubLink,
    /// Epoch, incarnation and generation of what is held.
    pub epoch: u64,
    /// See `epoch`.
    pub incarnation: u64,
    /// See `epoch`.
    pub generation: u64,
    /// Why the ledger can't be written, and when it is tried again, in seconds.
    pub ledger_trouble: Option<Trouble>,
    /// Which kinds could not be searched for objects that no inventory has; empty where all were.
    #[serde(default)]
    pub search_trouble: String,
    /// What is suspended.
    pub suspended: Vec<Suspended>,
    /// Bundles, by name, at most `limits::LOCAL_BUNDLES_MAX`.
    pub bundles: Vec<Bundle>,
    /// Bundles beyond those.
    pub bundles_more: u64,
}

/// The way to the hub.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HubLink {
    /// Its id; empty before it was ever heard.
    pub id: String,
    /// Whether a session stands.
    pub is_attached: bool,
    /// Since when that is so, in milliseconds since 1970; `None` before the first session.
    pub since_unix_millis: Option<u64>,
    /// Why no session stands, as far as is known.
    pub trouble: String,
}

/// One suspension.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Suspended {
    /// The bundle; `None`: the whole cluster.
    pub bundle: Option<String>,
    /// Until when, in milliseconds since 1970.
    pub until_unix_millis: u64,
    /// Why.
    pub reason: String,
    /// Who asked for it.
    pub by: String,
    /// Whether it was made at the hub: it ends there, or at its time.
    #[serde(default)]
    pub at_hub: bool,
}

/// Something that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Trouble {
    /// What is wrong.
    pub message: String,
    /// Whether trying again alone can't help.
    pub is_final: bool,
    /// Tries so far.
    pub attempts: u32,
    /// When it is tried again, in seconds from now.
    pub retry_secs: u64,
}

/// How one bundle stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Bundle {
    /// Full name.
    pub bundle: String,
    /// Sync; `Unassigned` where the hub knows nothing of it, `Lost` where its content was lost from the
    /// ledger and the hub has to send it again.
    pub sync: String,
    /// Health.
    pub health: String,
    /// Whether somebody changed or removed an object and it was not put right.
    pub drifted: bool,
    /// Whether it is suspended, and until when, in milliseconds since 1970.
    pub suspended_until_unix_millis: Option<u64>,
    /// Whether it was Healthy here at least once.
    pub installed: bool,
    /// Objects that it owns.
    pub objects: u64,
    /// The variant that it should run, as a short digest; empty while it is removed.
    pub variant: String,
    /// Since when it is so, in milliseconds since 1970.
    pub since_unix_millis: u64,
    /// What is worst; empty where all is well.
    pub problem: String,
    /// Problems beyond that.
    pub problems_more: u64,
}

/// One bundle, object by object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Explanation {
    /// How it stands.
    pub bundle: Bundle,
    /// What stops it as a whole.
    pub stopped_by: Vec<String>,
    /// Its objects in the order in which they are applied, then those that go; at most
    /// `limits::LOCAL_OBJECTS_MAX` of all bundles.
    pub objects: Vec<Object>,
    /// Objects beyond those.
    pub objects_more: u64,
}

/// How one object stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Object {
    /// Kind, namespace and name.
    pub object: String,
    /// Where it is between wish and cluster.
    pub state: State,
    /// Health, whatever was applied.
    pub health: String,
    /// Why it is not Healthy.
    pub reason: String,
    /// The field manager that wrote last, where somebody changed it.
    pub changed_by: Option<String>,
    /// Who keeps changing it back, where somebody does.
    pub contested: Option<String>,
    /// What failed last.
    pub trouble: Option<Trouble>,
    /// What must happen first.
    pub waits_for: Option<String>,
}

/// Where an object is between wish and cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum State {
    /// As assigned.
    Applied,
    /// A request about it is under way.
    Busy,
    /// Not applied yet.
    Pending,
    /// Somebody changed it.
    Drifted,
    /// Somebody removed it.
    Missing,
    /// It is somebody else's.
    Foreign,
    /// It shall go.
    Removing,
}

/// What one bundle owns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Owned {
    /// Full name.
    pub bundle: String,
    /// Its inventory, at most `limits::LOCAL_OBJECTS_MAX` lines of all bundles.
    pub objects: Vec<Line>,
    /// Lines beyond those.
    pub objects_more: u64,
}

/// One line of an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Line {
    /// Kind, namespace and name.
    pub object: String,
    /// API version at which it was applied.
    pub version: String,
    /// Its uid; empty until it was seen.
    pub uid: String,
    /// The author's stage.
    pub order: i32,
    /// Short digest of what was applied; empty where nothing was, or nobody knows.
    pub applied: String,
    /// Health.
    pub health: String,
    /// Whether the durable inventory has it.
    pub is_durable: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use schemars::{Schema, schema_for};

    use super::*;

    fn check(name: &str, schema: &Schema) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schemas/cli/spoke-{name}.json"));
        let found = serde_json::to_string_pretty(schema).unwrap() + "\n";
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{} differs; UPDATE=1 writes what is found", path.display());
    }

    #[test]
    fn the_schemas_are_those_of_the_documents() {
        check("status", &schema_for!(Status));
        check("explain", &schema_for!(Vec<Explanation>));
        check("inventory", &schema_for!(Vec<Owned>));
        check("suspended", &schema_for!(Vec<Suspended>));
    }

    #[test]
    fn words_are_one_line() {
        let ask = Ask::Suspend { bundle: Some("main/web".into()), secs: 60, reason: "a\nb".into() };
        let line = serde_json::to_string(&Request { version: VERSION, ask: ask.clone() }).unwrap();
        assert_eq!(line, r#"{"version":1,"ask":{"suspend":{"bundle":"main/web","secs":60,"reason":"a\nb"}}}"#);
        assert_eq!(serde_json::from_str::<Request>(&line).unwrap().ask, ask);
        let status = serde_json::to_string(&Request { version: VERSION, ask: Ask::Status }).unwrap();
        assert_eq!(status, r#"{"version":1,"ask":"status"}"#);
    }
}
