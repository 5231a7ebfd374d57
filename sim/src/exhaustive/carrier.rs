//! Operations under way as values that can be copied: what the exhaustive searches drive, with the
//! same checks of what callers are told as the seeded world has.

use std::rc::Rc;

use ff_core::agent::{AdmitTo, ClaimWork, ClaimedWork};
use ff_core::error::EngineError;
use ff_core::execution::{AnyCommand, AnyOutcome, Decide, Execution, Renew, Renewed};
use ff_core::op::{
    ApplyDue, AuditLook, AuditPartition, Batch, Committed, DueReport, Event, Informed,
    LaneRotation, ListExecutions, ListPage, Operation, Step, TakeFromLane, TakenFromLane, Transact,
    UnblockRoutes,
};
use ff_core::store::{Reply, Request};
use ff_core::time::{HostTime, TimestampMs};

use crate::invariant::answer::{self, Seen};
use crate::invariant::bounds;
use crate::model::caller::Caller;
use crate::model::shown_leases::OwnLeases;
use crate::report::Broken;
use crate::store::Server;

macro_rules! works {
    (
        $($(#[$doc:meta])* $kind:ident($operation:ty) -> $output:ty;)+
        = $informed:ident($asking:ty), $also:literal;
    ) => {
        /// An operation of whichever kind.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // A handful of them.
        pub enum Work {
            $($(#[$doc])* $kind($operation),)+
            #[doc = $also]
            $informed($asking),
        }

        /// What an operation came to.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // Short-lived.
        pub enum Came {
            $($(#[$doc])* $kind($output),)+
        }

        impl Work {
            /// Takes the next step.
            pub fn resume(&mut self, event: Event, now: HostTime) -> Step<Came> {
                match self {
                    $(Self::$kind(work) => work.resume(event, now).map(Came::$kind),)+
                    Self::$informed(work) => work.operation.resume(event, now).map(Came::Command),
                }
            }
        }
    };
}

works! {
    /// A command is carried to its execution.
    Command(Transact<AnyCommand>) -> Result<Committed<AnyOutcome>, EngineError>;
    /// Many commands to executions of one partition.
    Commands(Batch<AnyCommand>) -> Vec<Result<Committed<AnyOutcome>, EngineError>>;
    /// A worker draws work.
    Claim(ClaimWork) -> Result<(Vec<ClaimedWork>, Option<LaneRotation>), EngineError>;
    /// A worker renews a lease.
    Renew(Transact<Renew>) -> Result<Committed<Renewed>, EngineError>;
    /// A scheduler draws work for a worker.
    Admit(TakeFromLane<AdmitTo>) -> Result<TakenFromLane<AdmitTo>, EngineError>;
    /// A timekeeper makes its round.
    Tick(ApplyDue) -> Result<DueReport, EngineError>;
    /// A worker looks for what no worker fitted.
    Sweep(UnblockRoutes) -> Result<usize, EngineError>;
    /// A page of a list.
    List(ListExecutions) -> Result<ListPage, EngineError>;
    /// A look at a partition.
    Audit(AuditPartition) -> Result<AuditLook, EngineError>;
    = Informed(Asking), "A command that has to know secrets or signals: it comes to the same.";
}

/// A command that has to know secrets or signals, on its way.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The command as it was begun.
    pub command: AnyCommand,
    /// The operation that carries it.
    pub operation: Informed<AnyCommand>,
}

/// An operation under way, with what its caller was shown so far.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// The operation.
    pub work: Work,
    /// Who carries it.
    pub caller: Caller,
    /// The record that the latest reply was about.
    pub seen: Option<Rc<Execution>>,
    /// When the store gave it, by its clock.
    pub seen_at: TimestampMs,
    /// Leases that it took itself, and was shown when it asked again.
    pub own: OwnLeases,
}

impl Carrier {
    /// An operation of a process that has not begun.
    pub fn new(number: u64, process: usize, work: Work) -> Self {
        let caller = match &work {
            Work::Command(work) => Caller::of(number, process, work.command().clone()),
            Work::Informed(work) => Caller::of(number, process, work.command.clone()),
            Work::Renew(work) => Caller::of(number, process, work.command().clone().into()),
            _ => Caller::new(number, process),
        };
        let (seen, seen_at, own) = (None, TimestampMs::ZERO, OwnLeases::default());
        Self { work, caller, seen, seen_at, own }
    }

    /// Notes that a request is sent.
    pub fn sends(&mut self, request: &Request) {
        self.own.forget_touched(request);
    }

    /// Lets a request of this operation reach the store.
    ///
    /// # Errors
    ///
    /// The first invariant that it breaks.
    pub fn arrives(
        &mut self,
        server: &mut Server,
        request: Request,
        now: TimestampMs,
    ) -> Result<Reply, Broken> {
        let reply = server.serve(&mut self.caller, request, now)?;
        let id = self.caller.command.as_ref().map(Decide::execution_id);
        self.seen = id.and_then(|id| server.model.records.get(&id).cloned());
        self.seen_at = now;
        Ok(reply)
    }

    /// Notes which of its own leases a reply shows it.
    pub fn hears(&mut self, server: &Server, reply: &Reply) {
        self.caller.sees(self.seen.as_deref());
        if self.caller.command.is_none() {
            self.own.note(&server.model, self.caller.number, reply);
        }
    }

    /// Checks what the operation came to, and remembers it.
    ///
    /// # Errors
    ///
    /// The first invariant that the answer breaks.
    pub fn ends(&mut self, server: &mut Server, came: &Came) -> Result<(), Broken> {
        match came {
            Came::Command(result) => {
                let (record, at) = (self.seen.as_deref(), self.seen_at);
                let seen = Seen { record, at, begun: at, jumps: server.model.jumps };
                answer::check_command(&mut server.model, &self.caller, seen, result)?;
                self.refused(server, result.as_ref().err())
            }
            Came::Renew(result) => self.refused(server, result.as_ref().err()),
            Came::Commands(results) => {
                let number = self.caller.number;
                results.iter().try_for_each(|result| check_bug(server, number, result))
            }
            Came::Claim(result) => {
                check_bug(server, self.caller.number, result)?;
                let Ok((work, _)) = result else { return Ok(()) };
                answer::check_drawn(&server.model, self.caller.number, &self.own, work)
            }
            Came::Admit(result) => check_bug(server, self.caller.number, result),
            Came::Tick(result) => check_bug(server, self.caller.number, result),
            Came::Sweep(result) => check_bug(server, self.caller.number, result),
            Came::List(result) => check_bug(server, self.caller.number, result),
            Came::Audit(result) => check_bug(server, self.caller.number, result),
        }
    }

    fn refused(&mut self, server: &Server, error: Option<&EngineError>) -> Result<(), Broken> {
        let Some(error) = error else { return Ok(()) };
        answer::check_error(&server.model, &mut self.caller, None, error)
    }
}

fn check_bug<T>(
    server: &Server,
    number: u64,
    result: &Result<T, EngineError>,
) -> Result<(), Broken> {
    match result {
        Err(error) => bounds::check_error(&server.model, number, error),
        Ok(_) => Ok(()),
    }
}
