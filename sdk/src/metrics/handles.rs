//! The handles of metrics, grouped by who records them. Each is got from the recorder once, since a
//! look-up by name and labels costs more than the recording.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use ::metrics::{Counter, Gauge, Histogram};
use ff_core::error::{EngineError, ErrorClass, RejectionKind};
use ff_core::execution::{
    AnyOutcome, ClaimKind, Claimed, CreateOutcome, DueKind, FailOutcome, SuspendOutcome,
};
use ff_core::id::{LaneId, WorkerId};
use ff_core::op::DueReport;
use ff_core::store::{Failure, Reply, ReplyBody, Request, UnitReply};

use super::declared::{
    ADMISSION_REFUSALS, CALL_FAILURES, CALL_SECONDS, CLAIMS, COMMAND_ERRORS, COMMIT_UNITS,
    COMPLETIONS, FRAMES, HAND_OVERS, HANDLER_RUNS, HANDLER_SECONDS, HANDLERS, LEASES_LOST,
    RELEASES, RENEWALS, RETRIES, RUNNING, SLOTS, SUBMISSIONS, TIMER_LATE, TIMERS,
};

/// The lanes that a connection distinguishes, and the workers of other processes. Those that come
/// later are counted together, since callers can make up names.
pub(crate) const MAX_NAMES: usize = 256;
/// The labels of the others. No lane or worker has this name: names have no space.
pub(crate) const OTHER_LANES: &str = "other lanes";
const OTHER_WORKERS: &str = "other workers";

/// Values by name.
struct ByName<T> {
    names: Mutex<BTreeMap<String, Arc<T>>>,
    others: OnceLock<Arc<T>>,
}

impl<T> Default for ByName<T> {
    fn default() -> Self {
        Self { names: Mutex::default(), others: OnceLock::new() }
    }
}

impl<T> ByName<T> {
    fn get(&self, name: &str, others: &str, new: impl Fn(&str) -> T) -> Arc<T> {
        // A holder may panic only before it changes the map.
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        if names.len() >= MAX_NAMES {
            return self.others.get_or_init(|| Arc::new(new(others))).clone();
        }
        let added = Arc::new(new(name));
        names.insert(name.to_owned(), added.clone());
        added
    }
}

/// The metrics of a connection.
pub(crate) struct Meter {
    pub(crate) store: StoreMeter,
    hand_overs: [Counter; 2],
    lanes: ByName<LaneMeter>,
    remotes: ByName<WorkerMeter>,
}

struct LaneMeter {
    submissions: [Counter; 2],
    claims: [Counter; 3],
    completions: [Counter; 3],
    retries: Counter,
    releases: [Counter; 3],
    frames: Counter,
    refusals: [Counter; 6],
}

impl LaneMeter {
    fn new(lane: &str) -> Self {
        let submissions = |outcome| SUBMISSIONS.register_counter(&[lane, outcome]);
        let claims = |how| CLAIMS.register_counter(&[lane, how]);
        let completions = |outcome| COMPLETIONS.register_counter(&[lane, outcome]);
        let releases = |reason| RELEASES.register_counter(&[lane, reason]);
        let refusals = |reason| ADMISSION_REFUSALS.register_counter(&[lane, reason]);
        Self {
            submissions: ["new", "duplicate"].map(submissions),
            claims: ["new", "resumed", "reclaimed"].map(claims),
            completions: ["success", "failed", "cancelled"].map(completions),
            retries: RETRIES.register_counter(&[lane]),
            releases: ["delayed", "suspended", "waiting_children"].map(releases),
            frames: FRAMES.register_counter(&[lane]),
            refusals: ["capability", "budget", "concurrency", "rate", "missing", "other"]
                .map(refusals),
        }
    }

    fn claimed(&self, how: ClaimKind) -> &Counter {
        &self.claims[match how {
            ClaimKind::New => 0,
            ClaimKind::Resumed => 1,
            ClaimKind::Reclaimed => 2,
        }]
    }

