//! Every command meets every situation, and everything that rules can answer is seen to happen.
//!
//! The cells are found by walking through all that can happen to an execution; a command, a
//! rejection or a kind of event that the walk never meets fails here.

use std::collections::BTreeSet;

use crate::one_record::exploration::{
    Effect, OBSERVED, Observation, Place, TIME, command_names, place_name, places,
};
use ff_core::error::{RejectionKind, TABLE};
use ff_core::execution::{BlockKind, DueKind, EventKind, Situation};

/// Rejections that come from parsing a command or from its operation, before any rule, and those of
/// records beside executions.
const NOT_FROM_RULES: &[RejectionKind] = &[
    RejectionKind::PartitionOutOfRange,
    RejectionKind::InvalidCapabilities,
    RejectionKind::InvalidTagKey,
    RejectionKind::InvalidId,
    RejectionKind::InvalidExecutionId,
    RejectionKind::OtherState,
    RejectionKind::RotationConflict,
    RejectionKind::InvalidKid,
    RejectionKind::InvalidSecretHex,
    RejectionKind::InvalidGraceMs,
    RejectionKind::FormatUnknown,
    RejectionKind::FormatSuperseded,
    RejectionKind::BudgetNotFound,
    RejectionKind::BudgetExists,
    RejectionKind::UnknownDimension,
    RejectionKind::WorkerInstanceInUse,
    RejectionKind::WorkerNotFound,
    RejectionKind::WorkerSuperseded,
];

/// Rejections of rules that need more than the walk does: ten thousand signals, in
/// `boundaries/signals.rs`, and lanes that an operator has changed, in `boundaries/creation.rs`.
const BEYOND_THE_WALK: &[RejectionKind] =
    &[RejectionKind::SignalLimitExceeded, RejectionKind::LaneDraining, RejectionKind::LaneDisabled];

/// Commands whose repeat is simply applied again, to the same effect.
const APPLIED_AGAIN: &[&str] = &["renew", "update_progress", "on_due"];

#[test]
fn every_command_meets_every_situation() {
    let cells: BTreeSet<(Place, &str)> =
        OBSERVED.iter().map(|seen| (seen.from, seen.command)).collect();
    let mut missing = Vec::new();
    for place in places() {
        for command in command_names() {
            if !cells.contains(&(place, command.as_str())) {
                missing.push(format!("{command} on {}", place_name(place)));
            }
        }
    }
    assert_eq!(missing, [""; 0], "never exercised");
}

#[test]
fn no_command_is_without_a_name() {
    let names = command_names();
    let strangers: BTreeSet<&str> = OBSERVED
        .iter()
        .map(|seen| seen.command)
        .filter(|command| *command != TIME && !names.iter().any(|name| name == command))
        .collect();
    assert_eq!(strangers, BTreeSet::new(), "commands that no name stands for");
}

#[test]
fn every_command_is_applied_repeated_and_refused() {
    let seen = |command: &str, wanted: fn(&Effect) -> bool| {
        OBSERVED.iter().any(|seen| seen.command == command && wanted(&seen.effect))
    };
    for command in command_names() {
        assert!(seen(&command, |effect| matches!(effect, Effect::Becomes(_))), "{command} applied");
        assert!(seen(&command, |effect| matches!(effect, Effect::Refused(_))), "{command} refused");
        let repeats = !APPLIED_AGAIN.contains(&command.as_str());
        let repeated = seen(&command, |effect| *effect == Effect::Repeat);
        assert_eq!(repeated, repeats, "{command} recognised as a repeat");
    }
}

#[test]
fn every_rejection_of_a_rule_occurs_and_no_other() {
    let occurring: BTreeSet<RejectionKind> = OBSERVED
        .iter()
        .filter_map(|seen| match seen.effect {
            Effect::Refused(kind) => Some(kind),
            _ => None,
        })
        .collect();
    let elsewhere = [NOT_FROM_RULES, BEYOND_THE_WALK].concat();
    let from_rules: BTreeSet<RejectionKind> =
        TABLE.iter().map(|row| row.kind).filter(|kind| !elsewhere.contains(kind)).collect();
    assert_eq!(occurring, from_rules);
}

#[test]
fn without_an_execution_only_creating_succeeds() {
    for seen in OBSERVED.iter().filter(|seen| seen.from.is_none() && seen.command != "create") {
        // A signal's sender is not told whether there is an execution.
        let refusals: &[RejectionKind] = match seen.command {
            "deliver_signal" => &[RejectionKind::InvalidToken, RejectionKind::Unread],
            _ => &[RejectionKind::NotFound],
        };
        let refused = refusals.iter().any(|kind| seen.effect == Effect::Refused(*kind));
        assert!(refused, "{} gave {:?}", seen.command, seen.effect);
    }
}

#[test]
fn every_kind_of_event_occurs() {
    let occurring: BTreeSet<EventKind> =
        OBSERVED.iter().flat_map(|seen| seen.events.iter().copied()).collect();
    let missing: Vec<EventKind> =
        EventKind::ALL.into_iter().filter(|kind| !occurring.contains(kind)).collect();
    assert_eq!(missing, []);
}

#[test]
fn every_kind_of_due_thing_is_applied() {
    let applied: BTreeSet<DueKind> =
        OBSERVED.iter().flat_map(|seen| seen.due.iter().copied()).collect();
    let missing: Vec<DueKind> =
        due_kinds().into_iter().filter(|kind| !applied.contains(kind)).collect();
    assert_eq!(missing, []);
}

/// Everything that can be due. The match makes a new kind fail to compile until it stands here.
fn due_kinds() -> [DueKind; 12] {
    match DueKind::Deadline {
        DueKind::Continuation
        | DueKind::Deadline
        | DueKind::AttemptTimeout
        | DueKind::SuspensionTimeout
        | DueKind::LeaseExpiry
        | DueKind::GrantExpiry
        | DueKind::WaitpointExpiry
        | DueKind::DelayOver
        | DueKind::Recheck(_)
        | DueKind::Retention => {}
    }
    [
        DueKind::Continuation,
        DueKind::Deadline,
        DueKind::AttemptTimeout,
        DueKind::SuspensionTimeout,
        DueKind::LeaseExpiry,
        DueKind::GrantExpiry,
        DueKind::WaitpointExpiry,
        DueKind::DelayOver,
        // Only what waits for something in another partition is looked at again.
        DueKind::Recheck(BlockKind::Budget),
        DueKind::Recheck(BlockKind::Quota),
        DueKind::Recheck(BlockKind::Route),
        DueKind::Retention,
    ]
}

#[test]
fn every_situation_is_reached_and_left() {
    let moves = || {
        OBSERVED.iter().filter_map(|seen: &Observation| match seen.effect {
            Effect::Becomes(to) => Some((seen.from, to)),
            _ => None,
        })
    };
    for place in Situation::ALL.map(Some).into_iter().chain([None]) {
        assert!(
            moves().any(|(from, to)| from != to && to == place),
            "{} reached",
            place_name(place)
        );
        assert!(
            moves().any(|(from, to)| from != to && from == place),
            "{} left",
            place_name(place)
        );
    }
}
