//! Every operation of core, in each of the situations in which it behaves differently.

use ff_core::agent::{Scheduler, Served, WorkerAgent, WorkerRequest};
use ff_core::execution::{
    Admit, AnyCommand, Block, BlockKind, Cancel, CancelledBy, ChangePriority, CheckSlot, Complete,
    Create, ForgetSignals, GrantAudit, IssueReclaimGrant, MoveToWaitingChildren, OnDue, Renew,
    Replay, Resume, RetryAdvice, RevokeLease, Start, TakeNew, TakeOver, TakeResumed, Unblock,
    UpdateProgress,
};
use ff_core::id::ExecutionId;
use ff_core::op::{
    ApplyDue, AuditPartition, Batch, CarryCommand, ListExecutions, ListFilter, Patience,
};
use ff_core::policy::Priority;
use ff_core::time::DurationMs;

use crate::exhaustive::carrier::Work;
use crate::exhaustive::inputs::{call, fail, namespace};
use crate::report::Broken;

use super::commands::{
    BACKOFF, EXPIRY, GRANT, LEASE, ONE, PARTITIONS, RETENTION, SUSPENSION, cancel, capable, claim,
    complete, create, create_keyed, delay, frame, grant, id, offer, profile, release, signal, slot,
    suspend, waitpoint,
};
use super::fixture::Fixture;

type Prepared = Result<(), Broken>;

/// An operation in one situation.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Sets the situation up.
    pub prepare: fn(&mut Fixture) -> Prepared,
    /// The operation.
    pub subject: Subject,
}

/// The operation of a case.
#[derive(Clone, Copy)]
pub enum Subject {
    /// A command, which a new process repeats under the same identity.
    Command(fn(&Fixture) -> AnyCommand),
    /// Several commands in one batch, likewise.
    Commands(fn(&Fixture) -> Vec<AnyCommand>),
    /// An operation of an agent. A new process has its own agent.
    Agent(fn(&Fixture, u64) -> Work),
    /// The same, for operations that only read.
    Reader(fn(&Fixture, u64) -> Work),
}

const fn command(
    name: &'static str,
    prepare: fn(&mut Fixture) -> Prepared,
    make: fn(&Fixture) -> AnyCommand,
) -> Case {
    Case { name, prepare, subject: Subject::Command(make) }
}

const fn agent(
    name: &'static str,
    prepare: fn(&mut Fixture) -> Prepared,
    make: fn(&Fixture, u64) -> Work,
) -> Case {
    Case { name, prepare, subject: Subject::Agent(make) }
}

