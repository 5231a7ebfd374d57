//! Reading without changing anything: lists, output, signals, and audits.

mod audit;
mod frames;
mod list;
mod signals;

pub use audit::{AuditLook, AuditPartition, Fault, FindOutside, OVERDUE, Suspect};
pub use frames::{FramePage, ReadFrames, StoredFrame};
pub use list::{ListExecutions, ListFilter, ListPage, ListPosition};
pub use signals::{ReadSignals, ReceivedSignal};
