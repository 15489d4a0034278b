//! Without faults everything settles at once, and nothing is written twice.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tests_sim::World;
use tests_sim::invariants::liveness;

#[test]
fn a_world_without_faults_settles_and_rests() {
    for seed in 0..20 {
        let mut world = World::new(seed, None, false);
        world.calm_down();
        // Clusters join, which takes people a moment; then everything is applied.
        world.run_until(30_000);
        assert_eq!(liveness::unsettled(&world), Vec::<String>::new(), "seed {seed}");
        world.rest(true);
        world.run_until(3_600_000);
        assert_eq!(world.violation(), None, "seed {seed}");
    }
}

#[test]
fn a_cluster_without_its_hub_is_kept_for_as_long_as_it_takes() {
    let mut world = World::new(3, None, false);
    world.calm_down();
    world.run_until(30_000);
    world.lose_hub();
    for day in 1..=3 {
        world.meddle_everywhere();
        world.run_until(day * 86_400_000);
        let different: Vec<String> =
            world.clusters().iter().flat_map(|name| liveness::differences(&world, name)).collect();
        assert_eq!(different, Vec::<String>::new());
        assert_eq!(world.violation(), None);
    }
}