/// All cases.
pub const CASES: &[Case] = &[
    command("create", nothing, |_| create(ONE).into()),
    command("create under a key", nothing, |_| create_keyed().into()),
    command("create for later", nothing, |fixture| {
        let start = Start::At(fixture.store().plus(BACKOFF));
        Create { start, ..create(ONE) }.into()
    }),
    command("issue_claim_grant", waiting, |_| grant(1).into()),
    command("issue_claim_grant to resume", interrupted, |_| grant(2).into()),
    command("claim", granted, |_| TakeNew(claim(1)).into()),
    command("claim_resumed", granted_to_resume, |_| TakeResumed(claim(2)).into()),
    command("issue_reclaim_grant", expired, |_| IssueReclaimGrant(grant(2)).into()),
    command("issue_reclaim_grant, revoked", revoked, |_| IssueReclaimGrant(grant(2)).into()),
    command("issue_reclaim_grant, too often", reclaimed_too_often, |_| {
        IssueReclaimGrant(grant(9)).into()
    }),
    command("release_grant", granted, |_| release(1).into()),
    command("release_grant to reclaim", granted_to_reclaim, |_| release(2).into()),
    command("reclaim", granted_to_reclaim, |_| TakeOver(claim(2)).into()),
    command("offer", waiting, |_| offer(ONE, 1).into()),
    command("offer to resume", interrupted, |_| offer(ONE, 2).into()),
    command("offer to reclaim", expired, |_| offer(ONE, 2).into()),
    command("offer, too often", reclaimed_too_often, |_| offer(ONE, 9).into()),
    command("offer without capability", waiting_for_gpu, |_| {
        let mut incapable = offer(ONE, 1);
        incapable.capabilities = Default::default();
        incapable.into()
    }),
    command("offer in vain", leased, |_| offer(ONE, 2).into()),
    command("admit", waiting, |_| Admit(grant(1)).into()),
    command("admit to reclaim", expired, |_| Admit(grant(2)).into()),
    command("renew", leased, |fixture| {
        Renew { execution_id: ONE, fence: fixture.fence(ONE), lease_ttl: LEASE }.into()
    }),
    command("update_progress", leased, |fixture| {
        let (fence, message) = (fixture.fence(ONE), Some("halfway".to_owned()));
        UpdateProgress { execution_id: ONE, fence, percent: 50, message }.into()
    }),
    command("complete", leased, |fixture| complete(ONE, fixture.fence(ONE)).into()),
    command("fail with a retry", leased, |fixture| {
        fail(ONE, fixture.fence(ONE), RetryAdvice::ByPolicy).into()
    }),
    command("fail without a retry", leased_last, |fixture| {
        fail(ONE, fixture.fence(ONE), RetryAdvice::ByPolicy).into()
    }),
    command("fail permanently", leased, |fixture| {
        fail(ONE, fixture.fence(ONE), RetryAdvice::Never).into()
    }),
    command("delay_execution", leased, |fixture| {
        delay(fixture.fence(ONE), fixture.store().plus(BACKOFF)).into()
    }),
    command("move_to_waiting_children", leased, |fixture| {
        MoveToWaitingChildren { execution_id: ONE, fence: fixture.fence(ONE) }.into()
    }),
    command("cancel by the holder", leased, |fixture| {
        let by = CancelledBy::Holder(fixture.fence(ONE));
        Cancel { execution_id: ONE, by, reason: "not needed".to_owned() }.into()
    }),
    command("cancel, waiting", waiting, |_| cancel(ONE, 1)),
    command("cancel, leased", leased, |_| cancel(ONE, 1)),
    command("revoke_lease", leased, |_| RevokeLease { execution_id: ONE, call: call(1) }.into()),
    command("replay", completed, |_| Replay { execution_id: ONE, call: call(1) }.into()),
    command("change_priority", waiting, |_| {
        let priority = Priority::clamped(700);
        ChangePriority { execution_id: ONE, call: call(1), priority }.into()
    }),
    command("block", waiting, |_| {
        Block { execution_id: ONE, kind: BlockKind::Operator, recheck_at: None }.into()
    }),
    command("block for a time", waiting, |fixture| {
        let recheck_at = Some(fixture.store().plus(BACKOFF));
        Block { execution_id: ONE, kind: BlockKind::Quota, recheck_at }.into()
    }),
    command("unblock", blocked, |_| {
        Unblock { execution_id: ONE, kind: BlockKind::Operator }.into()
    }),
    command("check_slot, free", leased, |_| CheckSlot { execution_id: ONE, slot: slot(1) }.into()),
    command("create_pending_waitpoint", one_waitpoint, |fixture| waitpoint(2, fixture).into()),
    command("suspend", one_waitpoint, |fixture| suspend(fixture).into()),
    command("suspend, satisfied", signalled, |fixture| suspend(fixture).into()),
    command("deliver_signal", one_waitpoint, |fixture| signal(1, fixture).into()),
    command("deliver_signal, resumes", suspended, |fixture| signal(1, fixture).into()),
    command("resume", suspended, |_| {
        Resume { execution_id: ONE, call: call(1), suspension: None }.into()
    }),
    command("append_frame", leased, |fixture| frame(1, fixture).into()),
    command("append_frame, second", framed, |fixture| frame(2, fixture).into()),
    command("forget_signals", signals_left, |_| {
        ForgetSignals { execution_id: ONE, signals: Vec::new(), last: false }.into()
    }),
    command("on_due, suspension timeout", suspended_too_long, on_due),
    command("on_due, waitpoint expiry", waitpoint_expired, on_due),
    command("on_due, nothing", waiting, on_due),
    command("on_due, grant expiry", grant_ran_out, on_due),
    command("on_due, lease expiry", ran_out, on_due),
    command("on_due, delay over", delay_over, on_due),
    command("on_due, recheck", recheck_due, on_due),
    command("on_due, attempt timeout", attempt_timed_out, on_due),
    command("on_due, deadline", deadline_passed, on_due),
    command("on_due, retention", retention_over, on_due),
    command("on_due, continuation", continues, on_due),
    Case {
        name: "batch of completions",
        prepare: three_leased,
        subject: Subject::Commands(|fixture| {
            let all = [id(0), id(1), id(2)];
            all.map(|each| without_result(each, fixture).into()).to_vec()
        }),
    },
    Case {
        name: "batch of creations and completions",
        prepare: leased,
        subject: Subject::Commands(|fixture| {
            let new = Create { payload: None, ..create(id(1)) };
            vec![new.into(), without_result(ONE, fixture).into()]
        }),
    },
    agent("draw", waiting, draw),
    agent("draw two", two_waiting, draw),
    agent("draw to resume", interrupted, draw),
    agent("draw to reclaim", expired, draw),
    agent("draw and put back", waiting_beyond_its_deadline, draw),
    agent("draw without capability", waiting_for_gpu, draw_incapable),
    agent("claim_for_worker", waiting, schedule),
    agent("claim_for_worker to reclaim", expired, schedule),
    agent("tick, nothing", waiting, tick),
    agent("tick, grant expiry", grant_ran_out, tick),
    agent("tick, lease expiry", ran_out, tick),
    agent("tick, delay over", delay_over, tick),
    agent("tick, recheck", recheck_due, tick),
    agent("tick, attempt timeout", attempt_timed_out, tick),
    agent("tick, deadline", deadline_passed, tick),
    agent("tick, retention", retention_over, tick),
    agent("tick, continuation", continues, tick),
    agent("tick, suspension timeout", suspended_too_long, tick),
    agent("tick, waitpoint expiry", waitpoint_expired, tick),
    agent("tick, signals", signals_left, tick),
    agent("tick, put back", taken_and_dropped, tick),
    agent("tick, two partitions", two_ran_out, tick),
    agent("claim, blocked by route", routeless, draw),
    agent("schedule, blocked by route", routeless, schedule),
    Case { name: "list", prepare: two_waiting, subject: Subject::Reader(list) },
    Case { name: "audit", prepare: two_waiting, subject: Subject::Reader(audit) },
];

