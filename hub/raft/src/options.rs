//! What a caller may choose about a replica.

use openraft::{Config, SnapshotPolicy};
use proto_model::limits;

/// How long replicas wait for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Timeouts {
    /// All replicas within one site: round trips of at most a few milliseconds, appends that
    /// reach the disk within 50 ms. A lost leader is replaced in about two seconds.
    #[default]
    OneSite,
}

/// Choices for one replica. The default is right for a hub.
#[derive(Debug, Clone)]
pub struct Options {
    /// Timeouts between replicas.
    pub timeouts: Timeouts,
    /// Entries after which a snapshot is built.
    pub snapshot_entries: u64,
    /// Entries kept in the log though a snapshot holds them, for a follower that is a little behind.
    pub kept_entries: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            timeouts: Timeouts::default(),
            snapshot_entries: limits::SNAPSHOT_ENTRIES,
            kept_entries: limits::LOG_ENTRIES_KEPT,
        }
    }
}

impl Options {
    /// The same as openraft's configuration.
    pub(crate) fn config(&self) -> Config {
        let Timeouts::OneSite = self.timeouts;
        Config {
            cluster_name: "drover".to_owned(),
            heartbeat_interval: 150,
            election_timeout_min: 500,
            election_timeout_max: 900,
            // openraft's 200 ms would begin a large snapshot again for ever.
            install_snapshot_timeout: limits::SNAPSHOT_INSTALL_SECS_MAX * 1000,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.kept_entries,
            replication_lag_threshold: self.snapshot_entries + self.kept_entries,
            ..Config::default()
        }
    }
}
