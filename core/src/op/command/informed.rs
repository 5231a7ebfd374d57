//! Carrying a command that has to know more than its execution's record: the secrets of tokens, and
//! signals that were buffered (`docs/spec.md`, 5).

use uuid::Uuid;

use crate::entropy::Entropy;
use crate::error::{Bug, EngineError, Missing, Rejection, RejectionKind};
use crate::execution::{Decide, Heard, SignalRecord};
use crate::partition::Partition;
use crate::score::Score;
use crate::store::bounds::MAX_PAGE;
use crate::store::{IndexName, Reply, ReplyBody, Request, Scan, ScanPosition, Scanned, Stored};
use crate::time::{HostTime, TimestampMs};
use crate::token::{KEYRING_FOR, Keyring, KnownKeyring};

use super::transact::{Committed, Known, Transact};
use crate::op::config::{Answer, read_ring, read_secrets, write_first_ring};
use crate::op::context::OperationContext;
use crate::op::loaded::unreadable;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;

/// Carries a command to its execution, and reads for it what it turns out to need: the secrets,
/// when the program has not read them within a second or does not know the token's, and the
/// buffered signals, page by page.
#[derive(Clone, Debug)]
pub struct Informed<C: Decide> {
    transact: Transact<C>,
    patience: Patience,
    context: OperationContext,
    heard: Heard,
    doing: Doing,
    /// The secrets as they were read last, and when they were asked for, by the host's clock.
    ring: Option<Keyring>,
    asked_at: TimestampMs,
    /// The clock of the execution's partition in its last reply.
    partition_at: Option<TimestampMs>,
    rounds: u32,
    /// Whether it goes by secrets that the program had read before, in which the token's is not
    /// the one that signs: it may be so again since.
    doubtful: bool,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Carrying,
    ReadingSecrets,
    MakingSecrets,
    Hearing,
}

/// How often a command may ask for more before it gives up: a page for each thousand of its
/// signals, and some for secrets.
const MAX_ROUNDS: u32 = 32;

type Output<T> = Result<Committed<T>, EngineError>;

impl<C: Decide> Informed<C> {
    /// An operation that begins with what is known of the record.
    pub fn new(command: C, known: Known, context: OperationContext, mut entropy: Entropy) -> Self {
        let patience = Patience::new(context.clone(), entropy.fork());
        let transact = Transact::knowing(command, known, Patience::new(context.clone(), entropy));
        Self {
            transact,
            patience,
            context,
            heard: Heard::default(),
            doing: Doing::Carrying,
            ring: None,
            asked_at: TimestampMs::ZERO,
            partition_at: None,
            rounds: 0,
            doubtful: false,
        }
    }

    /// Lets the command go on, and reads what its decision turns out to need.
    fn carry(&mut self, event: Event, now: HostTime) -> Step<Output<C::Outcome>> {
        self.doing = Doing::Carrying;
        let step = self.transact.resume(event, now);
        let missing = match &step {
            Step::Done(Err(EngineError::State(Rejection::Unread { what }))) => *what,
            // A token that was just signed is not refused because of secrets that were read before.
            Step::Done(Err(EngineError::Validation {
                kind: RejectionKind::InvalidToken, ..
            })) if self.doubtful => Missing::Secrets,
            _ => return step,
        };
        self.rounds += 1;
        if self.rounds > MAX_ROUNDS {
            let (op, tries) = (self.transact.command().name(), self.rounds);
            return Step::Done(Err(EngineError::Contention { op, tries }));
        }
        match missing {
            Missing::Secrets => self.renew_secrets(now),
            Missing::BufferedSignals => self.hear(),
            Missing::Signal => step,
        }
    }

    /// Secrets that were read within a second by the host's own clock are new: only the clock of
    /// their node is another one than that of the execution's. Others are read again.
    fn renew_secrets(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        let age = now.local.since(self.asked_at);
        match (self.ring.take(), self.partition_at) {
            (Some(ring), Some(at)) if age < KEYRING_FOR => {
                let known = KnownKeyring::new(ring, at.minus(age));
                self.transact.command_mut().observe_keyring(known);
                self.carry(Event::Wake, now)
            }
            _ => self.read_secrets(now),
        }
    }

