//! tests-sim
