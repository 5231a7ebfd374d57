//! Every operation that core has, each in the situations in which it does something else.

use ff_core::agent::{Scheduler, Timekeeper, WorkerAgent, WorkerRequest};
use ff_core::execution::{
    Admit, AnyCommand, Block, BlockKind, Cancel, CancelledBy, ChangePriority, Complete, Create,
    ForgetSignals, IssueReclaimGrant, MoveToWaitingChildren, OnDue, Renew, Replay, Resume,
    RevokeLease, SeenSuspension, Start, TakeNew, TakeOver, TakeResumed, Unblock, UpdateProgress,
};
use ff_core::id::ExecutionId;
use ff_core::op::{AuditPartition, Batch, ListExecutions, ListFilter, Patience, Transact};
use ff_core::policy::Priority;
use ff_core::time::DurationMs;

use crate::exhaustive::carrier::Work;
use crate::report::Broken;

use super::commands::{
    BACKOFF, EXPIRY, GRANT, LEASE, ONE, PARTITIONS, RETENTION, SUSPENSION, call, cancel, capable,
    claim, complete, create, create_keyed, delay, fail, frame, grant, id, lane, namespace, offer,
    profile, signal, suspend, waitpoint,
};
use super::fixture::Bench;

type Prepared = Result<(), Broken>;

/// An operation in one situation.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// Makes the situation.
    pub prepare: fn(&mut Bench) -> Prepared,
    /// The operation.
    pub subject: Subject,
}

/// What is carried out.
#[derive(Clone, Copy)]
pub enum Subject {
    /// A command, which a fresh process repeats under the same identity.
    Command(fn(&Bench) -> AnyCommand),
    /// Several commands in one batch, likewise.
    Commands(fn(&Bench) -> Vec<AnyCommand>),
    /// What an agent does; a fresh process has an agent of its own.
    Agent(fn(&Bench, u64) -> Work),
    /// The same, and it only reads.
    Reader(fn(&Bench, u64) -> Work),
}

const fn command(
    name: &'static str,
    prepare: fn(&mut Bench) -> Prepared,
    make: fn(&Bench) -> AnyCommand,
) -> Case {
    Case { name, prepare, subject: Subject::Command(make) }
}

const fn agent(
    name: &'static str,
    prepare: fn(&mut Bench) -> Prepared,
    make: fn(&Bench, u64) -> Work,
) -> Case {
    Case { name, prepare, subject: Subject::Agent(make) }
}

