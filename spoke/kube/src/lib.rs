//! A real Kubernetes cluster behind [`spoke_core::port::Cluster`].
//!
//! Requests are made and their answers read here, so that every refusal becomes the right
//! [`spoke_core::port::Reason`]: `failure` maps them, `text` keeps values out of their messages.
//! Watches alone go through kube's watcher.

mod api;
mod client;
mod cluster;
mod contents;
mod discovery;
mod failure;
mod lease;
mod ledger;
mod objects;
mod secrets;
mod text;
mod voice;
mod volume;
mod watch;

pub use cluster::{Access, ConnectError, KubeCluster};
