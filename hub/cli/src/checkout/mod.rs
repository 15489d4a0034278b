//! What can be said of a folder before a hub reads it, with the hub's own code and without a hub.

pub mod commit;
pub mod lint;
pub mod plan;
pub mod plan_text;
pub mod render;
