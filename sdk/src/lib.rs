//! The FlowFabric SDK: workers, tasks, clients and a runtime, on tokio.
//!
//! - [`Client`] submits executions (jobs) and waits for their results.
//! - [`FlowFabricWorker`] claims executions. Each one is a [`ClaimedTask`], whose lease the worker
//!   renews until the task is finished or dropped.
//! - [`WorkerRuntime`] runs `async` handlers by kind, on top of a worker.
//! - [`open`] connects to a store; [`MemoryBackend`] is a store in this process.
//!
//! `ff-core` makes every decision. This crate sends its requests to a backend, and waits when an
//! operation asks it to. `docs/spec.md` specifies each operation; section 11 lists this crate.
//!
//! ```
//! use std::sync::Arc;
//! use ff_sdk::{Client, FlowFabricWorker, MemoryBackend, Submission, WorkerConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backend = Arc::new(MemoryBackend::new());
//! let client = Client::connect_with(backend.clone(), "demo").await?;
//! let worker = WorkerConfig::new("worker", "worker-1", "demo")?;
//! let worker = FlowFabricWorker::connect_with(worker, backend, None).await?;
//!
//! let id = client.submit(Submission::new("greet").payload("world")).await?.id();
//! let task = worker.claim_next().await?.expect("there is work");
//! let greeting = [b"hello ", task.input_payload().unwrap_or_default()].concat();
//! task.complete(Some(greeting)).await?;
//!
//! assert_eq!(client.result(&id).await?.bytes(), Some(&b"hello world"[..]));
//! # Ok(())
//! # }
//! ```

mod admin;
mod audit;
mod builder;
mod charges;
mod charging;
mod claims;
mod client;
mod config;
mod connect;
mod drive;
mod end_watch;
mod error;
mod fabric;
mod gateway;
mod gather;
mod grants;
mod handing_over;
mod host;
mod job;
mod journal;
mod lease_end;
mod memory;
pub mod metrics;
mod output;
mod process;
mod registering;
mod runtime;
mod shared;
mod signal;
mod submission;
mod suspension;
mod task;
pub mod testing;
mod timekeeping;
mod trace;
mod upkeep;
mod wake_ups;
mod worker;

pub use crate::metrics::{Metric, MetricKind, MetricUnit};
pub use admin::FlowFabricAdminClient;
pub use audit::{AuditProgress, AuditReport, Auditor};
pub use builder::{WorkerBuilder, unique_name};
pub use client::{
    BudgetSettings, Bulk, BulkCommand, BulkOutcome, BulkPage, BulkResult, Client, ExecutionResult,
    History, HistoryEntry, LaneNote, LaneStats, LaneStatus, QuarantinePage, Quarantined,
    QueueGauges, Stats, Tail, TailItem, Turn, Unserved, Why, WorkerPage, WorkerPosition,
};
pub use config::{ClientConfig, WorkerConfig};
pub use connect::{StoreOptions, open};
pub use drive::drive;
pub use error::SdkError;
pub use fabric::{Connect, FlowFabric};
pub use ff_sdk_macros::Job;
pub use gateway::{RemoteTask, WorkerGateway};
pub use grants::{ReclaimExecutionArgs, ReclaimExecutionOutcome};
pub use host::{ClockSource, HostClock};
pub use job::{Job, JobArguments, JobHandler};
pub use journal::{JournalBackend, JournalCompletions};
pub use memory::MemoryBackend;
pub use runtime::{
    BoxError, FromTask, Handler, HandlerError, HandlerOptions, HandlerService, IntoTaskOutcome,
    Json, Payload, RawPayload, RuntimeReport, RuntimeReports, SharedState, ShutdownSignal, Signals,
    State, TaskContext, TaskOutcome, WorkerRuntime, shutdown_signal,
};
pub use signal::Signal;
pub use submission::{IntoSubmission, Submission};
pub use suspension::Suspension;
pub use task::{ClaimedTask, LeaseWatch, SuspendOutcome};
pub use worker::FlowFabricWorker;

