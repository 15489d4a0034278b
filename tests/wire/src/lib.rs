//! tests-wire
