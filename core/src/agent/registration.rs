//! The registration of a process as a worker: when to register, to send heartbeats, and to stop.

use crate::entropy::Entropy;
use crate::error::{EngineError, Rejection};
use crate::id::Nonce;
use crate::kinds::Kinds;
use crate::op::{
    ChangeResource, Event, LoadedResource, Operation, OperationContext, Patience, ResourceChanged,
    Step,
};
use crate::partition::Partition;
use crate::planted::planted;
use crate::registry::{
    Deregister, HEARTBEATS_PER_TTL, Heartbeat, Register, Worker, WorkerInfo, WorkerState,
    registration_ttl,
};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::worker::WorkerProfile;

/// The wait before the next call after one that failed: 1 s.
const AFTER_FAILURE: DurationMs = DurationMs::from_secs(1);

/// The relation of a process to its instance id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not registered, or not any more: its heartbeats did not arrive in time. It registers
    /// before it claims.
    Unregistered,
    /// It is registered, as far as it knows.
    Live,
    /// It is registered and claims nothing more.
    Draining,
    /// Another process has taken over the instance id, or an operator has marked this one as dead.
    /// It claims nothing more.
    Superseded,
    /// It has given up the instance id.
    Ended,
}

/// The registration of one process as a worker. It makes one call at a time. \[INV-REGISTRY-1\]
#[derive(Clone, Debug)]
pub struct Registration {
    register: Register,
    context: OperationContext,
    entropy: Entropy,
    /// The sender of its changes.
    writer: u64,
    /// The record as it wrote it last, so that a heartbeat needs no read.
    known: Option<LoadedResource<Worker>>,
    standing: Standing,
    /// Whether it claims nothing more, by its own decision or that of an operator.
    draining: bool,
    /// Whether it was registered before.
    was_registered: bool,
    /// Whether the latest description was sent.
    is_described: bool,
    /// When the next call is due; `None` during a call.
    next: Option<TimestampMs>,
    /// When the latest call began.
    called_at: TimestampMs,
    /// Whether the store may have a registration of this process.
    may_hold: bool,
}

impl Registration {
    /// The registration of a worker that is to begin now. `nonce`: a number that the process drew
    /// when it started. `take_over`: it replaces another process that holds the instance id.
    pub fn new(
        profile: &WorkerProfile,
        version: String,
        take_over: bool,
        nonce: Nonce,
        mut entropy: Entropy,
    ) -> Self {
        let info = WorkerInfo {
            namespace: profile.namespace.clone(),
            worker: profile.worker.clone(),
            instance: profile.instance.clone(),
            lanes: profile.lanes.clone(),
            kinds: profile.kinds.clone(),
            capabilities: profile.capabilities.clone(),
            version,
            slots: u32::try_from(profile.slots).unwrap_or(u32::MAX),
        };
        let (ttl, partitions) = (registration_ttl(profile.lease_ttl), profile.partitions);
        Self {
            register: Register { info, nonce, ttl, take_over, partitions },
            context: profile.context.clone(),
            writer: entropy.next_u64(),
            entropy,
            known: None,
            standing: Standing::Unregistered,
            draining: false,
            was_registered: false,
            is_described: false,
            next: Some(TimestampMs::ZERO),
            called_at: TimestampMs::ZERO,
            may_hold: false,
        }
    }

    /// Returns the relation of the process to its instance id.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// Returns the description under which the process registers.
    pub const fn info(&self) -> &WorkerInfo {
        &self.register.info
    }

    /// Returns how long the registration is good after a heartbeat.
    pub const fn ttl(&self) -> DurationMs {
        self.register.ttl
    }

    /// Returns the number that distinguishes this process from others with its instance id.
    pub const fn nonce(&self) -> Nonce {
        self.register.nonce
    }

    /// Returns whether the worker may claim executions. A call that fails because of the store
    /// stops no worker. \[INV-REGISTRY-1\]
    pub fn may_claim(&self) -> bool {
        match self.standing {
            Standing::Live => true,
            Standing::Superseded => planted!(SupersededClaims),
            Standing::Unregistered | Standing::Draining | Standing::Ended => false,
        }
    }