#[cfg(feature = "sqlite")]
pub use ff_io_sqlite::{OpenError, SqliteBackend};
#[cfg(feature = "valkey")]
pub use ff_io_valkey::{ConnectError, ValkeyBackend, redacted_url};

/// All of `ff-core`, for the other crates of this workspace. Its names change without notice.
#[doc(hidden)]
pub use ff_core as core;
pub use ff_core::agent::WorkerGrant;
pub use ff_core::backend::{
    BackendReport, BoxFuture, CompletionBackend, CompletionCursor, CompletionFilter,
    CompletionItem, CompletionPosition, Completions, CursorError, EngineBackend, Finding,
    FindingLevel,
};
pub use ff_core::budget::{
    Budget, BudgetChanged, BudgetReset, ChargeOutcome, DimensionLimits, Exhausted,
    ReportUsageResult, Usage,
};
pub use ff_core::capability::{Capabilities, CapabilityError};
pub use ff_core::condition::{
    Condition, ConditionPart, CountKind, ResumePolicy, SignalMatcher, SuspensionReason,
    TimeoutBehaviour,
};
pub use ff_core::error::{
    Applied, Bug, EngineError, EngineVariant, ErrorClass, ErrorRow, Missing, Rejection,
    RejectionKind,
};
pub use ff_core::execution::{
    AnyOutcome, Attempt, AttemptEnd, AttemptKind, AttemptSummary, BlockKind, ClaimKind, Claimed,
    CloseReason, Command, Counted, Counts, CreateOutcome, Delay, Event, EventKind,
    ExecutionSnapshot, FailOutcome, Frame, GrantAudit, GrantSnapshot, Interrupted, IssuedWaitpoint,
    Join, LeaseSnapshot, LimitState, Outcome, Progress, Reason, ReleaseOutcome, Replayed, Resumed,
    ResumedBy, Resumes, Resumption, Revoked, SignalContext, SignalEffect, SignalOutcome,
    SuspensionSnapshot, Tallies, Tally, Timeout, ValueKind, WaitpointSnapshot, WaitpointState,
    WaitsFor, WorkFailure,
};
pub use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
pub use ff_core::id::{
    AttemptId, AttemptIndex, BudgetId, CorrelationId, Dimension, ExecutionId, ExecutionIdError,
    ExecutionKind, FailureCategory, FlowId, FrameType, GrantId, LaneId, LeaseEpoch, LeaseId,
    Namespace, QuotaId, QuotaKey, RequestId, SignalCategory, SignalId, SignalName, SignalSource,
    SignalSourceType, SlotId, SuspensionId, TextIdError, WaitpointId, WaitpointKey, WorkerId,
    WorkerInstanceId,
};
pub use ff_core::kinds::Kinds;
pub use ff_core::lane::{LaneChange, LaneSetting, LaneState, UnknownLaneState};
pub use ff_core::op::{
    Fault, FramePage, ListFilter, ListOrder, ListPage, ListPosition, MAX_FILTERED, ReceivedSignal,
    StoredFrame, Suspect,
};
pub use ff_core::partition::{
    Partition, PartitionConfig, PartitionConfigError, PartitionFamily, PartitionKey,
    PartitionKeyParseError,
};
pub use ff_core::policy::{
    Backoff, ExecutionPolicy, PolicyError, Priority, ReclaimMode, RetryPolicy, TimeoutPolicy,
};
pub use ff_core::quota::{
    Holder as QuotaHolder, Quota, QuotaChange, QuotaLimits, QuotaRef, QuotaUsage, Rate,
};
pub use ff_core::registry::{Lacks, Nearest, UnknownWorkerState, Worker, WorkerInfo, WorkerState};
pub use ff_core::state::{
    AttemptState, BlockingReason, CountedState, EligibilityState, LifecyclePhase, OwnershipState,
    PublicState, StateVector, TerminalOutcome, UnknownState,
};
pub use ff_core::store::{Bytes, Cursor, InvalidCursor};
pub use ff_core::store_id::StoreId;
pub use ff_core::tags::{TagError, Tags};
pub use ff_core::time::{DurationMs, HostTime, TimestampMs};
pub use ff_core::token::{Fingerprint, Kid, Rotation, Secret, SecretInfo, WaitpointToken};

