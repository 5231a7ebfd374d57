//! Single operations against a store that loses replies, is late, or is changed by others, with a
//! host whose clock may be wrong.
//!
//! The store is that of the crash points: it checks every request against every invariant, and
//! panics if one is broken. A test adds the fates of the calls, and actions of others between them.

use std::collections::VecDeque;
use std::fmt;
use std::mem;

use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{AnyCommand, Decide, EventKind};
use ff_core::id::ExecutionId;
use ff_core::op::{
    CarryCommand, Committed, Event, Loaded, Operation, OperationContext, Patience, Step, load,
};
use ff_core::partition::Partition;
use ff_core::store::codec::Codec;
use ff_core::store::{Failure, MemoryStore, RecordKey, Reply, Request};
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::determinism::clock::store_time;
use crate::exhaustive::crash_points::Fixture;
use crate::model::caller::Caller;
use crate::model::identity::{CommandIdentity, remembered_of};
use crate::report::Broken;
use crate::report::invariants::InvariantSet;

/// The fate of one call.
#[derive(Clone, Copy, Debug, Default)]
pub enum Fate {
    /// It is answered.
    #[default]
    Answered,
    /// It never arrives, and the caller knows.
    NotSent,
    /// The store refuses it.
    Refused,
    /// It is applied and the reply is lost.
    ReplyLost,
    /// The caller gets no reply; it is applied only after the next call.
    Late,
    /// It is applied, others change the store, and the client sends it again by itself: the caller
    /// gets the second reply.
    SentTwice,
    /// The same, but the store accepts no writes any more when the second copy arrives.
    SentTwiceThenRefused,
}

/// The trace that a command has left in the record of its execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trace {
    /// None, since it was never applied.
    NotApplied,
    /// The store recognises or refuses the command if it comes again.
    Kept,
    /// None any more: the store would apply the command again.
    Gone,
}

/// An action of others on the store.
pub type Intervention = Box<dyn FnMut(&mut Scripted)>;

/// The fates of a host's calls, and the errors of its clock.
#[derive(Default)]
pub struct Script {
    /// The fates of the next calls. Calls after them are answered.
    pub fates: VecDeque<Fate>,
    /// The host's estimate of the store's clock, less the store's clock, in milliseconds.
    pub wrong_by: i64,
    /// How far the host's own clock is ahead of the store's, in milliseconds.
    pub local_ahead: u64,
    /// How far the clock of the node that holds the secrets is ahead of the others, in
    /// milliseconds.
    pub secrets_ahead: i64,
    /// Whether the host corrects its estimate by each reply, as programs do.
    pub learns: bool,
    /// How long each call takes, in milliseconds.
    pub latency: u64,
    /// How long the host stands still in its next wait, in milliseconds.
    pub pause: u64,
    /// The grace of the secret before, if an operation rotates secrets.
    pub grace: Option<DurationMs>,
    /// Every call of the host so far.
    pub calls: Vec<Request>,
    /// Runs before each call of the host. Calls that it makes are not the host's.
    pub intervene: Option<Intervention>,
    late: Vec<Request>,
}

/// A store with its checks, its clock, and a host that follows a script.
#[derive(Debug)]
pub struct Scripted {
    fixture: Fixture,
    operations: u64,
    /// The script of the host.
    pub script: Script,
}

impl Default for Scripted {
    fn default() -> Self {
        Self::new()
    }
}

impl Scripted {
    /// An empty store, and a host with the right time, no faults, and calls of 1 ms.
    pub fn new() -> Self {
        let script = Script { latency: 1, ..Script::default() };
        Self { fixture: Fixture::new(false), operations: 0, script }
    }

    /// The store's clock.
    pub const fn now(&self) -> TimestampMs {
        self.fixture.store()
    }

    /// The host's clocks.
    pub fn host(&self) -> HostTime {
        let now = self.now();
        let local = now.plus(DurationMs::new(self.script.local_ahead));
        let store = now.get().saturating_add_signed(self.script.wrong_by);
        HostTime { local, store: TimestampMs::new(store) }
    }

