//! What goes wrong in a simulation, and how much of it a seed draws.

use std::collections::BTreeSet;

use ff_core::entropy::Entropy;

use crate::determinism::random::{between, happens, one_of, stream};

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Fault {
    /// A call never arrives, whether its sender knows or not.
    RequestLost,
    /// A call is carried out and its reply never comes.
    ReplyLost,
    /// A call or its reply takes much longer than others, which overtake it.
    Delay,
    /// A call is sent twice, as a client library does after it has connected again.
    Resend,
    /// A call is carried out after its sender has given it up.
    LateExecution,
    /// All calls of a process that are under way lose their replies.
    Disconnect,
    /// A process reaches nobody for a while, or hears of nobody, or both.
    Partition,
    /// A worker's process ends at one of its awaits, and is started again later.
    Crash,
    /// A worker's process stands still while time goes on, often longer than its leases.
    Pause,
    /// A process starts with a wrong wall clock.
    ClockOffset,
    /// A process's clock is too fast or too slow.
    ClockDrift,
    /// The store takes long to answer, for a while.
    SlowStore,
    /// A wake-up never arrives.
    WakeUpLost,
    /// A wake-up arrives twice.
    WakeUpRepeated,
}

impl Fault {
    /// Everything that can go wrong.
    pub const ALL: [Self; 14] = [
        Self::RequestLost,
        Self::ReplyLost,
        Self::Delay,
        Self::Resend,
        Self::LateExecution,
        Self::Disconnect,
        Self::Partition,
        Self::Crash,
        Self::Pause,
        Self::ClockOffset,
        Self::ClockDrift,
        Self::SlowStore,
        Self::WakeUpLost,
        Self::WakeUpRepeated,
    ];
}

/// What may go wrong in a simulation. Each seed draws from it what does, and how often: some seeds
/// have much of little, others a little of all.
///
/// ```
/// use ff_sim::{Fault, Faults};
///
/// let network_only = Faults::all().without(Fault::Crash).without(Fault::Pause);
/// assert!(network_only.has(Fault::ReplyLost));
/// assert_eq!(Faults::only([Fault::Crash]), Faults::none().with(Fault::Crash));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(BTreeSet<Fault>);

impl Faults {
    /// Everything.
    pub fn all() -> Self {
        Self::only(Fault::ALL)
    }

    /// Nothing: calls take their time and arrive in any order, and no more than that.
    pub fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// These, and no others.
    pub fn only(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self(faults.into_iter().collect())
    }

    /// The same, and this one.
    #[must_use]
    pub fn with(mut self, fault: Fault) -> Self {
        self.0.insert(fault);
        self
    }

    /// The same but for this one.
    #[must_use]
    pub fn without(mut self, fault: Fault) -> Self {
        self.0.remove(&fault);
        self
    }

    /// Whether this one is among them.
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }
}

impl Default for Faults {
    /// [`Faults::all`].
    fn default() -> Self {
        Self::all()
    }
}

/// How often each fault happens in the run of a seed: of calls and wake-ups so many in a thousand,
/// of the others so many in the whole run.
#[derive(Clone, Debug)]
pub struct Weights {
    pub latency_ms: u64,
    pub timeout_ms: u64,
    /// For how long things go wrong, in milliseconds.
    pub until_ms: u64,
    pub request_lost: u64,
    pub reply_lost: u64,
    pub delay: u64,
    pub resend: u64,
    pub late: u64,
    /// A crash at a call, among so many thousand.
    pub crash: u64,
    pub wake_lost: u64,
    pub wake_repeated: u64,
    pub crashes: u64,
    pub pauses: u64,
    pub disconnects: u64,
    pub partitions: u64,
    pub slow_times: u64,
    pub clock_offset: bool,
    pub clock_drift: bool,
}

