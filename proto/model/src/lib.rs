//! The words that hub and spoke share: digests, names, objects, variables and their binding,
//! variants, assignments, reports, and every limit of the product.
//!
//! Plain types and pure functions only: no I/O, no clock, no randomness.

pub mod ask;
pub mod assign;
pub mod bind;
pub mod delta;
pub mod difference;
pub mod digest;
pub mod health_check;
pub mod identity;
pub mod limits;
pub mod name;
pub mod object;
pub mod report;
pub mod suspend;
pub mod time;
pub mod token;
pub mod variable;
pub mod variant;
pub mod wishes;

pub use assign::{Assignment, Fence, Permit, RuleVersions};
pub use digest::Digest;
pub use health_check::HealthCheck;
pub use identity::{GroupKind, Identity};
pub use object::Object;
pub use report::{Health, ObjectProblem, Report, Sync};
pub use variable::{Value, Variables};
pub use variant::{Settings, Variant};
pub use wishes::Wishes;