    fn read_secrets(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        self.doing = Doing::ReadingSecrets;
        self.asked_at = now.local;
        Step::Send(read_secrets())
    }

    fn found_secrets(
        &mut self,
        stored: Option<Stored>,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Output<C::Outcome>> {
        match stored.map(|stored| read_ring(&stored, self.patience.codec())).transpose() {
            Ok(Some(ring)) => {
                // They are as old as the reply, whatever the host takes the store's clock for.
                self.ring = Some(ring.clone());
                let ring = KnownKeyring::new(ring, at);
                self.doubtful = false;
                self.transact.command_mut().observe_keyring(ring.clone());
                self.context.keyrings().put(ring, self.asked_at);
                self.carry(Event::Start, now)
            }
            Ok(None) => {
                self.doing = Doing::MakingSecrets;
                let nonce = self.patience.nonce();
                Step::Send(write_first_ring(&mut self.patience.entropy(), nonce))
            }
            Err(error) => Step::fail(error),
        }
    }

    fn hear(&mut self) -> Step<Output<C::Outcome>> {
        self.doing = Doing::Hearing;
        let id = self.transact.command().execution_id();
        let behind = |number: u32| ScanPosition {
            score: Score::new(i64::from(number)),
            member: Uuid::max(),
        };
        Step::Send(Request::Scan(Scan {
            partition: id.partition(),
            index: IndexName::Signals { execution: id.uuid() },
            after: self.heard.through.checked_sub(1).map(behind),
            limit: MAX_PAGE as u32,
        }))
    }

    fn heard(&mut self, page: Scanned, now: HostTime) -> Step<Output<C::Outcome>> {
        let records = page.entries.into_iter().filter_map(|entry| entry.record);
        for stored in records {
            match self.patience.codec().decode::<SignalRecord>(&stored.bytes) {
                Ok(signal) => {
                    self.heard.through = signal.number.saturating_add(1);
                    self.heard.signals.push(signal);
                }
                Err(error) => return Step::fail(unreadable(error)),
            }
        }
        let heard = self.heard.clone();
        self.transact.command_mut().observe_signals(heard);
        self.carry(Event::Start, now)
    }

    fn start(&mut self, now: HostTime) -> Step<Output<C::Outcome>> {
        self.patience.begin(now);
        self.transact.begin(now);
        let kid = self.transact.command().kid();
        let held = self.context.keyrings().get(now.local);
        let held = held.filter(|ring| kid.as_ref().is_none_or(|kid| ring.knows(kid)));
        match held {
            Some(ring) => {
                self.doubtful = kid.is_some_and(|kid| !ring.is_current(&kid));
                self.transact.command_mut().observe_keyring(ring);
                self.carry(Event::Start, now)
            }
            None if self.transact.command().uses_tokens() => self.read_secrets(now),
            None => self.carry(Event::Start, now),
        }
    }

    fn on_reply(&mut self, reply: Reply, now: HostTime) -> Step<Output<C::Outcome>> {
        let name = self.transact.command().name();
        match (self.doing, reply.body) {
            (Doing::ReadingSecrets | Doing::MakingSecrets, body) => match Answer::of(name, body) {
                Ok(Answer::Found(stored)) => self.found_secrets(stored, reply.at, now),
                // Whichever program was first, it is read: no secret is known that is not stored.
                Ok(Answer::Written | Answer::Conflict(_)) => self.read_secrets(now),
                Ok(Answer::Refused) => Step::fail(Bug::unexpected_reply(name)),
                Err(error) => Step::fail(error),
            },
            (Doing::Hearing, ReplyBody::Scan(page)) => self.heard(page, now),
            _ => Step::fail(Bug::unexpected_reply(name)),
        }
    }
}

impl<C: Decide> Operation for Informed<C> {
    type Output = Output<C::Outcome>;

