//! The interface between a process and the world.

use std::collections::BTreeMap;

use ff_core::capability::Capabilities;
use ff_core::execution::{AnyCommand, Claim, Decide, EventKind, InNamespace, IssuedWaitpoint};
use ff_core::id::{ExecutionId, GrantId, SlotId, SuspensionId};
use ff_core::op::{CarryCommand, Known, Loaded, Operation, Patience};
use ff_core::store::{Member, Wake};
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::model::budgets::BudgetCall;
use crate::model::identity::life_of;
use crate::model::registry::RegistryCall;
use crate::plan::{ActionId, ActionKind, Plan};
use crate::process::task::{Origin, Output, Task, driven};
use crate::report::coverage::CommandKind;

use super::submissions::namespace;

/// A grant in flight to a worker.
#[derive(Clone, Copy, Debug)]
pub struct GrantInHand {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The grant.
    pub grant_id: GrantId,
    /// How it is to be claimed.
    pub way: Way,
}

/// The token of a waitpoint, in flight to the signaller.
#[derive(Clone, Debug)]
pub struct TokenInHand {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The waitpoint, with its token.
    pub issued: IssuedWaitpoint,
    /// The time of its suspension's timeout or of its execution's deadline, whichever is first.
    pub ends_at: Option<TimestampMs>,
}

/// The ways to claim an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With a new attempt.
    New,
    /// With the interrupted attempt.
    Resumed,
    /// From an owner that lost its lease.
    Over,
    /// In any of these ways, with a grant of the offer's own.
    Offered,
}

/// The subject of an operation, for the checks.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Short-lived.
pub enum About {
    /// It carries this command, which is meant for this life if that is known.
    Command(AnyCommand, Option<u32>),
    /// It carries these commands together, each with its own answer.
    Together(Vec<AnyCommand>),
    /// It is an agent's, and carries this kind of command to each execution that it finds.
    Each(CommandKind),
    /// It rotates secrets, with this grace for the previous secret.
    Rotation(DurationMs),
    /// It charges or changes a budget.
    Budget(BudgetCall),
    /// It changes the registry of workers.
    Registry(RegistryCall),
    /// It carries no command, and shows the existing executions.
    Present,
    /// It carries no command.
    Nothing,
}

/// A notice of an event of an execution.
#[derive(Clone, Copy, Debug)]
pub struct Notice {
    /// The execution.
    pub id: ExecutionId,
    /// The event.
    pub event: EventKind,
    /// The key of the reaction.
    pub key: u64,
    /// The suspension of the execution at that time.
    pub suspension: Option<SuspensionId>,
    /// The slot that the execution had at that time.
    pub slot: Option<SlotId>,
}

/// A message to a process.
#[derive(Debug)]
pub enum Message {
    /// There may be work in a lane, for a worker.
    Wake(Wake),
    /// A grant, for a worker.
    Grant(GrantInHand),
    /// The token of a waitpoint, for the signaller.
    Token(TokenInHand),
    /// An event, for any process.
    Notice(Notice),
}

/// An effect that a process has on the world.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Short-lived.
pub enum Effect {
    /// Runs an operation.
    Start { task: Box<dyn Task>, about: About },
    /// Wakes the process at a time by its local clock.
    WakeAt(TimestampMs),
    /// Ends the process. It is started again after a while.
    Exit,
    /// Sends the token of a waitpoint to the signaller.
    Token { token: TokenInHand },
    /// Sends a grant to a worker process after so many milliseconds.
    Grant { to: usize, after: u64, grant: GrantInHand },
}

/// The view that a process has of the world in one step.
#[derive(Debug)]
pub struct Context<'w> {
    /// Its clocks.
    pub now: HostTime,
    /// Whether the faults are over and all work is to end.
    pub healing: bool,
    /// Old copies of records.
    pub copies: &'w BTreeMap<Member, Loaded>,
    /// The plan, which leaves actions out.
    pub plan: &'w Plan,
    /// The actions that it performs.
    pub actions: Vec<ActionId>,
    /// Its effects.
    pub effects: Vec<Effect>,
}

impl Context<'_> {
    /// Whether an action is to be performed. Each action draws from its own stream, so that leaving
    /// one out does not change the others.
    pub fn performs(&mut self, kind: ActionKind, key: u64) -> bool {
        let action = ActionId { kind, key };
        let wanted = self.plan.has_action(&action);
        if wanted {
            self.actions.push(action);
        }
        wanted
    }

    /// Starts an operation.
    pub fn begin<O, F>(&mut self, about: About, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        self.effects.push(Effect::Start { task: driven(operation, understand), about });
    }

    /// Carries a command to its execution. `stale`: starting from an old copy of its record.
    pub fn command(
        &mut self,
        origin: Origin,
        command: impl Into<AnyCommand>,
        stale: bool,
        patience: Patience,
    ) {
        let mut command = command.into();
        let id = command.execution_id();
        let known = match (&command, self.copies.get(&id.uuid())) {
            (AnyCommand::Create(_), _) => Known::Absent,
            (_, Some(copy)) if stale => Known::Stale(copy.clone()),
            _ => Known::Nothing,
        };
        // The life and the suspension that it sees first, for those who check.
        let mut life = None;
        if let Known::Stale(copy) = &known {
            life = life_of(&command, &copy.execution);
            if let AnyCommand::Resume(resume) = &mut command {
                let seen = copy.execution.suspension().map(|suspension| suspension.id);
                resume.suspension = resume.suspension.or(seen);
            }
        }
        self.command_of_life(origin, command, life, known, patience);
    }

    /// Carries a command to an execution whose state is partly known.
    pub fn command_knowing(
        &mut self,
        origin: Origin,
        command: AnyCommand,
        known: Known,
        patience: Patience,
    ) {
        self.command_of_life(origin, command, None, known, patience);
    }

    fn command_of_life(
        &mut self,
        origin: Origin,
        command: AnyCommand,
        life: Option<u32>,
        known: Known,
        patience: Patience,
    ) {
        let understand = move |result| Output::Command(origin, result);
        let task = if origin.is_client() {
            // As `Client::execute` does.
            let command = InNamespace { namespace: namespace(), command: command.clone() };
            driven(CarryCommand::knowing(command, known, patience), understand)
        } else {
            driven(CarryCommand::knowing(command.clone(), known, patience), understand)
        };
        self.effects.push(Effect::Start { task, about: About::Command(command, life) });
    }

    /// Ends the process.
    pub fn exit(&mut self) {
        self.effects.push(Effect::Exit);
    }

    /// Schedules the next wake-up of the process, by its own clock.
    pub fn wake_at(&mut self, local: TimestampMs) {
        self.effects.push(Effect::WakeAt(local));
    }
}

impl Way {
    /// The command by which a worker with these capabilities claims an execution this way.
    pub fn command(self, claim: Claim, capabilities: &Capabilities) -> AnyCommand {
        use ff_core::execution::{Offer, TakeNew, TakeOver, TakeResumed};
        match self {
            Self::New => TakeNew(claim).into(),
            Self::Resumed => TakeResumed(claim).into(),
            Self::Over => TakeOver(claim).into(),
            Self::Offered => Offer { claim, capabilities: capabilities.clone() }.into(),
        }
    }
}
