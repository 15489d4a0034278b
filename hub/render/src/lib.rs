//! Rendering: from a bundle's files to its objects, as kubectl would read them.

pub mod document;
pub mod manifests;
mod refuse;

pub use manifests::{Rendered, render};
