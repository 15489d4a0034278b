//! What can be said of a folder before a hub reads it, with the hub's own code and without a hub.

pub mod lint;
pub mod render;
