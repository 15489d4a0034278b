//! Limits of what a spoke does in its cluster, and on its way to the hub.

/// Largest Secret of the ledger, compressed, in bytes.
pub const LEDGER_CHUNK_BYTES_MAX: usize = 500 * 1024;
/// Bodies kept in the cluster itself, compressed, in bytes; above, a volume holds them.
pub const LEDGER_CLUSTER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Largest record of the ledger, in bytes.
pub const LEDGER_RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Age at which what an API server said about its kinds is asked for again, in seconds. An answer that contradicts it is
/// a reason to ask at once, so that this only bounds for how long a status subresource that came later goes unnoticed.
pub const DISCOVERY_SECS_MAX: u64 = 3_600;
/// API group versions of which a spoke remembers the kinds.
pub const DISCOVERY_ENTRIES_MAX: usize = 1_000;
/// Objects asked for in one page of a list.
pub const API_PAGE_OBJECTS: usize = 500;
/// Age at which a watch begins anew, in milliseconds, so that every object is told once more: in case it lost something
/// without a word. Each begins at a time of its own in the second half of this.
pub const WATCH_AGE_MILLIS_MAX: u64 = 12 * 3_600_000;
/// How long the API server keeps one request of a watch open, in seconds. The next one goes on where it ended.
pub const WATCH_REQUEST_SECS: u32 = 1_800;
/// How long a connection to the API server is quiet before it is asked whether the other side is there, in seconds.
pub const API_KEEPALIVE_SECS: u64 = 30;
/// Time between two such questions, in seconds.
pub const API_KEEPALIVE_AGAIN_SECS: u64 = 10;
/// Questions without an answer after which a connection counts as broken.
pub const API_KEEPALIVES_MAX: u32 = 3;
/// Time before kinds that may not be listed are searched again for marked objects, in milliseconds.
pub const SEARCH_AGAIN_MILLIS: u64 = 3_600_000;
/// The same for kinds that could not be listed just then, in milliseconds.
pub const SEARCH_AGAIN_MILLIS_MIN: u64 = 300_000;
/// Kinds that a search could not list which are named.
pub const SEARCH_KINDS_NAMED_MAX: usize = 5;
/// Time between looks at an object that may not be watched, in milliseconds, while it is Healthy.
pub const UNWATCHED_MILLIS: u64 = 300_000;
/// The same while it is not.
pub const UNWATCHED_MILLIS_MIN: u64 = 10_000;
/// Age at which it is looked up again that an object is not there before it is made, in milliseconds.
pub const ABSENT_MILLIS: u64 = 30_000;
/// Objects of one list that is looked through whole: endpoints of a Service, scalers of a namespace.
pub const LIST_OBJECTS_MAX: usize = 500;
/// Objects looked at in a namespace or of a kind before it counts as too full to tell whose they are.
pub const CONTENTS_OBJECTS_MAX: usize = 20_000;
/// Objects, and kinds that can't be listed, which are named when they keep a namespace or definition.
pub const CONTENTS_NAMED_MAX: usize = 3;
/// Time for looking through a namespace or the objects of a kind, in seconds.
pub const CONTENTS_SECS_MAX: u64 = 120;
/// Ledger Secrets asked for in one page of a list; each is up to a chunk and a third.
pub const LEDGER_PAGE_SECRETS: usize = 16;
/// Longest wait between two tries to watch a kind, in milliseconds.
pub const WATCH_RETRY_MILLIS_MAX: u64 = 30_000;
/// Largest answer of an API server that is read, in bytes.
pub const API_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Length of a failure's text, in bytes.
pub const FAILURE_BYTES_MAX: usize = 1_024;
/// Requests that a spoke has under way at its API server.
pub const API_REQUESTS_MAX: usize = 8;
/// Observations of the in-memory cluster that wait for one subscriber; above it, the watch begins
/// anew.
pub const MEMORY_OBSERVATIONS_MAX: usize = 20_000;
/// Time for one request at an API server, in seconds.
pub const API_REQUEST_SECS_MAX: u64 = 30;
/// First wait after a failed apply of an object, in milliseconds; doubles each time.
pub const RETRY_MILLIS_MIN: u64 = 500;
/// Longest wait between two tries of an object, in milliseconds.
pub const RETRY_MILLIS_MAX: u64 = 60_000;
/// Longest wait before a retry that an API server may ask for, in milliseconds.
pub const RETRY_AFTER_MILLIS_MAX: u64 = 300_000;
/// Corrections of one object within [`CONTEST_MILLIS`] after which it is contested.
pub const CORRECTIONS_MAX: u32 = 3;
/// Span over which corrections of one object are counted, in milliseconds.
pub const CONTEST_MILLIS: u64 = 600_000;
/// How long a custom resource whose kind has a status subresource counts as Progressing without a
/// status, in milliseconds.
pub const STATUS_WAIT_MILLIS: u64 = 60_000;
/// Dry-runs of one object that the API server failed at without saying why, after which the write
/// itself has to tell.
pub const DRY_RUNS_MAX: u32 = 3;
/// How long the parts of a change may stay out before a spoke asks for what is missing, in
/// milliseconds.
pub const NEED_MILLIS_MIN: u64 = 1_000;
/// Longest wait between two such questions, in milliseconds.
pub const NEED_MILLIS_MAX: u64 = 10_000;
/// Bytes of variants and bodies that a spoke assembles for one change.
pub const DELTA_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Messages of a stream that wait at a spoke while a change is being written to its ledger.
pub const INBOX_WAITING_MAX: usize = 4_096;
/// Shortest time between two reports of one bundle that differ in details alone, in milliseconds.
pub const REPORT_MILLIS_MIN: u64 = 1_000;
/// How long changes of an inventory that need not be durable at once may wait, in milliseconds.
pub const INVENTORY_WAIT_MILLIS: u64 = 1_000;
/// First wait after the stream to the hub was lost, in milliseconds, before jitter; doubles each
/// time.
pub const RECONNECT_MILLIS_MIN: u64 = 200;
/// Longest wait between two tries to reach the hub, in milliseconds, before jitter.
pub const RECONNECT_MILLIS_MAX: u64 = 15_000;