    /// The counter of a command that was carried out; `None` if it is not counted.
    fn carried_out(&self, command: &str, outcome: &dyn Any) -> Option<&Counter> {
        match command {
            "create" => Some(match outcome_of(outcome)? {
                CreateOutcome::Created(_) => &self.submissions[0],
                CreateOutcome::Duplicate(_) => &self.submissions[1],
            }),
            "claim" | "claim_resumed" | "claim_granted" | "reclaim" => {
                outcome_of::<Claimed>(outcome).map(|claimed| self.claimed(claimed.how))
            }
            "complete" => Some(&self.completions[0]),
            "fail" => Some(match outcome_of(outcome)? {
                FailOutcome::RetryScheduled { .. } => &self.retries,
                FailOutcome::TerminalFailed => &self.completions[1],
            }),
            "cancel" => Some(&self.completions[2]),
            "delay_execution" => Some(&self.releases[0]),
            "suspend" => match outcome_of(outcome)? {
                SuspendOutcome::Suspended { .. } => Some(&self.releases[1]),
                SuspendOutcome::AlreadySatisfied { .. } => None,
            },
            "move_to_waiting_children" => Some(&self.releases[2]),
            "append_frame" => Some(&self.frames),
            _ => None,
        }
    }
}

/// The outcome of a command of one type, or of any type.
fn outcome_of<T: OneOutcome>(outcome: &dyn Any) -> Option<&T> {
    outcome.downcast_ref().or_else(|| outcome.downcast_ref().and_then(T::among))
}

/// An outcome that is counted.
trait OneOutcome: 'static {
    fn among(any: &AnyOutcome) -> Option<&Self>;
}

impl OneOutcome for CreateOutcome {
    fn among(any: &AnyOutcome) -> Option<&Self> {
        if let AnyOutcome::Create(outcome) = any { Some(outcome) } else { None }
    }
}

impl OneOutcome for Claimed {
    fn among(any: &AnyOutcome) -> Option<&Self> {
        match any {
            AnyOutcome::Claim(claimed)
            | AnyOutcome::ClaimResumed(claimed)
            | AnyOutcome::Reclaim(claimed) => Some(claimed),
            _ => None,
        }
    }
}

impl OneOutcome for FailOutcome {
    fn among(any: &AnyOutcome) -> Option<&Self> {
        if let AnyOutcome::Fail(outcome) = any { Some(outcome) } else { None }
    }
}

impl OneOutcome for SuspendOutcome {
    fn among(any: &AnyOutcome) -> Option<&Self> {
        if let AnyOutcome::Suspend(outcome) = any { Some(outcome) } else { None }
    }
}

impl Meter {
    pub(crate) fn new() -> Self {
        let hand_overs = |outcome| HAND_OVERS.register_counter(&[outcome]);
        Self {
            store: StoreMeter::new(),
            hand_overs: ["done", "failed"].map(hand_overs),
            lanes: ByName::default(),
            remotes: ByName::default(),
        }
    }

    fn lane(&self, lane: &LaneId) -> Arc<LaneMeter> {
        self.lanes.get(lane.as_str(), OTHER_LANES, LaneMeter::new)
    }

    /// The metrics of a worker of another process, whose slots are not known.
    pub(crate) fn remote(&self, worker: &WorkerId) -> Arc<WorkerMeter> {
        let new = |name: &str| WorkerMeter::new(name, 0);
        self.remotes.get(worker.as_str(), OTHER_WORKERS, new)
    }

    /// Counts a command that was carried out on an execution of this lane.
    pub(crate) fn carried_out(&self, command: &str, outcome: &dyn Any, lane: &LaneId) {
        if let Some(counter) = self.lane(lane).carried_out(command, outcome) {
            counter.increment(1);
        }
    }

    /// Counts a command that failed. This is not frequent, so that the handle is not kept.
    pub(crate) fn failed(&self, command: &str, error: &EngineError) {
        COMMAND_ERRORS.register_counter(&[command, &name_of(error)]).increment(1);
    }

    /// Counts an execution that a worker has claimed.
    pub(crate) fn claimed(&self, claimed: &Claimed) {
        self.lane(&claimed.lane).claimed(claimed.how).increment(1);
    }

    /// Counts an execution that was offered to a worker and set aside.
    pub(crate) fn held_back(&self, lane: &LaneId, why: RejectionKind) {
        let number = match why {
            RejectionKind::CapabilityMismatch => 0,
            RejectionKind::BudgetExhausted => 1,
            RejectionKind::ConcurrencyLimitExceeded => 2,
            RejectionKind::RateLimitExceeded => 3,
            RejectionKind::BudgetNotFound | RejectionKind::QuotaNotFound => 4,
            _ => 5,
        };
        self.lane(lane).refusals[number].increment(1);
    }

