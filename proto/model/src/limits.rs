//! Every limit of the product, with its unit in its name; those of reading sources, of rendering and of
//! spokes have files of their own. Relations between limits are asserted below them, so that a change of one that breaks another
//! does not compile.

mod source;

pub use source::*;

mod rendering;

pub use rendering::*;

mod spoke;

pub use spoke::*;

/// Largest message on a sync stream, encoded, in bytes. A stream's memory is what the largest
/// message ever sent on it cost, so everything larger is chunked.
pub const SYNC_MESSAGE_BYTES_MAX: usize = 4 * 1024;
/// Payload of one chunk of a larger thing on a sync stream, in bytes.
pub const SYNC_CHUNK_BYTES_MAX: usize = 3 * 1024 + 512;
/// Largest thing that may be assembled from chunks on a sync stream, in bytes.
pub const SYNC_BLOB_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest list of held entries that a spoke may send, in bytes.
pub const SYNC_HOLDING_BYTES_MAX: usize = 256 * 1024;
/// Largest list of missing variants and bodies that a spoke may send at once, in bytes.
pub const SYNC_NEED_BYTES_MAX: usize = 512 * 1024;
/// Digests in one list of missing variants and bodies.
pub const SYNC_NEED_DIGESTS_MAX: usize = 12_000;
/// Largest report, in bytes.
pub const SYNC_REPORT_BYTES_MAX: usize = 16 * 1024;
/// Largest answer to an ask, in bytes.
pub const SYNC_ANSWER_BYTES_MAX: usize = 512 * 1024;
/// Bytes of differences that a spoke puts into one answer, by its own estimate.
pub const ASK_DIFF_BYTES_MAX: usize = 192 * 1024;
/// Objects of one bundle that are compared for one ask; the rest are counted.
pub const ASK_OBJECTS_MAX: usize = 1_000;
/// Fields told of one object that differs; the rest are counted.
pub const ASK_FIELDS_MAX: usize = 100;
/// Length of one value in an answer, in bytes of JSON.
pub const ASK_VALUE_BYTES_MAX: usize = 512;
/// Length of a JSON pointer in an answer, in bytes.
pub const ASK_POINTER_BYTES_MAX: usize = 4 * 1024;
/// Time that a spoke spends on one ask, in milliseconds; what was not looked at by then is counted.
pub const ASK_MILLIS_MAX: u64 = 10_000;
/// Time for the answer to an ask, in seconds, from when the hub may say it.
pub const ASK_SECS_MAX: u64 = 15;
/// Asks of one cluster that wait for their turn at a hub, each about another bundle.
pub const ASKS_PER_CLUSTER_MAX: usize = 16;
/// Operators that wait for the answer to one ask.
pub const ASKERS_MAX: usize = 64;
/// Largest certificate signing request or certificate chain, in bytes of PEM.
pub const SYNC_CERTIFICATE_BYTES_MAX: usize = 16 * 1024;
/// Length of a hub id, in bytes.
pub const HUB_ID_BYTES_MAX: usize = 64;
/// Length of the MAC over a fence, in bytes.
pub const FENCE_MAC_BYTES_MAX: usize = 64;
/// Length of a session token, in bytes.
pub const SESSION_TOKEN_BYTES_MAX: usize = 512;
/// Length of the uid of `kube-system`, in bytes.
pub const CLUSTER_UID_BYTES_MAX: usize = 64;
/// Length of a spoke's version, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;
/// What the transport may hold for one stream before the next message is encoded, in bytes.
pub const SYNC_SEND_BUFFER_BYTES: usize = 8 * 1024;
/// HTTP/2 window of a sync stream, in bytes: what a side may have received and not read yet.
pub const SYNC_WINDOW_BYTES: u32 = 64 * 1024;
/// HTTP/2 window of a spoke's connection, in bytes. A spoke has one stream there, so that the
/// stream's window is what counts; h2 takes half of this one as the most that small frames which
/// were not read yet may cost, at 256 bytes a frame, and ends the connection above it.
pub const SYNC_CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
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
/// Largest message of a cluster that joins, in bytes: nobody knows yet who sends it.
pub const ENROL_MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Largest answer of the control API that a client takes, in bytes: the status of a whole fleet.
pub const CONTROL_ANSWER_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Largest request of the control API, in bytes.
pub const CONTROL_MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// HTTP/2 streams of one connection.
pub const STREAMS_PER_CONNECTION_MAX: u32 = 32;
/// Time for the first message of a stream, and for the last one to be taken, in seconds.
pub const HELLO_SECS_MAX: u64 = 10;
/// Headers of one request, in bytes.
pub const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long a starting hub waits for the one before it to let go of the directory, in seconds.
pub const CLAIM_SECS_MAX: u64 = 2;
/// Time for streams and connections to end when a hub stops, in seconds.
pub const DRAIN_SECS_MAX: u64 = 5;
/// How long a reader waits for the applied index that it asked for, in seconds.
pub const MIN_APPLIED_WAIT_SECS_MAX: u64 = 5;
/// Shortest time between two answers of one watch, in milliseconds.
pub const WATCH_MILLIS_MIN: u64 = 1_000;
/// Watches of operators open at one replica.
pub const WATCHES_MAX: usize = 64;
/// Bytes of encoded parts (variants and bodies) that a replica keeps for its streams to share.
pub const SHARED_PARTS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of bodies, as read from the store, that a replica keeps for its streams to share.
pub const SHARED_BODIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Reports waiting at the leader to be folded into an entry, one per cluster and bundle at most;
/// above it, streams wait before they read the next.
pub const REPORTS_WAITING_MAX: usize = 65_536;
/// Commands (attaches, enrolments, operators' acts) on their way to the leader.
pub const ASKS_WAITING_MAX: usize = 1_024;
/// Time after which a leader plans everything anew, in seconds: what the guard holds may go once
/// enough time has passed.
pub const PLAN_AGAIN_SECS: u64 = 60;

