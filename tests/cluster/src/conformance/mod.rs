//! What a cluster does, as named cases over [`World`]. The real server is right: where the
//! in-memory cluster fails a case, it is the one to change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "every case is a test: it fails by panicking, and its name says what it shows"
)]

pub mod apply;
pub mod contents;
pub mod driver;
pub mod lifecycle;
pub mod lists;
pub mod manifests;
pub mod ownership;
pub mod refusals;
pub mod spoke;
pub mod storage;
pub mod takeover;
pub mod watch;
pub mod wishes;
pub mod workloads;
pub mod world;

pub use world::World;

/// Makes a test of every case. `$start` is an async function from the case's name to a
/// [`World`].
#[macro_export]
macro_rules! conformance_cases {
    ($start:path) => {
        $crate::conformance_cases! { @each $start;
            apply: kinds_and_scopes_are_discovered
            apply: kinds_that_are_not_there_are_said_so
            apply: an_object_is_created_changed_and_left_alone
            apply: a_field_that_is_dropped_disappears
            apply: a_dry_run_changes_nothing
            apply: a_stale_resource_version_is_a_conflict
            apply: a_secret_s_plain_text_becomes_data
            apply: an_object_of_the_cluster_s_scope_needs_no_namespace
            apply: all_kinds_and_all_owned_objects_are_listed
            ownership: another_s_field_is_taken_over
            ownership: a_field_of_two_owners_stays_until_both_drop_it
            ownership: a_foreign_change_is_seen_and_mended
            ownership: a_foreign_removal_is_seen_and_mended
            ownership: a_foreign_addition_is_neither_seen_nor_lost
            ownership: defaults_are_no_drift
            ownership: owners_marks_read_back
            lists: environment_merges_by_name
            lists: ports_merge_by_number_and_protocol
            lists: a_container_that_is_dropped_goes
            lists: plain_lists_are_replaced_whole
            lists: a_repeated_key_is_refused
            refusals: workloads_without_what_they_need
            refusals: fields_that_do_not_exist
            refusals: values_out_of_range
            refusals: bytes_that_are_none
            refusals: values_that_are_too_long
            refusals: nothing_is_left_out
            refusals: names_that_are_none
            refusals: what_cannot_change
            refusals: a_missing_namespace_in_the_manifest
            refusals: no_value_of_a_secret_is_told
            lifecycle: a_delete_needs_the_right_uid
            lifecycle: a_delete_needs_the_object_as_it_was
            lifecycle: deleting_what_is_not_there_is_done
            lifecycle: finalizers_hold_an_object
            lifecycle: a_missing_namespace_is_said_so_and_made
            lifecycle: a_terminating_namespace_takes_nothing_new
            lifecycle: a_definition_makes_and_unmakes_its_kind
            lifecycle: what_was_made_at_a_version_that_is_gone_is_still_there
            lifecycle: a_custom_object_is_held_to_its_schema
            contents: a_namespace_tells_what_is_foreign_in_it
            contents: what_a_workload_makes_is_its_own
            contents: many_objects_are_looked_through
            contents: a_namespace_that_is_not_there_holds_nothing
            contents: what_cannot_be_listed_counts_as_there
            contents: a_definition_tells_whose_objects_it_has
            spoke: a_refusal_beforehand_changes_nothing
            spoke: a_job_that_would_be_refused_is_not_deleted
            spoke: a_namespace_with_foreign_objects_stays
            spoke: a_change_in_a_secret_is_put_right
            spoke: a_custom_resource_waits_for_its_status
            spoke: a_health_check_reads_what_a_controller_writes
            spoke: a_diff_tells_what_an_apply_would_change
            spoke: who_takes_a_field_back_is_named
            takeover: an_object_moves_between_bundles_and_is_never_deleted
            takeover: what_cannot_change_moves_and_is_made_anew
            takeover: a_bundle_that_replaces_another_takes_its_objects
            takeover: what_people_made_alike_is_adopted_and_a_removed_field_goes
            takeover: what_people_added_stays_when_the_rest_is_adopted
            takeover: what_is_made_once_moves_as_it_is
            takeover: what_differs_is_named_or_taken_over_when_asked
            takeover: what_a_living_release_owns_is_not_taken
            takeover: a_bundle_that_adopts_nothing_says_so
            takeover: an_orphaned_bundle_leaves_everything_without_marks
            takeover: a_lost_ledger_is_rebuilt_from_marks
            takeover: nothing_is_done_again_after_a_restart
            wishes: a_hook_runs_once_and_is_cleaned_away
            wishes: what_asks_to_be_kept_stays_without_marks
            wishes: what_asks_for_a_word_waits_for_it
            wishes: what_goes_first_is_gone_before_its_successor_comes
            wishes: what_is_made_once_is_never_changed
            wishes: what_cannot_change_is_made_anew_where_it_asks_for_that
            wishes: hands_are_kept_off_what_asks_for_it
            wishes: an_ignored_field_is_set_once_and_left_to_others
            wishes: what_scales_a_workload_counts_its_replicas
            wishes: a_webhook_waits_for_what_it_calls
            spoke: a_correction_is_said_where_people_look
            workloads: a_deployment_becomes_available
            workloads: a_stateful_set_becomes_ready
            workloads: a_daemon_set_becomes_ready
            workloads: a_job_completes
            workloads: a_finished_job_goes_when_its_time_is_over
            workloads: a_suspended_job_waits
            watch: what_is_there_is_told_then_what_changes
            watch: an_object_that_loses_its_label_is_gone
            watch: depth_decides_what_is_told
            watch: a_foreign_change_shows_in_metadata
            watch: what_goes_on_is_not_told_again
            watch: a_kind_is_lost_until_it_exists
            watch: a_kind_that_goes_takes_its_objects
            storage: the_uid_is_that_of_kube_system
            storage: records_are_kept_replaced_and_removed
            storage: a_large_record_is_kept_in_pieces
            storage: a_record_that_another_wrote_is_not_written_over
            storage: two_holders_share_no_lease
            storage: how_it_stands_is_written_and_events_lie_with_their_objects
        }
    };
    (@each $start:path; $($area:ident: $case:ident)*) => {
        $(
            #[tokio::test]
            async fn $case() {
                let world = $start(stringify!($case)).await;
                $crate::conformance::$area::$case(&world).await;
            }
        )*
    };
}
