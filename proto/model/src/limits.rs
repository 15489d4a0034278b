//! Every limit of the product, with its unit in its name. Relations between limits are asserted
//! below, so that a change of one that breaks another does not compile.

/// Largest message on a sync stream, encoded, in bytes. A stream's memory is what the largest
/// message ever sent on it cost, so everything larger is chunked.
pub const SYNC_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Payload of one chunk of a larger thing on a sync stream, in bytes.
pub const SYNC_CHUNK_BYTES_MAX: usize = 3 * 1024 + 512;
/// Largest thing that may be assembled from chunks on a sync stream, in bytes.
pub const SYNC_BLOB_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What the transport may hold for one stream before the next message is encoded, in bytes.
pub const SYNC_SEND_BUFFER_BYTES: usize = 8 * 1024;
/// HTTP/2 window of a sync connection, in bytes.
pub const SYNC_WINDOW_BYTES: u32 = 64 * 1024;
/// Time between HTTP/2 pings of an idle connection, in seconds, before jitter.
pub const SYNC_PING_SECS: u64 = 30;
/// Time for an answer to a ping before the connection counts as lost, in seconds.
pub const SYNC_PING_TIMEOUT_SECS: u64 = 20;

/// Time for one TLS handshake, in seconds.
pub const TLS_HANDSHAKE_SECS_MAX: u64 = 10;
/// TLS handshakes under way at one listener.
pub const TLS_HANDSHAKES_MAX: usize = 256;
/// Connections that a replica holds open; above it, new ones are closed at accept.
pub const CONNECTIONS_MAX: usize = 18_000;
/// Attaches a second that one replica accepts; the others are asked to come back.
pub const ATTACHES_PER_SEC_MAX: u32 = 500;
/// Enrolments a second that one replica accepts.
pub const ENROLMENTS_PER_SEC_MAX: u32 = 50;
/// Largest message of the enrolment and control API, in bytes.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Largest manifest after rendering, in bytes of canonical JSON.
pub const OBJECT_BYTES_MAX: usize = 1_572_864;
/// Largest file that is read from a source, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Largest file of declarations (`drover.yaml`), in bytes.
pub const DECLARATION_BYTES_MAX: usize = 1024 * 1024;
/// Paths in the tree of one commit.
pub const TREE_PATHS_MAX: usize = 200_000;
/// Objects in one variant.
pub const VARIANT_OBJECTS_MAX: usize = 10_000;
/// Bytes of all files that one bundle reads.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Nesting of a YAML or JSON document.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// Nodes that the aliases of one YAML file may expand to.
pub const YAML_NODES_MAX: usize = 2_000_000;
/// Bundles of one source.
pub const BUNDLES_PER_SOURCE_MAX: usize = 10_000;
/// Bundles assigned to one cluster.
pub const BUNDLES_PER_CLUSTER_MAX: usize = 1_000;
/// Clusters of one hub.
pub const CLUSTERS_MAX: usize = 20_000;
/// Defects kept and shown for one source; the rest are counted.
pub const DEFECTS_MAX: usize = 200;
/// Variables bound by one bundle.
pub const VARIABLES_PER_BUNDLE_MAX: usize = 200;
/// Length of one variable's value, in bytes.
pub const VARIABLE_BYTES_MAX: usize = 64 * 1024;
/// Targets or overrides of one bundle.
pub const TARGETS_PER_BUNDLE_MAX: usize = 100;

/// Length of a source's name, in bytes. With [`BUNDLE_NAME_BYTES_MAX`] it keeps the field manager
/// `drover/<source>/<bundle>` within the API server's 128.
pub const SOURCE_NAME_BYTES_MAX: usize = 40;
/// Length of a bundle's own name, in bytes.
pub const BUNDLE_NAME_BYTES_MAX: usize = 63;
/// Length of a cluster's name, in bytes.
pub const CLUSTER_NAME_BYTES_MAX: usize = 63;
/// What the API server accepts as a field manager, in bytes.
pub const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// Largest log entry, in bytes.
pub const ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Moves in one log entry.
pub const MOVES_PER_ENTRY_MAX: usize = 4_096;
/// Observations (changes of sync or health) in one log entry.
pub const OBSERVATIONS_PER_ENTRY_MAX: usize = 4_096;
/// Releases of a bundle that are kept.
pub const RELEASES_KEPT: usize = 20;
/// Heads of a source that are remembered, so that a bundle can name the commit it runs.
pub const HEADS_KEPT: usize = 50;
/// Entries after which a snapshot is built.
pub const SNAPSHOT_ENTRIES: u64 = 5_000;
/// Operator requests whose results are kept, and for how long, in seconds.
pub const REQUESTS_KEPT: usize = 10_000;
/// How long the result of an operator's request is kept, in seconds.
pub const REQUEST_KEPT_SECS: u64 = 24 * 3600;
/// Records of the audit trail kept in Fleet.
pub const AUDIT_KEPT: usize = 1_000;
/// Operator commands waiting at the leader.
pub const OPERATOR_QUEUE_MAX: usize = 256;
/// How long an unreferenced body is kept, in seconds.
pub const UNREFERENCED_BODY_SECS: u64 = 3600;

