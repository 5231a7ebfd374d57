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
mod claims;
mod client;
mod config;
mod connect;
mod drive;
mod end_watch;
mod error;
mod fabric;
mod gather;
mod grants;
mod host;
mod job;
mod journal;
mod lease_end;
mod memory;
mod output;
mod process;
mod runtime;
mod shared;
mod signal;
mod submission;
mod suspension;
mod task;
mod timekeeping;
mod upkeep;
mod wake_ups;
mod worker;

pub use admin::FlowFabricAdminClient;
pub use audit::{AuditProgress, AuditReport, Auditor};
pub use builder::{WorkerBuilder, unique_name};
pub use client::{
    Client, ExecutionResult, History, HistoryEntry, QuarantinePage, Quarantined, Tail, TailItem,
};
pub use config::{ClientConfig, WorkerConfig};
pub use connect::{StoreOptions, open};
pub use drive::drive;
pub use error::SdkError;
pub use fabric::{Connect, FlowFabric};
pub use ff_sdk_macros::Job;
pub use grants::{ReclaimExecutionArgs, ReclaimExecutionOutcome};
pub use host::{ClockSource, HostClock};
pub use job::{Job, JobArguments, JobHandler};
pub use journal::{JournalBackend, JournalCompletions};
pub use memory::MemoryBackend;
pub use runtime::{
    BoxError, FromTask, Handler, HandlerError, HandlerOptions, IntoTaskOutcome, Json, Payload,
    RawPayload, RuntimeReport, RuntimeReports, SharedState, ShutdownSignal, Signals, State,
    TaskContext, TaskOutcome, WorkerRuntime, shutdown_signal,
};
pub use signal::Signal;
pub use submission::{IntoSubmission, Submission};
pub use suspension::Suspension;
pub use task::{ClaimedTask, LeaseWatch, SuspendOutcome};
pub use worker::FlowFabricWorker;

#[cfg(feature = "valkey")]
pub use ff_io_valkey::{ConnectError, ValkeyBackend, redacted_url};

pub use ff_core as core;
pub use ff_core::agent::WorkerGrant;
pub use ff_core::backend::{
    BackendReport, CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem,
    Completions, CursorError, EngineBackend, Finding, FindingLevel,
};
pub use ff_core::capability::Capabilities;
pub use ff_core::condition::{
    Condition, CountKind, ResumePolicy, SignalMatcher, SuspensionReason, TimeoutBehaviour,
};
pub use ff_core::error::{Applied, EngineError, ErrorClass, Rejection, RejectionKind};
pub use ff_core::execution::{
    AnyOutcome, AttemptKind, AttemptSummary, CloseReason, Command, CreateOutcome, Event,
    ExecutionSnapshot, FailOutcome, Frame, IssuedWaitpoint, Outcome, Replayed, Resumed, ResumedBy,
    Resumption, Revoked, SignalEffect, SignalOutcome, ValueKind, WorkFailure,
};
pub use ff_core::grant::{ClaimGrant, ReclaimGrant, ResumeGrant};
pub use ff_core::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, FailureCategory, FlowId, FrameType,
    GrantId, LaneId, LeaseEpoch, LeaseId, Namespace, SignalId, SignalName, SignalSource,
    SuspensionId, WaitpointId, WaitpointKey, WorkerId, WorkerInstanceId,
};
pub use ff_core::kinds::Kinds;
pub use ff_core::op::{
    FramePage, ListFilter, ListPage, ListPosition, ReceivedSignal, StoredFrame, Suspect,
};
pub use ff_core::partition::{Partition, PartitionConfig, PartitionKey, PartitionKeyParseError};
pub use ff_core::policy::{
    Backoff, ExecutionPolicy, Priority, ReclaimMode, RetryPolicy, TimeoutPolicy,
};
pub use ff_core::state::{PublicState, TerminalOutcome};
pub use ff_core::store::{Bytes, Cursor};
pub use ff_core::store_id::StoreId;
pub use ff_core::tags::Tags;
pub use ff_core::time::{DurationMs, TimestampMs};
pub use ff_core::token::{Rotation, SecretInfo, WaitpointToken};

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
