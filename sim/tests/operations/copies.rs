//! The copy of a record that a worker keeps for its next command: when it may be outdated in a way
//! that matters, the worker forgets it (`docs/architecture.md`, Operations and agents).

use ff_core::agent::Leases;
use ff_core::condition::Condition;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{Fence, Suspend, SuspendOutcome};
use ff_core::op::{CarryCommand, Known, OperationContext, Patience};
use ff_core::time::HostTime;
use ff_sim::scripted::{Fate, Scripted};

use super::{record, with_waitpoint};
use crate::common::suspending::{any_at, deliver, pending, suspend, suspend_on};
use crate::common::{Submission, execution_id, grant, lease_id, ms, renew, take_new};

/// A suspension that the first buffered signal satisfies, and that uses up nothing.
fn again(fence: Fence, number: u64) -> Suspend {
    let mut command = suspend_on(fence, number, any_at("b"), &[9]);
    (command.policy.close_waitpoints, command.policy.consume_signals) = (false, false);
    command
}

fn suspend_knowing(
    world: &mut Scripted,
    context: &OperationContext,
    command: Suspend,
    known: Known,
) -> Result<SuspendOutcome, EngineError> {
    let patience = Patience::new(context.clone(), Entropy::from_u64(world.now().get()));
    let done = world.run(CarryCommand::knowing(command, known, patience));
    done.map(|committed| committed.outcome)
}

/// The leases of a worker that holds the execution of the tests, with waitpoint 9 and a signal.
fn holder(world: &mut Scripted, context: &OperationContext) -> (Leases, Fence) {
    world.transact(Submission::new().0).expect("it is created");
    world.transact(grant(1)).expect("it is granted");
    let claimed = world.transact(take_new(1)).expect("it is claimed");
    let fence = claimed.outcome.fence();
    let mut leases = Leases::default();
    leases.track(&claimed.outcome, claimed.record, claimed.first_sent, claimed.at);
    let open = pending(fence, 9, "b");
    let opened = world.carry(context, open).expect("it is opened");
    leases.learn(lease_id(1), opened.record);
    let signal = deliver(9, &opened.outcome.token, 1, "go");
    world.carry(context, signal).expect("it is buffered");
    (leases, fence)
}

/// A worker whose suspension is in doubt suspends again. Every request of the second suspension is
/// answered, so it is not in doubt.
#[test]
fn a_command_after_one_in_doubt_is_not_in_doubt_itself() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (mut leases, fence) = holder(&mut world, &context);
    // A conflict, the signal, and a commit without a reply. Then the store is out of reach.
    world.script.fates =
        [vec![Fate::Answered, Fate::Answered, Fate::ReplyLost], vec![Fate::NotSent; 1_000]]
            .concat()
            .into();
    let known = leases.known(lease_id(1));
    let error =
        suspend_knowing(&mut world, &context, again(fence, 1), known).expect_err("no store");
    assert!(error.may_be_applied(), "{error:?}");
    leases.failed(lease_id(1), &error);
    world.script.fates.clear();
    for number in 2..4 {
        world.transact(renew(fence, 30_000 + number)).expect("it is changed");
    }
    let known = leases.known(lease_id(1));
    let outcome = suspend_knowing(&mut world, &context, again(fence, 2), known);
    assert!(matches!(outcome, Ok(SuspendOutcome::AlreadySatisfied { .. })), "{outcome:?}");
}

/// A renewal that is in doubt may have changed the record too.
#[test]
fn a_renewal_in_doubt_forgets_the_copy() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (mut leases, _) = holder(&mut world, &context);
    let HostTime { local, store } = world.host();
    let later = HostTime { local: local.plus(ms(20_000)), store };
    let renewals = leases.renewals(later, &context, &mut Entropy::from_u64(1));
    world.script.fates = [vec![Fate::Late], vec![Fate::NotSent; 1_000]].concat().into();
    for renewal in renewals {
        let result = world.run(renewal.operation);
        assert!(result.as_ref().is_err_and(|error| error.may_be_applied()), "{result:?}");
        assert!(leases.renewed(renewal.lease_id, result, later).is_none());
    }
    assert!(matches!(leases.known(lease_id(1)), Known::Nothing));
}

/// The replies to two commands arrive in another order than the store has applied them.
#[test]
fn the_record_in_an_overtaken_reply_is_not_kept() {
    let (mut world, context) = (Scripted::new(), Scripted::context());
    let (mut leases, fence) = holder(&mut world, &context);
    let first = world.transact(renew(fence, 30_001)).expect("it is renewed").record;
    let second = world.transact(renew(fence, 30_002)).expect("it is renewed").record;
    leases.learn(lease_id(1), second.clone());
    leases.learn(lease_id(1), first);
    assert!(matches!(leases.known(lease_id(1)), Known::Nothing), "it is outdated");
    leases.learn(lease_id(1), second);
    assert!(matches!(leases.known(lease_id(1)), Known::Stale(_)), "it is the present one");
}

/// A failover loses the suspension that the worker knows of. The next one is not in doubt: had it
/// been applied to the lost version, it would be lost too.
#[test]
fn a_command_on_a_version_that_the_store_has_lost_is_not_in_doubt() {
    let mut worlds = [Scripted::new(), Scripted::new()];
    let [(fence, lost), _] = worlds.each_mut().map(|world| {
        let context = Scripted::context();
        let (fence, waitpoint) = with_waitpoint(world, &context);
        let signal = deliver(9, &waitpoint.token, 1, "go");
        world.carry(&context, signal).expect("it is buffered");
        (fence, context)
    });
    let [primary, replica] = &mut worlds;
    primary.carry(&lost, again(fence, 1)).expect("it is satisfied");
    primary.transact(renew(fence, 30_001)).expect("it is renewed");
    let known = Known::Stale(record(primary));
    assert!(
        replica.record(&execution_id()).is_some_and(|kept| kept.version != record(primary).version)
    );
    let command = suspend(fence, 2, Condition::OperatorOnly);
    let outcome = suspend_knowing(replica, &Scripted::context(), command, known);
    assert!(matches!(outcome, Ok(SuspendOutcome::Suspended { .. })), "{outcome:?}");
}
