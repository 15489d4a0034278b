//! What the spoke says in its cluster, beside what it tells the hub: Events.

use proto_model::Identity;

/// One thing that happened, for people who look at the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// Whether somebody may have to do something.
    pub is_warning: bool,
    /// In one word, such as `DriftCorrected`.
    pub reason: &'static str,
    /// In words, at most `limits::NOTE_BYTES_MAX` bytes. Never object content.
    pub message: String,
    /// How often it happened since `first_unix_millis`.
    pub count: u64,
    /// When it happened first, in milliseconds since 1970.
    pub first_unix_millis: u64,
    /// When it happened last, in milliseconds since 1970.
    pub last_unix_millis: u64,
}

/// What a note is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum About {
    /// An object of a bundle.
    Object {
        /// Which object.
        identity: Identity,
        /// API version at which it was applied.
        version: String,
        /// Its uid.
        uid: String,
    },
    /// A bundle or the cluster: the spoke's own [`STATUS_NAME`](crate::port::STATUS_NAME).
    Status,
}
