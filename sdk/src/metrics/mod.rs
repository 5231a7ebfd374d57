//! Metrics, through the facade of the crate [`metrics`](https://docs.rs/metrics).
//!
//! A program that installs a recorder, such as that of `metrics-exporter-prometheus`, exports the
//! metrics of its clients and workers. Install it before they connect: each keeps the handles that
//! it got from the recorder when it connected. Without a recorder nothing is recorded.
//!
//! [`ALL`] lists the metrics; `docs/metrics.md` is generated from it. The labels have few values:
//! there is none with the id of an execution.

mod declared;
mod handles;

pub use declared::{ALL, Metric, MetricKind, MetricUnit, describe};

pub(crate) use declared::{QUEUE_DEPTH, QUEUE_OLDEST};
pub(crate) use handles::{
    HandlerMeter, LeaseLoss, MAX_NAMES, Meter, OTHER_LANES, RequestKind, RunEnd, Share, StoreMeter,
    TimerMeter, WorkerMeter,
};