    /// Returns when the next call is due, by the host's clock.
    pub const fn next_wakeup(&self) -> Option<TimestampMs> {
        self.next
    }

    /// Describes the worker with these kinds from now on.
    pub fn serve(&mut self, kinds: Kinds) {
        if self.register.info.kinds != kinds {
            self.register.info.kinds = kinds;
            self.is_described = false;
            self.call_now();
        }
    }

    /// Claims nothing more from now on, and says so with a heartbeat immediately.
    pub fn drain(&mut self) {
        self.draining = true;
        if self.standing == Standing::Live {
            self.standing = Standing::Draining;
            self.call_now();
        }
    }

    /// Makes the next call immediately, unless one is in flight or none is to follow.
    fn call_now(&mut self) {
        self.next = self.next.map(|_| TimestampMs::ZERO);
    }

    /// Returns the call that is due, if one is. `active`: how many executions the worker holds.
    /// The result goes to [`Registration::answered`].
    pub fn due(&mut self, active: usize, now: HostTime) -> Option<KeepRegistered> {
        self.next.take_if(|next| *next <= now.local)?;
        self.called_at = now.local;
        self.may_hold = true;
        let (known, patience) = (self.known.take(), self.patience());
        if self.standing == Standing::Unregistered || !self.is_described {
            self.is_described = true;
            let register = self.register.clone();
            let change = ChangeResource::knowing(register, self.writer, known, patience);
            return Some(KeepRegistered::Register(change));
        }
        let heartbeat = Heartbeat {
            namespace: self.register.info.namespace.clone(),
            instance: self.register.info.instance.clone(),
            nonce: self.register.nonce,
            active: u32::try_from(active).unwrap_or(u32::MAX),
            draining: self.draining,
            partitions: self.register.partitions,
        };
        let change = ChangeResource::knowing(heartbeat, self.writer, known, patience);
        Some(KeepRegistered::Heartbeat(change))
    }

    /// Notes the result of a call.
    pub fn answered(
        &mut self,
        result: Result<ResourceChanged<Worker, ()>, EngineError>,
        now: HostTime,
    ) {
        if self.standing == Standing::Ended {
            return;
        }
        match result {
            Ok(changed) => self.is_registered(changed),
            Err(error) => self.failed(&error, now),
        }
    }

    fn is_registered(&mut self, changed: ResourceChanged<Worker, ()>) {
        // A process that takes over later is newer.
        self.register.take_over = false;
        self.was_registered = true;
        let every = DurationMs::new(self.ttl().get() / HEARTBEATS_PER_TTL);
        self.next = Some(self.called_at.plus(every));
        self.known = changed.record;
        let state = self.known.as_ref().map(|known| known.record().state);
        let is_told = self.draining && state == Some(WorkerState::Live);
        self.draining |= state == Some(WorkerState::Draining);
        self.standing = if self.draining { Standing::Draining } else { Standing::Live };
        if is_told || !self.is_described {
            self.call_now();
        }
    }

    fn failed(&mut self, error: &EngineError, now: HostTime) {
        let wait = match error.rejection() {
            Some(Rejection::WorkerSuperseded { .. }) => None,
            Some(Rejection::WorkerInstanceInUse { .. }) => {
                self.may_hold = false;
                (!self.was_registered).then_some(AFTER_FAILURE)
            }
            Some(Rejection::WorkerNotFound { .. }) => {
                self.standing = Standing::Unregistered;
                Some(DurationMs::ZERO)
            }
            _ => Some(AFTER_FAILURE),
        };
        self.next = wait.map(|wait| now.local.plus(wait));
        if wait.is_none() {
            self.standing = Standing::Superseded;
        }
    }

