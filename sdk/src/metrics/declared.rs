//! The table of all metrics.

use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

/// A metric that this crate records.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, as Prometheus has it.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// The unit of its value.
    pub unit: MetricUnit,
    /// The names of its labels. The values of each are few: they are fixed, or names of lanes,
    /// workers, namespaces and kinds with a handler.
    pub labels: &'static [&'static str],
    /// The things that it counts or measures.
    pub meaning: &'static str,
    /// The upper bounds of a histogram's buckets, in its unit; empty for other kinds.
    pub buckets: &'static [f64],
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A number that only grows while the program runs.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// The unit of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricUnit {
    /// A number of things.
    Count,
    /// Seconds.
    Seconds,
}

impl MetricKind {
    /// Returns the name of the kind, as Prometheus has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl MetricUnit {
    /// Returns the name of the unit.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
        }
    }

    /// Returns the unit of the crate `metrics`.
    const fn to_metrics(self) -> ::metrics::Unit {
        match self {
            Self::Count => ::metrics::Unit::Count,
            Self::Seconds => ::metrics::Unit::Seconds,
        }
    }
}

static METADATA: Metadata<'static> = Metadata::new("ff_sdk", Level::INFO, Some("ff_sdk"));

impl Metric {
    const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            kind: MetricKind::Counter,
            unit: MetricUnit::Count,
            labels,
            meaning,
            buckets: &[],
        }
    }

    const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            kind: MetricKind::Gauge,
            unit: MetricUnit::Count,
            labels,
            meaning,
            buckets: &[],
        }
    }

    const fn histogram(
        name: &'static str,
        buckets: &'static [f64],
        labels: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            kind: MetricKind::Histogram,
            unit: MetricUnit::Seconds,
            labels,
            meaning,
            buckets,
        }
    }

    const fn of(self, unit: MetricUnit) -> Self {
        Self { unit, ..self }
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(self.labels.len(), values.len(), "the labels of {}", self.name);
        let labels = self.labels.iter().zip(values);
        let labels = labels.map(|(name, value)| Label::new(*name, (*value).to_owned()));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }

    /// Registers the counter with these values of its labels.
    pub(crate) fn register_counter(&self, values: &[&str]) -> Counter {
        let key = self.key(values);
        ::metrics::with_recorder(|recorder| recorder.register_counter(&key, &METADATA))
    }

    /// Registers the gauge with these values of its labels.
    pub(crate) fn register_gauge(&self, values: &[&str]) -> Gauge {
        let key = self.key(values);
        ::metrics::with_recorder(|recorder| recorder.register_gauge(&key, &METADATA))
    }

    /// Registers the histogram with these values of its labels.
    pub(crate) fn register_histogram(&self, values: &[&str]) -> Histogram {
        let key = self.key(values);
        ::metrics::with_recorder(|recorder| recorder.register_histogram(&key, &METADATA))
    }
}

/// Passes the descriptions and the units of all metrics to the recorder of this thread, or of the
/// program. Call it once, after the recorder was installed.
pub fn describe() {
    ::metrics::with_recorder(|recorder| {
        for metric in ALL {
            let (name, unit) = (metric.name.into(), Some(metric.unit.to_metrics()));
            let meaning = metric.meaning.into();
            match metric.kind {
                MetricKind::Counter => recorder.describe_counter(name, unit, meaning),
                MetricKind::Gauge => recorder.describe_gauge(name, unit, meaning),
                MetricKind::Histogram => recorder.describe_histogram(name, unit, meaning),
            }
        }
    });
}

/// Calls of a store: 100 µs to 10 s.
const CALL_BUCKETS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];
/// Handlers: 1 ms to 1 h.
const HANDLER_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];
/// Timers: 1 ms, the resolution of the store's clock, to 5 min.
const LATE_BUCKETS: &[f64] =
    &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0];