    fn partition(&self) -> Option<Partition> {
        self.transact.partition()
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        if let Event::Failure(_) = event {
            // The store may have lost what was heard.
            self.heard = Heard::default();
            self.transact.command_mut().observe_signals(Heard::default());
        }
        match (self.doing, event) {
            (_, Event::Start) => self.start(now),
            (Doing::Carrying, event) => {
                if let Event::Reply(reply) = &event {
                    self.partition_at = Some(reply.at);
                }
                self.carry(event, now)
            }
            (_, Event::Reply(reply)) => self.on_reply(reply, now),
            (_, Event::Failure(failure)) => {
                let (name, applied) =
                    (self.transact.command().name(), self.transact.may_be_applied());
                Step::retry(self.patience.after_failure(name, &failure, applied, now))
            }
            (Doing::ReadingSecrets | Doing::MakingSecrets, Event::Wake) => self.read_secrets(now),
            (Doing::Hearing, Event::Wake) => self.hear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::Capabilities;
    use crate::condition::{Condition, ResumePolicy, SuspensionReason};
    use crate::execution::{
        BindWaitpoint, Claim, Claimed, Complete, Create, CreatePendingWaitpoint,
        DEFAULT_PAYLOAD_LIMIT, DeliverSignal, FoundSignal, IssuedWaitpoint, Offer, Offered,
        Purpose, SignalEffect, SignalOutcome, Start, Suspend, SuspendOutcome,
    };
    use crate::id::{
        AttemptId, ExecutionId, ExecutionKind, GrantId, LaneId, LeaseId, Namespace, Nonce,
        SignalId, SignalName, SuspensionId, WaitpointId, WaitpointKey, WorkerId, WorkerInstanceId,
    };
    use crate::op::{ApplyDue, RotateSecret};
    use crate::partition::PartitionConfig;
    use crate::policy::{ExecutionPolicy, Priority};
    use crate::store::codec::Codec;
    use crate::store::{Commit, IndexWrite, MemoryStore, Unit};
    use crate::tags::Tags;
    use crate::time::DurationMs;
    use crate::token::{Keyring, Kid, Secret};

    const ID: ExecutionId = ExecutionId::from_parts(0, Uuid::from_u128(1));

    /// A host whose estimate of the store's clock is wrong for good.
    struct World {
        store: MemoryStore,
        now: u64,
        wrong_by: i64,
        /// How far the clock of the node that has the secrets is ahead of that of the execution's.
        secrets_ahead: i64,
    }

    impl World {
        fn time(&self) -> HostTime {
            let store = TimestampMs::new(self.now).shifted(self.wrong_by);
            HostTime { local: TimestampMs::new(self.now), store }
        }

        fn drive<O: Operation>(&mut self, mut operation: O) -> O::Output {
            let mut step = operation.resume(Event::Start, self.time());
            loop {
                self.now += 1;
                step = match step {
                    Step::Done(output) => return output,
                    Step::Wait(wait) => {
                        self.now += wait.get();
                        operation.resume(Event::Wake, self.time())
                    }
                    Step::Send(request) => {
                        let of_secrets = request.partition() == Partition::META;
                        let ahead = if of_secrets { self.secrets_ahead } else { 0 };
                        let at = TimestampMs::new(self.now).shifted(ahead);
                        let reply = self.store.handle(request, at);
                        operation.resume(Event::Reply(reply), self.time())
                    }
                };
            }
        }

        fn leased(&mut self, terms: &OperationContext) -> Claimed {
            let create = Create {
                execution_id: ID,
                namespace: Namespace::try_new("n").unwrap(),
                lane: LaneId::try_new("l").unwrap(),
                kind: ExecutionKind::try_new("k").unwrap(),
                payload: None,
                payload_limit: DEFAULT_PAYLOAD_LIMIT,
                priority: Priority::default(),
                policy: ExecutionPolicy::default(),
                requires: Capabilities::default(),
                tags: Tags::default(),
                start: Start::Now,
                deadline: None,
                position: 0,
                creator: Nonce(1),
                content: None,
            };
            let patience = || Patience::new(terms.clone(), Entropy::from_u64(1));
            self.drive(Transact::new(create, patience())).unwrap();
            let claim = Claim {
                execution_id: ID,
                grant_id: GrantId::from_uuid(Uuid::from_u128(2)),
                worker: WorkerId::try_new("w").unwrap(),
                instance: WorkerInstanceId::try_new("i").unwrap(),
                lease_id: LeaseId::from_uuid(Uuid::from_u128(3)),
                attempt_id: AttemptId::from_uuid(Uuid::from_u128(4)),
                lease_ttl: DurationMs::from_secs(60),
            };
            let offer = Offer { claim, capabilities: Capabilities::default() };
            match self.drive(Transact::new(offer, patience())).unwrap().outcome {
                Offered::Claimed(claimed) => *claimed,
                other => panic!("{other:?}"),
            }
        }
    }

    fn open(
        world: &mut World,
        claimed: &Claimed,
        number: u128,
        terms: &OperationContext,
    ) -> Result<IssuedWaitpoint, EngineError> {
        let command = CreatePendingWaitpoint {
            execution_id: ID,
            fence: claimed.fence().into(),
            waitpoint_id: WaitpointId::from_uuid(Uuid::from_u128(10 + number)),
            key: WaitpointKey::try_new(format!("key-{number}")).unwrap(),
            expires_in: None,
            keyring: KnownKeyring::default(),
        };
        let entropy = Entropy::from_u64(number as u64);
        let open = Informed::new(command, Known::Nothing, terms.clone(), entropy);
        world.drive(open).map(|committed| committed.outcome)
    }

    fn signal(
        world: &mut World,
        to: &IssuedWaitpoint,
        number: u128,
        terms: &OperationContext,
    ) -> Result<SignalOutcome, EngineError> {
        let command = DeliverSignal {
            execution_id: ID,
            waitpoint_id: to.id,
            token: to.token.clone(),
            signal_id: SignalId::from_uuid(Uuid::from_u128(number)),
            name: SignalName::try_new("go").unwrap(),
            source: None,
            payload: None,
            creator: Nonce(7),
            keyring: KnownKeyring::default(),
            found: FoundSignal::Unread,
        };
        let entropy = Entropy::from_u64(number as u64);
        let send = Informed::new(command, Known::Nothing, terms.clone(), entropy);
        world.drive(send).map(|committed| committed.outcome)
    }

    /// A program that has read the secrets before they were rotated to and fro takes a token that
    /// was signed since.
    #[test]
    fn a_token_of_a_secret_that_signs_again_is_good_at_once() {
        let terms = || OperationContext::new(DurationMs::from_secs(20), Codec::default());
        let store = MemoryStore::new(1);
        let mut world = World { store, now: 1_000_000_000, wrong_by: 0, secrets_ahead: 0 };
        let claimed = world.leased(&terms());
        let rotate = |world: &mut World, kid: &str, grace: u64| {
            let (kid, secret) = (Kid::try_new(kid).unwrap(), Secret::from_hex("0a").unwrap());
            let patience = Patience::new(terms(), Entropy::from_u64(grace));
            world.drive(RotateSecret::new(kid, secret, DurationMs::new(grace), patience)).unwrap();
        };
        rotate(&mut world, "a", 1);
        let first = open(&mut world, &claimed, 0, &terms()).unwrap();
        rotate(&mut world, "b", 10);
        world.now += 20;
        let program = terms();
        let refused = signal(&mut world, &first, 1, &program);
        assert!(refused.is_err(), "{refused:?}");
        rotate(&mut world, "a", 10_000);
        let second = open(&mut world, &claimed, 1, &terms()).unwrap();
        let taken = signal(&mut world, &second, 2, &program);
        assert!(taken.is_ok(), "{taken:?}");
    }

    /// An error inside a function can leave the entry of a signal that was never taken: it goes
    /// with its execution.
    #[test]
    fn an_entry_without_its_signal_goes_with_its_execution() {
        let terms = OperationContext::new(DurationMs::from_secs(20), Codec::default());
        let store = MemoryStore::new(1);
        let mut world = World { store, now: 1_000_000_000, wrong_by: 0, secrets_ahead: 0 };
        let claimed = world.leased(&terms);
        open(&mut world, &claimed, 0, &terms).unwrap();
        let patience = || Patience::new(terms.clone(), Entropy::from_u64(3));
        let fence = claimed.fence().into();
        let complete = Complete { execution_id: ID, fence, result: None };
        world.drive(Transact::new(complete, patience())).unwrap();
        let (index, member) = (IndexName::Signals { execution: ID.uuid() }, Uuid::from_u128(9));
        let left = IndexWrite { index: index.clone(), member, score: Some(Score::new(0)) };
        let unit = Unit { index: vec![left], ..Unit::new(Purpose::Finish, 1) };
        let (partition, units) = (ID.partition(), vec![unit]);
        let commit = Request::Commit(Commit { partition, units });
        world.store.handle(commit, TimestampMs::new(world.now));
        world.now += ExecutionPolicy::default().retention_ms.get() + 60_000;
        for _ in 0..8 {
            let config = PartitionConfig::default();
            world.drive(ApplyDue::new(config, terms.clone(), Entropy::from_u64(4))).unwrap();
            world.now += 10_000;
        }
        let scan = Scan { partition, index, after: None, limit: 10 };
        let reply = world.store.handle(Request::Scan(scan), TimestampMs::new(world.now));
        assert_eq!(reply.body, ReplyBody::Scan(Scanned::default()));
    }

    /// A signal that was heard and that the store has lost since satisfies nothing.
    #[test]
    fn a_signal_that_was_lost_satisfies_nothing() {
        let terms = OperationContext::new(DurationMs::from_secs(20), Codec::default());
        let store = MemoryStore::new(1);
        let mut world = World { store, now: 1_000_000_000, wrong_by: 0, secrets_ahead: 0 };
        let claimed = world.leased(&terms);
        let waitpoint = open(&mut world, &claimed, 0, &terms).unwrap();
        let lost = SignalRecord {
            id: SignalId::from_uuid(Uuid::from_u128(1)),
            number: 0,
            waitpoint_id: waitpoint.id,
            waitpoint_key: waitpoint.key.clone(),
            waitpoint_created_at: waitpoint.created_at,
            name: SignalName::try_new("go").unwrap(),
            source: None,
            at: waitpoint.created_at,
            creator: Nonce(1),
            effect: SignalEffect::Buffered,
        };
        let ring = Keyring::new(Kid::try_new("k").unwrap(), Secret::from_hex("0a").unwrap());
        let command = Suspend {
            execution_id: ID,
            fence: claimed.fence().into(),
            suspension_id: SuspensionId::from_uuid(Uuid::from_u128(2)),
            reason: SuspensionReason::Signal,
            waitpoints: vec![BindWaitpoint::Open { id: waitpoint.id }],
            condition: Condition::any_signal(waitpoint.key),
            timeout: None,
            policy: ResumePolicy::default(),
            keyring: KnownKeyring::new(ring, TimestampMs::new(world.now)),
            heard: Heard { through: 1, signals: vec![lost] },
        };
        let patience = Patience::new(terms, Entropy::from_u64(5));
        let suspended = world.drive(Transact::new(command, patience)).unwrap().outcome;
        assert!(matches!(suspended, SuspendOutcome::Suspended { .. }), "{suspended:?}");
    }

    /// What was just read is new, whatever the host takes the store's clock for, and however far
    /// the clocks of two nodes are apart.
    #[test]
    fn a_wrong_clock_does_not_make_secrets_old() {
        let apart = [(-10_000, 0), (0, 0), (10_000, 0), (0, -5_000), (0, 5_000), (9_000, 5_000)];
        for (wrong_by, ahead) in apart {
            let terms = OperationContext::new(DurationMs::from_secs(20), Codec::default());
            let store = MemoryStore::new(1);
            let mut world = World { store, now: 1_000_000_000, wrong_by: 0, secrets_ahead: 0 };
            let claimed = world.leased(&terms);
            (world.wrong_by, world.secrets_ahead) = (wrong_by, ahead);
            for number in 0..2 {
                let opened = open(&mut world, &claimed, number, &terms);
                assert!(opened.is_ok(), "{wrong_by} ms, {ahead} ms: {opened:?}");
            }
        }
    }
}