    /// Counts a slot of a quota that was offered to another, or could not be.
    pub(crate) fn handed_over(&self, done: bool) {
        self.hand_overs[usize::from(!done)].increment(1);
    }
}

/// The name of an error, as `docs/errors.md` has it.
fn name_of(error: &EngineError) -> String {
    match error {
        EngineError::Validation { kind, .. } => kind.to_string(),
        EngineError::Conflict(rejection) | EngineError::State(rejection) => {
            rejection.kind().to_string()
        }
        EngineError::Contextual { source, .. } => name_of(source),
        EngineError::NotFound { .. } => "NotFound".to_owned(),
        EngineError::Contention { .. } => "Contention".to_owned(),
        EngineError::Bug(_) => "Bug".to_owned(),
        EngineError::Transport { .. } => "Transport".to_owned(),
        EngineError::Unreachable { .. } => "Unreachable".to_owned(),
        EngineError::ResourceExhausted { .. } => "ResourceExhausted".to_owned(),
        EngineError::Timeout { .. } => "Timeout".to_owned(),
        EngineError::StoreLost { .. } => "StoreLost".to_owned(),
        _ => "other".to_owned(),
    }
}

/// The calls of a store.
pub(crate) struct StoreMeter {
    requests: [RequestMeter; 6],
    units: [Counter; 3],
}

struct RequestMeter {
    seconds: Histogram,
    failures: [Counter; 4],
}

/// The kind of a request.
#[derive(Clone, Copy)]
pub(crate) struct RequestKind(usize);

impl RequestKind {
    pub(crate) const fn of(request: &Request) -> Self {
        Self(match request {
            Request::Commit(_) => 0,
            Request::Take(_) => 1,
            Request::Poll(_) => 2,
            Request::Read(_) => 3,
            Request::Scan(_) => 4,
            Request::Stream(_) => 5,
        })
    }
}

impl RequestMeter {
    fn new(request: &str) -> Self {
        let failures = |failure| CALL_FAILURES.register_counter(&[request, failure]);
        Self {
            seconds: CALL_SECONDS.register_histogram(&[request]),
            failures: ["not_sent", "no_reply", "refused", "over_bound"].map(failures),
        }
    }
}

impl StoreMeter {
    pub(crate) fn new() -> Self {
        let units = |outcome| COMMIT_UNITS.register_counter(&[outcome]);
        Self {
            requests: ["commit", "take", "poll", "read", "scan", "stream"].map(RequestMeter::new),
            units: ["committed", "conflict", "outside_window"].map(units),
        }
    }

    /// Notes a call that took this time.
    pub(crate) fn called(
        &self,
        request: RequestKind,
        took: Duration,
        result: &Result<Reply, Failure>,
    ) {
        let meter = &self.requests[request.0];
        meter.seconds.record(took);
        match result {
            Ok(Reply { body: ReplyBody::Commit(units), .. }) => {
                for unit in units {
                    self.units[match unit {
                        UnitReply::Committed { .. } => 0,
                        UnitReply::Conflict { .. } => 1,
                        UnitReply::OutsideWindow => 2,
                    }]
                    .increment(1);
                }
            }
            Ok(Reply { body: ReplyBody::OverBound(_), .. }) => meter.failures[3].increment(1),
            Ok(_) => {}
            Err(failure) => meter.failures[match failure {
                Failure::NotSent(_) => 0,
                Failure::MaybeApplied(_) => 1,
                Failure::Refused(_) => 2,
            }]
            .increment(1),
        }
    }
}

/// A worker's metrics.
pub(crate) struct WorkerMeter {
    worker: String,
    /// Kept for its end.
    _slots: Share,
    renewals: [Counter; 3],
    lost: [Counter; 6],
    running: ByName<Gauge>,
}

/// Why a lease ended before its task.
#[derive(Clone, Copy)]
pub(crate) enum LeaseLoss {
    Cancelled,
    AttemptTimeout,
    Deadline,
    Revoked,
    RanOut,
    TakenOver,
}