/// Largest manifest after rendering, in bytes of canonical JSON.
pub const OBJECT_BYTES_MAX: usize = 1_572_864;
/// Largest file that is read from a source, in bytes. Projects ship all their CRDs as one file, and
/// such files have passed 4 MiB.
pub const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Largest file of declarations (`drover.yaml`), in bytes.
pub const DECLARATION_BYTES_MAX: usize = 1024 * 1024;
/// The declarations of one source together, in bytes, each file counted.
pub const DECLARATIONS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The files of one source that say how bundles are made (kustomizations, charts) together, in bytes.
pub const FOLLOWED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Paths in the tree of one commit.
pub const TREE_PATHS_MAX: usize = 200_000;
/// Length of one path in the tree of a commit, in bytes.
pub const TREE_PATH_BYTES_MAX: usize = 1_024;
/// Objects in one variant.
pub const VARIANT_OBJECTS_MAX: usize = 10_000;
/// Bytes of all files that one bundle reads.
pub const BUNDLE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Folders that one kustomization may be made of.
pub const KUSTOMIZATION_FOLDERS_MAX: usize = 1_000;
/// Bases of bases in one kustomization: how far one folder may name the next.
pub const KUSTOMIZATION_DEPTH_MAX: usize = 64;
/// Patches of one bundle, its overrides included.
pub const PATCHES_PER_BUNDLE_MAX: usize = 500;
/// Files that the patches of one bundle name, in bytes, each counted as often as it is named.
pub const PATCH_BYTES_PER_BUNDLE_MAX: usize = 4 * 1024 * 1024;
/// Different renderings of one bundle: combinations of target, overrides and early variables.
pub const RENDERINGS_PER_BUNDLE_MAX: usize = 1_000;
/// Renderings of one source under way at once, at most one a core, beside those that take long.
pub const RENDERINGS_AT_ONCE_MAX: usize = 8;
/// Time after which a rendering takes long, in seconds: it makes room for the next one.
pub const RENDERING_SLOW_SECS: u64 = 3;
/// Renderings of one source under way beside others, because they take long.
pub const RENDERINGS_SLOW_MAX: usize = 4;
/// Files that are held in memory for one part of the renderings of one source, in bytes: what the largest
/// bundle may have, and the file that shows that it has more.
pub const RENDER_BATCH_BYTES_MAX: usize = BUNDLE_BYTES_MAX + FILE_BYTES_MAX;
/// Such parts of one source under way.
pub const RENDER_PARTS_MAX: usize = 2;
/// Files that are held in memory for renderings of all sources under way, in KiB.
pub const RENDER_BATCHES_KIB_MAX: u32 = 256 * 1024;
/// Nesting of a YAML or JSON document.
pub const DOCUMENT_DEPTH_MAX: usize = 64;
/// Nodes that the aliases of one YAML file may expand to.
pub const YAML_NODES_MAX: usize = 2_000_000;
/// Files that the renderings of one source's bundles read, each counted for each.
pub const INPUT_FILES_PER_SOURCE_MAX: usize = 2_000_000;
/// Paths below the folders of one source's bundles, each counted for each: what looking for their
/// files costs.
pub const LOOKED_PATHS_PER_SOURCE_MAX: usize = 50_000_000;
/// Bundles of one source.
pub const BUNDLES_PER_SOURCE_MAX: usize = 10_000;
/// Bundles assigned to one cluster.
pub const BUNDLES_PER_CLUSTER_MAX: usize = 1_000;
/// Labels of one cluster.
pub const CLUSTER_LABELS_MAX: usize = 64;
/// Protected kinds that one rollout policy names.
pub const PROTECTED_KINDS_MAX: usize = 64;
/// Renderings that are remembered beside those that the present heads need.
pub const RENDERINGS_SPARE_MAX: usize = 10_000;
/// Time before a delta that a spoke refused is sent again, in seconds.
pub const NACK_RETRY_SECS: u64 = 60;
/// Clusters of one hub.
pub const CLUSTERS_MAX: usize = 20_000;
/// Defects kept and shown for one source, beside one of each bundle; the rest are counted.
pub const DEFECTS_MAX: usize = 200;
/// Defects shown of the files of one bundle; the rest are counted. Far fewer than of a source, so
/// that one bundle does not hide the others.
pub const DEFECTS_PER_BUNDLE_MAX: usize = 50;
/// Notes on renderings, such as tests that were left out, that are kept of one head.
pub const RENDER_NOTES_MAX: usize = 500;
/// Length of a defect's words, in bytes, and of the name of its file. They quote what files say.
pub const DEFECT_BYTES_MAX: usize = 1_024;
/// Variables bound by one bundle.
pub const VARIABLES_PER_BUNDLE_MAX: usize = 200;
/// Variables of one cluster, or of one variable set.
pub const VARIABLES_PER_SET_MAX: usize = 1_000;
/// Variable sets of one source.
pub const VARIABLE_SETS_PER_SOURCE_MAX: usize = 1_000;
/// Length of one variable's value, in bytes.
pub const VARIABLE_BYTES_MAX: usize = 64 * 1024;
/// Length of a number among variables, in bytes of its author's spelling.
pub const NUMBER_BYTES_MAX: usize = 64;
/// Length of an expression of a health check, in bytes.
pub const HEALTH_EXPRESSION_BYTES_MAX: usize = 2_048;
/// Nesting of an expression of a health check. Each level takes some 64 KiB of stack when it is worked out, and threads
/// have 2 MiB.
pub const HEALTH_EXPRESSION_DEPTH_MAX: usize = 16;
/// Steps that the loops of one expression of a health check may take over one object.
pub const HEALTH_STEPS_MAX: usize = 5_000;
/// Steps of a health check's loops times the size of its object, in bytes: a large object leaves fewer steps.
pub const HEALTH_WORK_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Texts and lists that a health check may put together with `+`, in bytes.
pub const HEALTH_MADE_BYTES_MAX: usize = 1024 * 1024;
/// Health checks that are told to a spoke for one bundle, its own and the fleet's.
pub const HEALTH_CHECKS_PER_BUNDLE_MAX: usize = 100;
/// Health checks that one source declares for the fleet.
pub const HEALTH_CHECKS_PER_SOURCE_MAX: usize = 500;
/// Name patterns of one health check.
pub const HEALTH_CHECK_NAMES_MAX: usize = 50;
/// Entries of one bundle's `ignore`.
pub const IGNORES_PER_BUNDLE_MAX: usize = 100;
/// Fields of one entry of `ignore`.
pub const IGNORED_FIELDS_MAX: usize = 100;
/// Length of a pointer to an ignored field, in bytes.
pub const IGNORED_FIELD_BYTES_MAX: usize = 1_024;
/// Former bundles that one bundle replaces.
pub const REPLACES_PER_BUNDLE_MAX: usize = 50;
/// Targets or overrides of one bundle.
pub const TARGETS_PER_BUNDLE_MAX: usize = 100;
/// Waves of one rollout policy.
pub const WAVES_PER_POLICY_MAX: usize = 100;

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
/// Bundles whose moves go into one entry, since one hands objects over to another.
pub const MOVES_TOGETHER_MAX: usize = 64;
/// Observations (changes of sync or health) in one log entry.
pub const OBSERVATIONS_PER_ENTRY_MAX: usize = 4_096;
/// Releases of a bundle that are kept.
pub const RELEASES_KEPT: usize = 20;
/// Heads of a source that are remembered, so that a bundle can name the commit it runs.
pub const HEADS_KEPT: usize = 50;
/// Entries after which a snapshot is built.
pub const SNAPSHOT_ENTRIES: u64 = 5_000;
/// Entries kept in the log though a snapshot holds them.
pub const LOG_ENTRIES_KEPT: u64 = 1_000;
/// Time for a follower to take one snapshot, in seconds.
pub const SNAPSHOT_INSTALL_SECS_MAX: u64 = 60;
/// Proposals of one replica under way; more wait for their turn.
pub const PROPOSALS_MAX: usize = 64;
/// Writes to the log that wait for the disk.
pub const LOG_WRITES_QUEUED_MAX: usize = 64;
/// Entries sent to a follower at once, in bytes; heartbeats queue behind them.
pub const APPEND_BYTES_MAX: usize = 128 * 1024;
/// Pages of the log's database kept in memory, in bytes.
pub const LOG_CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Largest body in the store of bodies, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Pages of the database of bodies kept in memory, in bytes.
pub const BODY_CACHE_BYTES: usize = 64 * 1024 * 1024;
/// Length of an operator's request id, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 64;
/// Length of the reason that an operator gives, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;
/// Operator requests whose results are kept, and for how long, in seconds.
pub const REQUESTS_KEPT: usize = 10_000;
/// How long the result of an operator's request is kept, in seconds.
pub const REQUEST_KEPT_SECS: u64 = 24 * 3600;
/// Records of the audit trail kept in Fleet.
pub const AUDIT_KEPT: usize = 1_000;
/// Operator commands waiting at the leader.
pub const OPERATOR_QUEUE_MAX: usize = 256;
/// Time between looks at which bodies nothing needs any more, in seconds.
pub const COLLECT_SECS: u64 = 600;
/// Bodies that are looked at, or removed, at once.
pub const COLLECT_BODIES: usize = 1_000;
/// How long an unreferenced body is kept, in seconds.
pub const UNREFERENCED_BODY_SECS: u64 = 3600;

