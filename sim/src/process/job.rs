//! The jobs of a worker: the actions of a handler with its execution.

use std::collections::VecDeque;
use std::sync::Arc;

use ff_core::agent::FrameWriter;
use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{
    AnyCommand, AppendFrame, Cancel, CancelledBy, Claimed, Complete, DelayExecution, Execution,
    Fail, FenceParts, Frame, MoveToWaitingChildren, RetryAdvice, UpdateProgress,
};
use ff_core::id::{AttemptId, FailureCategory, LeaseEpoch, LeaseId};
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::hash::Fnv;
use crate::determinism::random::{between, happens, one_of, stream};
use crate::plan::settings::WaitRates;

use super::suspensions;

/// An action of a handler.
#[derive(Clone, Debug)]
pub enum Act {
    /// Works for that many milliseconds.
    Work(u64),
    /// Reports progress.
    Progress(u8),
    /// Opens a waitpoint.
    Waitpoint,
    /// Gives its lease back until it is resumed.
    Suspend,
    /// Appends a frame to its output.
    Frame,
    /// Reads the signals that have resumed it.
    ReadSignals,
    /// Stops renewing its lease.
    Neglect,
    /// Gives its lease back.
    Finish(Finish),
    /// Ends without giving its lease back.
    Drop,
}

/// How a handler gives its lease back.
#[derive(Clone, Debug)]
pub enum Finish {
    /// It has completed.
    Complete(Option<Arc<[u8]>>),
    /// It failed.
    Fail { category: &'static str, retry: RetryAdvice },
    /// It continues later.
    Delay(u64),
    /// The next worker continues, as if it had not been claimed.
    GiveBack,
    /// It waits for children, of which there are none.
    WaitForChildren,
    /// It is cancelled.
    Cancel,
}

/// An execution that a worker holds.
#[derive(Debug)]
pub struct Job {
    /// The claimed execution and its lease.
    pub claimed: Claimed,
    /// The actions of its handler, in order.
    pub acts: VecDeque<Act>,
    /// When it takes the next action, by its worker's clock.
    pub next_at: TimestampMs,
    /// Whether it waits for the answer to a call.
    pub busy: bool,
    /// The call that gives its lease back, and how often it was tried.
    pub finishing: Option<(AnyCommand, u32)>,
    /// The call that opens a waitpoint, suspends or appends a frame, and how often it was tried.
    pub asking: Option<(AnyCommand, u32)>,
    /// The output of its attempt.
    pub output: FrameWriter,
    /// The key of its actions: the execution and the number of its lease.
    key: u64,
    /// How many of its actions are done.
    done: u64,
    entropy: Entropy,
    /// The stream of its waitpoints, suspensions and frames.
    waits: Entropy,
}

impl Job {
    /// A job whose handler is drawn from the seed. `healing`: the handler must complete.
    pub fn new(
        seed: u64,
        wait_rates: WaitRates,
        claimed: Claimed,
        healing: bool,
        now: TimestampMs,
    ) -> Self {
        let mut hash = Fnv::default();
        hash.bytes(claimed.execution_id.uuid().as_bytes());
        // The same in each run, while the time of its creation may differ by a fault.
        hash.number(claimed.lease_epoch.0.saturating_sub(claimed.created_at.get()));
        let mut entropy = stream(seed, "job", hash.get());
        // The low bits of its key number its actions. Its waitpoints differ from those of an
        // earlier execution with this id.
        let key = hash.get() & !0xff;
        hash.bytes(claimed.lease_id.uuid().as_bytes());
        let mut waits = stream(seed, "waits", hash.get());
        let mut acts = if healing {
            well_behaved(&mut entropy)
        } else {
            let mut acts = acts(claimed.lease_ttl.get(), &mut entropy);
            add_waits(&mut acts, wait_rates, &mut waits);
            acts
        };
        if claimed.resumption.is_some() {
            acts.push_front(Act::ReadSignals);
        }
        let output = FrameWriter::new(claimed.attempt.frames);
        Self {
            claimed,
            acts,
            next_at: now,
            busy: false,
            finishing: None,
            asking: None,
            output,
            key,
            done: 0,
            entropy,
            waits,
        }
    }

