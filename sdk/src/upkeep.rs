//! The background tasks of a worker: lease renewals, and the check of the record format and of the
//! store's identity.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use ff_core::agent::{LeaseLost, LostReason, Registration, WorkerAgent};
use ff_core::error::{EngineError, Rejection};
use ff_core::id::{AttemptId, ExecutionId, LeaseId, Namespace};
use ff_core::time::TimestampMs;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::claims::ClaimGroup;
use crate::error::SdkError;
use crate::gather::Gatherer;
use crate::lease_end::{EndedLease, LeaseEnd};
use crate::metrics::{LeaseLoss, WorkerMeter};
use crate::process::{InstanceName, Process};
use crate::shared::{Connection, lock};
use crate::timekeeping::TimekeeperTask;

/// A worker's state that its tasks and its upkeep share.
pub(crate) struct WorkerState {
    pub(crate) connection: Arc<Connection>,
    pub(crate) gatherer: Arc<Gatherer>,
    pub(crate) agent: Mutex<WorkerAgent>,
    /// The workers that claim with this one.
    pub(crate) group: Mutex<Arc<ClaimGroup>>,
    watched: Mutex<BTreeMap<LeaseId, Arc<LeaseState>>>,
    /// The end of the lease task's sleep, by the host's clock.
    sleeps_until: AtomicU64,
    earlier: Notify,
    /// The timekeeper of this process, if this worker has one.
    timekeeper: Mutex<Option<Arc<TimekeeperTask>>>,
    /// The registration under its instance id.
    pub(crate) registration: Mutex<Registration>,
    /// The instance id, which other workers of this process may share.
    pub(crate) instance: Arc<InstanceName>,
    pub(crate) meter: Arc<WorkerMeter>,
}

/// The state of a lease, for tasks that wait until it is lost.
#[derive(Debug)]
pub(crate) struct LeaseState {
    attempt_id: AttemptId,
    lost: AtomicBool,
    /// Why it was lost; set some time after it was lost.
    end: OnceLock<LeaseEnd>,
    notify: Notify,
}

impl LeaseState {
    const fn new(attempt_id: AttemptId) -> Self {
        Self {
            attempt_id,
            lost: AtomicBool::new(false),
            end: OnceLock::new(),
            notify: Notify::const_new(),
        }
    }

    /// Sets why it was lost.
    fn ended(&self, end: LeaseEnd) {
        // It is lost only once.
        let _ = self.end.set(end);
        self.notify.notify_waiters();
    }

    /// Waits until it is known why the lease was lost. Never resolves for a task that has ended.
    pub(crate) async fn end(&self) -> &LeaseEnd {
        loop {
            let notified = self.notify.notified();
            if let Some(end) = self.end.get() {
                return end;
            }
            notified.await;
        }
    }

    fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Resolves when the lease is lost.
    pub(crate) async fn lost(&self) {
        loop {
            let notified = self.notify.notified();
            if self.is_lost() {
                return;
            }
            notified.await;
        }
    }
}

impl WorkerState {
    fn new(
        process: &Process,
        agent: WorkerAgent,
        group: Arc<ClaimGroup>,
        registration: Registration,
        timekeeper: bool,
    ) -> Self {
        let timekeeper = timekeeper.then(|| process.timekeeper());
        let instance = process.instance(agent.profile());
        let meter = WorkerMeter::new(agent.profile().worker.as_str(), agent.profile().slots);
        Self {
            timekeeper: Mutex::new(timekeeper),
            connection: process.connection.clone(),
            gatherer: process.gatherer.clone(),
            agent: Mutex::new(agent),
            group: Mutex::new(group),
            watched: Mutex::new(BTreeMap::new()),
            sleeps_until: AtomicU64::new(u64::MAX),
            earlier: Notify::const_new(),
            registration: Mutex::new(registration),
            instance,
            meter: Arc::new(meter),
        }
    }

    /// The namespace whose executions the worker claims.
    pub(crate) fn namespace(&self) -> Namespace {
        lock(&self.agent).profile().namespace.clone()
    }

    /// Ends the sleep of the task that keeps the leases and the registration.
    pub(crate) fn hurry(&self) {
        self.earlier.notify_one();
    }