/// Time for one connection to the hub to stand, with its TLS handshake, in seconds.
pub const CONNECT_SECS_MAX: u64 = 10;
/// Time for the hub's first answer to a Hello, in seconds.
pub const WELCOME_SECS_MAX: u64 = 30;
/// Time before a renewal that was not answered is asked for again, in seconds.
pub const RENEWAL_RETRY_SECS: u64 = 600;
/// Addresses of a hub that a spoke keeps.
pub const HUB_ADDRESSES_MAX: usize = 16;
/// Words, reports aside, that wait for the transport to take them, at a spoke.
pub const SPOKE_WORDS_MAX: usize = 64;
/// Messages of the hub that wait for a spoke's loop.
pub const SPOKE_INBOX_MAX: usize = 16;
/// Observations that a spoke takes in one turn of its loop.
pub const OBSERVATIONS_PER_TURN_MAX: usize = 64;
/// How long the Lease of a cluster is good for, in seconds; renewed every third of it, and with one
/// write each: at most three a minute.
pub const LEASE_SECS: u32 = 75;
/// Longest suspension of a bundle or cluster, in seconds.
pub const SUSPENSION_SECS_MAX: u64 = 30 * 24 * 3600;
/// Suspensions of one cluster at its hub: of the cluster as a whole and of single bundles.
pub const SUSPENSIONS_PER_CLUSTER_MAX: usize = 64;
/// Suspensions whose end is told by one entry of the log.
pub const LAPSES_PER_ENTRY_MAX: usize = 64;
/// All that a hub has suspended in a cluster, encoded, in bytes.
pub const SYNC_SUSPENSIONS_BYTES_MAX: usize = 256 * 1024;
/// Connections to a running spoke's own socket at once.
pub const DOOR_CONNECTIONS_MAX: usize = 4;
/// Largest question at that socket, in bytes.
pub const DOOR_REQUEST_BYTES_MAX: usize = 8 * 1024;
/// Largest answer there, in bytes.
pub const DOOR_ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time for one question and its answer there, in seconds.
pub const DOOR_SECS_MAX: u64 = 15;
/// Bundles in one answer to people at the cluster, and in the ConfigMap.
pub const LOCAL_BUNDLES_MAX: usize = 2_000;
/// Objects in one answer to people at the cluster.
pub const LOCAL_OBJECTS_MAX: usize = 5_000;
/// Names of bundles that are shown to somebody who asked for one that is not there.
pub const LOCAL_NAMES_SHOWN_MAX: usize = 10;
/// Length of an Event's text, in bytes; the API server takes 1,024.
pub const NOTE_BYTES_MAX: usize = 1_000;
/// Events about one bundle within a minute.
pub const BUNDLE_NOTES_PER_MINUTE_MAX: u32 = 10;
/// Events of one spoke within a minute.
pub const NOTES_PER_MINUTE_MAX: u32 = 60;
/// How long the same is not said again in an Event, in milliseconds; it is counted.
pub const NOTE_REPEAT_MILLIS: u64 = 600_000;
/// How long deletions are gathered into one Event, in milliseconds.
pub const NOTE_GATHER_MILLIS: u64 = 10_000;
/// Events that are remembered so that they are not repeated.
pub const NOTES_REMEMBERED_MAX: usize = 500;
/// Events on their way to the API server; more are left out.
pub const NOTES_UNDER_WAY_MAX: usize = 4;
/// Events that a cluster in memory keeps.
pub const MEMORY_EVENTS_MAX: usize = 200;
/// Length of all texts of the ConfigMap `drover-status`, in bytes.
pub const STATUS_BYTES_MAX: usize = 384 * 1024;
/// Shortest time between two writes of it, in milliseconds.
pub const STATUS_MILLIS_MIN: u64 = 5_000;
/// How long changes are gathered into one write of it, in milliseconds.
pub const STATUS_GATHER_MILLIS: u64 = 2_000;
/// Longest wait after a write of it that failed, in milliseconds.
pub const STATUS_RETRY_MILLIS_MAX: u64 = 600_000;
/// How long the hub may be away before people in the cluster are told, in milliseconds.
pub const HUB_LOST_MILLIS: u64 = 300_000;
/// Time for what is under way when a spoke is told to end, in seconds.
pub const SPOKE_END_SECS_MAX: u64 = 5;
