//! What every cluster should run: which files each bundle is rendered from, and for each cluster
//! the variant and the variables it should end up with.
//!
//! The shell around it does the work between the two: [`wanted`] says what to render and under
//! which digest, the shell renders what is new, and [`goals`] puts clusters and renderings
//! together.
//!
//! **Invariant:** a bundle of which anything is wrong is in `held`, and its goal stays what it
//! was. A bundle that is neither in `bundles` nor in `held` is no longer declared.

mod chart;
mod combine;
pub mod early;
mod forbidden;
mod goals;
pub mod health;
mod input;
mod kustomization;
pub mod lock;
pub mod meta;
mod patch;
mod recipe;
pub mod scope;
mod settings;
mod tree;
mod unused;
mod variables;
mod wanted;

pub use combine::{Clusters, Combination, Tools};
pub use forbidden::forbidden;
pub use goals::{
    BundleGoals, Checked, ClusterFacts, Goals, Inputs, Last, PairContent, Rendering, Renderings, goals, goals_after,
};
pub use input::{Chart, Helm, How, InputFile, RENDERER_VERSION, RenderInput};
pub use meta::{ObjectMeta, VariantMeta};
pub use patch::Patch;
pub use recipe::Recipe;
pub use unused::unused;
pub use variables::{Common, Layer, Layers, Resolved, layers, needed_variables};
pub use wanted::{Rules, Turns, Wanted, wanted};

#[cfg(test)]
#[path = "release/tests.rs"]
mod tests;
