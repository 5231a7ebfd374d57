//! Reading without changing anything: lists, output, signals, and audits.

mod audit;
mod count;
mod find_outside;
mod frames;
mod list;
mod list_by_time;
mod signals;

pub use audit::{AuditLook, AuditPartition, Fault, OVERDUE, QueueName, Suspect};
pub use count::{CountExecutions, ExecutionCounts, LaneCounts};
pub use find_outside::FindOutside;
pub use frames::{FramePage, ReadFrames, StoredFrame};
pub use list::{ListExecutions, ListFilter, ListPage, ListPosition, MAX_FILTERED};
pub use list_by_time::{ListByTime, ListOrder};
pub use signals::{ReadSignals, ReceivedSignal};
