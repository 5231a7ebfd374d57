//! The timekeeper: applies due timers, and sleeps until the next one is due.

mod timers;

use std::collections::BTreeSet;

use crate::entropy::Entropy;
use crate::error::EngineError;
use crate::op::{ApplyDue, DueReport, FirstTimer, OperationContext, StoreClocks};
use crate::partition::{Partition, PartitionConfig};
use crate::score::Score;
use crate::store::Wake;
use crate::time::{DurationMs, HostTime, TimestampMs};

use timers::Timers;

/// Applies the timers of executions. Every worker process runs one; any number of them share the
/// work.
///
/// It knows the first timer of each partition from its polls and takes, from its own process, and
/// from wake-ups, and takes only where one is due. One poll of all partitions in a while finds what
/// it does not know. The timekeeper that took from a partition last takes there on time. The others
/// wait a little longer, so that the wake-up of that take reaches them before they take in vain.
#[derive(Clone, Debug)]
pub struct Timekeeper {
    partitions: PartitionConfig,
    context: OperationContext,
    entropy: Entropy,
    clocks: StoreClocks,
    timers: Timers,
    /// Where the retention of executions ends next.
    retention: Timers,
    /// The partitions from which no other timekeeper has taken since this one did.
    own: BTreeSet<Partition>,
    /// How many programs run a timekeeper, as far as it is known.
    programs: u64,
    next_look: TimestampMs,
    next_look_at_retention: TimestampMs,
    /// Whether the next round is for retention, if there is something to do for both.
    is_retention_next: bool,
    /// After a failed round: when the next one begins, at the earliest.
    rests_until: TimestampMs,
    /// The round under way.
    round: Option<Round>,
}

/// A round under way.
#[derive(Clone, Debug, Default)]
struct Round {
    /// Whether it is for retention, not for timers.
    retention: bool,
    /// Whether it polls all partitions.
    looks: bool,
    /// The partitions with due timers that it takes from.
    ready: Vec<Partition>,
    /// The partitions of which something was learned since its start.
    learned: BTreeSet<Partition>,
}

/// The time between two polls of all partitions, with jitter, if no other program runs a
/// timekeeper. With more of them each polls less often.
const LOOK_EVERY_MS: u64 = 1_000;
/// The most time between two of these polls. If most programs end at the same time, the others find
/// the timers that those knew of after this time.
const MAX_LOOK_EVERY_MS: u64 = 15_000;

/// The time after which a round leaves its due timers to the next one, which sees newer wake-ups.
const ROUND: DurationMs = DurationMs::new(100);

/// The time between two polls for the ends of retention, and the most time.
const LOOK_AT_RETENTION_EVERY_MS: u64 = 2_000;
const MAX_LOOK_AT_RETENTION_EVERY_MS: u64 = 48_000;

/// The time after which a round for retention begins no further take. Timers wait for at most one
/// such round.
const RETENTION_ROUND: DurationMs = DurationMs::new(20);

/// How much later than on time a timekeeper takes from a partition that another one takes from.
const WAIT_MS: u64 = 20;
/// The jitter that is added to it.
const JITTER_MS: u64 = 30;

impl Timekeeper {
    /// A timekeeper whose first round begins immediately.
    pub const fn new(
        partitions: PartitionConfig,
        context: OperationContext,
        entropy: Entropy,
    ) -> Self {
        Self {
            partitions,
            context,
            entropy,
            clocks: StoreClocks::new(),
            timers: Timers::new(),
            retention: Timers::new(),
            own: BTreeSet::new(),
            programs: 1,
            next_look: TimestampMs::ZERO,
            next_look_at_retention: TimestampMs::ZERO,
            is_retention_next: false,
            rests_until: TimestampMs::ZERO,
            round: None,
        }
    }

    /// Begins a round. Its result goes to [`Timekeeper::applied`].
    pub fn apply_due(&mut self, now: HostTime) -> ApplyDue {
        let is_due = |next: TimestampMs| next <= now.local;
        let retention = is_due(self.next_retention())
            && (self.is_retention_next || !is_due(self.next_timers()));
        self.is_retention_next = !retention;
        let round = ApplyDue::new(self.partitions, self.context.clone(), self.entropy.fork());
        let (timers, looks, round) = if retention {
            let round = round.retention().lasting(RETENTION_ROUND);
            (&mut self.retention, is_due(self.next_look_at_retention), round)
        } else {
            let round = round.timers().comparing(self.clocks.clone()).lasting(ROUND);
            (&mut self.timers, is_due(self.next_look), round)
        };
        let ready = timers.remove_due(now.local);
        let round = if looks { round } else { round.only(ready.iter().copied()) };
        self.round = Some(Round { retention, looks, ready, learned: BTreeSet::new() });
        round
    }

