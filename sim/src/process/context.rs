//! What a process sees of the world, and what it asks of it.

use std::collections::{BTreeMap, BTreeSet};

use ff_core::capability::Capabilities;
use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, Claim, Decide, EventKind, InNamespace, IssuedWaitpoint};
use ff_core::id::{ExecutionId, GrantId, SuspensionId};
use ff_core::op::{Informed, Known, Loaded, Operation, OperationContext, Patience, Transact};
use ff_core::store::Member;
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::determinism::hash::hashed;
use crate::plan::{WishId, WishKind};
use crate::process::task::{Errand, Output, Task, driven};
use crate::report::coverage::CommandKind;

use super::submissions::namespace;

/// A grant on its way to a worker.
#[derive(Clone, Copy, Debug)]
pub struct GrantInHand {
    /// What may be taken.
    pub execution_id: ExecutionId,
    /// The grant.
    pub grant_id: GrantId,
    /// How it is to be taken.
    pub way: Way,
}

/// The token of a waitpoint, on its way to whoever may signal.
#[derive(Clone, Debug)]
pub struct TokenInHand {
    /// The execution.
    pub execution_id: ExecutionId,
    /// The waitpoint, with its token.
    pub issued: IssuedWaitpoint,
    /// When its suspension takes too long, if it has one that does.
    pub timeout_at: Option<TimestampMs>,
}

/// The ways to take an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With a new attempt.
    New,
    /// With the interrupted attempt.
    Resumed,
    /// From an owner that lost its lease.
    Over,
    /// Whichever way it asks for, with a grant of its own.
    Offered,
}

/// What an operation is about, for those who watch.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Short-lived.
pub enum About {
    /// It carries this command.
    Command(AnyCommand),
    /// It carries these commands together, each with an answer of its own.
    Together(Vec<AnyCommand>),
    /// It is an agent's, and carries that to each execution that it meets.
    Each(CommandKind),
    /// It rotates secrets, and the one before stays good for that long.
    Rotation(DurationMs),
    /// It carries no command, and shows what is there.
    Present,
    /// It carries no command.
    Nothing,
}

/// Something that has just happened to an execution.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// The execution.
    pub id: ExecutionId,
    /// What happened.
    pub event: EventKind,
    /// The key of what is done about it.
    pub key: u64,
    /// What the execution waits for then.
    pub suspension: Option<SuspensionId>,
}

/// What a process asks of the world.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Short-lived.
pub enum Effect {
    /// Carry out an operation.
    Start { task: Box<dyn Task>, about: About },
    /// Wake the process at an instant of its own clock.
    WakeAt(TimestampMs),
    /// Give the token of a waitpoint to whoever may signal.
    Token { token: TokenInHand },
    /// Hand a grant to a worker process after that many milliseconds.
    Grant { to: usize, after: u64, grant: GrantInHand },
}

/// What a process sees of the world in one step.
#[derive(Debug)]
pub struct Context<'w> {
    /// Its clocks.
    pub now: HostTime,
    /// Whether the faults are over and all work shall come to an end.
    pub healing: bool,
    /// On which terms its operations run that have none of their own.
    pub terms: OperationContext,
    /// Old copies of records.
    pub copies: &'w BTreeMap<Member, Loaded>,
    /// The wishes that are left out of this run.
    pub without: &'w BTreeSet<WishId>,
    /// The wishes that it carries out.
    pub wishes: Vec<WishId>,
    /// What it asks of the world.
    pub effects: Vec<Effect>,
}

impl Context<'_> {
    /// Whether a wish is to be carried out. What depends on it draws from a stream of its own, so
    /// that a wish which is left out leaves the others as they were.
    pub fn wishes_for(&mut self, kind: WishKind, key: u64) -> bool {
        let wish = WishId { kind, key };
        let wanted = self.without.is_empty() || !self.without.contains(&wish);
        if wanted {
            self.wishes.push(wish);
        }
        wanted
    }

    /// Starts an operation of an agent, which carries that to each execution that it meets.
    pub fn start<O, F>(&mut self, carries: CommandKind, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Each(carries) });
    }

    /// Starts an operation that carries no command.
    pub fn read<O, F>(&mut self, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Nothing });
    }

    /// Starts an operation that shows what is there.
    pub fn look<O, F>(&mut self, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Present });
    }

    /// Starts an operation that carries these commands, each with an answer of its own.
    pub fn together<O, F>(&mut self, commands: Vec<AnyCommand>, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Together(commands) });
    }

    /// Starts an operation that carries this command in a form of its own.
    pub fn carry<O, F>(&mut self, command: AnyCommand, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Command(command) });
    }

    /// Carries a command to its execution. `stale`: beginning with an old copy of its record.
    pub fn command(
        &mut self,
        errand: Errand,
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
        if let Known::Stale(copy) = &known {
            // The life that it sees first, which checkers remember by its own command.
            command.observe(&copy.execution);
        }
        self.command_knowing(errand, command, known, patience);
    }

    /// Carries a command to an execution of which something is known.
    pub fn command_knowing(
        &mut self,
        errand: Errand,
        command: AnyCommand,
        known: Known,
        patience: Patience,
    ) {
        if needs_more(&command) {
            let (name, id) = (command.name(), command.execution_id());
            let text = format!("{} {} {name} {id}", self.now.local, self.effects.len());
            let entropy = Entropy::from_u64(hashed(text.as_bytes()));
            self.informed(errand, command, known, (self.terms.clone(), entropy));
            return;
        }
        if errand.is_client() {
            // As `Client::execute` does.
            let carried = InNamespace { namespace: namespace(), command: command.clone() };
            let operation = Transact::knowing(carried, known, patience);
            self.carry(command, operation, move |result| Output::Command(errand, result));
            return;
        }
        let operation = Transact::knowing(command.clone(), known, patience);
        self.carry(command, operation, move |result| Output::Command(errand, result));
    }

    /// Carries a command that has to know secrets or signals.
    pub fn informed(
        &mut self,
        errand: Errand,
        command: AnyCommand,
        known: Known,
        (terms, entropy): (OperationContext, Entropy),
    ) {
        if errand.is_client() {
            let carried = InNamespace { namespace: namespace(), command: command.clone() };
            let operation = Informed::new(carried, known, terms, entropy);
            self.carry(command, operation, move |result| Output::Command(errand, result));
            return;
        }
        let operation = Informed::new(command.clone(), known, terms, entropy);
        self.carry(command, operation, move |result| Output::Command(errand, result));
    }

    /// Starts an operation that rotates secrets.
    pub fn rotate<O, F>(&mut self, grace: DurationMs, operation: O, understand: F)
    where
        O: Operation + 'static,
        F: Fn(O::Output) -> Output + 'static,
    {
        let task = driven(operation, understand);
        self.effects.push(Effect::Start { task, about: About::Rotation(grace) });
    }

    /// Asks to be woken at an instant of the process's own clock.
    pub fn wake_at(&mut self, local: TimestampMs) {
        self.effects.push(Effect::WakeAt(local));
    }
}

/// Whether a command has to know secrets or signals.
pub const fn needs_more(command: &AnyCommand) -> bool {
    matches!(
        command,
        AnyCommand::Suspend(_)
            | AnyCommand::CreatePendingWaitpoint(_)
            | AnyCommand::DeliverSignal(_)
    )
}

impl Way {
    /// The command by which a worker that can do that takes an execution this way.
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
