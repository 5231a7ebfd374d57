//! Sans-I/O operations: values that say what to send and are told what came back.
//!
//! An operation knows no socket and no runtime. A shell sends its requests and waits as it says;
//! the simulator schedules the same steps as events. Ambiguous calls are repeated here, until the
//! operation's deadline, so that no shell needs to (`docs/architecture.md`, Operations).

mod audit;
mod batch;
mod clear;
mod config_record;
mod doubt;
mod draw;
mod frames;
mod handed;
mod informed;
mod keyring;
mod keyring_cache;
mod list;
mod meta;
mod operation;
mod query;
mod retry;
mod signals;
mod sweep;
mod terms;
mod tick;
mod transact;
mod unit;

pub use audit::{AuditLook, AuditPartition, Fault, FindOutside, OVERDUE, Suspect};
pub use batch::Batch;
pub use draw::{Ask, Draw, Drawn, HOLD, Rotation};
pub use frames::{FramePage, ReadFrames, StoredFrame};
pub use informed::Informed;
pub use keyring::{ListSecrets, RotateSecret};
pub use keyring_cache::KeyringCache;
pub use list::{ListExecutions, ListFilter, ListPage, ListPosition};
pub use meta::{ActivateFormat, EnsureMeta, ReadMeta};
pub use operation::{Event, Operation, Step};
pub use query::{Query, ReadExecution};
pub use retry::Patience;
pub use signals::{ReadSignals, ReceivedSignal};
pub use sweep::RouteSweep;
pub use terms::Terms;
pub use tick::{Tick, TickReport};
pub use transact::{Committed, Known, Transact};
pub use unit::{Loaded, Stamp, load, unit_for};