    /// The next action of the handler, and its key.
    pub fn next_act(&mut self) -> (Option<Act>, u64) {
        self.done += 1;
        (self.acts.pop_front(), self.key + self.done)
    }

    /// A further call of the handler after its end, if it makes one.
    pub fn afterwards(&mut self, store: TimestampMs) -> Option<(AnyCommand, u64)> {
        if !happens(&mut self.entropy, 250) {
            return None;
        }
        let command = match self.finishing.clone() {
            Some((command, _)) if happens(&mut self.entropy, 600) => command,
            _ => {
                let how = any_finish(&mut self.entropy);
                self.finish(&how, store)
            }
        };
        Some((command, self.key))
    }

    /// The fence of the holder.
    fn fence(&self) -> FenceParts {
        self.claimed.fence().into()
    }

    /// The call that opens a waitpoint.
    pub fn waitpoint(&mut self) -> AnyCommand {
        let (id, fence) = (self.claimed.execution_id, self.fence());
        suspensions::waitpoint(id, fence, &mut self.waits).into()
    }

    /// The call that suspends. `record`: the record that its worker knows.
    pub fn suspension(&mut self, record: Option<&Execution>, store: TimestampMs) -> AnyCommand {
        let (id, fence) = (self.claimed.execution_id, self.fence());
        suspensions::suspension(id, fence, record, store, &mut self.waits).into()
    }

    /// The call that appends a frame; sometimes a wrong one, which does not come from its writer.
    pub fn frame(&mut self) -> AnyCommand {
        let (id, fence) = (self.claimed.execution_id, self.fence());
        let sequence = self.output.next_sequence();
        let attempt = self.claimed.attempt.id;
        let mut command = suspensions::frame(id, fence, attempt, sequence, &mut self.waits);
        if command.frame.sequence == sequence {
            command.frame = self.output.begin(command.frame);
        }
        command.into()
    }

    /// Takes over the result of a frame, and returns the call that follows from it. A frame that
    /// is not its writer's does not concern the writer.
    pub fn framed(
        &mut self,
        sent: &Frame,
        result: Result<u64, &EngineError>,
    ) -> Option<AnyCommand> {
        if self.output.in_doubt() != Some(sent) {
            return None;
        }
        let frame = self.output.answered(result)?;
        let (execution_id, fence) = (self.claimed.execution_id, self.fence());
        Some(AppendFrame { execution_id, fence, frame, rings: true }.into())
    }

    /// Whether it repeats a call that was acknowledged.
    pub fn says_again(&mut self) -> bool {
        happens(&mut self.waits, 100)
    }

    /// The call that reports progress; sometimes with a fence of which one part belongs to another
    /// job, as a worker sends that mixes its jobs up.
    pub fn progress(&mut self, percent: u8) -> AnyCommand {
        let mut fence = self.claimed.fence();
        match self.entropy.below(12) {
            0 => fence.lease_id = LeaseId::random(&mut self.entropy),
            1 => fence.attempt_id = AttemptId::random(&mut self.entropy),
            2 => fence.lease_epoch = LeaseEpoch(fence.lease_epoch.0.saturating_sub(1)),
            _ => {}
        }
        let execution_id = self.claimed.execution_id;
        let message = Some(format!("{percent} of 100"));
        UpdateProgress { execution_id, fence: fence.into(), percent, message }.into()
    }

