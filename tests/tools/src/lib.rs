//! tests-tools