/// Problems that a report carries for one bundle; the rest are counted.
pub const PROBLEMS_PER_REPORT_MAX: usize = 8;
/// Length of one problem's text, in bytes.
pub const PROBLEM_BYTES_MAX: usize = 240;

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
/// Life of the hub's own CA, in seconds.
pub const AUTHORITY_CERTIFICATE_SECS: u64 = 20 * 365 * 24 * 3600;
/// Life of the hub's server certificate, in seconds; made anew at two thirds of it.
pub const SERVER_CERTIFICATE_SECS: u64 = 7 * 24 * 3600;
/// Time between looks at whether the server certificate must be made anew, in seconds.
pub const CERTIFICATE_CHECK_SECS: u64 = 60;
/// How far clocks may differ before a fresh certificate is refused, in seconds.
pub const CLOCK_SKEW_SECS: u64 = 300;
/// Length of a join token, in bytes.
pub const JOIN_TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Join tokens that a hub keeps.
pub const JOIN_TOKENS_MAX: usize = 1_000;

const _: () = assert!(STATUS_BYTES_MAX < 1024 * 1024 / 2);
const _: () = assert!(BUNDLES_PER_CLUSTER_MAX <= LOCAL_BUNDLES_MAX);
// A line with the longest name, a reason and a failure.
const _: () = assert!(LOCAL_OBJECTS_MAX * (64 + 2 * 253 + 2 * FAILURE_BYTES_MAX) <= DOOR_ANSWER_BYTES_MAX);
// An idle spoke writes at most three times a minute.
const _: () = assert!(LEASE_SECS / 3 >= 60 / 3);
const _: () = assert!(SYNC_CHUNK_BYTES_MAX + 128 <= SYNC_MESSAGE_BYTES_MAX);
const _: () = assert!(SYNC_MESSAGE_BYTES_MAX <= SYNC_SEND_BUFFER_BYTES);
// A window full of the smallest messages: a header of five bytes and something to say.
const _: () = assert!(SYNC_WINDOW_BYTES / 8 * 256 <= SYNC_CONNECTION_WINDOW_BYTES / 2);
const _: () = assert!("drover//".len() + SOURCE_NAME_BYTES_MAX + BUNDLE_NAME_BYTES_MAX <= FIELD_MANAGER_BYTES_MAX);
// A problem's message, with the longest names of kind, group, namespace and object.
const _: () =
    assert!(PROBLEMS_PER_REPORT_MAX * (PROBLEM_BYTES_MAX + 63 + 253 + 63 + 253 + 64) + 512 <= SYNC_REPORT_BYTES_MAX);