macro_rules! metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(pub(crate) const $name: Metric = $metric;)+

        /// Every metric that this crate records.
        pub const ALL: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    SUBMISSIONS = Metric::counter(
        "ff_submissions_total",
        &["lane", "outcome"],
        "Submissions: new, or duplicate (an execution with the same id or idempotency key \
         existed). Those that failed are errors of the command create.",
    );
    CLAIMS = Metric::counter(
        "ff_claims_total",
        &["lane", "how"],
        "Executions that were claimed: new (with a new attempt), resumed (with the interrupted \
         attempt), reclaimed (from an owner that lost its lease).",
    );
    COMPLETIONS = Metric::counter(
        "ff_completions_total",
        &["lane", "outcome"],
        "Executions that a call of this program ended: success, failed, cancelled. Those that a \
         timer ended are in ff_timers_applied_total.",
    );
    RETRIES = Metric::counter(
        "ff_retries_total",
        &["lane"],
        "Attempts that a call of this program failed and that are retried.",
    );
    RELEASES = Metric::counter(
        "ff_releases_total",
        &["lane", "reason"],
        "Executions that their holder released before their end: delayed (or given back at \
         shutdown), suspended, waiting_children.",
    );
    RUNNING = Metric::gauge(
        "ff_running",
        &["lane", "worker"],
        "Executions that workers of this program hold now, and those that its gateway has claimed \
         for workers of other programs, as far as it knows.",
    );
    SLOTS = Metric::gauge(
        "ff_worker_slots",
        &["worker"],
        "How many executions the workers of this program can hold at the same time.",
    );
    HANDLERS = Metric::gauge(
        "ff_handlers",
        &["worker"],
        "Kinds with a registered handler, while the runtime runs.",
    );
    HANDLER_RUNS = Metric::counter(
        "ff_handler_runs_total",
        &["kind", "outcome"],
        "Runs of handlers, by end: the handler returned complete, fail, cancel, suspend, delay or \
         wait_for_children; it ended with a panic or a timeout; or it was dropped because of \
         lease_lost or shutdown.",
    );
    HANDLER_SECONDS = Metric::histogram(
        "ff_handler_seconds",
        HANDLER_BUCKETS,
        &["kind"],
        "The time that runs of handlers took.",
    );
    RENEWALS = Metric::counter(
        "ff_lease_renewals_total",
        &["worker", "outcome"],
        "Renewals of leases: renewed, refused (the lease is lost), failed (the worker tries \
         again).",
    );
    LEASES_LOST = Metric::counter(
        "ff_leases_lost_total",
        &["worker", "reason"],
        "Leases that ended before their tasks: cancelled, attempt_timeout, deadline, revoked, \
         ran_out (not renewed in time), taken_over (or expired by the store's clock).",
    );
    FRAMES = Metric::counter(
        "ff_output_frames_total",
        &["lane"],
        "Output frames that were appended.",
    );
    ADMISSION_REFUSALS = Metric::counter(
        "ff_admission_refusals_total",
        &["lane", "reason"],
        "Executions that were offered to a worker and set aside: capability (the worker lacks \
         one), budget, concurrency or rate (of a quota), missing (no such budget or quota), other.",
    );
    HAND_OVERS = Metric::counter(
        "ff_hand_overs_total",
        &["outcome"],
        "Rounds in which freed slots of a quota were offered to executions that wait: done, \
         failed.",
    );
    TIMERS = Metric::counter(
        "ff_timers_applied_total",
        &["timer"],
        "Due timers that the timekeeper of this program applied, by kind.",
    );
    TIMER_LATE = Metric::histogram(
        "ff_timer_late_seconds",
        LATE_BUCKETS,
        &[],
        "How long after their due times these timers were taken, by the store's clock. The ends of \
         retention are not measured.",
    );
    COMMAND_ERRORS = Metric::counter(
        "ff_command_errors_total",
        &["command", "error"],
        "Commands that failed, by the name of the rejection or the error in errors.md.",
    );
    CALL_SECONDS = Metric::histogram(
        "ff_store_call_seconds",
        CALL_BUCKETS,
        &["request"],
        "The time that calls of the store took, including those without a reply: commit, take, \
         poll, read, scan, stream.",
    );
    CALL_FAILURES = Metric::counter(
        "ff_store_call_failures_total",
        &["request", "failure"],
        "Calls that the store did not carry out, or may not have: not_sent, no_reply, refused, \
         over_bound.",
    );
    COMMIT_UNITS = Metric::counter(
        "ff_store_commit_units_total",
        &["outcome"],
        "Units of commits: committed, conflict (another writer was first; the command is decided \
         again), outside_window (the decision was too late or too early).",
    );
    QUEUE_DEPTH = Metric::gauge(
        "ff_queue_depth",
        &["namespace", "lane", "state"],
        "Executions in each state, including ended ones until their retention ends. From the \
         counts of the store; recorded by QueueGauges.",
    );
    QUEUE_OLDEST = Metric::gauge(
        "ff_queue_oldest_seconds",
        &["namespace", "lane"],
        "The age of the oldest execution among those that are first in their queues and that a \
         worker can claim; 0 if there are none. Recorded by QueueGauges.",
    )
    .of(MetricUnit::Seconds);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "each name is declared once");
        for metric in ALL {
            let Metric { name, kind, unit, buckets, .. } = *metric;
            assert!(name.starts_with("ff_"), "{name}");
            assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
            assert_eq!(kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(unit == MetricUnit::Seconds, name.ends_with("_seconds"), "{name}");
            assert_eq!(kind == MetricKind::Histogram, !buckets.is_empty(), "{name}");
            assert!(buckets.is_sorted_by(|one, next| one < next), "{name}");
            assert!(metric.meaning.ends_with('.'), "{name}");
        }
    }
}
