//! What must be true of every backend: one function for each scenario, gathered in
//! [`for_each_scenario`](crate::for_each_scenario).

pub mod attempts;
pub mod clocks;
pub mod fences;
pub mod grants;
pub mod ids;
pub mod leases;
pub mod routing;
pub mod signals;
pub mod streams;
pub mod submission;
pub mod suspension;

/// Hands the table of all scenarios to a macro: modules, and the functions of each.
#[macro_export]
macro_rules! for_each_scenario {
    ($then:ident) => {
        $then! {
            ids: only_canonical_ids_parse,
                an_id_beyond_the_partitions_is_refused_before_anything_is_sent,
                partitions_that_contradict_the_store_are_a_configuration_error,
                bad_capabilities_are_refused_and_nothing_is_written;
            submission: same_id_created_twice_keeps_the_first_values,
                one_key_and_content_from_two_processes_is_one_execution,
                other_content_under_a_key_is_refused,
                a_key_is_free_again_when_retention_is_over,
                a_submission_whose_reply_was_lost_is_recognised_as_ones_own,
                priority_is_clamped,
                a_delay_ahead_delays_and_a_delay_until_now_does_not,
                a_deadline_in_the_past_is_refused,
                a_deadline_fires_in_every_phase,
                every_byte_comes_back_from_payload_and_result,
                a_payload_at_the_limit_passes_and_one_byte_more_does_not,
                no_result_and_an_empty_one_are_different;
            grants: a_grant_is_bound_to_its_worker_and_not_to_an_instance,
                one_grant_is_live_at_a_time,
                a_grant_that_ran_out_goes_back_to_its_old_place,
                a_grant_is_consumed_once,
                a_claim_repeated_after_a_lost_reply_gives_the_same_lease,
                a_request_for_a_grant_repeated_gives_the_same_grant,
                a_saturated_worker_leaves_the_grant_to_another_instance,
                resumed_work_is_claimed_through_any_entry_point,
                the_low_level_claims_tell_new_from_resumed_work,
                many_claimers_take_each_execution_once,
                a_corrupt_entry_at_the_head_of_a_lane_blocks_nobody,
                an_entry_that_cannot_be_claimed_blocks_nobody;
            leases: an_expired_lease_refuses_though_nobody_reclaimed,
                a_reclaimed_lease_is_stale_and_changes_nothing,
                renewal_holds_up_to_the_millisecond_of_expiry,
                a_timekeeper_that_finds_a_renewed_lease_changes_nothing,
                cancelling_active_work_takes_it_from_its_holder,
                a_revoked_lease_is_reclaimable_at_once,
                renewal_goes_on_during_a_slow_complete_and_stops_after,
                renewal_outlives_the_time_that_a_call_takes;
            fences: a_repeated_complete_succeeds_with_one_terminal_event,
                a_late_complete_after_another_finished_is_an_error,
                a_repeated_fail_gives_the_same_retry,
                a_repeated_release_of_any_kind_is_recognised,
                a_fence_is_required_in_full,
                a_refused_command_changes_nothing,
                guards_fail_in_their_order;
            clocks: a_clock_an_hour_ahead_does_no_harm,
                a_clock_an_hour_behind_does_no_harm;
            attempts: retries_count_up_to_the_limit,
                backoff_is_whole_capped_and_reproducible,
                failures_that_are_not_retried_end_the_life_at_once,
                a_delayed_attempt_goes_on_as_the_same_attempt,
                a_crash_costs_a_reclaim_and_no_retry,
                too_many_reclaims_fail_the_execution,
                an_attempt_timeout_is_a_failed_attempt_and_is_armed_anew,
                a_replay_is_a_new_life,
                replays_end_at_their_limit_and_need_an_end,
                retention_removes_everything_of_its_own_and_nothing_else;
            routing: a_missing_capability_blocks_by_route_and_serves_the_next,
                two_workers_together_do_not_make_one_capable,
                another_namespace_neither_sees_nor_unblocks,
                several_blocks_hold_until_the_last_is_gone;
            suspension: a_signal_resumes_the_same_attempt,
                a_second_suspension_is_refused,
                all_of_two_waitpoints_waits_for_both,
                distinct_sources_are_counted_by_source,
                another_name_does_not_count,
                conditions_that_cannot_be_are_refused,
                a_timeout_does_what_it_was_told,
                a_signal_after_the_timeout_does_not_resume,
                a_resume_delay_is_waited_for,
                signals_are_for_the_resumed_claim_only,
                what_is_given_back_keeps_its_signals,
                an_operator_resumes,
                the_longest_durations_saturate,
                waitpoints_that_stay_open_count_for_a_later_suspension;
            signals: a_signal_before_the_suspension_is_not_lost,
                a_pending_waitpoint_closes_in_time,
                a_repeated_signal_is_recognised,
                a_bad_token_is_one_error,
                a_token_outlives_rotations_within_its_grace,
                rotations_are_recognised,
                a_signals_payload_has_a_limit,
                retention_removes_signals_and_output;
            streams: a_frame_is_appended_once_and_by_its_owner,
                output_goes_on_after_a_suspension,
                pages_are_never_empty_while_frames_follow,
                a_tail_follows_and_ends_with_its_attempt,
                a_tail_ends_when_the_lease_runs_out,
                a_tail_ends_though_no_attempt_ran,
                the_latest_attempt_is_the_latest_that_there_was,
                a_waiting_reader_delays_no_writer;
        }
    };
}