impl Weights {
    /// What a seed draws.
    pub fn draw(seed: u64, faults: &Faults) -> Self {
        let mut sizes = stream(seed, "simulation: sizes", 0);
        let mut weights = Faulty { seed, faults };
        let often = [0, 0, 10, 30, 100];
        Self {
            latency_ms: one_of(&mut sizes, &[2, 5, 20, 60]),
            timeout_ms: one_of(&mut sizes, &[200, 500, 2_000]),
            until_ms: between(&mut sizes, 20_000, 90_000),
            request_lost: weights.one_of(Fault::RequestLost, &often),
            reply_lost: weights.one_of(Fault::ReplyLost, &often),
            delay: weights.one_of(Fault::Delay, &often),
            resend: weights.one_of(Fault::Resend, &often),
            late: weights.one_of(Fault::LateExecution, &often),
            crash: weights.one_of(Fault::Crash, &[0, 0, 2, 5, 20]),
            wake_lost: weights.one_of(Fault::WakeUpLost, &[0, 100, 500, 1_000]),
            wake_repeated: weights.one_of(Fault::WakeUpRepeated, &[0, 100, 500]),
            crashes: weights.one_of(Fault::Crash, &[0, 0, 1, 2, 5]),
            pauses: weights.one_of(Fault::Pause, &[0, 0, 1, 2]),
            disconnects: weights.one_of(Fault::Disconnect, &[0, 1, 4]),
            partitions: weights.one_of(Fault::Partition, &[0, 0, 1, 3]),
            slow_times: weights.one_of(Fault::SlowStore, &[0, 0, 1, 2]),
            clock_offset: weights.one_of(Fault::ClockOffset, &[false, true]),
            clock_drift: weights.one_of(Fault::ClockDrift, &[false, true]),
        }
    }
}

/// Draws for each fault from a stream of its own, so that switching one off leaves the others as
/// they were.
struct Faulty<'f> {
    seed: u64,
    faults: &'f Faults,
}

impl Faulty<'_> {
    fn one_of<T: Copy>(&mut self, fault: Fault, choices: &[T]) -> T {
        let mut entropy = stream(self.seed, "simulation: weights", fault as u64);
        let drawn = one_of(&mut entropy, choices);
        if self.faults.has(fault) { drawn } else { choices[0] }
    }
}

/// How far a process's wall clock is off at its start, in milliseconds.
pub fn clock_offset(entropy: &mut Entropy) -> i64 {
    const HOUR_MS: i64 = 60 * 60 * 1_000;
    let near = between(entropy, 0, 1_800) as i64 - 900;
    one_of(entropy, &[near, near, 5 * near, 3 * HOUR_MS, -3 * HOUR_MS])
}

/// By how many millionths a process's clock is too fast.
pub fn clock_drift(entropy: &mut Entropy) -> i64 {
    let most = if happens(entropy, 500) { 50 } else { 500 };
    between(entropy, 0, 2 * most) as i64 - most as i64
}

/// What becomes of a call; times in milliseconds from its sending.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When it is carried out, if it is.
    pub arrives: Option<u64>,
    /// When a copy of it arrived before.
    pub copy_arrives: Option<u64>,
    /// When the reply comes after the call was carried out, if it does.
    pub reply_after: Option<u64>,
    /// When the sender gives up unless there is a reply, and whether it knows that nothing left.
    pub fails: Option<(u64, bool)>,
    /// What is wrong, if anything is.
    pub fault: Option<Fault>,
}

/// What becomes of a call by these weights.
pub fn journey(entropy: &mut Entropy, weights: &Weights) -> Journey {
    let (latency, timeout) = (weights.latency_ms, weights.timeout_ms);
    let there = between(entropy, 1, latency);
    let back = between(entropy, 1, latency);
    let good = Journey {
        arrives: Some(there),
        copy_arrives: None,
        reply_after: Some(back),
        fails: None,
        fault: None,
    };
    let failed = |arrives, fails, fault| Journey {
        arrives,
        reply_after: None,
        fails: Some(fails),
        fault: Some(fault),
        ..good
    };
    if happens(entropy, weights.request_lost) {
        let known = happens(entropy, 500);
        return failed(None, (if known { 1 } else { timeout }, known), Fault::RequestLost);
    }
    if happens(entropy, weights.reply_lost) {
        return failed(Some(there), (timeout, false), Fault::ReplyLost);
    }
    if happens(entropy, weights.late) {
        let late = timeout + between(entropy, 1, 8 * timeout);
        return failed(Some(late), (timeout, false), Fault::LateExecution);
    }
    if happens(entropy, weights.resend) {
        let arrives = there + between(entropy, 1, 3 * latency);
        let copy_arrives = Some(there);
        let fault = Some(Fault::Resend);
        return Journey { arrives: Some(arrives), copy_arrives, fault, ..good };
    }
    if happens(entropy, weights.delay) {
        let (more, on_the_way_back) = (between(entropy, 1, timeout / 2), happens(entropy, 500));
        let (arrives, back) =
            if on_the_way_back { (there, back + more) } else { (there + more, back) };
        let fault = Some(Fault::Delay);
        return Journey { arrives: Some(arrives), reply_after: Some(back), fault, ..good };
    }
    good
}