/// The requests and responses of [`FlowFabricAdminClient`].
pub use ff_io_http::{
    BudgetView, CandidateView, ClaimForWorkerRequest, ClaimForWorkerResponse, HolderView,
    IssueReclaimGrantRequest, IssueReclaimGrantResponse, LaneChangeView, LaneView, QuotaLimitsView,
    QuotaUseView, QuotaView, RotateWaitpointSecretRequest, RotateWaitpointSecretResponse,
    SecretHex, TurnView, WhyView, WorkerView,
};

/// The commands that [`Client::execute`](crate::Client::execute) takes, and their outcomes.
pub mod command {
    pub use ff_core::condition::{SuspensionTimeout, TimeoutAt};
    pub use ff_core::execution::{
        Admit, Admitted, AnyCommand, AppendFrame, Appended, BindWaitpoint, Block, BlockOutcome,
        Cancel, CancelledBy, ChangePriority, CheckSlot, Claim, Claimed, Complete, ContentDigest,
        Create, CreatePendingWaitpoint, DelayExecution, DeliverSignal, DueKind, DueOutcome, Fail,
        Fence, FenceParts, ForgetSignals, Forgotten, Granted, IssueClaimGrant, IssueReclaimGrant,
        MoveToWaitingChildren, Offer, Offered, OnDue, OperatorCall, ReclaimGranted, ReleaseGrant,
        Renew, Renewed, Replay, Resume, RetryAdvice, RevokeLease, SlotCheck, Start, Suspend,
        SuspendOutcome, TakeNew, TakeOver, TakeResumed, Unblock, UpdateProgress, WireClaim,
        WireCreate, WireGrantRequest,
    };
    pub use ff_core::id::Nonce;
    pub use ff_core::limits::Limits;
}

/// The types for programs that write a backend, or send the operations of `ff-core` to one.
pub mod backend {
    pub use ff_core::backend::WakeUps;
    pub use ff_core::entropy::Entropy;
    pub use ff_core::execution::Purpose;
    pub use ff_core::op::{Event, Operation, Step};
    pub use ff_core::resource::{ResourceId, ResourceKind};
    pub use ff_core::score::Score;
    pub use ff_core::store::memory::Account;
    pub use ff_core::store::{
        Commit, CountChange, CountName, CountOf, Failure, Fetched, FirstOf, Firsts, IndexName,
        IndexWrite, Member, MemoryStore, OverBound, Poll, PollOf, Polled, Read, RecordKey, Reply,
        ReplyBody, Request, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned, StoreMeta, Stored,
        StreamAppend, StreamCaps, StreamEntry, StreamId, StreamName, StreamPage, Streamed, Take,
        TakeUntil, Taken, TakenEntry, Topic, Unit, UnitReply, ValueKey, ValueWrite, Values,
        Version, Wake,
    };
    pub use ff_core::time::Window;
    #[cfg(feature = "sqlite")]
    pub use ff_io_sqlite::{Clock, Durability, Location, new_history};
    #[cfg(feature = "valkey")]
    pub use ff_io_valkey::{
        Target,
        wire::{Function, Library},
    };
}

/// The arguments and results of handlers, for programs that use the same names from another crate,
/// such as `Json` and `State` of axum.
///
/// ```
/// use ff_sdk::extract;
///
/// async fn add(extract::Payload((a, b)): extract::Payload<(u64, u64)>) -> extract::Json<u64> {
///     extract::Json(a + b)
/// }
/// # let _ = |runtime: ff_sdk::WorkerRuntime| runtime.handle("add", add);
/// ```
pub mod extract {
    pub use crate::{FromTask, Json, Payload, RawPayload, Signals, State, TaskContext};
}

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct ReadMe;

/// Compiles and runs the recipes of the cookbook.
#[cfg(doctest)]
#[doc = include_str!("../../docs/cookbook.md")]
struct Cookbook;
