//! Sans-I/O operations: values that say which request to send, and take the reply.
//!
//! An operation uses no socket and no runtime. A shell sends its requests and waits as it says; the
//! simulator schedules the same steps as events. An operation repeats ambiguous calls itself until
//! its deadline, so that no shell has to (`docs/architecture.md`, Operations).

mod command;
mod config;
mod context;
mod doubt;
mod loaded;
mod operation;
mod patience;
mod query;
mod read;
mod resource;
mod retry_budget;
mod work;

pub use command::{Batch, CarryCommand, Committed, Known};
pub use config::{ActivateFormat, EnsureMeta, FoundMeta, ListSecrets, ReadMeta, RotateSecret};
pub use context::{
    BudgetsCache, KeyringCache, KnownStore, LanesCache, OperationContext, UseQueue, UseTask,
    UseWork, UsesCache,
};
pub use loaded::{Loaded, load};
pub use operation::{Event, Operation, Step};
pub use patience::{HOLD, Patience};
pub use query::{Query, ReadExecution};
pub use read::{
    AuditLook, AuditPartition, CountExecutions, ExecutionCounts, Fault, FindOutside, FramePage,
    LaneCounts, ListByTime, ListExecutions, ListFilter, ListOrder, ListPage, ListPosition,
    MAX_FILTERED, OVERDUE, QueueName, ReadFrames, ReadSignals, ReceivedSignal, StoredFrame,
    Suspect,
};
pub use resource::{
    ChangeResource, ListResources, LoadedResource, ReadLanes, ReadResources, RemoveExpired,
    ResourceChanged, ResourcePage, SweepExpired,
};
pub use retry_budget::{RetryBudget, RetryLimits};
pub use work::{
    ApplyDue, DueReport, FirstTimer, HandOver, HeldBack, ReadyQueues, StoreClocks, TakeFromLane,
    TakenFromLane, Taker,
};