// ------------------------------------------------------------------------------- the situations

fn nothing(_: &mut Fixture) -> Prepared {
    Ok(())
}

fn waiting(fixture: &mut Fixture) -> Prepared {
    fixture.prepare(create(ONE))
}

fn two_waiting(fixture: &mut Fixture) -> Prepared {
    waiting(fixture)?;
    fixture.prepare(create(id(1)))
}

fn waiting_for_gpu(fixture: &mut Fixture) -> Prepared {
    fixture.prepare(Create { requires: capable(), ..create(ONE) })
}

fn routeless(fixture: &mut Fixture) -> Prepared {
    waiting_for_gpu(fixture)?;
    let kind = BlockKind::Route;
    fixture.prepare(Block { execution_id: ONE, kind, recheck_at: None })
}

fn waiting_beyond_its_deadline(fixture: &mut Fixture) -> Prepared {
    let deadline = Some(fixture.store().plus(BACKOFF));
    fixture.prepare(Create { deadline, ..create(ONE) })?;
    pass(fixture, BACKOFF)
}

fn granted(fixture: &mut Fixture) -> Prepared {
    waiting(fixture)?;
    fixture.prepare(grant(1))
}

fn leased(fixture: &mut Fixture) -> Prepared {
    leased_as(create(ONE), fixture)
}

fn leased_as(create: Create, fixture: &mut Fixture) -> Prepared {
    fixture.prepare(create)?;
    fixture.prepare(offer(ONE, 1))
}

fn leased_with_short_retention(fixture: &mut Fixture) -> Prepared {
    let mut short = create(ONE);
    short.policy.retention_ms = RETENTION;
    leased_as(short, fixture)
}

fn leased_last(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(fail(ONE, fixture.fence(ONE), RetryAdvice::ByPolicy))?;
    pass(fixture, BACKOFF)?;
    fixture.prepare(OnDue { execution_id: ONE })?;
    fixture.prepare(offer(ONE, 2))
}

fn three_leased(fixture: &mut Fixture) -> Prepared {
    for number in 0..3 {
        fixture.prepare(create(id(number)))?;
        fixture.prepare(offer(id(number), u64::from(number) + 1))?;
    }
    Ok(())
}

/// The lease has expired and is not marked so.
fn ran_out(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    pass(fixture, LEASE)
}

fn two_ran_out(fixture: &mut Fixture) -> Prepared {
    for (each, number) in [(ONE, 1), (id(10), 2)] {
        fixture.prepare(create(each))?;
        fixture.prepare(offer(each, number))?;
    }
    pass(fixture, LEASE)
}

