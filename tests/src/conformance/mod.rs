//! The conformance suite: a store answers sequences of requests as the reference store does.
//!
//! The store under test, the subject, answers first. The reference answers the same request with
//! its clock at the time of the subject's reply, and both replies must be equal. So a subject may
//! have any clock, and a real server its own.

mod caps;
mod census;
mod model;
mod names;
mod over;
mod plan;
mod resolve;
mod run;
mod subject;

pub use caps::{
    frames_are_capped_by_bytes, frames_are_capped_by_count, journals_are_capped_by_bytes,
    large_values_are_deferred, long_pages_end_at_the_same_entry,
};
pub use census::{Census, EXPECTED};
pub use model::Model;
pub use names::{DUE, QUEUES};
pub use plan::{
    Action, AfterPlan, BYTES, CapsPlan, Edge, FromPlan, INDEXES, MEMBERS, OVER_BOUNDS, PARTITIONS,
    Place, PollPlan, RECORDS, Ring, STREAMS, Seen, Sequence, Step, UnitPlan, UntilPlan, VALUES,
    Write, sequences,
};
pub use run::conform;
pub use subject::Subject;
