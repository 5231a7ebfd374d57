//! Operations and agents against a store that loses replies, is late, or is changed by others. The
//! store checks every invariant at each request.

mod agents;
mod audit;
mod carried;
mod clock_steps;
mod copies;
mod deadlines;
mod facts;
mod lost_replies;
mod output;
mod quotas;
mod routes;
mod sequences;
mod store_loss;
mod timekeepers;
mod transact;

use ff_core::entropy::Entropy;
use ff_core::error::{Applied, EngineError};
use ff_core::execution::{ChangePriority, Fence, IssuedWaitpoint, OperatorCall};
use ff_core::id::RequestId;
use ff_core::op::{ListSecrets, Loaded, OperationContext, Patience, RotateSecret};
use ff_core::policy::Priority;
use ff_core::token::{Kid, Rotation, Secret};
use ff_sim::scripted::{Intervention, Scripted};

use crate::common::{Submission, execution_id, grant, ms, suspending, take_new};

/// An execution that is leased, and the fence of its holder.
fn leased(world: &mut Scripted) -> Fence {
    world.transact(Submission::new().0).expect("it is created");
    world.transact(grant(1)).expect("it is granted");
    world.transact(take_new(1)).expect("it is claimed").outcome.fence()
}

/// An execution that is leased, and waitpoint 9 open in it.
fn with_waitpoint(world: &mut Scripted, context: &OperationContext) -> (Fence, IssuedWaitpoint) {
    let fence = leased(world);
    let open = suspending::pending(fence, 9, "b");
    (fence, world.carry(context, open).expect("it is opened").outcome)
}

/// Acts before one call, counted from here.
fn before_call(number: u32, mut act: impl FnMut(&mut Scripted) + 'static) -> Option<Intervention> {
    let mut calls = 0;
    Some(Box::new(move |world| {
        calls += 1;
        if calls == number {
            act(world);
        }
    }))
}

fn record(world: &mut Scripted) -> Loaded {
    world.record(&execution_id()).expect("it is there")
}

/// Checks that an error reports a call that may have been applied.
#[track_caller]
fn assert_in_doubt(error: EngineError) {
    let EngineError::Contextual { source, .. } = error else { panic!("{error:?}") };
    assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }));
}

fn kid(text: &str) -> Kid {
    Kid::try_new(text).expect("a kid")
}

fn rotate(world: &mut Scripted, to: &str, hex: &str, grace: u64) -> Result<Rotation, EngineError> {
    let (kid, grace) = (kid(to), ms(grace));
    let secret = Secret::from_hex(hex).expect("a secret");
    world.script.grace = Some(grace);
    let patience = Patience::new(Scripted::context(), Entropy::from_u64(world.now().get()));
    world.drive(RotateSecret::new(kid, secret, grace, patience))
}

fn kids(world: &mut Scripted) -> Vec<String> {
    let listed = world.drive(ListSecrets::new(Scripted::patience(10_000)));
    let listed = listed.expect("they are listed").into_iter();
    listed.map(|info| info.kid.as_str().to_owned()).collect()
}

fn change_priority(world: &mut Scripted, number: u64) {
    let (execution_id, call) = (execution_id(), call(&format!("other-{number}")));
    let priority = Priority::clamped(number as i64);
    world.transact(ChangePriority { execution_id, call, priority }).expect("changed");
}

fn call(request: &str) -> OperatorCall {
    OperatorCall::new(RequestId::try_new(request).expect("a request id"))
}
