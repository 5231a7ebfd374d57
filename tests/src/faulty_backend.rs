//! A handle to a store that injects faults: lost replies, calls that are not sent, delays, and
//! wrong times in replies. It also counts calls.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::partition::{Partition, PartitionFamily};
use ff_sdk::core::store::{Failure, Polled, Read, Reply, ReplyBody, Request, Topic};
use ff_sdk::core::time::TimestampMs;

/// The calls that a fault affects.
pub type Filter = fn(&Request) -> bool;

/// A handle to a store that injects faults.
pub struct FaultyBackend {
    inner: Arc<dyn EngineBackend>,
    calls: AtomicU64,
    commits: AtomicU64,
    in_flight: AtomicU64,
    most_in_flight: AtomicU64,
    skew_ms: AtomicI64,
    plan: Mutex<Plan>,
}

#[derive(Clone, Copy, Default)]
struct Plan {
    lose: Option<(u32, Filter)>,
    unreachable: Option<Filter>,
    refuses: bool,
    garbled: Option<Filter>,
    before: Option<(Duration, Filter)>,
    after: Option<(Duration, Filter)>,
    without_wake_ups: bool,
}

/// Every call.
pub const fn any(_: &Request) -> bool {
    true
}

/// Commits only.
pub const fn commits(request: &Request) -> bool {
    matches!(request, Request::Commit(_))
}

impl FaultyBackend {
    /// A handle without faults yet.
    pub fn new(inner: Arc<dyn EngineBackend>) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            in_flight: AtomicU64::new(0),
            most_in_flight: AtomicU64::new(0),
            skew_ms: AtomicI64::new(0),
            plan: Mutex::default(),
        }
    }

    /// New subscribers get no wake-ups, as from a backend without them.
    pub fn disable_wake_ups(&self) {
        self.change(|plan| plan.without_wake_ups = true);
    }

    /// The next `count` calls of this kind are applied, and their replies lost.
    pub fn lose_replies(&self, count: u32, of: Filter) {
        self.change(|plan| plan.lose = Some((count, of)));
    }

    /// No call is sent from now on.
    pub fn disconnect(&self) {
        self.disconnect_for(any);
    }

    /// No call of this kind is sent from now on.
    pub fn disconnect_for(&self, of: Filter) {
        self.change(|plan| plan.unreachable = Some(of));
    }

    /// The store refuses every call from now on.
    pub fn refuse(&self) {
        self.change(|plan| plan.refuses = true);
    }

    /// Calls of this kind are not applied, and get the reply to another request.
    pub fn garble(&self, of: Filter) {
        self.change(|plan| plan.garbled = Some(of));
    }

    /// Calls of this kind reach the store after this delay, even if their caller gave up.
    pub fn slow_requests(&self, by: Duration, of: Filter) {
        self.change(|plan| plan.before = Some((by, of)));
    }

    /// Replies to calls of this kind arrive this much after the store has answered.
    pub fn slow_replies(&self, by: Duration, of: Filter) {
        self.change(|plan| plan.after = Some((by, of)));
    }

    /// Ends all faults.
    pub fn heal(&self) {
        self.change(|plan| *plan = Plan::default());
        self.skew(0);
    }

    /// The time in replies is wrong by this many milliseconds. Those to registrations of workers
    /// have the right one: as if their node had the clock that the store decides by.
    pub fn skew(&self, by_ms: i64) {
        self.skew_ms.store(by_ms, Ordering::SeqCst);
    }

    /// The number of calls, sent or not.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// The number of commits, sent or not, without those of registrations of workers.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// The highest number of commits in flight at the same time.
    pub fn most_in_flight(&self) -> u64 {
        self.most_in_flight.load(Ordering::SeqCst)
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().expect("no holder panics"));
    }

    /// The faults of one call, and whether its reply is lost.
    fn plan_for(&self, request: &Request) -> (Plan, bool) {
        let mut plan = self.plan.lock().expect("no holder panics");
        let lost = match &mut plan.lose {
            Some((count, matches)) if *count > 0 && matches(request) => {
                *count -= 1;
                true
            }
            _ => false,
        };
        (*plan, lost)
    }

    /// Counts a call and sends it.
    async fn counted(&self, request: Request) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if !commits(&request) {
            return self.send(request).await;
        }
        let is_heartbeat = request.partition().family == PartitionFamily::Worker;
        self.commits.fetch_add(u64::from(!is_heartbeat), Ordering::SeqCst);
        let now = 1 + self.in_flight.fetch_add(1, Ordering::SeqCst);
        self.most_in_flight.fetch_max(now, Ordering::SeqCst);
        let reply = self.send(request).await;
        self.in_flight.fetch_sub(1, Ordering::SeqCst);
        reply
    }

    async fn send(&self, request: Request) -> Result<Reply, Failure> {
        let (plan, lost) = self.plan_for(&request);
        if plan.unreachable.is_some_and(|matches| matches(&request)) {
            return Err(Failure::NotSent("the store is unreachable".to_owned()));
        }
        if plan.refuses {
            return Err(Failure::Refused("the store is read-only".to_owned()));
        }
        if plan.garbled.is_some_and(|matches| matches(&request)) {
            let (partition, records) = (Partition::META, Vec::new());
            let other = Read { partition, records, values: Vec::new() };
            let reply = self.inner.call(Request::Read(other)).await?;
            return Ok(Reply { at: reply.at, body: ReplyBody::Poll(Polled::default()) });
        }
        let pause = |slow: Option<(Duration, Filter)>| {
            slow.filter(|(_, matches)| matches(&request)).map(|(by, _)| by)
        };
        let (before, after) = (pause(plan.before), pause(plan.after));
        let is_registration = request.partition().family == PartitionFamily::Worker;
        let mut reply = match before {
            None => self.inner.call(request).await?,
            Some(before) => {
                let inner = Arc::clone(&self.inner);
                let sending = tokio::spawn(async move {
                    tokio::time::sleep(before).await;
                    inner.call(request).await
                });
                sending.await.expect("the store does not panic")?
            }
        };
        if let Some(after) = after {
            tokio::time::sleep(after).await;
        }
        if lost {
            return Err(Failure::MaybeApplied("the reply was lost".to_owned()));
        }
        let skew = if is_registration { 0 } else { self.skew_ms.load(Ordering::SeqCst) };
        let skewed = reply.at.get().saturating_add_signed(skew);
        set_time(&mut reply, TimestampMs::new(skewed));
        Ok(reply)
    }
}

impl EngineBackend for FaultyBackend {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.counted(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let without = self.plan.lock().expect("no holder panics").without_wake_ups;
        if without { None } else { self.inner.subscribe(topics) }
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        self.inner.report()
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        self.inner.examine()
    }
}

/// Sets the time in a reply, and in the entries of a poll.
pub(crate) fn set_time(reply: &mut Reply, at: TimestampMs) {
    reply.at = at;
    if let ReplyBody::Poll(polled) = &mut reply.body {
        polled.firsts.iter_mut().flatten().for_each(|first| first.at = at);
    }
}

/// Whether a request writes the result of an execution.
pub fn writes_a_result(request: &Request) -> bool {
    match request {
        Request::Commit(commit) => commit.units.iter().any(|unit| !unit.values.is_empty()),
        _ => false,
    }
}
