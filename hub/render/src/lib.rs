//! Rendering: from a bundle's files to its objects, as kubectl would read them.

mod charts;
mod content;
mod discreet;
pub mod document;
mod early;
mod helm;
mod hooks;
mod kustomize;
mod lists;
pub mod manifests;
pub mod offline;
mod output;
mod patches;
pub mod program;
mod refuse;
mod render;
mod renderer;
mod side_by_side;
mod unrendered;

pub use charts::Charts;
pub use manifests::Rendered;
pub use program::{Options, Programs, Tool, child_main};
pub use renderer::{KUBE_VERSION, Renderer};
pub use unrendered::Unrendered;
