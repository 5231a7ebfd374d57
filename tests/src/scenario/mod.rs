//! The scenarios: the behaviour that every backend must have. Each scenario is one function;
//! [`for_each_scenario`](crate::for_each_scenario) lists them.

pub mod attempts;
pub mod budgets;
pub mod clocks;
pub mod fences;
pub mod grants;
pub mod ids;
pub mod lanes;
pub mod leases;
pub mod lists;
pub mod quotas;
pub mod routing;
pub mod signals;
pub mod stats;
pub mod streams;
pub mod submission;
pub mod suspension;
pub mod workers;

/// Calls a macro with the table of all scenarios: modules, and the functions of each.
#[macro_export]
macro_rules! for_each_scenario {
    ($then:ident) => {
        $then! {
            ids: an_id_beyond_the_partitions_is_refused_before_anything_is_sent,
                partitions_that_contradict_the_store_are_a_configuration_error,
                bad_capabilities_are_refused_and_nothing_is_written;
            submission: same_id_created_twice_keeps_the_first_values,
                one_key_and_content_from_two_processes_is_one_execution,
                other_content_under_a_key_is_refused,
                a_key_is_free_again_after_retention,
                a_submission_repeated_after_a_lost_reply_is_recognised,
                priority_is_clamped,
                a_future_start_is_delayed_and_one_until_now_is_not,
                a_deadline_in_the_past_is_refused,
                a_deadline_fires_in_every_phase,
                payload_and_result_keep_every_byte,
                a_payload_at_the_limit_is_accepted_and_one_byte_more_is_refused,
                no_result_and_an_empty_one_are_different;
            grants: a_grant_is_bound_to_its_worker_and_not_to_an_instance,
                one_grant_is_live_at_a_time,
                an_expired_grant_returns_the_execution_to_its_position,
                a_grant_is_consumed_once,
                a_released_grant_can_be_issued_again,
                a_grant_is_for_its_lane_and_namespace,
                the_audit_data_of_a_grant_is_kept,
                a_claim_repeated_after_a_lost_reply_returns_the_same_lease,
                a_repeated_grant_request_returns_the_same_grant,
                a_saturated_worker_leaves_the_grant_to_another_instance,
                resumed_work_is_claimed_through_any_entry_point,
                claims_in_wire_form_distinguish_new_from_resumed_work,
                many_claimers_claim_each_execution_once,
                a_corrupt_entry_at_the_head_of_a_lane_does_not_block_it,
                an_entry_that_cannot_be_claimed_does_not_block_the_lane;
            lanes: a_paused_lane_starts_nothing_and_keeps_what_it_has,
                a_draining_lane_refuses_submissions_and_starts_its_work,
                why_names_every_reason_and_none_for_an_eligible_execution;
            quotas: a_quota_limits_how_many_run_and_hands_its_slots_over,
                each_key_of_a_quota_has_its_own_slots,
                a_rate_is_never_exceeded,
                a_suspended_execution_has_no_slot,
                an_execution_that_ends_or_waits_frees_its_slot,
                a_missing_quota_holds_back_until_it_is_set,
                a_budget_at_its_hard_limit_holds_back_until_it_is_reset,
                a_dead_worker_leaves_no_slot,
                grants_take_slots_and_unused_ones_give_them_back,
                a_refused_grant_names_the_limit,
                an_execution_without_limits_costs_no_call_more;
            lists: lists_by_time_have_every_execution_in_order,
                filters_select_by_state_tag_and_time,
                a_bulk_changes_each_selected_execution_once,
                a_bulk_skips_executions_in_another_state;
            stats: counts_follow_every_change,
                stats_have_the_age_of_the_oldest_waiting_execution,
                a_store_can_leave_counts_out;
            leases: an_expired_lease_is_refused_before_any_reclaim,
                a_reclaimed_lease_is_stale_and_changes_nothing,
                renewal_holds_up_to_the_millisecond_of_expiry,
                a_timekeeper_that_finds_a_renewed_lease_changes_nothing,
                cancelling_an_active_execution_ends_its_lease,
                a_revoked_lease_is_reclaimable_immediately,
                renewal_continues_during_a_slow_complete_and_stops_after_it,
                renewal_keeps_up_with_slow_calls;
            fences: a_repeated_complete_succeeds_with_one_terminal_event,
                a_late_complete_after_another_finished_is_an_error,
                a_repeated_fail_returns_the_same_retry,
                a_repeated_release_of_any_kind_is_recognised,
                a_fence_is_required_in_full,
                a_refused_command_changes_nothing,
                guards_fail_in_the_specified_order;
            clocks: a_clock_an_hour_ahead_does_no_harm,
                a_clock_an_hour_behind_does_no_harm;
            attempts: retries_count_up_to_the_limit,
                backoff_is_whole_capped_and_reproducible,
                failures_that_are_not_retried_end_the_life_immediately,
                a_retry_starts_after_the_time_that_the_worker_gives,
                a_delayed_execution_continues_the_same_attempt,
                a_crash_counts_as_a_reclaim_and_not_as_a_retry,
                too_many_reclaims_fail_the_execution,
                an_attempt_timeout_fails_the_attempt_and_starts_again,
                a_replay_is_a_new_life,
                replays_are_limited_and_need_a_terminal_execution,
                retention_removes_only_the_data_of_its_execution;
            routing: a_missing_capability_blocks_by_route_and_serves_the_next,
                two_workers_together_do_not_make_one_capable,
                another_namespace_neither_sees_nor_unblocks,
                several_blocks_hold_until_the_last_is_removed;
            budgets: a_budget_refuses_charges_over_its_hard_limit,
                charges_of_many_callers_add_up,
                a_budget_resets_on_request_and_by_the_clock,
                unknown_budgets_and_dimensions_are_typed_errors;
            workers: one_process_holds_an_instance_id,
                workers_of_one_process_can_share_an_instance_id,
                operators_drain_workers_and_mark_them_as_dead,
                work_that_no_worker_serves_is_named_with_the_nearest_worker;
            suspension: a_signal_resumes_the_same_attempt,
                a_second_suspension_is_refused,
                all_of_two_waitpoints_waits_for_both,
                any_of_two_waitpoints_waits_for_one,
                the_context_of_a_signal_reaches_its_worker,
                distinct_sources_are_counted_by_source,
                a_signal_of_another_name_does_not_count,
                invalid_conditions_are_refused,
                a_timeout_follows_its_behaviour,
                a_signal_after_the_timeout_does_not_resume,
                a_resume_delay_postpones_the_claim,
                signals_are_for_the_resumed_claim_only,
                an_execution_given_back_keeps_its_signals,
                an_operator_can_resume,
                the_longest_durations_saturate,
                waitpoints_that_stay_open_count_for_a_later_suspension;
            signals: a_signal_before_the_suspension_is_not_lost,
                a_pending_waitpoint_closes_at_its_expiry,
                a_repeated_signal_is_recognised,
                every_bad_token_is_the_same_error,
                a_token_outlives_rotations_within_its_grace,
                rotations_are_recognised,
                a_signals_payload_has_a_limit,
                retention_removes_signals_and_output;
            streams: a_frame_is_appended_once_and_by_its_owner,
                output_continues_after_a_suspension,
                pages_are_never_empty_while_frames_follow,
                a_tail_follows_and_ends_with_its_attempt,
                a_tail_ends_when_the_lease_expires,
                a_tail_ends_although_no_attempt_ran,
                the_latest_attempt_is_the_last_one_that_started,
                a_waiting_reader_does_not_delay_a_writer;
        }
    };
}