    /// Lets time pass, in milliseconds.
    pub const fn pass(&mut self, milliseconds: u64) {
        self.fixture.now += milliseconds;
    }

    /// Sets the store's clock, in milliseconds.
    pub fn set(&mut self, now: u64) {
        if now < self.now().get() {
            self.fixture.server.model.note_clock_step();
        }
        self.fixture.now = now - store_time(0).get();
    }

    /// The terms of an operation that may take ten seconds, with secrets that were not read yet.
    pub fn context() -> OperationContext {
        OperationContext::new(DurationMs::from_secs(10), Codec::default()).with_active_lanes()
    }

    /// How long an operation tries, in milliseconds.
    pub fn patience(milliseconds: u64) -> Patience {
        let context = OperationContext::new(DurationMs::new(milliseconds), Codec::default())
            .with_active_lanes();
        Patience::new(context, Entropy::from_u64(milliseconds))
    }

    /// Runs an operation to its end.
    pub fn drive<O: Operation>(&mut self, operation: O) -> O::Output {
        let caller = self.caller();
        self.drive_for(caller, operation)
    }

    /// Carries a command to its execution.
    pub fn transact<C>(&mut self, command: C) -> Result<Committed<C::Outcome>, EngineError>
    where
        C: Decide + Clone + Into<AnyCommand>,
    {
        self.carry(&Self::context(), command)
    }

    /// Carries a command to its execution, with the secrets that are known in this context.
    pub fn carry<C>(
        &mut self,
        context: &OperationContext,
        command: C,
    ) -> Result<Committed<C::Outcome>, EngineError>
    where
        C: Decide + Clone + Into<AnyCommand>,
    {
        let patience = Patience::new(context.clone(), Entropy::from_u64(self.operations));
        self.run(CarryCommand::new(command, patience))
    }

    /// Runs an operation that carries a command.
    pub fn run<C>(
        &mut self,
        operation: CarryCommand<C>,
    ) -> Result<Committed<C::Outcome>, EngineError>
    where
        C: Decide + Clone + Into<AnyCommand>,
    {
        self.operations += 1;
        let caller = Caller::of(self.operations, 0, operation.command().clone().into());
        self.drive_for(caller, operation)
    }

    /// Carries any command to its execution, and checks the answer too.
    pub fn perform(&mut self, command: AnyCommand) {
        let work = self.fixture.transact(command);
        self.fixture
            .carry_out(0, work)
            .unwrap_or_else(|Broken { tag, detail, .. }| panic!("[{tag}] {detail}"));
    }