const _: () = assert!(OBJECT_BYTES_MAX < SYNC_BLOB_BYTES_MAX);
const _: () = assert!(2 * ASK_DIFF_BYTES_MAX <= SYNC_ANSWER_BYTES_MAX);
const _: () = assert!(ASK_MILLIS_MAX < ASK_SECS_MAX * 1_000);
const _: () = assert!(
    BUNDLES_PER_CLUSTER_MAX * (SOURCE_NAME_BYTES_MAX + 1 + BUNDLE_NAME_BYTES_MAX + 2 * 34 + 8)
        <= SYNC_HOLDING_BYTES_MAX
);
const _: () = assert!(SYNC_NEED_DIGESTS_MAX * 34 <= SYNC_NEED_BYTES_MAX);
const _: () = assert!(
    SUSPENSIONS_PER_CLUSTER_MAX * (SOURCE_NAME_BYTES_MAX + 1 + BUNDLE_NAME_BYTES_MAX + 2 * REASON_BYTES_MAX + 64)
        <= SYNC_SUSPENSIONS_BYTES_MAX
);
const _: () = assert!(SYNC_NEED_BYTES_MAX <= SYNC_BLOB_BYTES_MAX);
const _: () = assert!(
    HUB_ID_BYTES_MAX + FENCE_MAC_BYTES_MAX + SESSION_TOKEN_BYTES_MAX + CLUSTER_UID_BYTES_MAX + VERSION_BYTES_MAX + 512
        <= SYNC_MESSAGE_BYTES_MAX
);
const _: () = assert!(FILE_BYTES_MAX <= BUNDLE_BYTES_MAX);
const _: () = assert!(DECLARATION_BYTES_MAX <= DECLARATIONS_BYTES_MAX && FILE_BYTES_MAX <= FOLLOWED_BYTES_MAX);
const _: () = assert!(RENDER_PARTS_MAX * (RENDER_BATCH_BYTES_MAX / 1024) <= RENDER_BATCHES_KIB_MAX as usize);
const _: () = assert!(RENDER_MEMORY_BYTES_MAX < RENDER_ADDRESS_BYTES_MAX);
const _: () = assert!(RENDER_RETRY_SECS_MIN < RENDER_RETRY_SECS_MAX && RENDERING_SLOW_SECS < RENDER_HANDOVER_SECS);
const _: () = assert!(RENDER_HANDOVER_SECS < RENDER_SECS_MAX);
const _: () = assert!(RENDER_COMPLAINT_SHOWN_BYTES_MAX < RENDER_COMPLAINT_BYTES_MAX);
const _: () = assert!(TREE_PATHS_MAX <= INPUT_FILES_PER_SOURCE_MAX);
const _: () = assert!(INPUT_FILES_PER_SOURCE_MAX <= LOOKED_PATHS_PER_SOURCE_MAX);
const _: () = assert!(2 * ENTRY_BYTES_MAX <= APPEND_BYTES_MAX);
const _: () = assert!(OBJECT_BYTES_MAX < BODY_BYTES_MAX);
const _: () = assert!(BUNDLE_BYTES_MAX < DELTA_BYTES_MAX);
const _: () = assert!(DEFECTS_PER_BUNDLE_MAX < DEFECTS_MAX);
const _: () = assert!(HEALTH_EXPRESSION_DEPTH_MAX * 64 * 1024 <= 1024 * 1024);
const _: () = assert!(GUARD_FLOOR_OBJECTS > 0);
const _: () = assert!(COLLECT_SECS < UNREFERENCED_BODY_SECS);
const _: () = assert!(RECONNECT_MILLIS_MIN <= RECONNECT_MILLIS_MAX);
const _: () = assert!(PROBLEM_BYTES_MAX <= FAILURE_BYTES_MAX);
const _: () = assert!(OBJECT_BYTES_MAX < API_ANSWER_BYTES_MAX);
