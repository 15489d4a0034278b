//! Rendering: from a bundle's files to its objects, as kubectl would read them.

pub mod document;
mod lists;
pub mod manifests;
pub mod offline;
mod refuse;
mod renderer;

pub use manifests::Rendered;
pub use renderer::{KUBE_VERSION, Renderer};