    /// Sends a request for a test that steps an operation itself.
    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        let mut caller = self.caller();
        self.call_for(&mut caller, request)
    }

    /// The record of an execution.
    pub fn record(&mut self, id: &ExecutionId) -> Option<Loaded> {
        let key = RecordKey::of(id);
        let store = self.fixture.server.memory();
        let (_, stored) = store.records(id.partition()).find(|(held, _)| **held == key)?;
        Some(load(stored, &Codec::default()).expect("the store holds records"))
    }

    /// Whether a command was applied before, or another one with its id or its grant, and whether
    /// the record of its execution still shows this.
    pub fn trace_of(&self, command: &AnyCommand) -> Trace {
        let model = &self.fixture.server.model;
        let record = model.records.get(&command.execution_id());
        let brought = match command {
            AnyCommand::Offer(offer) => Some(CommandIdentity::Grant(offer.claim.grant_id)),
            _ => None,
        };
        let trace = |identity: CommandIdentity| {
            let applied = match &identity {
                CommandIdentity::Grant(id) if model.consumed.contains_key(id) => true,
                identity => model.applied.contains_key(identity),
            };
            let shown = record.and_then(|record| remembered_of(&identity, record));
            match identity {
                _ if shown.is_some() => Trace::Kept,
                _ if !applied => Trace::NotApplied,
                // A later command with the same fence is refused, and a submission may create again
                // what was removed.
                CommandIdentity::Fence(..) | CommandIdentity::Creator(..) => Trace::Kept,
                // A record forgets an operator's call only after as many others as it remembers.
                CommandIdentity::Request(..) if !record.is_some_and(|r| r.requests.is_full()) => {
                    Trace::Kept
                }
                _ => Trace::Gone,
            }
        };
        let identities = model.identity_of(command).into_iter().chain(brought);
        identities.map(trace).max().unwrap_or(Trace::NotApplied)
    }

    /// How often an event of this kind happened, by the journals.
    pub fn count(&self, kind: EventKind) -> u64 {
        self.fixture.server.coverage.events.get(&kind).copied().unwrap_or(0)
    }

    /// The store itself.
    pub fn store(&mut self) -> &mut MemoryStore {
        self.fixture.server.memory()
    }

    /// Checks these invariants alone from now on.
    pub const fn watch(&mut self, invariants: InvariantSet) {
        self.fixture.server.model.watched = invariants;
    }

    /// Writes to the store past all checks. No invariant is checked afterwards.
    pub fn spoil(&mut self, request: Request) -> Reply {
        self.watch(InvariantSet::NONE);
        let now = self.now();
        self.store().handle(request, now)
    }

    fn caller(&mut self) -> Caller {
        self.operations += 1;
        Caller { rotates: self.script.grace, ..Caller::new(self.operations, 0) }
    }

    fn drive_for<O: Operation>(&mut self, mut caller: Caller, mut operation: O) -> O::Output {
        let mut event = Event::Start;
        for _ in 0..10_000 {
            event = match operation.resume(event, self.host()) {
                Step::Done(output) => return output,
                Step::Wait(wait) => {
                    let pause = mem::take(&mut self.script.pause);
                    self.pass(wait.get() + pause);
                    Event::Wake
                }
                Step::Send(request) => match self.call_for(&mut caller, request) {
                    Ok(reply) => Event::Reply(reply),
                    Err(failure) => Event::Failure(failure),
                },
            };
        }
        panic!("the operation does not end");
    }

    fn call_for(&mut self, caller: &mut Caller, request: Request) -> Result<Reply, Failure> {
        self.pass(self.script.latency);
        self.script.calls.push(request.clone());
        self.let_others_act();
        let late = mem::take(&mut self.script.late);
        let lost = || Failure::MaybeApplied("no reply".to_owned());
        let answer = match self.script.fates.pop_front().unwrap_or_default() {
            Fate::NotSent => Err(Failure::NotSent("unplugged".to_owned())),
            Fate::Refused => Err(Failure::Refused("out of memory".to_owned())),
            Fate::Answered => {
                if self.script.learns {
                    self.script.wrong_by = 0;
                }
                Ok(self.serve(caller, request))
            }
            Fate::ReplyLost => {
                self.serve(caller, request);
                Err(lost())
            }
            Fate::SentTwice => {
                self.resend(caller, request.clone());
                Ok(self.serve(caller, request))
            }
            Fate::SentTwiceThenRefused => {
                self.resend(caller, request);
                Err(Failure::Refused("read only".to_owned()))
            }
            Fate::Late => {
                self.script.late.push(request);
                Err(lost())
            }
        };
        for request in late {
            self.serve(caller, request);
        }
        caller.failed |= answer.is_err();
        answer
    }

    fn resend(&mut self, caller: &mut Caller, request: Request) {
        caller.resent = true;
        self.serve(caller, request);
        self.let_others_act();
    }

    fn serve(&mut self, caller: &mut Caller, request: Request) -> Reply {
        let of_secrets = request.partition() == Partition::META;
        let ahead = if of_secrets { self.script.secrets_ahead } else { 0 };
        let now = TimestampMs::new(self.now().get().saturating_add_signed(ahead));
        self.fixture
            .server
            .serve(caller, request, now)
            .unwrap_or_else(|Broken { tag, detail, .. }| panic!("[{tag}] {detail}"))
    }

    /// Lets others act. They are answered immediately, and their clock is right.
    fn let_others_act(&mut self) {
        let Some(mut intervene) = self.script.intervene.take() else { return };
        let script = mem::take(&mut self.script);
        intervene(self);
        self.script = Script { intervene: Some(intervene), ..script };
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("fates", &self.fates).finish_non_exhaustive()
    }
}
