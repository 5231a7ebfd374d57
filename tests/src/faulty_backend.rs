//! A line to a store that can be disturbed: replies are lost, calls are not sent, everything is
//! slow, the time in the replies is wrong; and calls are counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_sdk::core::partition::Partition;
use ff_sdk::core::store::{Failure, Read, Reply, ReplyBody, Request, Topic};
use ff_sdk::core::time::TimestampMs;

/// Which calls a disturbance meets.
pub type Meets = fn(&Request) -> bool;

/// A disturbed line to a store.
pub struct Line {
    inner: Arc<dyn EngineBackend>,
    calls: AtomicU64,
    commits: AtomicU64,
    under_way: AtomicU64,
    most_at_once: AtomicU64,
    skew_ms: AtomicI64,
    plan: Mutex<Plan>,
}

#[derive(Clone, Copy, Default)]
struct Plan {
    lose: Option<(u32, Meets)>,
    cut: bool,
    cut_off: Option<Meets>,
    refuses: bool,
    garbled: Option<Meets>,
    before: Option<(Duration, Meets)>,
    after: Option<(Duration, Meets)>,
    mute: bool,
}

/// Every call.
pub const fn any(_: &Request) -> bool {
    true
}

/// Commits only.
pub const fn commits(request: &Request) -> bool {
    matches!(request, Request::Commit(_))
}

impl Line {
    /// A line that is not disturbed yet.
    pub fn new(inner: Arc<dyn EngineBackend>) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            under_way: AtomicU64::new(0),
            most_at_once: AtomicU64::new(0),
            skew_ms: AtomicI64::new(0),
            plan: Mutex::default(),
        }
    }

    /// Who subscribes from now on gets no wake-ups, as from a backend that has none.
    pub fn mute(&self) {
        self.change(|plan| plan.mute = true);
    }

    /// The next `count` calls of this kind are applied and their replies lost.
    pub fn lose_replies(&self, count: u32, of: Meets) {
        self.change(|plan| plan.lose = Some((count, of)));
    }

    /// No call is sent from now on.
    pub fn cut(&self) {
        self.change(|plan| plan.cut = true);
    }

    /// No call of this kind is sent from now on.
    pub fn cut_off(&self, of: Meets) {
        self.change(|plan| plan.cut_off = Some(of));
    }

    /// The store refuses every call from now on.
    pub fn refuse(&self) {
        self.change(|plan| plan.refuses = true);
    }

    /// Calls of this kind do nothing and get the reply to another question.
    pub fn garble(&self, of: Meets) {
        self.change(|plan| plan.garbled = Some(of));
    }

    /// Calls of this kind take so long to reach the store, and reach it whoever waits still.
    pub fn slow_requests(&self, by: Duration, of: Meets) {
        self.change(|plan| plan.before = Some((by, of)));
    }

    /// Replies to calls of this kind come so much later than the store has answered.
    pub fn slow_replies(&self, by: Duration, of: Meets) {
        self.change(|plan| plan.after = Some((by, of)));
    }

    /// Ends every disturbance.
    pub fn mend(&self) {
        self.change(|plan| *plan = Plan::default());
        self.skew(0);
    }

    /// Replies tell a time that is wrong by this many milliseconds.
    pub fn skew(&self, by_ms: i64) {
        self.skew_ms.store(by_ms, Ordering::SeqCst);
    }

    /// How many calls were made, sent or not.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many of them were commits.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::SeqCst)
    }

    /// How many commits were under way at the same time, at most.
    pub fn most_at_once(&self) -> u64 {
        self.most_at_once.load(Ordering::SeqCst)
    }

    fn change(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().expect("nobody panics in here"));
    }

    /// The plan for one call; a reply that is to be lost is counted.
    fn plan_for(&self, request: &Request) -> (Plan, bool) {
        let mut plan = self.plan.lock().expect("nobody panics in here");
        let lost = match &mut plan.lose {
            Some((count, meets)) if *count > 0 && meets(request) => {
                *count -= 1;
                true
            }
            _ => false,
        };
        (*plan, lost)
    }

    /// Counts a call and carries it.
    async fn counted(&self, request: Request) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if !commits(&request) {
            return self.carry(request).await;
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        let now = 1 + self.under_way.fetch_add(1, Ordering::SeqCst);
        self.most_at_once.fetch_max(now, Ordering::SeqCst);
        let reply = self.carry(request).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        reply
    }

    async fn carry(&self, request: Request) -> Result<Reply, Failure> {
        let (plan, lost) = self.plan_for(&request);
        if plan.cut || plan.cut_off.is_some_and(|meets| meets(&request)) {
            return Err(Failure::NotSent("the line is cut".to_owned()));
        }
        if plan.refuses {
            return Err(Failure::Refused("it is read-only".to_owned()));
        }
        if plan.garbled.is_some_and(|meets| meets(&request)) {
            let (partition, records) = (Partition::META, Vec::new());
            let other = Read { partition, records, values: Vec::new() };
            let reply = self.inner.call(Request::Read(other)).await?;
            return Ok(Reply { at: reply.at, body: ReplyBody::Poll(Vec::new()) });
        }
        let pause = |slow: Option<(Duration, Meets)>| {
            slow.filter(|(_, meets)| meets(&request)).map(|(by, _)| by)
        };
        let (before, after) = (pause(plan.before), pause(plan.after));
        let mut reply = match before {
            None => self.inner.call(request).await?,
            Some(before) => {
                let inner = Arc::clone(&self.inner);
                let travels = tokio::spawn(async move {
                    tokio::time::sleep(before).await;
                    inner.call(request).await
                });
                travels.await.expect("the store does not panic")?
            }
        };
        if let Some(after) = after {
            tokio::time::sleep(after).await;
        }
        if lost {
            return Err(Failure::MaybeApplied("the reply was lost".to_owned()));
        }
        let skewed = reply.at.get().saturating_add_signed(self.skew_ms.load(Ordering::SeqCst));
        reply.at = TimestampMs::new(skewed);
        Ok(reply)
    }
}

impl EngineBackend for Line {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.counted(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let mute = self.plan.lock().expect("nobody panics in here").mute;
        if mute { None } else { self.inner.subscribe(topics) }
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        self.inner.report()
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        self.inner.examine()
    }
}

/// Whether a request writes the result of an execution.
pub fn writes_a_result(request: &Request) -> bool {
    match request {
        Request::Commit(commit) => commit.units.iter().any(|unit| !unit.values.is_empty()),
        _ => false,
    }
}