fn expired(fixture: &mut Fixture) -> Prepared {
    ran_out(fixture)?;
    fixture.prepare(OnDue { execution_id: ONE })
}

fn revoked(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(RevokeLease { execution_id: ONE, call: call(20) })
}

fn reclaimed_too_often(fixture: &mut Fixture) -> Prepared {
    let mut once = create(ONE);
    once.policy.max_reclaim_count = 1;
    fixture.prepare(once)?;
    for number in 1..=2 {
        fixture.prepare(offer(ONE, number))?;
        pass(fixture, LEASE)?;
        fixture.prepare(OnDue { execution_id: ONE })?;
    }
    Ok(())
}

fn granted_to_reclaim(fixture: &mut Fixture) -> Prepared {
    expired(fixture)?;
    fixture.prepare(IssueReclaimGrant(grant(2)))
}

fn interrupted(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(delay(fixture.fence(ONE), fixture.store()))
}

fn granted_to_resume(fixture: &mut Fixture) -> Prepared {
    interrupted(fixture)?;
    fixture.prepare(grant(2))
}

fn completed(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(complete(ONE, fixture.fence(ONE)))
}

fn blocked(fixture: &mut Fixture) -> Prepared {
    waiting(fixture)?;
    fixture.prepare(Block { execution_id: ONE, kind: BlockKind::Operator, recheck_at: None })
}

fn recheck_due(fixture: &mut Fixture) -> Prepared {
    waiting(fixture)?;
    let recheck_at = Some(fixture.store().plus(BACKOFF));
    fixture.prepare(Block { execution_id: ONE, kind: BlockKind::Budget, recheck_at })?;
    pass(fixture, BACKOFF)
}

fn grant_ran_out(fixture: &mut Fixture) -> Prepared {
    granted(fixture)?;
    pass(fixture, GRANT)
}

fn delay_over(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(fail(ONE, fixture.fence(ONE), RetryAdvice::ByPolicy))?;
    pass(fixture, BACKOFF)
}

fn attempt_timed_out(fixture: &mut Fixture) -> Prepared {
    let mut short = create(ONE);
    short.policy.timeout.attempt_timeout_ms = Some(BACKOFF);
    leased_as(short, fixture)?;
    pass(fixture, BACKOFF)
}

fn deadline_passed(fixture: &mut Fixture) -> Prepared {
    let deadline = Some(fixture.store().plus(BACKOFF));
    leased_as(Create { deadline, ..create(ONE) }, fixture)?;
    pass(fixture, BACKOFF)
}

fn retention_over(fixture: &mut Fixture) -> Prepared {
    leased_with_short_retention(fixture)?;
    fixture.prepare(complete(ONE, fixture.fence(ONE)))?;
    pass(fixture, RETENTION)
}

fn continues(fixture: &mut Fixture) -> Prepared {
    retention_over(fixture)?;
    fixture.prepare(OnDue { execution_id: ONE })
}

fn one_waitpoint(fixture: &mut Fixture) -> Prepared {
    leased_with_short_retention(fixture)?;
    fixture.prepare(waitpoint(1, fixture))
}

/// A signal is buffered.
fn signalled(fixture: &mut Fixture) -> Prepared {
    one_waitpoint(fixture)?;
    fixture.prepare(signal(7, fixture))
}

fn suspended(fixture: &mut Fixture) -> Prepared {
    one_waitpoint(fixture)?;
    fixture.prepare(suspend(fixture))
}

fn suspended_too_long(fixture: &mut Fixture) -> Prepared {
    suspended(fixture)?;
    pass(fixture, SUSPENSION)
}

fn waitpoint_expired(fixture: &mut Fixture) -> Prepared {
    one_waitpoint(fixture)?;
    pass(fixture, EXPIRY)
}

fn framed(fixture: &mut Fixture) -> Prepared {
    leased(fixture)?;
    fixture.prepare(frame(1, fixture))
}

/// Retention has removed the values, but not the signals and the output.
fn signals_left(fixture: &mut Fixture) -> Prepared {
    signalled(fixture)?;
    fixture.prepare(frame(1, fixture))?;
    fixture.prepare(complete(ONE, fixture.fence(ONE)))?;
    pass(fixture, RETENTION)?;
    fixture.prepare(OnDue { execution_id: ONE })
}

