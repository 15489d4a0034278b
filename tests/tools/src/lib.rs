//! The real programs that tests run against, pinned, built once and started in a second or two.
//!
//! - [`tools`] builds etcd, kube-apiserver, kubectl, Kustomize, Helm, Gitea and the rest from Go modules pinned under
//!   `go/`, into a cache outside the checkout, so that a test needs Go and a module proxy and nothing else.
//! - [`cluster`] starts a Kubernetes cluster from them: etcd and kube-apiserver, and on request the controllers, the
//!   scheduler and a fake node, so that workloads become Available.
//! - [`gitea`] starts a Git server with HTTPS and ssh.
//! - [`process`] starts any program so that it never outlives the test, however the test ends.
//! - [`preflight`] names everything that is missing on a machine, all at once.
//!
//! Everything here blocks: call it from `tokio::task::spawn_blocking` in an async test. It needs Linux, for `/proc` and
//! for children that die with their parent.

pub mod audit;
pub mod cluster;
pub mod fleet;
pub mod gitea;
pub mod nginx;
mod pins;
pub mod preflight;
pub mod process;
pub mod sys;
pub mod tools;

pub use cluster::{Cluster, Options};
pub use tools::{Program, Tools, ensure};
