//! The processes of a run, their clocks, and their starts.

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use ff_core::agent::WorkerProfile;
use ff_core::capability::Capabilities;
use ff_core::error::Rejection;
use ff_core::id::{SlotId, WorkerId};
use ff_core::kinds::Kinds;
use ff_core::lane::Lanes;
use ff_core::op::{OperationContext, UseTask};
use ff_core::time::TimestampMs;

use crate::determinism::clock::Clock;
use crate::determinism::random::{between, happens, stream};
use crate::invariant::retries::RetriesLeft;
use crate::plan::settings::Settings;
use crate::process::client::ClientProcess;
use crate::process::context::{Context, Message};
use crate::process::operator::OperatorProcess;
use crate::process::reader::ReaderProcess;
use crate::process::signaller::SignallerProcess;
use crate::process::submissions::{TOKENS, instance_id, kind, lane, namespace};
use crate::process::task::Output;
use crate::process::timekeeper::TimekeeperProcess;
use crate::process::worker::WorkerProcess;

/// A process and its clocks.
#[derive(Debug)]
pub struct Host {
    /// The program that it runs.
    pub kind: Kind,
    /// Its clocks.
    pub clock: Clock,
    /// Whether it runs.
    pub up: bool,
    /// When it is woken next, in simulated time.
    pub wake: Option<u64>,
    /// The number of this start of the process, from 0.
    pub start: u64,
    /// The start whose instance id it has.
    pub instance: u64,
    /// How many operations it has begun since its start.
    pub operations: u64,
    /// How many steps it has taken since its start.
    pub steps: u64,
    /// Whether it never comes back.
    pub gone: bool,
    /// Until when it is paused.
    pub paused_until: u64,
    /// Until when its messages are lost.
    pub requests_lost_until: u64,
    /// Until when messages to it are lost.
    pub replies_lost_until: u64,
    /// Its work on quotas that has to be done next.
    pub tasks: VecDeque<UseTask>,
    /// The grants whose slots it frees.
    pub freed: BTreeSet<SlotId>,
    /// The lanes that it has read.
    pub lanes: KnownLanes,
    /// Its registration, by the answers that it got.
    pub registration: KnownRegistration,
    /// The retries that it has left, if its calls share a budget.
    pub retries: Option<RetriesLeft>,
    /// When the latest of the ordered requests arrives, and the latest of the ordered replies.
    pub in_order: (u64, u64),
}

/// The lanes that a process has read.
#[derive(Clone, Debug, Default)]
pub struct KnownLanes {
    /// The lanes in the latest reply.
    pub lanes: Option<Rc<Lanes>>,
    /// When it asked for them last, or was not answered, by its own clock.
    pub asked_at: Option<TimestampMs>,
}

/// The registration of a process, by the answers that it got.
#[derive(Clone, Debug, Default)]
pub struct KnownRegistration {
    /// Whether it is registered.
    pub is_registered: bool,
    /// Why it is not registered any more.
    pub lost: Option<Rejection>,
}

/// The program of a process.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // A handful of them.
pub enum Kind {
    /// A worker.
    Worker(WorkerProcess),
    /// A timekeeper.
    Timekeeper(TimekeeperProcess),
    /// The client.
    Client(ClientProcess),
    /// The reader of the journals.
    Reader(ReaderProcess),
    /// The operator.
    Operator(OperatorProcess),
    /// The signaller.
    Signaller(SignallerProcess),
}

impl Kind {
    /// The context of its operations.
    pub fn context(&self) -> &OperationContext {
        match self {
            Self::Worker(worker) => &worker.agent.profile().context,
            Self::Timekeeper(timekeeper) => timekeeper.context(),
            Self::Client(client) => client.context(),
            Self::Reader(reader) => reader.context(),
            Self::Operator(operator) => operator.context(),
            Self::Signaller(signaller) => signaller.context(),
        }
    }