    /// Gives up the instance id, so that the next process can have it immediately. Returns the
    /// call that does so; `None` if there is nothing to give up. No other call follows.
    pub fn deregister(&mut self) -> Option<ChangeResource<Deregister>> {
        let gone = matches!(self.standing, Standing::Superseded | Standing::Ended);
        let holds = std::mem::take(&mut self.may_hold) && !gone;
        self.standing = Standing::Ended;
        self.next = None;
        let deregister = Deregister {
            namespace: self.register.info.namespace.clone(),
            instance: self.register.info.instance.clone(),
            nonce: self.register.nonce,
            partitions: self.register.partitions,
        };
        // A call may be in flight, so this is another writer.
        let (writer, known) = (self.entropy.next_u64(), self.known.take());
        let patience = self.patience();
        holds.then(|| ChangeResource::knowing(deregister, writer, known, patience))
    }

    fn patience(&mut self) -> Patience {
        Patience::new(self.context.clone(), self.entropy.fork())
    }
}

/// A call by which a process keeps its registration.
#[derive(Clone, Debug)]
pub enum KeepRegistered {
    /// It registers, or changes its description.
    Register(ChangeResource<Register>),
    /// It sends a heartbeat.
    Heartbeat(ChangeResource<Heartbeat>),
}

impl Operation for KeepRegistered {
    /// The record of the worker.
    type Output = Result<ResourceChanged<Worker, ()>, EngineError>;