/// Problems that a report carries for one bundle; the rest are counted.
pub const PROBLEMS_PER_REPORT_MAX: usize = 8;
/// Length of one problem's text, in bytes.
pub const PROBLEM_BYTES_MAX: usize = 240;

/// Largest Secret of the ledger, compressed, in bytes.
pub const LEDGER_CHUNK_BYTES_MAX: usize = 500 * 1024;
/// Bodies kept in the cluster itself, compressed, in bytes; above, a volume holds them.
pub const LEDGER_CLUSTER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Requests that a spoke has under way at its API server.
pub const API_REQUESTS_MAX: usize = 8;
/// Time for one request at an API server, in seconds.
pub const API_REQUEST_SECS_MAX: u64 = 30;
/// First wait after a failed apply of an object, in milliseconds; doubles each time.
pub const RETRY_MILLIS_MIN: u64 = 500;
/// Longest wait between two tries of an object, in milliseconds.
pub const RETRY_MILLIS_MAX: u64 = 60_000;
/// Longest wait between two tries to reach the hub, in milliseconds, before jitter.
pub const RECONNECT_MILLIS_MAX: u64 = 15_000;

/// Time for one fetch of a source, in seconds.
pub const FETCH_SECS_MAX: u64 = 300;
/// Time between polls of a remote source, in seconds, before jitter.
pub const POLL_REMOTE_SECS: u64 = 60;
/// Time between polls of a local source, in seconds.
pub const POLL_LOCAL_SECS: u64 = 1;
/// Longest wait between two fetches of a source that fails, in seconds.
pub const POLL_BACKOFF_SECS_MAX: u64 = 600;

/// Objects that a deletion guard lets go whatever the percentage, per bundle and cluster.
pub const GUARD_FLOOR_OBJECTS: u64 = 5;
/// Span over which the guard sums deletions, in seconds.
pub const GUARD_SPAN_SECS: u64 = 24 * 3600;

/// Life of a spoke's certificate, in seconds.
pub const CERTIFICATE_SECS: u64 = 7 * 24 * 3600;
/// How long an expired certificate may renew itself, in seconds.
pub const CERTIFICATE_GRACE_SECS: u64 = 180 * 24 * 3600;
/// Life of an operator's certificate, in seconds.
pub const OPERATOR_CERTIFICATE_SECS: u64 = 365 * 24 * 3600;
/// Join tokens that a hub keeps.
pub const JOIN_TOKENS_MAX: usize = 1_000;

const _: () = assert!(SYNC_CHUNK_BYTES_MAX + 128 <= SYNC_MESSAGE_BYTES_MAX);
const _: () = assert!(SYNC_MESSAGE_BYTES_MAX <= SYNC_SEND_BUFFER_BYTES);
const _: () = assert!(
    "drover//".len() + SOURCE_NAME_BYTES_MAX + BUNDLE_NAME_BYTES_MAX <= FIELD_MANAGER_BYTES_MAX
);
const _: () = assert!(PROBLEMS_PER_REPORT_MAX * (PROBLEM_BYTES_MAX + 160) + 256 <= SYNC_CHUNK_BYTES_MAX);
const _: () = assert!(OBJECT_BYTES_MAX < SYNC_BLOB_BYTES_MAX);
const _: () = assert!(FILE_BYTES_MAX <= BUNDLE_BYTES_MAX);
const _: () = assert!(GUARD_FLOOR_OBJECTS > 0);