    /// Takes the steps that are due.
    pub fn wake(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Worker(worker) => worker.wake(cx),
            Self::Timekeeper(timekeeper) => timekeeper.wake(cx),
            Self::Client(client) => client.wake(cx),
            Self::Reader(reader) => reader.wake(cx),
            Self::Operator(operator) => operator.wake(cx),
            Self::Signaller(signaller) => signaller.wake(cx),
        }
    }

    /// Takes over a message.
    pub fn receive(&mut self, message: Message, cx: &mut Context<'_>) {
        match (self, message) {
            (Self::Worker(worker), Message::Wake(wake)) => worker.ring(&wake, cx),
            (Self::Timekeeper(timekeeper), Message::Wake(wake)) => timekeeper.ring(&wake, cx),
            (Self::Worker(worker), Message::Grant(grant)) => worker.take(grant, cx),
            (Self::Worker(worker), Message::Notice(notice)) => worker.notice(notice, cx),
            (Self::Client(client), Message::Notice(notice)) => client.notice(notice, cx),
            (Self::Operator(operator), Message::Notice(notice)) => operator.notice(notice, cx),
            (Self::Signaller(signaller), Message::Notice(notice)) => signaller.notice(notice, cx),
            (Self::Signaller(signaller), Message::Token(token)) => signaller.learns(token, cx),
            _ => {}
        }
    }

    /// Takes over the output of an operation.
    pub fn done(&mut self, output: Output, cx: &mut Context<'_>) {
        match (self, output) {
            (Self::Worker(worker), Output::Claimed(result)) => worker.claimed(result, cx),
            (Self::Worker(worker), Output::Renewed(id, result)) => worker.renewed(id, result, cx),
            (Self::Worker(worker), Output::Command(origin, result)) => {
                worker.answered(origin, result, cx);
            }
            (Self::Worker(worker), Output::Registered(result)) => worker.registered(result, cx),
            (Self::Worker(worker), Output::Deregistered(_)) => worker.deregistered(cx),
            (Self::Worker(worker), Output::Gathered(partition, answers)) => {
                worker.gathered(partition, answers, cx);
            }
            (Self::Timekeeper(timekeeper), Output::Ticked(report)) => {
                timekeeper.ticked(&report, cx);
            }
            (Self::Timekeeper(timekeeper), Output::Swept(result)) => {
                timekeeper.swept(&result, cx);
            }
            (Self::Timekeeper(_), Output::Command(..)) | (_, Output::HandedOver) => {}
            (Self::Client(client), Output::Drawn(result)) => client.drawn(result, cx),
            (Self::Client(client), Output::Command(origin, result)) => {
                client.answered(origin, result, cx);
            }
            (Self::Reader(reader), Output::Read { partition, limit, result, .. }) => {
                reader.read(partition, limit, result, cx);
            }
            (Self::Operator(operator), Output::Listed { filter, result: Ok(page), .. }) => {
                operator.listed(filter, &page, cx);
            }
            (Self::Worker(worker), Output::Signals { lease, .. }) => worker.has_read(lease, cx),
            (Self::Reader(reader), Output::Frames { of: (id, attempt), result, .. }) => {
                reader.has_frames(id, attempt, &result, cx);
            }
            (Self::Operator(_) | Self::Signaller(_), _) => {}
            (kind, output) => unreachable!("{kind:?} never starts what comes to {output:?}"),
        }
    }
}