    /// Notes the result of a round.
    pub fn applied(&mut self, report: &Result<DueReport, EngineError>, now: HostTime) {
        let Round { retention, looks, ready, learned } = self.round.take().unwrap_or_default();
        let Ok(report) = report else {
            let first = FirstTimer { due: now.local, score: Score::at(now.store) };
            for partition in ready {
                match retention {
                    true => self.retention.set(partition, Some((first, now.local))),
                    false => self.note(partition, first, now),
                }
            }
            self.rests_until = now.local.plus(self.jittered(LOOK_EVERY_MS));
            return;
        };
        if retention {
            return self.applied_retention(report, looks, now);
        }
        if let Some(clocks) = &report.clocks {
            self.clocks.clone_from(clocks);
        }
        if let Some(programs) = report.programs {
            self.programs = programs.max(1);
            let every = (LOOK_EVERY_MS * self.programs).min(MAX_LOOK_EVERY_MS);
            // Programs that start together look at different times from then on.
            let first = self.next_look == TimestampMs::ZERO;
            let wait = if first {
                DurationMs::new(self.entropy.below(every))
            } else {
                self.jittered(every)
            };
            self.next_look = now.local.plus(wait);
            // The nodes of these did not answer, so that a take would not be answered either.
            for partition in self.partitions.flow_partitions() {
                if !report.firsts.contains_key(&partition) {
                    self.timers.set(partition, None);
                }
            }
        }
        // From where it took in vain, another one took before.
        self.own.retain(|partition| !ready.contains(partition));
        for partition in &report.took {
            // A program with most of the partitions would be late.
            if self.own.len() < self.fair_share() {
                self.own.insert(*partition);
            }
        }
        for (partition, first) in &report.firsts {
            match first {
                Some(first) if learned.contains(partition) => self.note(*partition, *first, now),
                _ if learned.contains(partition) => {}
                first => self.set(*partition, *first, now),
            }
        }
    }

    /// Notes the result of a round for retention. It is not urgent, so the programs of a fleet do
    /// it at different times.
    fn applied_retention(&mut self, report: &DueReport, looks: bool, now: HostTime) {
        if looks {
            let every = LOOK_AT_RETENTION_EVERY_MS * self.programs;
            let every = every.min(MAX_LOOK_AT_RETENTION_EVERY_MS);
            self.next_look_at_retention = now.local.plus(self.jittered(every));
            self.retention = Timers::new();
        }
        for (partition, first) in &report.retention {
            let timer = first.map(|first| {
                let is_due = first.due <= now.local;
                let spread = if is_due { 0 } else { LOOK_EVERY_MS * (self.programs - 1) };
                (first, first.due.plus(DurationMs::new(self.entropy.below(spread + 1))))
            });
            self.retention.set(*partition, timer);
        }
    }

    fn next_timers(&self) -> TimestampMs {
        self.timers.next().map_or(self.next_look, |next| next.min(self.next_look))
    }

    fn next_retention(&self) -> TimestampMs {
        let look = self.next_look_at_retention;
        self.retention.next().map_or(look, |next| next.min(look))
    }

    /// Twice as many partitions as each program has if all have the same number.
    fn fair_share(&self) -> usize {
        let count = self.partitions.flow_partitions().count();
        2 * count.div_ceil(usize::try_from(self.programs).unwrap_or(usize::MAX))
    }

    /// A time of this length with a quarter of it as jitter.
    fn jittered(&mut self, time_ms: u64) -> DurationMs {
        DurationMs::new(time_ms * 3 / 4 + self.entropy.below(time_ms / 2))
    }

    /// Notes a time, by the store's clock, at which something will be due in a partition.
    pub fn learn(&mut self, partition: Partition, due: TimestampMs, now: HostTime) {
        self.note(partition, self.timer(Score::at(due), now), now);
        if let Some(round) = &mut self.round {
            round.learned.insert(partition);
        }
    }

    /// Notes a wake-up of [`Topic::Due`](crate::store::Topic::Due).
    pub fn wake(&mut self, wake: &Wake, now: HostTime) {
        let known = self.timers.first(wake.partition);
        // The time of a known timer is from a reply. That of a wake-up rests on the estimate of the
        // store's clock; with a wrong one, each take in vain would ring the next.
        let is_known = |score| known.filter(|known| known.score == score);
        let first = wake.first.as_ref().map(|first| first.score);
        let first = first.map(|score| is_known(score).unwrap_or_else(|| self.timer(score, now)));
        // A take leaves a later first timer, or none; a commit rings with an earlier one.
        let is_after = |known: FirstTimer| first.is_none_or(|first| first.score > known.score);
        let takes = self.round.as_ref().is_some_and(|round| round.ready.contains(&wake.partition));
        if known.is_some_and(is_after) && !takes {
            self.own.remove(&wake.partition);
        }
        self.set(wake.partition, first, now);
        if let Some(round) = &mut self.round {
            round.learned.insert(wake.partition);
        }
    }

    fn timer(&self, score: Score, now: HostTime) -> FirstTimer {
        FirstTimer { due: now.local.plus(score.instant().since(now.store)), score }
    }

    /// Notes a timer of a partition, which may have an earlier one.
    fn note(&mut self, partition: Partition, timer: FirstTimer, now: HostTime) {
        let known = self.timers.first(partition).filter(|known| known.score < timer.score);
        self.set(partition, Some(known.unwrap_or(timer)), now);
    }

    /// Notes the first timer of a partition.
    fn set(&mut self, partition: Partition, first: Option<FirstTimer>, now: HostTime) {
        let on_time = self.programs == 1 || self.own.contains(&partition);
        let wait = if on_time { 0 } else { WAIT_MS + self.entropy.below(JITTER_MS + 1) };
        let timer = first.map(|first| {
            let from = if on_time { first.due } else { first.due.max(now.local) };
            (first, from.plus(DurationMs::new(wait)))
        });
        self.timers.set(partition, timer);
    }

    /// Returns how many programs run a timekeeper, as far as it is known; at least 1.
    pub const fn programs(&self) -> u64 {
        self.programs
    }

    /// When the next round begins, by the host's clock.
    pub fn next_wakeup(&self) -> TimestampMs {
        self.next_timers().min(self.next_retention()).max(self.rests_until)
    }
}
