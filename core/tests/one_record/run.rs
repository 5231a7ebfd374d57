//! A run of commands on one execution: a command that is refused or recognised as a repeat has no
//! effect, a decision holds in all of its window, and every record is consistent.

use std::collections::BTreeSet;

use ff_core::error::Rejection;
use ff_core::execution::{
    Admitted, AnyCommand, AnyOutcome, Continuation, Decide, Decision, EventKind, Execution, Fence,
    FenceParts, FirstSeen, ForgetSignals, IdentityKind, Next, Offered, Phase, Situation,
    UpdateProgress, Verdict, due_times, situation,
};
use ff_core::time::TimestampMs;

use super::invariants;
use super::steps::Step;
use crate::common::suspending::{Reads, any_at, append, decide, pending, suspend};
use crate::common::{
    Bench, START, Submission, at, cancel_by_holder, complete, delay, execution_id, fail, ms, renew,
    wait_for_children,
};

/// One execution and everything that is known of it besides its record.
pub struct Run {
    /// Its record, its values and its history.
    pub bench: Bench,
    submission: Submission,
    /// The time of the latest step.
    pub now: TimestampMs,
    /// All commands so far.
    sent: Vec<AnyCommand>,
    /// All fences that were ever given, in order.
    given: Vec<Fence>,
    /// How often an operator's call was remembered.
    remembered: usize,
    answered: Vec<Answered>,
}

/// A call that was applied or recognised, so that its copy may arrive at any later time.
struct Answered {
    command: AnyCommand,
    /// The state that its operation saw first.
    first_seen: Option<FirstSeen>,
    outcome: AnyOutcome,
    /// How many calls of operators had been remembered then.
    remembered: usize,
}

impl Run {
    /// Nothing has happened.
    pub fn new(submission: Submission) -> Self {
        Self {
            bench: Bench::default(),
            submission,
            now: at(START),
            sent: Vec::new(),
            given: Vec::new(),
            remembered: 0,
            answered: Vec::new(),
        }
    }

    /// Creates the execution unless its time has passed before.
    pub fn begin(&mut self) {
        let command = self.submission.clone().into();
        self.perform(&command);
    }

    /// Moves the clock and performs the command that the step means.
    pub fn step(&mut self, step: &Step) -> AnyCommand {
        self.now = step.clock.moved(self.bench.record.as_ref(), self.now);
        let command = step.action.command(&self.submission, &self.bench, &self.sent, self.now);
        self.sent.push(command.clone());
        self.perform(&command);
        command
    }

    /// Decides and commits a command, and checks all that the step can show.
    fn perform(&mut self, command: &AnyCommand) {
        let before = self.bench.clone();
        let record = before.record.as_ref();
        let unread = decide(command, record, self.now);
        let reads = before.reads(command, self.now);
        let ruling = reads.decide(command, record, self.now);
        assert_eq!(reads.decide(command, record, self.now), ruling, "decided in two ways");
        // Without what it has to read, a command is decided in no other way.
        if !matches!(unread, Err(Rejection::Unread { .. })) {
            assert_eq!(unread, ruling, "{} decided on less", command.name());
        }
        let outcome = ruling.as_ref().ok().map(|verdict| verdict.outcome().clone());
        let applied = matches!(ruling, Ok(Verdict::Apply(_)));
        if let Ok(Verdict::Apply(decision)) = ruling {
            assert!(decision.window.contains(self.now), "{:?}", decision.window);
            check_window(&before, command, &decision, self.now);
            let kept = decision.next == Next::Keep;
            self.bench.commit(decision);
            if let Some(outcome) = outcome.as_ref().filter(|_| !kept) {
                check_repeat(&self.bench, command, outcome, self.now);
            }
        }
        let before = before.record;
        let Some(record) = &self.bench.record else {
            assert!(self.bench.is_empty(), "something is left behind: {:?}", self.bench);
            self.bench.history.clear();
            self.sent.clear();
            self.given.clear();
            self.answered.clear();
            return;
        };
        self.given.extend(record.last_fence.filter(|fence| !self.given.contains(fence)));
        let requests = |record: &Execution| record.requests.clone();
        if before.as_ref().is_some_and(|before| requests(before) != requests(record)) {
            self.remembered += 1;
        }
        let (command, remembered) = (command.clone(), self.remembered);
        let first_seen = before
            .as_ref()
            .map(|before| FirstSeen::noted(Reads::nothing(&command).first_seen, before));
        // A repeat makes nothing remembered for longer.
        let answered = outcome.filter(|_| applied);
        if answered.is_some() {
            // What the record has forgotten since is carried out anew under its id.
            self.answered.retain(|earlier| !is_same_suspension(&earlier.command, &command));
        }
        self.answered.extend(answered.map(|outcome| Answered {
            command,
            first_seen,
            outcome,
            remembered,
        }));
        invariants::check_record(record, self.now);
        check_lives(record, &self.bench);
        check_fences(record, &self.given, self.now);
        self.check_late_copies(record);
    }