/// All cases.
pub const CASES: &[Case] = &[
    command("create", nothing, |_| create(ONE).into()),
    command("create under a key", nothing, |_| create_keyed().into()),
    command("create for later", nothing, |bench| {
        let start = Start::At(bench.store().plus(BACKOFF));
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
    command("renew", leased, |bench| {
        Renew { execution_id: ONE, fence: bench.fence(ONE), lease_ttl: LEASE }.into()
    }),
    command("update_progress", leased, |bench| {
        let (fence, message) = (bench.fence(ONE), Some("halfway".to_owned()));
        UpdateProgress { execution_id: ONE, fence, percent: 50, message }.into()
    }),
    command("complete", leased, |bench| complete(ONE, bench.fence(ONE)).into()),
    command("fail with a retry", leased, |bench| fail(bench.fence(ONE), false).into()),
    command("fail without a retry", leased_last, |bench| fail(bench.fence(ONE), false).into()),
    command("fail for good", leased, |bench| fail(bench.fence(ONE), true).into()),
    command("delay_execution", leased, |bench| {
        delay(bench.fence(ONE), bench.store().plus(BACKOFF)).into()
    }),
    command("move_to_waiting_children", leased, |bench| {
        MoveToWaitingChildren { execution_id: ONE, fence: bench.fence(ONE) }.into()
    }),
    command("cancel by the holder", leased, |bench| {
        let by = CancelledBy::Holder(bench.fence(ONE));
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
    command("block for a time", waiting, |bench| {
        let recheck_at = Some(bench.store().plus(BACKOFF));
        Block { execution_id: ONE, kind: BlockKind::Quota, recheck_at }.into()
    }),
    command("unblock", blocked, |_| {
        Unblock { execution_id: ONE, kind: BlockKind::Operator, offered: None }.into()
    }),
    command("create_pending_waitpoint", one_waitpoint, |bench| waitpoint(2, bench).into()),
    command("suspend", one_waitpoint, |bench| suspend(bench).into()),
    command("suspend, satisfied", signalled, |bench| suspend(bench).into()),
    command("deliver_signal", one_waitpoint, |bench| signal(1, bench).into()),
    command("deliver_signal, resumes", suspended, |bench| signal(1, bench).into()),
    command("resume", suspended, |_| {
        let suspension = SeenSuspension::default();
        Resume { execution_id: ONE, call: call(1), suspension }.into()
    }),
    command("append_frame", leased, |bench| frame(1, bench).into()),
    command("append_frame, second", framed, |bench| frame(2, bench).into()),
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
        subject: Subject::Commands(|bench| {
            let all = [id(0), id(1), id(2)];
            all.map(|each| without_result(each, bench).into()).to_vec()
        }),
    },
    Case {
        name: "batch of creations and completions",
        prepare: leased,
        subject: Subject::Commands(|bench| {
            let new = Create { payload: None, ..create(id(1)) };
            vec![new.into(), without_result(ONE, bench).into()]
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
    agent("sweep", routeless, sweep),
    Case { name: "list", prepare: two_waiting, subject: Subject::Reader(list) },
    Case { name: "audit", prepare: two_waiting, subject: Subject::Reader(audit) },
];

// ------------------------------------------------------------------------------- the situations

fn nothing(_: &mut Bench) -> Prepared {
    Ok(())
}

fn waiting(bench: &mut Bench) -> Prepared {
    bench.prepare(create(ONE))
}

fn two_waiting(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    bench.prepare(create(id(1)))
}

fn waiting_for_gpu(bench: &mut Bench) -> Prepared {
    bench.prepare(Create { requires: capable(), ..create(ONE) })
}

fn routeless(bench: &mut Bench) -> Prepared {
    waiting_for_gpu(bench)?;
    let kind = BlockKind::Route;
    bench.prepare(Block { execution_id: ONE, kind, recheck_at: None })
}

fn waiting_beyond_its_deadline(bench: &mut Bench) -> Prepared {
    let deadline = Some(bench.store().plus(BACKOFF));
    bench.prepare(Create { deadline, ..create(ONE) })?;
    pass(bench, BACKOFF)
}

fn granted(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    bench.prepare(grant(1))
}

fn leased(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    bench.prepare(offer(ONE, 1))
}

fn leased_last(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(fail(bench.fence(ONE), false))?;
    pass(bench, BACKOFF)?;
    bench.prepare(OnDue { execution_id: ONE })?;
    bench.prepare(offer(ONE, 2))
}

fn three_leased(bench: &mut Bench) -> Prepared {
    for number in 0..3 {
        bench.prepare(create(id(number)))?;
        bench.prepare(offer(id(number), u64::from(number) + 1))?;
    }
    Ok(())
}

/// The lease is over and nobody has marked it so.
fn ran_out(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    pass(bench, LEASE)
}

fn two_ran_out(bench: &mut Bench) -> Prepared {
    for (each, number) in [(ONE, 1), (id(10), 2)] {
        bench.prepare(create(each))?;
        bench.prepare(offer(each, number))?;
    }
    pass(bench, LEASE)
}

fn expired(bench: &mut Bench) -> Prepared {
    ran_out(bench)?;
    bench.prepare(OnDue { execution_id: ONE })
}

fn revoked(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(RevokeLease { execution_id: ONE, call: call(20) })
}

fn reclaimed_too_often(bench: &mut Bench) -> Prepared {
    let mut once = create(ONE);
    once.policy.max_reclaim_count = 1;
    bench.prepare(once)?;
    for number in 1..=2 {
        bench.prepare(offer(ONE, number))?;
        pass(bench, LEASE)?;
        bench.prepare(OnDue { execution_id: ONE })?;
    }
    Ok(())
}

fn granted_to_reclaim(bench: &mut Bench) -> Prepared {
    expired(bench)?;
    bench.prepare(IssueReclaimGrant(grant(2)))
}

fn interrupted(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(delay(bench.fence(ONE), bench.store()))
}

fn granted_to_resume(bench: &mut Bench) -> Prepared {
    interrupted(bench)?;
    bench.prepare(grant(2))
}

fn completed(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(complete(ONE, bench.fence(ONE)))
}

fn blocked(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    bench.prepare(Block { execution_id: ONE, kind: BlockKind::Operator, recheck_at: None })
}

fn recheck_due(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    let recheck_at = Some(bench.store().plus(BACKOFF));
    bench.prepare(Block { execution_id: ONE, kind: BlockKind::Budget, recheck_at })?;
    pass(bench, BACKOFF)
}

fn grant_ran_out(bench: &mut Bench) -> Prepared {
    granted(bench)?;
    pass(bench, GRANT)
}

fn delay_over(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(fail(bench.fence(ONE), false))?;
    pass(bench, BACKOFF)
}

fn attempt_timed_out(bench: &mut Bench) -> Prepared {
    let mut short = create(ONE);
    short.policy.timeout.attempt_timeout_ms = Some(BACKOFF);
    bench.prepare(short)?;
    bench.prepare(offer(ONE, 1))?;
    pass(bench, BACKOFF)
}

fn deadline_passed(bench: &mut Bench) -> Prepared {
    let deadline = Some(bench.store().plus(BACKOFF));
    bench.prepare(Create { deadline, ..create(ONE) })?;
    bench.prepare(offer(ONE, 1))?;
    pass(bench, BACKOFF)
}

fn retention_over(bench: &mut Bench) -> Prepared {
    let mut short = create(ONE);
    short.policy.retention_ms = RETENTION;
    bench.prepare(short)?;
    bench.prepare(offer(ONE, 1))?;
    bench.prepare(complete(ONE, bench.fence(ONE)))?;
    pass(bench, RETENTION)
}

fn continues(bench: &mut Bench) -> Prepared {
    retention_over(bench)?;
    bench.prepare(OnDue { execution_id: ONE })
}

fn one_waitpoint(bench: &mut Bench) -> Prepared {
    let mut short = create(ONE);
    short.policy.retention_ms = RETENTION;
    bench.prepare(short)?;
    bench.prepare(offer(ONE, 1))?;
    bench.prepare(waitpoint(1, bench))
}

/// A signal is buffered.
fn signalled(bench: &mut Bench) -> Prepared {
    one_waitpoint(bench)?;
    bench.prepare(signal(7, bench))
}

fn suspended(bench: &mut Bench) -> Prepared {
    one_waitpoint(bench)?;
    bench.prepare(suspend(bench))
}

fn suspended_too_long(bench: &mut Bench) -> Prepared {
    suspended(bench)?;
    pass(bench, SUSPENSION)
}

fn waitpoint_expired(bench: &mut Bench) -> Prepared {
    one_waitpoint(bench)?;
    pass(bench, EXPIRY)
}

fn framed(bench: &mut Bench) -> Prepared {
    leased(bench)?;
    bench.prepare(frame(1, bench))
}

/// Retention has taken the values away and left the signals and the output.
fn signals_left(bench: &mut Bench) -> Prepared {
    signalled(bench)?;
    bench.prepare(frame(1, bench))?;
    bench.prepare(complete(ONE, bench.fence(ONE)))?;
    pass(bench, RETENTION)?;
    bench.prepare(OnDue { execution_id: ONE })
}

/// Somebody took the entry, died, and its hold is over.
fn taken_and_dropped(bench: &mut Bench) -> Prepared {
    waiting(bench)?;
    let mut carrier = bench.carrier(0, draw(bench, 99));
    let mut stand = bench.begin(&mut carrier)?;
    for _ in 0..2 {
        let super::fixture::Stand::Sends(request) = stand else { break };
        let reply = bench.serve(&mut carrier, request)?;
        stand = bench.answer(&mut carrier, reply)?;
    }
    pass(bench, DurationMs::from_secs(5))
}

fn pass(bench: &mut Bench, time: DurationMs) -> Prepared {
    bench.now += time.get();
    Ok(())
}

// -------------------------------------------------------------------------------- the operations

/// A completion in a batch, whose values the world does not follow.
fn without_result(id: ExecutionId, bench: &Bench) -> Complete {
    Complete { result: None, ..complete(id, bench.fence(id)) }
}

fn on_due(_: &Bench) -> AnyCommand {
    OnDue { execution_id: ONE }.into()
}

fn draw(bench: &Bench, start: u64) -> Work {
    let entropy = bench.entropy(100 + start);
    Work::Claim(WorkerAgent::new(profile(start), entropy).claim(2))
}

fn draw_incapable(bench: &Bench, start: u64) -> Work {
    let mut incapable = profile(start);
    incapable.capabilities = Default::default();
    Work::Claim(WorkerAgent::new(incapable, bench.entropy(100 + start)).claim(2))
}

fn schedule(bench: &Bench, start: u64) -> Work {
    let who = profile(start);
    let request = WorkerRequest {
        namespace: namespace(),
        lane: lane(),
        worker: who.worker,
        instance: Some(who.instance),
        capabilities: capable(),
        grant_ttl: GRANT,
    };
    let entropy = bench.entropy(200 + start);
    Work::Admit(Scheduler::new(PARTITIONS, Bench::terms(), entropy).claim_for_worker(request))
}

fn tick(bench: &Bench, start: u64) -> Work {
    Work::Tick(Timekeeper::new(PARTITIONS, Bench::terms(), bench.entropy(300 + start)).apply_due())
}

fn sweep(bench: &Bench, start: u64) -> Work {
    let mut agent = WorkerAgent::new(profile(start), bench.entropy(400 + start));
    Work::Sweep(agent.unblock_routes(bench.time()).expect("a new worker looks at once"))
}

fn list(bench: &Bench, start: u64) -> Work {
    let patience = Patience::new(Bench::terms(), bench.entropy(500 + start));
    let filter = ListFilter::default();
    Work::List(ListExecutions::new(&PARTITIONS, namespace(), filter, None, 10, patience))
}

fn audit(bench: &Bench, start: u64) -> Work {
    let patience = Patience::new(Bench::terms(), bench.entropy(600 + start));
    Work::Audit(AuditPartition::new(ONE.partition(), namespace(), [lane()], 100, patience))
}

impl Subject {
    /// The commands that are carried out, to be repeated as they are.
    pub fn commands(&self, bench: &Bench) -> Vec<AnyCommand> {
        match self {
            Self::Command(make) => vec![make(bench)],
            Self::Commands(make) => make(bench),
            Self::Agent(_) | Self::Reader(_) => Vec::new(),
        }
    }

    /// The operation of the `start`th process that carries it out.
    pub fn work(&self, commands: &[AnyCommand], bench: &mut Bench, start: u64) -> Work {
        match self {
            Self::Command(_) => bench.transact(commands[0].clone()),
            Self::Commands(_) => {
                let mut entropy = bench.entropy(800 + start);
                let carry = |command: &AnyCommand| {
                    let patience = Patience::new(Bench::terms(), entropy.fork());
                    Transact::new(command.clone(), patience)
                };
                let partition = ONE.partition();
                Work::Commands(Batch::new(partition, commands.iter().map(carry).collect()))
            }
            Self::Agent(make) | Self::Reader(make) => make(bench, start),
        }
    }

    /// Whether a repeat by a fresh process has the same identity.
    pub const fn has_identity(&self) -> bool {
        matches!(self, Self::Command(_) | Self::Commands(_))
    }

    /// The executions that it is about.
    pub fn executions(&self, commands: &[AnyCommand], bench: &Bench) -> Vec<ExecutionId> {
        let mut ids: Vec<ExecutionId> = bench.records().into_keys().collect();
        ids.extend(commands.iter().map(ff_core::execution::Decide::execution_id));
        ids.sort();
        ids.dedup();
        ids
    }
}
