//! Any operation behind one small trait, so that one driver runs them all.

use ff_core::agent::{AdmitTo, DrawnWork};
use ff_core::budget::{Budget, BudgetChanged, ReportUsageResult};
use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{AnyOutcome, Renewed, Resumption};
use ff_core::id::{AttemptIndex, ExecutionId, LeaseId};
use ff_core::lane::{LaneChange, Lanes};
use ff_core::op::{
    AuditLook, Committed, DueReport, Event, FramePage, ListFilter, ListPage, Loaded, Operation,
    ReceivedSignal, ResourceChanged, Step, TakenFromLane,
};
use ff_core::partition::Partition;
use ff_core::quota::{Quota, QuotaChange};
use ff_core::registry::Worker;
use ff_core::store::{Cursor, Fetched, Streamed};
use ff_core::time::{HostTime, TimestampMs};
use ff_core::token::{Rotation as Rotated, SecretInfo};

/// The outcome of each charge of a report.
pub type ChargeOutcomes = Vec<Result<ReportUsageResult, Rejection>>;

/// The output of an operation of any kind.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Moved once, from the task to its process.
pub enum Output {
    /// A worker drew work.
    Claimed(Result<DrawnWork, EngineError>),
    /// A worker renewed a lease.
    Renewed(LeaseId, Result<Committed<Renewed>, EngineError>),
    /// A timekeeper made its round.
    Ticked(Result<DueReport, EngineError>),
    /// A command was carried to its execution.
    Command(Origin, Result<Committed<AnyOutcome>, EngineError>),
    /// The scheduler drew work for a worker.
    Drawn(Result<TakenFromLane<AdmitTo>, EngineError>),
    /// A page of a journal was read.
    Read {
        /// The partition of the journal.
        partition: Partition,
        /// The position of the page.
        from: Cursor,
        /// How many entries at most.
        limit: u32,
        /// The page.
        result: Result<(Streamed, TimestampMs), EngineError>,
    },
    /// Completions in one partition were carried together.
    Gathered(Partition, Vec<(Origin, Result<Committed<AnyOutcome>, EngineError>)>),
    /// A list was read. `whole`: it should show everything.
    Listed { filter: ListFilter, whole: bool, result: Result<ListPage, EngineError> },
    /// An execution was read.
    Described(ExecutionId, Result<(Option<Loaded>, Vec<Fetched>, TimestampMs), EngineError>),
    /// An auditor looked at a partition.
    Looked(Partition, Result<AuditLook, EngineError>),
    /// A job has read the signals that resumed its execution.
    Signals {
        /// The execution.
        id: ExecutionId,
        /// The job's lease.
        lease: LeaseId,
        /// How it was resumed.
        resumption: Resumption,
        /// The signals.
        result: Result<Vec<ReceivedSignal>, EngineError>,
    },
    /// A page of output was read.
    Frames {
        /// The attempt.
        of: (ExecutionId, AttemptIndex),
        /// The position of the page.
        from: Cursor,
        /// The page.
        result: Result<FramePage, EngineError>,
    },
    /// The state of a lane was set.
    LaneSet(Result<ResourceChanged<Lanes, LaneChange>, EngineError>),
    /// A budget was created, changed or reset.
    BudgetSet(Result<ResourceChanged<Budget, BudgetChanged>, EngineError>),
    /// A budget was charged.
    Charged(Result<ResourceChanged<Budget, ChargeOutcomes>, EngineError>),
    /// A worker registered, or sent a heartbeat.
    Registered(Result<ResourceChanged<Worker, ()>, EngineError>),
    /// A worker gave up its instance id.
    Deregistered(Result<ResourceChanged<Worker, ()>, EngineError>),
    /// An operator changed a worker.
    WorkerSet(Result<ResourceChanged<Worker, ()>, EngineError>),
    /// Records beside executions were removed whose time is over.
    Swept(Result<usize, EngineError>),
    /// A quota was set.
    QuotaSet(Result<ResourceChanged<Quota, QuotaChange>, EngineError>),
    /// A quota was deleted or read, or that has failed.
    QuotaDone,
    /// Slots of a quota were freed, checked or offered, or that has failed.
    HandedOver,
    /// Secrets were rotated.
    Rotated(Result<Rotated, EngineError>),
    /// Secrets were listed.
    Secrets(Result<Vec<SecretInfo>, EngineError>),
    /// The store's configuration was written or read.
    Activated(Result<(), EngineError>),
}

impl Output {
    /// The error, for outputs whose errors the checks look at.
    pub const fn error(&self) -> Option<&EngineError> {
        match self {
            Self::Renewed(_, Err(error))
            | Self::Listed { result: Err(error), .. }
            | Self::Looked(_, Err(error))
            | Self::Described(_, Err(error))
            | Self::Activated(Err(error))
            | Self::Signals { result: Err(error), .. }
            | Self::Frames { result: Err(error), .. }
            | Self::LaneSet(Err(error))
            | Self::BudgetSet(Err(error))
            | Self::Charged(Err(error))
            | Self::Registered(Err(error))
            | Self::Deregistered(Err(error))
            | Self::WorkerSet(Err(error))
            | Self::Swept(Err(error))
            | Self::Rotated(Err(error))
            | Self::Secrets(Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// The origin of a command: the process's reason for sending it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A job gives its lease back.
    Finish(LeaseId),
    /// A job repeats its last call, or makes a contradicting one.
    Afterwards,
    /// A job reports progress.
    Progress(LeaseId),
    /// A job gives its lease back until it is resumed.
    Suspend(LeaseId),
    /// A job opens a waitpoint.
    Waitpoint(LeaseId),
    /// A job appends a frame.
    Frame(LeaseId),
    /// The signaller signals.
    Signal,
    /// A worker claims an execution under a grant.
    Take,
    /// The answer does not matter.
    Detached,
    /// The client requests a grant for this worker process.
    Grant(usize),
}

impl Origin {
    /// The lease under which the command is sent, if its worker keeps a copy of the record.
    pub const fn lease_id(self) -> Option<LeaseId> {
        match self {
            Self::Finish(lease_id)
            | Self::Progress(lease_id)
            | Self::Suspend(lease_id)
            | Self::Waitpoint(lease_id)
            | Self::Frame(lease_id) => Some(lease_id),
            _ => None,
        }
    }

    /// Whether a client sent the command, which sees the executions of one namespace only.
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Detached | Self::Grant(_) | Self::Signal)
    }
}

/// Work that is driven by requests and replies.
pub trait Task: std::fmt::Debug {
    /// Takes the next step.
    fn resume(&mut self, event: Event, now: HostTime) -> Step<Output>;
}

/// An operation whose output is converted by a function.
pub struct Driven<O, F> {
    operation: O,
    understand: F,
}

impl<O, F> std::fmt::Debug for Driven<O, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Driven")
    }
}

/// An operation as a task.
pub fn driven<O, F>(operation: O, understand: F) -> Box<dyn Task>
where
    O: Operation + 'static,
    F: Fn(O::Output) -> Output + 'static,
{
    Box::new(Driven { operation, understand })
}

impl<O: Operation, F: Fn(O::Output) -> Output> Task for Driven<O, F> {
    fn resume(&mut self, event: Event, now: HostTime) -> Step<Output> {
        self.operation.resume(event, now).map(&self.understand)
    }
}
