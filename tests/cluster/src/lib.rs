//! tests-cluster
