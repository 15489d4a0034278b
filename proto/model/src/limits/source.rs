//! Limits of reading sources: fetches, credentials, webhooks.

use super::FILE_BYTES_MAX;

/// Time for one fetch of a source, in seconds.
pub const FETCH_SECS_MAX: u64 = 300;
/// Time for ssh to reach a Git server, and between its signs of life, in seconds.
pub const SSH_CONNECT_SECS_MAX: u64 = 20;
/// Largest file of credentials, in bytes.
pub const CREDENTIAL_BYTES_MAX: usize = 64 * 1024;
/// Largest file of public keys that may sign, in bytes.
pub const SIGNERS_BYTES_MAX: usize = 1024 * 1024;
/// Commits of history that are looked at to tell whether a head descends from another.
pub const HISTORY_COMMITS_MAX: usize = 100_000;
/// What one fetch may bring, in bytes of packs: content and history, compressed.
pub const FETCH_BYTES_MAX: u64 = 1 << 30;
/// Address space of a process that fetches, in bytes; it maps the packs of a mirror.
pub const FETCH_ADDRESS_BYTES_MAX: u64 = 12 << 30;
/// What a process that fetches may hold in memory, in bytes; mapped packs aside.
pub const FETCH_MEMORY_BYTES_MAX: u64 = 1 << 30;
/// Largest object that is fetched, in bytes as it is unpacked.
pub const FETCH_OBJECT_BYTES_MAX: usize = 256 * 1024 * 1024;
/// What the hub takes to unpack one object of a mirror, with those that it is stored as a
/// difference of, in bytes.
pub const UNPACK_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Largest tree, and largest commit, of Git that the hub reads, in bytes.
pub const TREE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Age after which a history that cost too much is looked through again, in seconds.
pub const HISTORY_RETRY_SECS: u64 = 600;
/// Bytes of packs in a mirror before it is fetched anew.
pub const MIRROR_BYTES_MAX: u64 = 3 << 30;
/// Packs of a mirror before it is fetched anew.
pub const MIRROR_PACKS_MAX: usize = 100;
/// Time between polls of a remote source, in seconds, before jitter.
pub const POLL_REMOTE_SECS: u64 = 60;
/// Time between polls of a local source, in seconds.
pub const POLL_LOCAL_SECS: u64 = 1;
/// Sources beside the root source.
pub const SOURCES_MAX: usize = 100;
/// Fetches of sources under way at once, beside that of the root source; and of charts, those of one source.
pub const FETCHES_MAX: usize = 16;
/// Such fetches from one host under way at once.
pub const FETCHES_PER_HOST_MAX: usize = 4;
/// Keys that may sign the commits of one source.
pub const SIGNERS_PER_SOURCE_MAX: usize = 100;
/// Globs of namespaces, or custom kinds, of one source.
pub const GLOBS_PER_SOURCE_MAX: usize = 100;
/// Names of credentials that one source may fetch charts with.
pub const CREDENTIALS_PER_SOURCE_MAX: usize = 20;
/// Length of a source's URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// Shortest time between polls that a source may ask for, in seconds.
pub const POLL_SECS_MIN: u64 = 1;
/// Longest time between polls that a source may ask for, in seconds.
pub const POLL_SECS_MAX: u64 = 24 * 3600;
/// Longest wait between two fetches of a source that fails, in seconds.
pub const POLL_BACKOFF_SECS_MAX: u64 = 600;

/// Largest body of a webhook, in bytes: what GitHub sends at most.
pub const HOOK_BYTES_MAX: usize = 25 * 1024 * 1024;
/// Body of a webhook above which it counts as large, in bytes: nearly all are smaller.
pub const HOOK_SMALL_BYTES_MAX: usize = 1024 * 1024;
/// Large webhooks that are read at once; more are told to come again.
pub const HOOKS_LARGE_MAX: usize = 2;
/// Webhooks whose signature is compared at once; more wait.
pub const HOOKS_DECIDED_AT_ONCE_MAX: usize = 2;
/// Headers of a webhook, in bytes.
pub const HOOK_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Connections that webhooks come on, open at once; above it, new ones are closed.
pub const HOOK_CONNECTIONS_MAX: usize = 64;
/// Time for the headers of a webhook, in seconds.
pub const HOOK_HEADER_SECS_MAX: u64 = 3;
/// Time for the body of a webhook, in seconds.
pub const HOOK_BODY_SECS_MAX: u64 = 8;
/// Time for one connection of a webhook, with its TLS handshake and the answer, in seconds.
pub const HOOK_SECS_MAX: u64 = 15;
/// Webhooks looked at in a second; more are told to come again.
pub const HOOKS_PER_SEC_MAX: u32 = 50;
/// Shortest time between two fetches of a source that webhooks ask for, in milliseconds.
pub const HOOK_FETCH_MILLIS_MIN: u64 = 1_000;
/// Largest file with secrets of webhooks, in bytes.
pub const HOOK_SECRET_BYTES_MAX: u64 = 4 * 1024;
/// Secrets in one such file: the present one, and others while it is exchanged.
pub const HOOK_SECRETS_MAX: usize = 4;

// A fresh mirror, with the accepted head, must not be too large again; both are mapped meanwhile.
const _: () = assert!(2 * FETCH_BYTES_MAX < MIRROR_BYTES_MAX);
const _: () = assert!(2 * FETCHES_PER_HOST_MAX < FETCHES_MAX);
const _: () = assert!(2 * (MIRROR_BYTES_MAX + FETCH_BYTES_MAX) <= FETCH_ADDRESS_BYTES_MAX);
const _: () = assert!(2 * (FETCH_OBJECT_BYTES_MAX as u64) < FETCH_MEMORY_BYTES_MAX);
// A file and what it is a difference of lie there side by side, with the differences.
const _: () = assert!(4 * FILE_BYTES_MAX <= UNPACK_BYTES_MAX && 4 * TREE_BYTES_MAX <= UNPACK_BYTES_MAX);
const _: () = assert!(UNPACK_BYTES_MAX <= FETCH_OBJECT_BYTES_MAX);
const _: () = assert!(HOOK_SMALL_BYTES_MAX < HOOK_BYTES_MAX);
const _: () = assert!(HOOK_HEADER_SECS_MAX + HOOK_BODY_SECS_MAX < HOOK_SECS_MAX);
const _: () = assert!(POLL_SECS_MIN <= POLL_LOCAL_SECS && POLL_REMOTE_SECS <= POLL_SECS_MAX);
