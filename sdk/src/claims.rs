//! Claims of workers that serve the same: work that they want at the same time is taken together,
//! and one of them looks for work for all.

use std::sync::{Arc, Mutex};

use ff_core::agent::{Claimant, ClaimedWork, Claimer, DrawnWork, Served};
use ff_core::error::EngineError;
use ff_core::resource::ResourceKind;
use ff_core::store::Topic;
use ff_core::store::bounds::MAX_UNITS;
use ff_core::time::{DurationMs, HostTime};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::shared::{Connection, lock};

type Outcome = Result<Vec<ClaimedWork>, EngineError>;

/// The workers of a process that serve the same.
pub(crate) struct ClaimGroup {
    connection: Arc<Connection>,
    claims: Arc<Claims>,
    served: Served,
    look_every: DurationMs,
    /// Receives wake-ups; `None` if the backend has none.
    listening: Option<JoinHandle<()>>,
}

/// The state that a group shares with its tasks.
struct Claims {
    claimer: Mutex<Claimer>,
    wanted: Mutex<Wanted>,
    /// Wakes the workers that wait for work.
    woken: Notify,
}

/// The demands of the workers.
#[derive(Default)]
struct Wanted {
    waiting: Vec<Demand>,
    /// Whether a task claims for them.
    claiming: bool,
}

/// The demand of one worker.
struct Demand {
    claimant: Claimant,
    is_woken: bool,
    answer: oneshot::Sender<Outcome>,
}

impl ClaimGroup {
    pub(crate) fn start(
        connection: Arc<Connection>,
        served: Served,
        look_every: DurationMs,
    ) -> Arc<Self> {
        let (partitions, context) = (connection.partitions, connection.context().clone());
        let entropy = connection.entropy();
        let claimer = Claimer::new(served.clone(), partitions, context, look_every, entropy);
        let (claimer, wanted, woken) = (Mutex::new(claimer), Mutex::default(), Notify::new());
        let claims = Arc::new(Claims { claimer, wanted, woken });
        let namespace = &served.namespace;
        let topic =
            |lane: &_| Topic::Lane { namespace: namespace.clone(), lane: Clone::clone(lane) };
        let routes = Topic::Routes { namespace: namespace.clone() };
        let (kind, changed_in) = (ResourceKind::Lanes, namespace.clone());
        let lanes = Topic::Resources { kind, namespace: changed_in };
        let topics = served.lanes.iter().map(topic).chain([routes, lanes]).collect();
        let wake_ups = connection.backend.subscribe(topics);
        let listening = wake_ups.map(|mut wake_ups| {
            let claims = claims.clone();
            tokio::spawn(async move {
                while let Some(wake) = wake_ups.next().await {
                    lock(&claims.claimer).wake(wake.as_ref());
                    claims.woken.notify_waiters();
                }
            })
        });
        Arc::new(Self { connection, claims, served, look_every, listening })
    }

    pub(crate) fn serves(&self, served: &Served, look_every: DurationMs) -> bool {
        self.served == *served && self.look_every == look_every
    }

    /// Whether its task runs; it ends with its tokio runtime.
    pub(crate) fn runs(&self) -> bool {
        self.listening.as_ref().is_none_or(|listening| !listening.is_finished())
    }

    /// Claims executions for a worker, together with the others that claim at present.
    ///
    /// Not cancel safe: work that is claimed for a caller that is gone is reclaimed later.
    pub(crate) async fn claim(&self, claimant: Claimant, is_woken: bool) -> Outcome {
        loop {
            let (answer, answered) = oneshot::channel();
            let demand = Demand { claimant: claimant.clone(), is_woken, answer };
            let begins = {
                let mut wanted = lock(&self.claims.wanted);
                wanted.waiting.push(demand);
                !std::mem::replace(&mut wanted.claiming, true)
            };
            if begins {
                let turn = Turn { claims: self.claims.clone() };
                tokio::spawn(turn.claim_all(self.connection.clone()));
            }
            // Otherwise the task has ended with the runtime of another worker.
            if let Ok(outcome) = answered.await {
                return outcome;
            }
        }
    }

