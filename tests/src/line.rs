//! A line to a store that can be disturbed: replies are lost, calls are not sent, everything is
//! slow, the time in the replies is wrong; and calls are counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ff_sdk::core::backend::{BackendReport, BoxFuture, EngineBackend, WakeUps};
use ff_sdk::core::store::{Failure, Reply, Request, Topic};
use ff_sdk::core::time::TimestampMs;

/// Which calls a disturbance meets.
pub type Meets = fn(&Request) -> bool;

/// A disturbed line to a store.
pub struct Line {
    inner: Arc<dyn EngineBackend>,
    calls: AtomicU64,
    commits: AtomicU64,
    skew_ms: AtomicI64,
    plan: Mutex<Plan>,
}

#[derive(Clone, Copy, Default)]
struct Plan {
    lose: Option<(u32, Meets)>,
    cut: bool,
    before: Option<(Duration, Meets)>,
    after: Option<(Duration, Meets)>,
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
        let (calls, commits, skew_ms) = (AtomicU64::new(0), AtomicU64::new(0), AtomicI64::new(0));
        Self { inner, calls, commits, skew_ms, plan: Mutex::default() }
    }

    /// The next `count` calls of this kind are applied and their replies lost.
    pub fn lose_replies(&self, count: u32, of: Meets) {
        self.change(|plan| plan.lose = Some((count, of)));
    }

    /// No call is sent from now on.
    pub fn cut(&self) {
        self.change(|plan| plan.cut = true);
    }

    /// Calls of this kind wait so long before they reach the store.
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

    async fn carry(&self, request: Request) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if commits(&request) {
            self.commits.fetch_add(1, Ordering::SeqCst);
        }
        let (plan, lost) = self.plan_for(&request);
        if plan.cut {
            return Err(Failure::NotSent("the line is cut".to_owned()));
        }
        let pause = |slow: Option<(Duration, Meets)>| {
            slow.filter(|(_, meets)| meets(&request)).map(|(by, _)| by)
        };
        let (before, after) = (pause(plan.before), pause(plan.after));
        if let Some(before) = before {
            tokio::time::sleep(before).await;
        }
        let mut reply = self.inner.call(request).await?;
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
        Box::pin(self.carry(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        self.inner.subscribe(topics)
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        self.inner.report()
    }
}
