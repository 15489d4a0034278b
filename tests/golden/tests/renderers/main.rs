//! Helm and Kustomize, the real programs, as the hub runs them: what they render equals what the
//! bare programs render, and bad input is a clear defect at a stated limit.
//!
//! The hub becomes the program it runs, by way of itself. Here that is this test, so that it has a
//! main of its own instead of the usual one.

mod bad_charts;
mod bad_kustomizations;
mod case;
mod charts;
mod equal;
mod limits;
mod sandbox;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// A list of tests under their own names.
macro_rules! trials {
    ($($module:ident: $($name:ident),+ $(,)?;)+) => {
        vec![$($(trial(concat!(stringify!($module), "::", stringify!($name)), $module::$name)),+),+]
    };
}

fn trial(name: &'static str, run: fn() -> anyhow::Result<()>) -> Trial {
    Trial::test(name, move || run().map_err(|error| Failed::from(format!("{error:#}"))))
}

fn main() -> ExitCode {
    if let Some(code) = hub_render::child_main() {
        return code;
    }
    if let Some(code) = sandbox::spy_main() {
        return code;
    }
    let trials = trials! {
        equal:
            an_umbrella_chart_with_subcharts_and_conditions, an_operator_with_hooks_and_definitions, a_library_chart,
            a_chart_with_files_and_tpl, kustomize_overlays_with_generators_and_patches,
            kustomize_components_and_replacements, a_monitoring_stack_of_definitions_and_dashboards, a_packed_chart,
            patches_over_all_ways_of_rendering, early_variables_are_bound_before_rendering,
            many_renderings_at_once_are_the_same, a_tree_of_bundles_as_the_hub_reads_it;
        bad_charts:
            a_chart_that_includes_itself, a_chart_that_loops, a_chart_that_eats_memory, a_chart_that_writes_a_gigabyte,
            a_chart_that_reads_outside_its_folder, a_chart_that_rolls_dice, a_chart_that_makes_certificates,
            a_chart_that_asks_for_the_time, a_chart_that_looks_things_up, a_chart_without_its_dependency,
            templates_that_fail_name_file_and_line, values_that_do_not_fit, a_chart_for_another_kubernetes,
            a_packed_chart_with_a_link, a_chart_that_is_a_pointer_of_lfs, values_are_not_quoted;
        bad_kustomizations:
            a_remote_base, an_exec_plugin, a_cycle, a_link_out_of_the_tree, a_file_outside_of_the_folder,
            an_unknown_field, a_yaml_bomb, a_patch_that_does_not_apply, charts_of_kustomize, a_pointer_of_lfs,
            patches_and_literals_are_not_quoted;
        limits: a_document_of_100_megabytes, a_yaml_bomb_in_values, a_chart_that_loops_and_nobody_wants,
            a_file_that_is_too_large;
        charts: a_chart_of_a_repository_is_fetched_once, a_chart_with_other_bytes_than_pinned;
        sandbox:
            a_program_sees_nothing_but_its_input, a_killed_hub_leaves_no_program, a_program_that_is_missing,
            a_program_of_another_version, a_program_that_is_replaced, nothing_is_left_behind;
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}
