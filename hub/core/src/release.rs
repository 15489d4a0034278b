//! What every cluster should run: which files each bundle is rendered from, and for each cluster
//! the variant and the variables it should end up with.
//!
//! The shell around it does the work between the two: [`wanted`] says what to render and under
//! which digest, the shell renders what is new, and [`goals`] puts clusters and renderings
//! together.
//!
//! **Invariant:** a bundle of which anything is wrong is in `held`, and its goal stays what it
//! was. A bundle that is neither in `bundles` nor in `held` is no longer declared.

mod goals;
mod input;
pub mod meta;
pub mod scope;
mod variables;
mod wanted;

pub use goals::{BundleGoals, ClusterFacts, Goals, PairContent, Rendering, goals};
pub use input::{Chart, Helm, How, InputFile, RENDERER_VERSION, RenderInput};
pub use meta::{ObjectMeta, VariantMeta};
pub use variables::{Layer, Layers, Resolved, layers, needed_variables};
pub use wanted::{Wanted, wanted};

#[cfg(test)]
#[path = "release/tests.rs"]
mod tests;
