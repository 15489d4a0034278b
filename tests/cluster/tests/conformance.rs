//! The conformance suite, on both clusters.

mod memory {
    tests_cluster::conformance_cases!(tests_cluster::conformance::World::memory);
}

mod kube {
    tests_cluster::conformance_cases!(tests_cluster::conformance::World::kube);
}
