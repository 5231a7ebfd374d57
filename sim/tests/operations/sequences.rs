//! Any sequence of commands on one execution, carried by operations, keeps the invariants of the
//! simulator, and an audit finds nothing wrong afterwards.
//!
//! The commands are those of core's test of the rules, whose checks need only a record. Some of
//! them share an id with another command. INV-IDENTITY-1 and INV-DURABLE-1 rest on unique ids, so
//! that test and the seeds check them.

use std::collections::BTreeSet;

use ff_core::execution::{
    Admit, AnyCommand, IssueReclaimGrant, MAX_FRAME_PAYLOAD, Offer, TakeNew, TakeOver, TakeResumed,
};
use ff_core::op::HOLD;
use ff_core::store::{IndexName, Request, Take, TakeUntil};
use ff_sim::scripted::Scripted;
use ff_sim::{Invariant, InvariantSet};
use proptest::prelude::*;
use uuid::Uuid;

use super::audit::{eligible, look, partition, tick};
use super::rotate;
use crate::common::{Bench, execution_id};
use crate::one_record::steps::{Action, Clock, Step, sequences, submissions};

fn take(world: &mut Scripted, index: IndexName, until: TakeUntil) {
    let (partition, count, hold) = (partition(), 10, HOLD);
    let take = Take { partition, index, count, until, hold, ring_rest: false };
    world.call(Request::Take(take)).expect("a reply");
}

/// The ids that a command gives to a grant or a lease. The store remembers them only as long as the
/// grant or the lease lasts, so no program uses them again later.
fn ids(command: &AnyCommand) -> Vec<Uuid> {
    match command {
        AnyCommand::IssueClaimGrant(grant)
        | AnyCommand::IssueReclaimGrant(IssueReclaimGrant(grant))
        | AnyCommand::Admit(Admit(grant)) => vec![grant.grant_id.uuid()],
        AnyCommand::Claim(TakeNew(claim))
        | AnyCommand::ClaimResumed(TakeResumed(claim))
        | AnyCommand::Reclaim(TakeOver(claim)) => vec![claim.lease_id.uuid()],
        AnyCommand::Offer(Offer { claim, .. }) => {
            vec![claim.grant_id.uuid(), claim.lease_id.uuid()]
        }
        _ => Vec::new(),
    }
}

/// Whether a command is a frame that shares its number with one of another content.
fn is_another_frame(command: &AnyCommand) -> bool {
    matches!(command, AnyCommand::AppendFrame(sent) if sent.frame.payload.len() > MAX_FRAME_PAYLOAD)
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_operations_keeps_the_invariants(
        submission in submissions(),
        steps in sequences(),
        takes in prop::collection::vec(0..6_u8, 100),
    ) {
        let mut world = Scripted::new();
        let by_ids = [Invariant::Identity, Invariant::Durable];
        world.watch(by_ids.into_iter().fold(InvariantSet::ALL, InvariantSet::without));
        rotate(&mut world, "k1", "c0ffee", 0).expect("the secret of the steps");
        world.perform(submission.clone().into());
        let (mut sent, mut used) = (Vec::new(), BTreeSet::new());
        for (Step { clock, action }, take_from) in steps.into_iter().zip(takes) {
            let record = world.record(&execution_id()).map(|loaded| (*loaded.execution).clone());
            if !matches!(clock, Clock::Back(_)) {
                world.set(clock.moved(record.as_ref(), world.now()).get());
            }
            let bench = Bench { record, ..Bench::default() };
            let command = action.command(&submission, &bench, &sent, world.now());
            let shares_id = matches!(action, Action::Reusing(_)) || is_another_frame(&command);
            if shares_id || !ids(&command).iter().all(|id| used.insert(*id)) {
                continue;
            }
            sent.push(command.clone());
            match command {
                // Only the store knows which signals there are.
                AnyCommand::ForgetSignals(_) => tick(&mut world),
                command => world.perform(command),
            }
            match take_from {
                0 => take(&mut world, eligible(), TakeUntil::End),
                1 => take(&mut world, IndexName::Due, TakeUntil::Now),
                2 => tick(&mut world),
                _ => {}
            }
            let look = look(&mut world);
            prop_assert!(look.suspects.is_empty(), "{:?}", look.suspects);
            let present = world.record(&execution_id()).is_some();
            prop_assert_eq!(look.executions, u64::from(present));
        }
    }
}