    /// The call that gives the lease back. `store` is the worker's estimate of the store's clock.
    pub fn finish(&self, how: &Finish, store: TimestampMs) -> AnyCommand {
        let (execution_id, fence) = (self.claimed.execution_id, self.fence());
        match how {
            Finish::Complete(result) => {
                Complete { execution_id, fence, result: result.clone() }.into()
            }
            Finish::Fail { category, retry } => Fail {
                execution_id,
                fence,
                reason: "the handler said so".to_owned(),
                category: FailureCategory::try_new(category).expect("a valid category"),
                retry: *retry,
            }
            .into(),
            Finish::Delay(ms) => {
                let until = store.plus(DurationMs::new(*ms));
                DelayExecution { execution_id, fence, until, keeps_resumption: false }.into()
            }
            Finish::GiveBack => {
                let until = store;
                DelayExecution { execution_id, fence, until, keeps_resumption: true }.into()
            }
            Finish::WaitForChildren => MoveToWaitingChildren { execution_id, fence }.into(),
            Finish::Cancel => {
                let by = CancelledBy::Holder(fence);
                Cancel { execution_id, by, reason: "the holder cancelled".to_owned() }.into()
            }
        }
    }
}

/// A handler that completes.
fn well_behaved(entropy: &mut Entropy) -> VecDeque<Act> {
    let work = between(entropy, 1, 50);
    VecDeque::from([Act::Work(work), Act::Finish(Finish::Complete(result(entropy)))])
}

/// Adds waitpoints, suspensions and output to the actions of a handler.
fn add_waits(acts: &mut VecDeque<Act>, wait_rates: WaitRates, entropy: &mut Entropy) {
    let somewhere = |acts: &VecDeque<Act>, entropy: &mut Entropy| {
        between(entropy, 0, acts.len().saturating_sub(1) as u64) as usize
    };
    if happens(entropy, wait_rates.suspends) {
        for _ in 0..between(entropy, 1, 2) {
            acts.insert(somewhere(acts, entropy), Act::Suspend);
        }
        for _ in 0..one_of(entropy, &[0, 0, 1, 1, 2]) {
            acts.push_front(Act::Work(between(entropy, 0, 60)));
            acts.push_front(Act::Waitpoint);
        }
    }
    if happens(entropy, wait_rates.frames) {
        for _ in 0..between(entropy, 1, 4) {
            acts.insert(somewhere(acts, entropy), Act::Frame);
        }
    }
}

fn acts(ttl_ms: u64, entropy: &mut Entropy) -> VecDeque<Act> {
    let mut acts = VecDeque::new();
    let longest = one_of(entropy, &[20, 100, 100, ttl_ms / 2, ttl_ms, 2 * ttl_ms, 4 * ttl_ms]);
    for _ in 0..between(entropy, 1, 3) {
        acts.push_back(Act::Work(between(entropy, 1, longest)));
        if happens(entropy, 200) {
            acts.push_back(Act::Progress(between(entropy, 0, 110) as u8));
        }
    }
    match entropy.below(12) {
        0 => {
            acts.push_back(Act::Neglect);
            acts.push_back(Act::Work(between(entropy, ttl_ms / 2, 3 * ttl_ms)));
        }
        1 => acts.push_back(Act::Drop),
        2 => {
            // Its last call reaches the store about when its lease expires.
            let last = ttl_ms.saturating_sub(between(entropy, 4, 16));
            acts = VecDeque::from([Act::Neglect, Act::Work(last)]);
        }
        _ => {}
    }
    acts.push_back(Act::Finish(any_finish(entropy)));
    acts
}

/// Any way to give a lease back.
fn any_finish(entropy: &mut Entropy) -> Finish {
    match entropy.below(20) {
        0..10 => Finish::Complete(result(entropy)),
        10..14 => Finish::Fail {
            category: one_of(entropy, &["flaky", "flaky", "broken"]),
            retry: retry_advice(entropy),
        },
        14..16 => Finish::Delay(between(entropy, 0, 2_000)),
        16 => Finish::GiveBack,
        17..19 => Finish::WaitForChildren,
        _ => Finish::Cancel,
    }
}

fn retry_advice(entropy: &mut Entropy) -> RetryAdvice {
    match entropy.below(10) {
        0 => RetryAdvice::Never,
        1 => RetryAdvice::After(DurationMs::new(between(entropy, 0, 3_000))),
        _ => RetryAdvice::ByPolicy,
    }
}

fn result(entropy: &mut Entropy) -> Option<Arc<[u8]>> {
    match entropy.below(4) {
        0 => None,
        1 => Some(Arc::from([])),
        _ => Some(Arc::from(entropy.next_u64().to_le_bytes())),
    }
}
