//! Handlers that open waitpoints and suspend, and the signaller.

use ff_core::condition::{
    Condition, ResumePolicy, SignalMatcher, SuspensionReason, SuspensionTimeout, TimeoutAt,
    TimeoutBehaviour,
};
use ff_core::execution::{
    AnyCommand, AnyOutcome, BindWaitpoint, Claimed, CreatePendingWaitpoint, DeliverSignal, Suspend,
    SuspendOutcome,
};
use ff_core::id::{Nonce, SignalId, SignalName, SuspensionId, WaitpointId, WaitpointKey};
use ff_core::op::{CarryCommand, Known, Patience};

use crate::exhaustive::carrier::Work;
use crate::report::Broken;

use super::parts::Part;
use super::state::{Slot, State};
use super::worlds::{MADE, OPENED, WAITS_FOR, context, id};

impl State {
    /// Lets a handler open a waitpoint.
    pub(super) fn open(&mut self, number: usize) -> Result<(), Broken> {
        let waitpoint_id = WaitpointId::random(&mut self.entropy());
        let mut asked = None;
        self.change(number, |worker| {
            let Some(job) = &mut worker.job else { return };
            job.opens = true;
            let command = CreatePendingWaitpoint {
                execution_id: job.claimed.execution_id,
                fence: job.claimed.fence().into(),
                waitpoint_id,
                key: key(OPENED),
                expires_in: None,
            };
            asked = Some((command, worker.agent.leases.known(job.claimed.lease_id)));
        });
        let (command, known) = asked.expect("there is a job");
        self.ask(Slot::Finish(number), command.into(), known)
    }

    /// Lets a handler suspend, at the waitpoint that was opened before or at a new one.
    pub(super) fn suspend(&mut self, number: usize) -> Result<(), Broken> {
        self.left.suspensions -= 1;
        let mut entropy = self.entropy();
        let waitpoint = match &self.issued {
            Some(issued) => BindWaitpoint::Open { id: issued.get().id },
            None => BindWaitpoint::New { id: WaitpointId::random(&mut entropy), key: key(MADE) },
        };
        let waits_at = if self.issued.is_some() { OPENED } else { MADE };
        let suspension_id = SuspensionId::random(&mut entropy);
        let mut asked = None;
        self.change(number, |worker| {
            let Some(job) = &mut worker.job else { return };
            let command = suspension(&job.claimed, suspension_id, waitpoint, waits_at);
            job.ending = Some(command.clone());
            asked = Some((command, worker.agent.leases.known(job.claimed.lease_id)));
        });
        let (command, known) = asked.expect("there is a job");
        self.ask(Slot::Finish(number), command, known)
    }

    /// Lets the signaller signal.
    pub(super) fn signal(&mut self) -> Result<(), Broken> {
        self.left.signals -= 1;
        let issued = self.issued.as_ref().expect("a token was given out").get().clone();
        let mut entropy = self.entropy();
        let command = DeliverSignal {
            execution_id: id(0),
            waitpoint_id: issued.id,
            token: issued.token,
            signal_id: SignalId::random(&mut entropy),
            name: SignalName::try_new("go").expect("a valid name"),
            source: None,
            context: Default::default(),
            payload: None,
            creator: Nonce(entropy.next_u64()),
        };
        self.ask(Slot::Signal, command.into(), Known::Nothing)
    }

    /// Starts a command that needs secrets or signals.
    fn ask(&mut self, slot: Slot, command: AnyCommand, known: Known) -> Result<(), Broken> {
        let patience = Patience::new(context(), self.entropy());
        self.begin(slot, Work::Command(CarryCommand::knowing(command, known, patience)))
    }

    /// Gives the issued token to the signaller.
    pub(super) fn give_out(&mut self, outcome: &AnyOutcome) {
        let issued = match outcome {
            AnyOutcome::CreatePendingWaitpoint(issued) => Some(issued),
            AnyOutcome::Suspend(SuspendOutcome::Suspended { waitpoints, .. }) => waitpoints.first(),
            _ => None,
        };
        if let Some(issued) = issued {
            self.issued = Some(Part::new(issued.clone()));
        }
    }
}

/// Whether a handler continues with its lease.
pub(super) const fn continues(outcome: &AnyOutcome) -> bool {
    matches!(
        outcome,
        AnyOutcome::CreatePendingWaitpoint(_)
            | AnyOutcome::Suspend(SuspendOutcome::AlreadySatisfied { .. })
    )
}

fn key(name: &str) -> WaitpointKey {
    WaitpointKey::try_new(name).expect("a valid key")
}

/// The suspension of a handler.
fn suspension(
    claimed: &Claimed,
    suspension_id: SuspensionId,
    waitpoint: BindWaitpoint,
    waits_at: &str,
) -> AnyCommand {
    let (when, behaviour) = (TimeoutAt::After(WAITS_FOR), TimeoutBehaviour::AutoResume);
    Suspend {
        execution_id: claimed.execution_id,
        fence: claimed.fence().into(),
        suspension_id,
        reason: SuspensionReason::Signal,
        waitpoints: vec![waitpoint],
        condition: Condition::Single { waitpoint: key(waits_at), matcher: SignalMatcher::Wildcard },
        timeout: Some(SuspensionTimeout { when, behaviour }),
        policy: ResumePolicy::default(),
    }
    .into()
}
