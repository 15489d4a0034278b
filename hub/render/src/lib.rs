//! Rendering: from a bundle's files to its objects, as kubectl would read them.

pub mod document;
mod lists;
pub mod manifests;
pub mod offline;
mod refuse;

pub use manifests::{Rendered, render};