    /// Waits until there may be work. Returns whether that is because of a wake-up, and not because
    /// it is time to look.
    ///
    /// Cancel safe.
    pub(crate) async fn wait(&self) -> bool {
        loop {
            let woken = self.claims.woken.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let next_look = {
                let (mut claimer, now) = (lock(&self.claims.claimer), self.connection.clock.now());
                if claimer.knows_work(now) {
                    return true;
                }
                claimer.next_look(now)
            };
            tokio::select! {
                biased;
                () = woken => return true,
                () = tokio::time::sleep_until(self.connection.clock.instant(next_look)) => {
                    if lock(&self.claims.claimer).begins_look(self.connection.clock.now()) {
                        return false;
                    }
                }
            }
        }
    }
}

impl Drop for ClaimGroup {
    fn drop(&mut self) {
        if let Some(listening) = &self.listening {
            listening.abort();
        }
    }
}

/// The task that claims for all. When it is dropped, another one can begin.
struct Turn {
    claims: Arc<Claims>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut wanted = lock(&self.claims.wanted);
        wanted.claiming = false;
        wanted.waiting.clear();
    }
}

impl Turn {
    /// Claims until no worker wants more.
    async fn claim_all(self, connection: Arc<Connection>) {
        loop {
            // First the tasks that are ready to run: other workers may want work now, too.
            tokio::task::yield_now().await;
            let Some(demands) = self.next() else { return };
            let claimants = demands.iter().map(|demand| demand.claimant.clone()).collect();
            let is_woken = demands.iter().all(|demand| demand.is_woken);
            let claim = lock(&self.claims.claimer).claim(claimants, is_woken);
            let outcome = connection.drive(claim).await;
            if let Ok(drawn) = &outcome {
                drawn.work.iter().for_each(|work| connection.meter.claimed(&work.claimed));
                let held = drawn.held.iter();
                held.for_each(|held| connection.meter.held_back(&held.lane, held.why));
            }
            self.hand_out(demands, outcome, connection.clock.now());
        }
    }

    /// The demands for one claim. `None` ends the turn.
    fn next(&self) -> Option<Vec<Demand>> {
        let mut wanted = lock(&self.claims.wanted);
        wanted.waiting.retain(|demand| !demand.answer.is_closed());
        let mut slots = 0;
        let mut fits = |demand: &&Demand| {
            slots += demand.claimant.count;
            slots <= MAX_UNITS
        };
        // The first one may want more than one claim returns.
        let count = wanted.waiting.iter().take_while(&mut fits).count();
        let count = count.max(1).min(wanted.waiting.len());
        wanted.claiming = count > 0;
        (count > 0).then(|| wanted.waiting.drain(..count).collect())
    }

    /// Notes the result of a claim. Returns the work, and whether the claimer knows of more.
    fn claimed(
        &self,
        outcome: Result<DrawnWork, EngineError>,
        now: HostTime,
    ) -> Result<(Vec<ClaimedWork>, bool), EngineError> {
        let mut claimer = lock(&self.claims.claimer);
        match outcome {
            Ok(DrawnWork { work, queues, .. }) => {
                claimer.claimed(queues);
                Ok((work, claimer.knows_work(now)))
            }
            Err(error) => {
                claimer.claimed(None);
                Err(error)
            }
        }
    }

    /// Answers the demands. One that got nothing waits on if there is more work.
    fn hand_out(
        &self,
        demands: Vec<Demand>,
        outcome: Result<DrawnWork, EngineError>,
        now: HostTime,
    ) {
        let (mut work, knows_work) = match self.claimed(outcome, now) {
            Ok(found) => found,
            Err(error) => {
                let answer = |demand: Demand| drop(demand.answer.send(Err(error.clone())));
                return demands.into_iter().for_each(answer);
            }
        };
        let mut again = Vec::new();
        let found_some = !work.is_empty();
        for (number, demand) in demands.into_iter().enumerate() {
            let own: Vec<_> = work.extract_if(.., |work| work.claimant == number).collect();
            if own.is_empty() && found_some && knows_work {
                again.push(demand);
            } else {
                // The receiver may have been dropped.
                let _ = demand.answer.send(Ok(own));
            }
        }
        if !again.is_empty() {
            let mut wanted = lock(&self.claims.wanted);
            wanted.waiting.splice(0..0, again);
        } else if knows_work {
            self.claims.woken.notify_waiters();
        }
    }
}
