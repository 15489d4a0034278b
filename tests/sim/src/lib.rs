//! A whole fleet in one thread: the hub's and the spokes' pure cores, in-memory clusters, a network
//! and people, driven by one queue of events in virtual time.
//!
//! Everything that happens follows from the seed: the same seed tells the same story, byte for
//! byte. While a [`World`] runs, faults of every kind happen to it ([`Fault`]) and the
//! [`invariants`] look at each step; then the faults stop, and everything must settle. The first
//! broken invariant ends the run.
//!
//! To prove that the invariants see something, a run can carry a planted [`Bug`]: a lie in the
//! wiring between the cores, never in the cores themselves.

mod bodies;
mod bug;
mod counts;
mod history;
pub mod invariants;
mod queue;
mod repo;
mod rng;
mod run;
mod story;
mod world;

pub use bodies::{Bodies, Expected, Wanted};
pub use bug::Bug;
pub use counts::{Counts, Event, Fault};
pub use history::History;
pub use rng::Rng;
pub use run::{Outcome, Settings, run};
pub use world::World;