    /// Watches a lease that the agent tracks.
    pub(crate) fn watch(&self, lease_id: LeaseId, attempt_id: AttemptId) -> Arc<LeaseState> {
        let state = Arc::new(LeaseState::new(attempt_id));
        lock(&self.watched).insert(lease_id, state.clone());
        let (held, wakeup) = {
            let agent = lock(&self.agent);
            let health = agent.leases.health(lease_id, self.connection.clock.now());
            (health.is_some(), agent.leases.next_wakeup())
        };
        if !held {
            // The lease was lost before it was watched.
            lock(&self.watched).remove(&lease_id);
            state.lose();
            self.meter.lost(LeaseLoss::RanOut);
            state.ended(LeaseEnd::Lost("the claim took longer than the lease".to_owned()));
        }
        let sleeps_until = TimestampMs::new(self.sleeps_until.load(Ordering::Acquire));
        if wakeup.is_some_and(|wakeup| wakeup < sleeps_until) {
            self.earlier.notify_one();
        }
        state
    }

    /// Stops renewing a lease, and wakes the tasks that wait until it is lost.
    pub(crate) fn release(&self, lease_id: LeaseId) {
        lock(&self.agent).leases.release(lease_id);
        if let Some(state) = lock(&self.watched).remove(&lease_id) {
            state.lose();
        }
    }

    /// Passes a due time to the timekeeper of this process. It is a hint, which saves a poll.
    pub(crate) fn will_be_due(&self, execution_id: ExecutionId, due: TimestampMs) {
        if let Some(timekeeper) = &*lock(&self.timekeeper) {
            timekeeper.will_be_due((execution_id.partition(), due));
        }
    }

    fn lost(&self, lost: LeaseLost) {
        let LeaseLost { lease_id, execution_id, expires_at, reason } = lost;
        self.will_be_due(execution_id, expires_at);
        // A lease that is not watched yet is found to be lost when it is.
        let Some(state) = lock(&self.watched).remove(&lease_id) else { return };
        state.lose();
        let ended = EndedLease { execution_id, lease_id, attempt_id: state.attempt_id, reason };
        let (connection, meter) = (self.connection.clone(), self.meter.clone());
        tokio::spawn(async move {
            let end = ended.explain(&connection).await;
            meter.lost(loss_of(&end, &ended.reason));
            state.ended(end);
        });
    }

