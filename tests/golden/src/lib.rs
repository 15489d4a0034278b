//! tests-golden