    /// The facts for a copy of an earlier call.
    fn reads(&self, answered: &Answered) -> Reads {
        Reads { first_seen: answered.first_seen, ..self.bench.reads(&answered.command, self.now) }
    }

    /// A copy of an earlier call by a holder or an operator that arrives now has no effect. Eight
    /// calls of operators are remembered. \[INV-IDENTITY-1\]
    fn check_late_copies(&self, record: &Execution) {
        for answered in self.answered.iter().rev().take(8) {
            let command = &answered.command;
            let known = match command.spec().identity {
                IdentityKind::Fence => true,
                IdentityKind::Request => self.remembered < answered.remembered + 8,
                IdentityKind::Signal | IdentityKind::Sequence => true,
                _ => is_remembered(command, record),
            };
            if !known {
                continue;
            }
            match self.reads(answered).decide(command, Some(record), self.now) {
                Ok(Verdict::Apply(_)) => panic!("a copy of {command:?} was applied"),
                Ok(Verdict::Repeat(outcome)) => assert_eq!(outcome, answered.outcome),
                Err(_) => {}
            }
        }
    }
}

fn is_same_suspension(one: &AnyCommand, other: &AnyCommand) -> bool {
    let (AnyCommand::Suspend(one), AnyCommand::Suspend(other)) = (one, other) else { return false };
    one.suspension_id == other.suspension_id
}

/// Whether the record shows by itself that it has met this suspension or this waitpoint.
fn is_remembered(command: &AnyCommand, record: &Execution) -> bool {
    let Some(waiting) = &record.waiting else { return false };
    match command {
        AnyCommand::Suspend(command) => {
            waiting.latest.as_ref().is_some_and(|latest| latest.id == command.suspension_id)
        }
        AnyCommand::CreatePendingWaitpoint(command) => {
            waiting.waitpoint(command.waitpoint_id).is_some()
        }
        _ => false,
    }
}

/// Each life that is over has one terminal event. \[INV-TERMINAL-1\]
fn check_lives(record: &Execution, bench: &Bench) {
    let over = usize::from(matches!(record.phase, Phase::Terminal(_)));
    assert_eq!(bench.count(EventKind::Ended), record.counts.replays as usize + over);
}

/// A call with a fence that is not the latest changes nothing. \[INV-FENCE-1\]
fn check_fences(record: &Execution, given: &[Fence], now: TimestampMs) {
    let stale = given.iter().rev().filter(|fence| record.last_fence != Some(**fence)).take(3);
    let partial = FenceParts { lease_epoch: Some(record.epoch), ..FenceParts::MISSING };
    let wrong = [FenceParts::MISSING, partial];
    for fence in stale.map(|fence| FenceParts::from(*fence)).chain(wrong) {
        for command in calls_of_a_holder(fence, now) {
            let ruling = decide(&command, Some(record), now);
            let name = command.name();
            match fence.complete() {
                None if fence == FenceParts::MISSING => {
                    assert_eq!(ruling, Err(Rejection::FenceRequired), "{name}");
                }
                None => {
                    assert_eq!(ruling, Err(Rejection::PartialFenceTriple), "{name}");
                }
                // A repeat of the call that gave the lease back is recognised, and has no effect.
                Some(_) => {
                    let refused = match command {
                        AnyCommand::AppendFrame(_) => {
                            ruling == Err(Rejection::StaleOwnerCannotAppend)
                        }
                        _ => matches!(ruling, Err(Rejection::StaleLease { .. })),
                    };
                    assert!(refused || matches!(ruling, Ok(Verdict::Repeat(_))), "{name}");
                }
            }
        }
    }
}

fn calls_of_a_holder(fence: FenceParts, now: TimestampMs) -> Vec<AnyCommand> {
    let (execution_id, message) = (execution_id(), None);
    vec![
        renew(fence, 1_000).into(),
        complete(fence, None).into(),
        fail(fence, "broken").into(),
        delay(fence, now.get()).into(),
        wait_for_children(fence).into(),
        UpdateProgress { execution_id, fence, percent: 1, message }.into(),
        cancel_by_holder(fence).into(),
        suspend(fence, 1_000, any_at("a")).into(),
        pending(fence, 1_000, "z").into(),
        append(fence, 1).into(),
    ]
}

/// The very same command again, immediately or later, has no second effect. \[INV-IDENTITY-1\]
fn check_repeat(bench: &Bench, command: &AnyCommand, first: &AnyOutcome, now: TimestampMs) {
    let Some(after) = &bench.record else {
        assert_eq!(decide(command, None, now), Err(Rejection::NotFound));
        return;
    };
    for later in [now, now.plus(ms(1)), now.plus(ms(40_000)), now.plus(ms(400_000_000))] {
        let again = bench.reads(command, later).decide(command, Some(after), later);
        match (command.spec().identity, &again) {
            _ if !gave(first) => {} // Nothing was given the first time: it is tried once more.
            (_, Ok(Verdict::Repeat(again))) => assert_eq!(first, again, "{}", command.name()),
            (IdentityKind::Absolute, _) => check_absolute(after, command, &again, now, later),
            other => panic!("{} was applied, and then {other:?}", command.name()),
        }
    }
}