    fn partition(&self) -> Option<Partition> {
        match self {
            Self::Register(change) => change.partition(),
            Self::Heartbeat(change) => change.partition(),
        }
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        match self {
            Self::Register(change) => change.reply_within(now),
            Self::Heartbeat(change) => change.reply_within(now),
        }
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match self {
            Self::Register(change) => change.resume(event, now),
            Self::Heartbeat(change) => change.resume(event, now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capabilities;
    use crate::id::{ExecutionKind, LaneId, Namespace, WorkerId, WorkerInstanceId};
    use crate::partition::PartitionConfig;
    use crate::registry::{DrainWorker, MarkDead};
    use crate::resource::Change;
    use crate::store::codec::Codec;
    use crate::store::{Failure, MemoryStore};

    /// A store, and its clock.
    struct World {
        store: MemoryStore,
        now: u64,
        calls: usize,
        is_down: bool,
    }

    impl World {
        fn new() -> Self {
            Self { store: MemoryStore::new(1), now: 1_000, calls: 0, is_down: false }
        }

        fn time(&self) -> HostTime {
            let now = TimestampMs::new(self.now);
            HostTime { local: now, store: now }
        }

        fn run<O: Operation>(&mut self, mut operation: O) -> O::Output {
            let mut step = operation.resume(Event::Start, self.time());
            loop {
                step = match step {
                    Step::Done(output) => return output,
                    Step::Wait(wait) => {
                        self.now += wait.get();
                        operation.resume(Event::Wake, self.time())
                    }
                    Step::Send(_) if self.is_down => {
                        let failure = Failure::NotSent("the store is down".to_owned());
                        operation.resume(Event::Failure(failure), self.time())
                    }
                    Step::Send(request) => {
                        self.calls += 1;
                        let reply = self.store.handle(request, TimestampMs::new(self.now));
                        operation.resume(Event::Reply(reply), self.time())
                    }
                }
            }
        }

        /// Makes the calls of a process that are due until a time, and returns how many requests
        /// they took.
        fn keep(&mut self, process: &mut Registration, until: u64) -> usize {
            let before = self.calls;
            while let Some(next) = process.next_wakeup().filter(|next| next.get() <= until) {
                self.now = self.now.max(next.get());
                let call = process.due(2, self.time()).expect("a call is due");
                let result = self.run(call);
                process.answered(result, self.time());
            }
            self.now = self.now.max(until);
            self.calls - before
        }

        fn operator(&mut self, change: impl Change) {
            let context = OperationContext::new(DurationMs::from_secs(20), Codec::default());
            let patience = Patience::new(context, Entropy::from_u64(99));
            self.run(ChangeResource::new(change, patience)).expect("the worker is registered");
        }
    }

    fn process(seed: u64, take_over: bool) -> Registration {
        let profile = WorkerProfile {
            namespace: Namespace::new("ns"),
            lanes: vec![LaneId::new("mail")],
            kinds: Kinds::All,
            worker: WorkerId::new("w"),
            instance: WorkerInstanceId::new("w-1"),
            capabilities: Capabilities::default(),
            slots: 4,
            lease_ttl: DurationMs::from_secs(30),
            context: OperationContext::new(DurationMs::from_secs(1), Codec::default()),
            partitions: PartitionConfig::default(),
        };
        Registration::new(
            &profile,
            "1.0".to_owned(),
            take_over,
            Nonce(seed),
            Entropy::from_u64(seed),
        )
    }

    #[test]
    fn heartbeats_are_one_call_each_third_of_the_ttl() {
        let (mut world, mut first) = (World::new(), process(1, false));
        assert!(!first.may_claim());
        assert_eq!(world.keep(&mut first, 1_000), 2, "a read and a commit");
        assert!(first.may_claim());
        assert_eq!(world.keep(&mut first, 601_000), 30, "every 20 s for ten minutes");
        first.serve(Kinds::from_iter([ExecutionKind::new("resize")]));
        assert_eq!(world.keep(&mut first, 601_000), 1, "a new description");
    }

    #[test]
    fn a_superseded_process_stops_and_a_refused_one_registers_later() {
        let (mut world, mut first, mut second) =
            (World::new(), process(1, false), process(2, true));
        world.keep(&mut first, 1_000);
        world.keep(&mut second, 2_000);
        assert!(first.may_claim() && second.may_claim(), "the first one does not know it yet");
        let mut third = process(3, false);
        world.keep(&mut third, 3_000);
        assert_eq!(third.standing(), Standing::Unregistered);
        world.keep(&mut first, 30_000);
        assert_eq!((first.standing(), first.next_wakeup()), (Standing::Superseded, None));
        assert!(!first.may_claim() && first.deregister().is_none());
        let end = second.deregister().expect("it is registered");
        let before = world.calls;
        world.run(end).expect("it is deregistered");
        assert_eq!(world.calls - before, 1, "no read");
        world.keep(&mut third, 31_000);
        assert!(third.may_claim());
    }

    #[test]
    fn a_failing_store_stops_no_worker_and_an_expired_one_registers_anew() {
        let (mut world, mut first) = (World::new(), process(1, false));
        world.keep(&mut first, 1_000);
        world.is_down = true;
        world.keep(&mut first, 100_000);
        assert!(first.may_claim(), "it is registered as far as it knows");
        world.is_down = false;
        world.keep(&mut first, 110_000);
        assert_eq!(first.standing(), Standing::Live);
        world.is_down = true;
        world.keep(&mut first, 200_000);
        let mut other = process(2, false);
        world.is_down = false;
        world.keep(&mut other, world.now);
        assert!(other.may_claim(), "the registration of the first one had expired");
        world.keep(&mut first, 210_000);
        assert_eq!(first.standing(), Standing::Superseded);
    }

    #[test]
    fn operators_and_the_process_itself_stop_its_claims() {
        let (mut world, mut first) = (World::new(), process(1, false));
        world.keep(&mut first, 1_000);
        let partitions = PartitionConfig::default();
        let WorkerInfo { namespace, instance, .. } = first.info().clone();
        world.operator(DrainWorker {
            namespace: namespace.clone(),
            instance: instance.clone(),
            partitions,
        });
        world.keep(&mut first, 30_000);
        assert_eq!(first.standing(), Standing::Draining);
        world.operator(MarkDead { namespace, instance, partitions });
        world.keep(&mut first, 60_000);
        assert_eq!(first.standing(), Standing::Superseded);
        let mut second = process(2, false);
        world.keep(&mut second, 61_000);
        second.drain();
        assert_eq!(world.keep(&mut second, 61_000), 1, "it says so immediately");
        let drained = second.known.as_ref().map(|known| known.record().state);
        assert_eq!(drained, Some(WorkerState::Draining));
        assert!(!second.may_claim());
    }
}
