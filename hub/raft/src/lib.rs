//! hub-raft