/// Whether an offer or an admission gave what was asked for.
fn gave(outcome: &AnyOutcome) -> bool {
    match outcome {
        AnyOutcome::Offer(offered) => matches!(offered, Offered::Claimed(_)),
        AnyOutcome::Admit(admitted) => {
            matches!(admitted, Admitted::Granted(_) | Admitted::ReclaimGranted(_))
        }
        _ => true,
    }
}

/// A command that sets what is so anyway changes nothing but times, and what time does it does
/// once.
fn check_absolute(
    after: &Execution,
    command: &AnyCommand,
    again: &Result<Verdict<AnyOutcome>, Rejection>,
    now: TimestampMs,
    later: TimestampMs,
) {
    let Ok(Verdict::Apply(decision)) = again else {
        let lost = matches!(again, Err(Rejection::LeaseExpired { .. })) && later > now;
        // The last signals are gone, and retention is past them.
        let gone = matches!(command, AnyCommand::ForgetSignals(ForgetSignals { last: true, .. }))
            && *again == Err(Rejection::NotFound);
        assert!(lost || gone, "{} was applied, and then {again:?}", command.name());
        return;
    };
    match (command, &decision.next) {
        (AnyCommand::OnDue(_), Next::Keep) => {}
        (AnyCommand::OnDue(_), Next::Remove) => {
            assert!(later > now || after.continuation.is_some());
        }
        (AnyCommand::OnDue(_), Next::Put(_)) => {
            // The output of attempts goes in steps.
            let goes_on = matches!(after.continuation, Some(Continuation::RemoveFrames(_)));
            assert!(later > now || goes_on, "something was due twice");
        }
        (
            AnyCommand::Renew(_)
            | AnyCommand::UpdateProgress(_)
            | AnyCommand::ForgetSignals(_)
            | AnyCommand::CheckSlot(_),
            Next::Put(again),
        ) => {
            let mut again = again.clone();
            again.updated_at = after.updated_at;
            if let (Phase::Active(again), Phase::Active(after)) = (&mut again.phase, &after.phase) {
                assert!(later > now || again.lease.expires_at == after.lease.expires_at);
                again.lease.expires_at = after.lease.expires_at;
            }
            assert_eq!(again, *after);
            assert_eq!(decision.events, []);
        }
        (command, next) => panic!("{} again gives {next:?}", command.name()),
    }
}

/// A decision holds in all of its window: decided at any other time in it, the command would have
/// been applied too, to the same effect; and never does it count as late what would still have
/// been early. \[INV-TIME-1\]
fn check_window(
    bench: &Bench,
    command: &AnyCommand,
    decision: &Decision<AnyOutcome>,
    now: TimestampMs,
) {
    // Giving back rests on nothing.
    if decision.next == Next::Keep {
        return;
    }
    let before = bench.record.as_ref();
    for other in probes(before, decision, now) {
        // What was given back may be had later.
        if !gave(&decision.outcome) && other > now {
            continue;
        }
        let then = bench.reads(command, other).decide(command, before, other);
        let Ok(Verdict::Apply(then)) = then else {
            panic!("{} holds at {other}, but is not applied then: {then:?}", command.name());
        };
        // More may be due later, but never nothing.
        if matches!(command, AnyCommand::OnDue(_)) && other > now {
            assert_ne!(then.next, Next::Keep, "{} decided at {other}", command.name());
            continue;
        }
        let kinds = |decision: &Decision<AnyOutcome>| -> Vec<EventKind> {
            decision.events.iter().map(|event| event.kind()).collect()
        };
        assert_eq!(kinds(&then), kinds(decision), "{} decided at {other}", command.name());
        // What is stored for a later time is stored a little early or late; see `Window`.
        if other < now {
            assert_eq!(place(&then.next, other), place(&decision.next, other));
        }
    }
}

/// Times of the window at which something might be different.
fn probes(
    before: Option<&Execution>,
    decision: &Decision<AnyOutcome>,
    now: TimestampMs,
) -> BTreeSet<TimestampMs> {
    let window = decision.window;
    let due = before.into_iter().flat_map(due_times).map(|(at, _)| at);
    let mut times: BTreeSet<TimestampMs> =
        due.flat_map(|at| [at, at.minus(ms(1))]).chain([now.minus(ms(1_000))]).collect();
    times.extend([window.not_before, window.not_after.minus(ms(1)), now.minus(ms(1))]);
    times.retain(|at| window.contains(*at) && *at != now && at.get() < 1 << 45);
    times
}

fn place(next: &Next, now: TimestampMs) -> Option<Situation> {
    match next {
        Next::Put(record) => Some(situation(record, now)),
        Next::Keep | Next::Remove => None,
    }
}
