//! A store, a clock, and operations that can be interrupted between any two of their steps.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, AnyOutcome, Execution, Fence, FenceParts, IssuedWaitpoint};
use ff_core::id::ExecutionId;
use ff_core::op::{CarryCommand, Event, Known, OperationContext, Patience, Step};
use ff_core::store::codec::Codec;
use ff_core::store::{Failure, Reply, Request};
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::determinism::clock::store_time;
use crate::exhaustive::carrier::{AnyOutput, Carrier, Work};
use crate::report::StoreKind;
use crate::report::describe;
use crate::report::{Broken, ensure};
use crate::store::Server;

/// The state of an operation between two of its steps.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One at a time.
pub enum Next {
    /// It is about to send a request.
    Send(Request),
    /// It has ended.
    Done(AnyOutput),
}

/// A store with its checks, and a clock for the store and all processes.
#[derive(Debug)]
pub struct Fixture {
    /// The store.
    pub server: Server,
    /// Milliseconds since the start.
    pub now: u64,
    /// The steps as text, if a trace is kept.
    pub trace: Option<Vec<String>>,
    /// The waitpoints that were opened to set up a case, with their tokens.
    pub issued: Vec<IssuedWaitpoint>,
    operations: u64,
}

impl Fixture {
    /// An empty store.
    pub fn new(traced: bool) -> Self {
        let trace = traced.then(Vec::new);
        let (server, issued) = (Server::new(StoreKind::Memory, 1), Vec::new());
        Self { server, now: 0, trace, issued, operations: 0 }
    }

    /// Both clocks of any process.
    pub fn time(&self) -> HostTime {
        HostTime { local: TimestampMs::new(1_000_000 + self.now), store: store_time(self.now) }
    }

    /// The store's clock.
    pub const fn store(&self) -> TimestampMs {
        store_time(self.now)
    }

    /// A random stream that is the same in each run.
    pub fn entropy(&self, number: u64) -> Entropy {
        Entropy::from_u64(number).without_jitter()
    }

    /// The context of any operation.
    pub fn context() -> OperationContext {
        OperationContext::new(DurationMs::from_secs(30), Codec::default())
    }

    /// The present record of an execution.
    pub fn record(&self, id: ExecutionId) -> Option<&Execution> {
        self.server.model.records.get(&id).map(Rc::as_ref)
    }

    /// All present records.
    pub fn records(&self) -> BTreeMap<ExecutionId, Rc<Execution>> {
        self.server.model.records.clone()
    }

    /// The fence of the latest holder of an execution.
    pub fn fence(&self, id: ExecutionId) -> FenceParts {
        let fence: Option<Fence> = self.record(id).and_then(|record| record.last_fence);
        fence.map_or(FenceParts::MISSING, FenceParts::of)
    }

    /// The operation that carries a command.
    pub fn transact(&mut self, command: AnyCommand) -> Work {
        self.operations += 1;
        let entropy = self.entropy(1_000_000 + self.operations);
        let patience = Patience::new(Self::context(), entropy);
        let known = match command {
            AnyCommand::Create(_) => Known::Absent,
            _ => Known::Nothing,
        };
        Work::Command(CarryCommand::knowing(command, known, patience))
    }

    /// Assigns an operation to a process.
    pub fn carrier(&mut self, process: usize, work: Work) -> Carrier {
        self.operations += 1;
        Carrier::new(self.operations, process, work)
    }

    /// Adds a line to the trace.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>6} ms  {}", text()));
        }
    }

    /// Takes the first step of an operation.
    pub fn begin(&mut self, carrier: &mut Carrier) -> Result<Next, Broken> {
        let step = carrier.work.resume(Event::Start, self.time());
        self.next(carrier, step)
    }

    /// Lets a request reach the store.
    pub fn serve(&mut self, carrier: &mut Carrier, request: Request) -> Result<Reply, Broken> {
        let (number, now) = (carrier.caller.number, self.store());
        self.note(|| format!("operation {number}: {}", describe::request(&request, now)));
        let reply = carrier.arrives(&mut self.server, request, now)?;
        self.note(|| format!("the store: {}", describe::reply(&reply.body, now)));
        Ok(reply)
    }

    /// Delivers a reply to an operation.
    pub fn answer(&mut self, carrier: &mut Carrier, reply: Reply) -> Result<Next, Broken> {
        carrier.hears(&self.server, &reply);
        let step = carrier.work.resume(Event::Reply(reply), self.time());
        self.next(carrier, step)
    }

    /// Delivers an error instead of a reply to an operation.
    pub fn fail(&mut self, carrier: &mut Carrier, failure: &Failure) -> Result<Next, Broken> {
        carrier.caller.failed = true;
        let step = carrier.work.resume(Event::Failure(failure.clone()), self.time());
        self.next(carrier, step)
    }

    fn next(&mut self, carrier: &mut Carrier, mut step: Step<AnyOutput>) -> Result<Next, Broken> {
        loop {
            match step {
                Step::Send(request) => {
                    carrier.sends(&request);
                    return Ok(Next::Send(request));
                }
                Step::Wait(wait) => {
                    self.now += wait.get().max(1);
                    step = carrier.work.resume(Event::Wake, self.time());
                }
                Step::Done(output) => {
                    let number = carrier.caller.number;
                    self.note(|| format!("operation {number} ends: {}", described(&output)));
                    carrier.ends(&mut self.server, &output)?;
                    return Ok(Next::Done(output));
                }
            }
        }
    }

    /// Runs an operation to its end, without interruption.
    pub fn finish(&mut self, carrier: &mut Carrier, mut next: Next) -> Result<AnyOutput, Broken> {
        for _ in 0..MAX_EXCHANGES {
            match next {
                Next::Done(output) => return Ok(output),
                Next::Send(request) => {
                    let reply = self.serve(carrier, request)?;
                    next = self.answer(carrier, reply)?;
                }
            }
        }
        let detail = format!("operation {} does not end", carrier.caller.number);
        Err(Broken { tag: "LIVENESS", detail })
    }

    /// Runs an operation.
    pub fn carry_out(&mut self, process: usize, work: Work) -> Result<AnyOutput, Broken> {
        let mut carrier = self.carrier(process, work);
        let next = self.begin(&mut carrier)?;
        self.finish(&mut carrier, next)
    }

    /// Runs a command that sets up a case and must be applied.
    pub fn prepare(&mut self, command: impl Into<AnyCommand>) -> Result<(), Broken> {
        let work = self.transact(command.into());
        let output = self.carry_out(0, work)?;
        if let AnyOutput::Command(Ok(committed)) = &output
            && let AnyOutcome::CreatePendingWaitpoint(issued) = &committed.outcome
        {
            self.issued.push(issued.clone());
        }
        let done = matches!(output, AnyOutput::Command(Ok(_)));
        ensure!(done, "PREPARATION", "a command that sets up a case returned {output:?}");
        Ok(())
    }

    /// The next time in `due` or `retention`.
    pub fn next_due(&self) -> Option<u64> {
        let positions = self.server.model.positions.values();
        let due =
            positions.flat_map(|positions| positions.due.into_iter().chain(positions.retention));
        due.map(|due| due.instant().since(store_time(0)).get()).filter(|at| *at > self.now).min()
    }
}

/// The number of exchanges after which an operation counts as endless.
const MAX_EXCHANGES: usize = 200;

fn described(output: &AnyOutput) -> String {
    describe::shortened(&format!("{output:?}")).to_owned()
}