/// A process took the entry and crashed, and its hold is over.
fn taken_and_dropped(fixture: &mut Fixture) -> Prepared {
    waiting(fixture)?;
    let mut carrier = fixture.carrier(0, draw(fixture, 99));
    let mut next = fixture.begin(&mut carrier)?;
    for _ in 0..2 {
        let super::fixture::Next::Send(request) = next else { break };
        let reply = fixture.serve(&mut carrier, request)?;
        next = fixture.answer(&mut carrier, reply)?;
    }
    pass(fixture, DurationMs::from_secs(5))
}

fn pass(fixture: &mut Fixture, time: DurationMs) -> Prepared {
    fixture.now += time.get();
    Ok(())
}

// -------------------------------------------------------------------------------- the operations

/// A completion in a batch, without a result.
fn without_result(id: ExecutionId, fixture: &Fixture) -> Complete {
    Complete { result: None, ..complete(id, fixture.fence(id)) }
}

fn on_due(_: &Fixture) -> AnyCommand {
    OnDue { execution_id: ONE }.into()
}

fn draw(fixture: &Fixture, start: u64) -> Work {
    let entropy = fixture.entropy(100 + start);
    Work::Claim(WorkerAgent::new(profile(start), entropy).claim(2))
}

fn draw_incapable(fixture: &Fixture, start: u64) -> Work {
    let mut incapable = profile(start);
    incapable.capabilities = Default::default();
    Work::Claim(WorkerAgent::new(incapable, fixture.entropy(100 + start)).claim(2))
}

fn schedule(fixture: &Fixture, start: u64) -> Work {
    let who = profile(start);
    let request = WorkerRequest {
        served: Served { capabilities: capable(), ..who.served() },
        worker: who.worker,
        audit: GrantAudit { instance: Some(who.instance), ..GrantAudit::default() },
        grant_ttl: GRANT,
    };
    let entropy = fixture.entropy(200 + start);
    Work::Admit(Scheduler::new(PARTITIONS, Fixture::context(), entropy).claim_for_worker(request))
}

fn tick(fixture: &Fixture, start: u64) -> Work {
    Work::Tick(ApplyDue::new(PARTITIONS, Fixture::context(), fixture.entropy(300 + start)))
}

fn list(fixture: &Fixture, start: u64) -> Work {
    let patience = Patience::new(Fixture::context(), fixture.entropy(500 + start));
    let filter = ListFilter::default();
    Work::List(ListExecutions::new(&PARTITIONS, namespace(), filter, None, 10, patience))
}

fn audit(fixture: &Fixture, start: u64) -> Work {
    let patience = Patience::new(Fixture::context(), fixture.entropy(600 + start));
    Work::Audit(AuditPartition::new(ONE.partition(), namespace(), [], 100, patience))
}

impl Subject {
    /// The commands, to be repeated unchanged.
    pub fn commands(&self, fixture: &Fixture) -> Vec<AnyCommand> {
        match self {
            Self::Command(make) => vec![make(fixture)],
            Self::Commands(make) => make(fixture),
            Self::Agent(_) | Self::Reader(_) => Vec::new(),
        }
    }

    /// The operation, as the `start`th process runs it.
    pub fn work(&self, commands: &[AnyCommand], fixture: &mut Fixture, start: u64) -> Work {
        match self {
            Self::Command(_) => fixture.transact(commands[0].clone()),
            Self::Commands(_) => {
                let mut entropy = fixture.entropy(800 + start);
                let carry = |command: &AnyCommand| {
                    let patience = Patience::new(Fixture::context(), entropy.fork());
                    CarryCommand::new(command.clone(), patience)
                };
                let partition = ONE.partition();
                Work::Commands(Batch::new(partition, commands.iter().map(carry).collect()))
            }
            Self::Agent(make) | Self::Reader(make) => make(fixture, start),
        }
    }

    /// Whether a repeat by a new process has the same identity.
    pub const fn has_identity(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Commands(_))
    }

    /// The executions of the case.
    pub fn executions(&self, commands: &[AnyCommand], fixture: &Fixture) -> Vec<ExecutionId> {
        let mut ids: Vec<ExecutionId> = fixture.records().into_keys().collect();
        ids.extend(commands.iter().map(ff_core::execution::Decide::execution_id));
        ids.sort();
        ids.dedup();
        ids
    }
}