impl WorkerMeter {
    pub(crate) fn new(name: &str, slots: usize) -> Self {
        let renewals = |outcome| RENEWALS.register_counter(&[name, outcome]);
        let lost = |reason| LEASES_LOST.register_counter(&[name, reason]);
        Self {
            worker: name.to_owned(),
            _slots: Share::add(SLOTS.register_gauge(&[name]), slots),
            renewals: ["renewed", "refused", "failed"].map(renewals),
            lost: ["cancelled", "attempt_timeout", "deadline", "revoked", "ran_out", "taken_over"]
                .map(lost),
            running: ByName::default(),
        }
    }

    pub(crate) fn renewed<T>(&self, result: &Result<T, EngineError>) {
        let number = match result {
            Ok(_) => 0,
            Err(error) if error.class() == ErrorClass::Cooperative => 1,
            Err(_) => 2,
        };
        self.renewals[number].increment(1);
    }

    pub(crate) fn lost(&self, loss: LeaseLoss) {
        self.lost[loss as usize].increment(1);
    }

    /// Counts an execution as running until the result is dropped.
    pub(crate) fn runs(&self, lane: &LaneId) -> Share {
        let gauge = |lane: &str| RUNNING.register_gauge(&[lane, &self.worker]);
        Share::add(Gauge::clone(&self.running.get(lane.as_str(), OTHER_LANES, gauge)), 1)
    }

    /// Counts kinds as served until the result is dropped.
    pub(crate) fn serves(&self, kinds: usize) -> Share {
        Share::add(HANDLERS.register_gauge(&[&self.worker]), kinds)
    }
}

/// A share of a gauge, which is taken back when this is dropped.
pub(crate) struct Share(Gauge, usize);

impl Share {
    fn add(gauge: Gauge, share: usize) -> Self {
        gauge.increment(share as f64);
        Self(gauge, share)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.0.decrement(self.1 as f64);
    }
}

/// The runs of a kind's handler.
pub(crate) struct HandlerMeter {
    seconds: Histogram,
    runs: [Counter; 10],
}

/// How a handler's run ended.
#[derive(Clone, Copy)]
pub(crate) enum RunEnd {
    Complete,
    Fail,
    Cancel,
    Suspend,
    Delay,
    WaitForChildren,
    Panic,
    Timeout,
    LeaseLost,
    Shutdown,
}

impl HandlerMeter {
    pub(crate) fn new(kind: &str) -> Self {
        let runs = |outcome| HANDLER_RUNS.register_counter(&[kind, outcome]);
        Self {
            seconds: HANDLER_SECONDS.register_histogram(&[kind]),
            runs: [
                "complete",
                "fail",
                "cancel",
                "suspend",
                "delay",
                "wait_for_children",
                "panic",
                "timeout",
                "lease_lost",
                "shutdown",
            ]
            .map(runs),
        }
    }

    pub(crate) fn ended(&self, end: RunEnd, took: Duration) {
        self.seconds.record(took);
        self.runs[end as usize].increment(1);
    }
}

/// The rounds of a timekeeper.
pub(crate) struct TimerMeter {
    applied: [Counter; 10],
    late: Histogram,
}

impl TimerMeter {
    pub(crate) fn new() -> Self {
        let applied = |timer| TIMERS.register_counter(&[timer]);
        Self {
            applied: [
                "continuation",
                "deadline",
                "attempt_timeout",
                "suspension_timeout",
                "lease_expiry",
                "grant_expiry",
                "waitpoint_expiry",
                "delay_over",
                "recheck",
                "retention",
            ]
            .map(applied),
            late: TIMER_LATE.register_histogram(&[]),
        }
    }

    pub(crate) fn applied(&self, round: &DueReport) {
        for kind in &round.applied {
            self.applied[number_of(*kind)].increment(1);
        }
        for late in &round.late {
            self.late.record(Duration::from(*late));
        }
    }
}

const fn number_of(kind: DueKind) -> usize {
    match kind {
        DueKind::Continuation => 0,
        DueKind::Deadline => 1,
        DueKind::AttemptTimeout => 2,
        DueKind::SuspensionTimeout => 3,
        DueKind::LeaseExpiry => 4,
        DueKind::GrantExpiry => 5,
        DueKind::WaitpointExpiry => 6,
        DueKind::DelayOver => 7,
        DueKind::Recheck(_) => 8,
        DueKind::Retention => 9,
    }
}