    /// Sleeps until a time, or without end, or until there is an earlier one.
    async fn sleep_until(&self, wakeup: Option<TimestampMs>) {
        let until = wakeup.map_or(u64::MAX, TimestampMs::get);
        self.sleeps_until.store(until, Ordering::Release);
        let sleep = async {
            match wakeup {
                Some(at) => tokio::time::sleep_until(self.connection.clock.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.earlier.notified() => {}
            () = sleep => {}
        }
        self.sleeps_until.store(u64::MAX, Ordering::Release);
    }
}

/// The background tasks of a worker, and its slots. They end with the last handle and the last
/// task.
pub(crate) struct Upkeep {
    pub(crate) state: Arc<WorkerState>,
    slots: usize,
    taken: AtomicUsize,
    background: Vec<AbortHandle>,
}

impl Upkeep {
    /// Starts the background tasks, with or without a timekeeper.
    pub(crate) fn start(
        process: &Arc<Process>,
        agent: WorkerAgent,
        group: Arc<ClaimGroup>,
        registration: Registration,
        timekeeper: bool,
    ) -> Arc<Self> {
        let slots = agent.profile().slots;
        let state = WorkerState::new(process, agent, group, registration, timekeeper);
        let state = Arc::new(state);
        let background = vec![
            tokio::spawn(keep_leases(state.clone())).abort_handle(),
            tokio::spawn(keep_checking(state.clone(), process.clone())).abort_handle(),
        ];
        Arc::new(Self { state, slots, taken: AtomicUsize::new(0), background })
    }

    /// The number of free slots.
    pub(crate) fn free(&self) -> usize {
        self.slots.saturating_sub(self.taken.load(Ordering::Acquire))
    }

    /// Takes up to `wanted` slots, at least one.
    pub(crate) fn take_slots(self: &Arc<Self>, wanted: usize) -> Result<Slots, SdkError> {
        let slots = self.slots;
        let mut count = 0;
        let taken = self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, |taken| {
            count = wanted.max(1).min(slots.saturating_sub(taken));
            (count > 0).then_some(taken + count)
        });
        match taken {
            Ok(_) => Ok(Slots { upkeep: self.clone(), count }),
            Err(_) => Err(SdkError::WorkerAtCapacity { slots }),
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        for task in &self.background {
            task.abort();
        }
        self.state.deregister_later();
    }
}

/// Taken slots; dropping this frees them.
pub(crate) struct Slots {
    upkeep: Arc<Upkeep>,
    count: usize,
}

impl Slots {
    /// The number of these slots.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// Splits one slot off, if any is left.
    pub(crate) fn split_one(&mut self) -> Option<Self> {
        self.count = self.count.checked_sub(1)?;
        Some(Self { upkeep: self.upkeep.clone(), count: 1 })
    }

    /// The state of the worker that they belong to.
    pub(crate) fn state(&self) -> &WorkerState {
        &self.upkeep.state
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.upkeep.taken.fetch_sub(self.count, Ordering::AcqRel);
    }
}

fn loss_of(end: &LeaseEnd, reason: &LostReason) -> LeaseLoss {
    match (end, reason) {
        (LeaseEnd::Cancelled(_), _) => LeaseLoss::Cancelled,
        (LeaseEnd::AttemptTimeout, _) => LeaseLoss::AttemptTimeout,
        (LeaseEnd::Deadline, _) => LeaseLoss::Deadline,
        (LeaseEnd::Lost(_), LostReason::RanOut) => LeaseLoss::RanOut,
        (_, LostReason::Refused(EngineError::State(Rejection::LeaseRevoked))) => LeaseLoss::Revoked,
        (LeaseEnd::Lost(_), LostReason::Refused(_)) => LeaseLoss::TakenOver,
    }
}

/// Renews leases at a third of their ttl, marks lost ones, and keeps the worker registered.
async fn keep_leases(state: Arc<WorkerState>) {
    loop {
        let now = state.connection.clock.now();
        let (renewals, ran_out, wakeup) = {
            let mut agent = lock(&state.agent);
            let ran_out = agent.leases.ran_out(now);
            let renewals = agent.renewals(now);
            (renewals, ran_out, agent.leases.next_wakeup())
        };
        for lost in ran_out {
            state.lost(lost);
        }
        let registers = state.keep_registered(now);
        for renewal in renewals {
            let state = state.clone();
            tokio::spawn(async move {
                let result = state.connection.carry(renewal.operation).await;
                state.meter.renewed(&result);
                let now = state.connection.clock.now();
                let lost = lock(&state.agent).leases.renewed(renewal.lease_id, result, now);
                if let Some(lost) = lost {
                    state.lost(lost);
                }
                // The next renewal, or the end of the lease, may be earlier than the sleep's end.
                state.earlier.notify_one();
            });
        }
        state.sleep_until(wakeup.into_iter().chain(registers).min()).await;
    }
}

/// Learns the active record format and the identity of the store. When this program does not know
/// the format, or the store is lost, claims fail from then on.
async fn keep_checking(state: Arc<WorkerState>, process: Arc<Process>) {
    let connection = &state.connection;
    loop {
        tokio::time::sleep_until(connection.next_check()).await;
        // The context remembers the result.
        let _ = connection.check_store().await;
        if let Err(error) = connection.context().check_store() {
            tracing::error!(%error, "this worker claims no more executions");
            return;
        }
        if let Some(timekeeper) = &mut *lock(&state.timekeeper)
            && !timekeeper.runs()
        {
            *timekeeper = process.timekeeper();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_core::agent::WorkerProfile;
    use ff_core::entropy::Entropy;
    use ff_core::time::DurationMs;

    use crate::config::WorkerConfig;
    use crate::memory::MemoryBackend;

    /// A claim that took longer than its lease is lost before its task exists.
    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ended_before_it_is_watched_is_lost() {
        let mut config = WorkerConfig::new("w", "w-1", "ns").unwrap();
        config.seed = Some(1);
        let process = Process::of(&config, Arc::new(MemoryBackend::new())).await.unwrap();
        let profile = WorkerProfile {
            namespace: config.namespace,
            lanes: config.lanes,
            kinds: config.kinds,
            worker: config.worker_id,
            instance: config.worker_instance_id,
            capabilities: config.capabilities,
            slots: 1,
            lease_ttl: DurationMs::from_secs(30),
            context: process.connection.context().clone(),
            partitions: process.connection.partitions,
        };
        let group = process.group(profile.served(), DurationMs::from_secs(1));
        let (version, nonce) = (config.version, process.nonce);
        let entropy = Entropy::from_u64(1);
        let registration = Registration::new(&profile, version, false, nonce, entropy.clone());
        let agent = WorkerAgent::new(profile, entropy);
        let state = WorkerState::new(&process, agent, group, registration, false);
        let mut entropy = Entropy::from_u64(2);
        let lease = state.watch(LeaseId::random(&mut entropy), AttemptId::random(&mut entropy));
        assert!(lease.is_lost());
        lease.lost().await;
        assert!(matches!(lease.end().await, LeaseEnd::Lost(_)));
    }
}
