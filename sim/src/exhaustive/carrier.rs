//! Running operations as values that can be copied, for the exhaustive searches, with the same
//! checks of their answers as in the seeded world.

use std::rc::Rc;

use ff_core::agent::{AdmitTo, ClaimWork, DrawnWork};
use ff_core::error::EngineError;
use ff_core::execution::{AnyCommand, AnyOutcome, Decide, Execution, Renew, Renewed};
use ff_core::op::{
    ApplyDue, AuditLook, AuditPartition, Batch, CarryCommand, Committed, DueReport, Event,
    ListExecutions, ListPage, Operation, Step, TakeFromLane, TakenFromLane,
};
use ff_core::store::{Reply, Request};
use ff_core::time::{HostTime, TimestampMs};

use crate::invariant::answer::{self, Seen};
use crate::invariant::bounds;
use crate::model::caller::Caller;
use crate::model::shown_leases::ShownLeases;
use crate::report::Broken;
use crate::store::Server;

macro_rules! works {
    (
        $($(#[$doc:meta])* $kind:ident($operation:ty) -> $output:ty;)+
    ) => {
        /// A running operation of any kind.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // A handful of them.
        pub enum Work {
            $($(#[$doc])* $kind($operation),)+
        }

        /// The output of an operation.
        #[derive(Clone, Debug)]
        #[allow(clippy::large_enum_variant)] // Short-lived.
        pub enum AnyOutput {
            $($(#[$doc])* $kind($output),)+
        }

        impl Work {
            /// Takes the next step.
            pub fn resume(&mut self, event: Event, now: HostTime) -> Step<AnyOutput> {
                match self {
                    $(Self::$kind(work) => work.resume(event, now).map(AnyOutput::$kind),)+
                }
            }
        }
    };
}

works! {
    /// A command is carried to its execution.
    Command(CarryCommand<AnyCommand>) -> Result<Committed<AnyOutcome>, EngineError>;
    /// Many commands to executions of one partition.
    Commands(Batch<AnyCommand>) -> Vec<Result<Committed<AnyOutcome>, EngineError>>;
    /// A worker draws work.
    Claim(ClaimWork) -> Result<DrawnWork, EngineError>;
    /// A worker renews a lease.
    Renew(CarryCommand<Renew>) -> Result<Committed<Renewed>, EngineError>;
    /// A scheduler draws work for a worker.
    Admit(TakeFromLane<AdmitTo>) -> Result<TakenFromLane<AdmitTo>, EngineError>;
    /// A timekeeper makes its round.
    Tick(ApplyDue) -> Result<DueReport, EngineError>;
    /// A page of a list.
    List(ListExecutions) -> Result<ListPage, EngineError>;
    /// A look at a partition.
    Audit(AuditPartition) -> Result<AuditLook, EngineError>;
}

/// A running operation, with the state that its caller has seen.
#[derive(Clone, Debug)]
pub struct Carrier {
    /// The operation.
    pub work: Work,
    /// The caller.
    pub caller: Caller,
    /// The record that the latest reply was about.
    pub seen: Option<Rc<Execution>>,
    /// The store's clock in that reply.
    pub seen_at: TimestampMs,
    /// The own leases that the store has shown it.
    pub own: ShownLeases,
}

impl Carrier {
    /// An operation of a process, before its first step.
    pub fn new(number: u64, process: usize, work: Work) -> Self {
        let caller = match &work {
            Work::Command(work) => Caller::of(number, process, work.command().clone()),
            Work::Renew(work) => Caller::of(number, process, work.command().clone().into()),
            _ => Caller::new(number, process),
        };
        let (seen, seen_at, own) = (None, TimestampMs::ZERO, ShownLeases::default());
        Self { work, caller, seen, seen_at, own }
    }

    /// Takes over that a request is sent.
    pub fn sends(&mut self, request: &Request) {
        self.own.forget_touched(request);
    }

    /// Lets a request of this operation reach the store.
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

    /// Takes over a reply, with the own leases that it shows.
    pub fn hears(&mut self, server: &Server, reply: &Reply) {
        self.caller.sees(self.seen.as_deref());
        if self.caller.command.is_none() {
            self.own.note(&server.model, self.caller.number, reply);
        }
    }

    /// Checks the output of the operation, and remembers it.
    pub fn ends(&mut self, server: &mut Server, output: &AnyOutput) -> Result<(), Broken> {
        match output {
            AnyOutput::Command(result) => {
                let (record, at) = (self.seen.as_deref(), self.seen_at);
                let seen =
                    Seen { record, at, begun: at, jumps: server.model.jumps, may_be_older: false };
                answer::check_command(&mut server.model, &self.caller, seen, result)?;
                self.refused(server, result.as_ref().err())
            }
            AnyOutput::Renew(result) => self.refused(server, result.as_ref().err()),
            AnyOutput::Commands(results) => {
                let number = self.caller.number;
                results.iter().try_for_each(|result| check_bug(server, number, result))
            }
            AnyOutput::Claim(result) => {
                check_bug(server, self.caller.number, result)?;
                let Ok(DrawnWork { work, .. }) = result else { return Ok(()) };
                answer::check_drawn(&server.model, self.caller.number, &self.own, work)
            }
            AnyOutput::Admit(result) => check_bug(server, self.caller.number, result),
            AnyOutput::Tick(result) => check_bug(server, self.caller.number, result),
            AnyOutput::List(result) => check_bug(server, self.caller.number, result),
            AnyOutput::Audit(result) => check_bug(server, self.caller.number, result),
        }
    }

    fn refused(&mut self, server: &Server, error: Option<&EngineError>) -> Result<(), Broken> {
        let Some(error) = error else { return Ok(()) };
        answer::check_error(&server.model, &mut self.caller, None, false, error)
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