/// The workers of a run. The first two can be instances of one worker; the first serves both lanes
/// and all kinds, and has every capability that any worker has.
pub fn profiles(seed: u64, settings: &Settings) -> Arc<[WorkerProfile]> {
    let mut entropy = stream(seed, "profiles", 0);
    let twins = happens(&mut entropy, 300);
    let profile = |number: usize| {
        let name = if twins && number == 1 { 0 } else { number };
        let lanes = match if number == 0 { 0 } else { entropy.below(3) } {
            0 => vec![lane(0), lane(1)],
            1 => vec![lane(0)],
            _ => vec![lane(1)],
        };
        let tokens = match entropy.below(4) {
            0 => &TOKENS[..1],
            1 => &TOKENS[1..2],
            _ => &[],
        };
        let tokens = if number == 0 { &TOKENS[..2] } else { tokens };
        let kinds = match if number == 0 { 0 } else { entropy.below(3) } {
            0 => Kinds::All,
            number => Kinds::from_iter([kind(number - 1)]),
        };
        WorkerProfile {
            namespace: namespace(),
            lanes,
            kinds,
            worker: WorkerId::try_new(format!("worker-{name}")).expect("a valid id"),
            instance: instance_id(number, 0),
            capabilities: Capabilities::try_new(tokens).expect("valid tokens"),
            slots: 1,
            lease_ttl: settings.lease_ttl,
            context: settings.context(),
            partitions: settings.partitions,
        }
    };
    (0..settings.workers).map(profile).collect()
}

/// The process in whose name a worker has its instance id: its own, unless the first two workers
/// share an id.
pub fn named_as(seed: u64, settings: &Settings, number: usize) -> usize {
    let shares = number == 1 && settings.wait_rates.registry > 0 && settings.workers > 1;
    if shares && happens(&mut stream(seed, "shares", 0), 400) { 0 } else { number }
}

/// The start of a process.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Its number: first the workers, then the timekeepers, the client, the reader, the operator
    /// and the signaller.
    pub process: usize,
    /// The number of this start, from 0.
    pub start: u64,
    /// The simulated time.
    pub now: u64,
    /// The start whose instance id it has.
    pub instance: u64,
    /// The process in whose name it has it.
    pub named_as: usize,
    /// How far its wall clock is off, in milliseconds.
    pub skew: i64,
    /// By how many parts in a million its local clock runs too fast.
    pub drift: i64,
}

/// Starts a process.
pub fn host(
    seed: u64,
    settings: &Settings,
    profiles: &Arc<[WorkerProfile]>,
    Start { process: number, start, now, instance, named_as, skew, drift }: Start,
) -> Host {
    let mut entropy = stream(seed, "process", number as u64 * 1_000 + start);
    let clock = Clock::new(now, between(&mut entropy, 0, 1_000_000), skew, drift);
    let kind = if number < profiles.len() {
        let mut profile = profiles[number].clone();
        profile.instance = instance_id(named_as, instance);
        // A process remembers nothing of its earlier starts.
        profile.context = settings.context();
        profile.slots = between(&mut entropy, 1, settings.slots) as usize;
        let key = number as u64 * 1_000 + start;
        Kind::Worker(WorkerProcess::new(seed, settings.wait_rates, profile, key, entropy))
    } else if number < profiles.len() + settings.timekeepers {
        Kind::Timekeeper(TimekeeperProcess::new(settings, entropy))
    } else if number == settings.client_process() {
        Kind::Client(ClientProcess::new(seed, settings, Arc::clone(profiles), entropy))
    } else if number == profiles.len() + settings.timekeepers + 1 {
        Kind::Reader(ReaderProcess::new(settings, entropy))
    } else if number == profiles.len() + settings.timekeepers + 2 {
        Kind::Operator(OperatorProcess::new(seed, settings))
    } else {
        Kind::Signaller(SignallerProcess::new(seed, settings))
    };
    let budgeted = matches!(kind, Kind::Client(_) | Kind::Operator(_) | Kind::Signaller(_));
    Host {
        kind,
        clock,
        up: true,
        wake: None,
        start,
        instance,
        operations: 0,
        steps: 0,
        gone: false,
        paused_until: 0,
        requests_lost_until: 0,
        replies_lost_until: 0,
        tasks: VecDeque::new(),
        freed: BTreeSet::new(),
        lanes: KnownLanes::default(),
        registration: KnownRegistration::default(),
        retries: budgeted.then(|| RetriesLeft::new(settings.retries)),
        in_order: (now, now),
    }
}
