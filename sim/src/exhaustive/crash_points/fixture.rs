//! One store, a clock, and operations that can be stopped between any two of their steps.

use std::collections::BTreeMap;
use std::rc::Rc;

use ff_core::entropy::Entropy;
use ff_core::execution::{AnyCommand, AnyOutcome, Execution, Fence, FenceParts, IssuedWaitpoint};
use ff_core::id::ExecutionId;
use ff_core::op::{Event, Informed, Known, OperationContext, Patience, Step, Transact};
use ff_core::store::codec::Codec;
use ff_core::store::{Failure, Reply, Request};
use ff_core::time::{DurationMs, HostTime, TimestampMs};

use crate::determinism::clock::store_time;
use crate::exhaustive::carrier::{Asking, Came, Carrier, Work};
use crate::process::context::needs_more;
use crate::report::StoreKind;
use crate::report::describe;
use crate::report::{Broken, ensure};
use crate::store::Server;

/// Where an operation stands between two of its steps.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)] // One at a time.
pub enum Stand {
    /// It is about to send this.
    Sends(Request),
    /// It is over.
    Done(Came),
}

/// A store with its checks, and a clock that is the store's and everybody's.
#[derive(Debug)]
pub struct Bench {
    /// The store.
    pub server: Server,
    /// Milliseconds since the start.
    pub now: u64,
    /// Whether what happens is told.
    pub told: Option<Vec<String>>,
    /// The waitpoints that were opened to prepare something, with their tokens.
    pub issued: Vec<IssuedWaitpoint>,
    operations: u64,
}

impl Bench {
    /// An empty store.
    pub fn new(told: bool) -> Self {
        let told = told.then(Vec::new);
        let (server, issued) = (Server::new(StoreKind::Memory, 1), Vec::new());
        Self { server, now: 0, told, issued, operations: 0 }
    }

    /// Both clocks of any process.
    pub fn time(&self) -> HostTime {
        HostTime { local: TimestampMs::new(1_000_000 + self.now), store: store_time(self.now) }
    }

    /// The store's clock.
    pub const fn store(&self) -> TimestampMs {
        store_time(self.now)
    }

    /// Randomness that is the same each time, for one thing.
    pub fn entropy(&self, number: u64) -> Entropy {
        Entropy::from_u64(number).without_jitter()
    }

    /// The terms of any operation.
    pub fn terms() -> OperationContext {
        OperationContext::new(DurationMs::from_secs(30), Codec::default())
    }

    /// A record as it is.
    pub fn record(&self, id: ExecutionId) -> Option<&Execution> {
        self.server.model.records.get(&id).map(Rc::as_ref)
    }

    /// All records as they are.
    pub fn records(&self) -> BTreeMap<ExecutionId, Rc<Execution>> {
        self.server.model.records.clone()
    }

    /// The proof of whoever holds an execution, or held it last.
    pub fn fence(&self, id: ExecutionId) -> FenceParts {
        let fence: Option<Fence> = self.record(id).and_then(|record| record.last_fence);
        fence.map_or(FenceParts::Missing, FenceParts::Complete)
    }

    /// A command on its way to its execution.
    pub fn transact(&mut self, command: AnyCommand) -> Work {
        self.operations += 1;
        let entropy = self.entropy(1_000_000 + self.operations);
        if needs_more(&command) {
            let known = Known::Nothing;
            let operation = Informed::new(command.clone(), known, Self::terms(), entropy);
            return Work::Informed(Asking { command, operation });
        }
        let patience = Patience::new(Self::terms(), entropy);
        let known = match command {
            AnyCommand::Create(_) => Known::Absent,
            _ => Known::Nothing,
        };
        Work::Command(Transact::knowing(command, known, patience))
    }

    /// A process takes up an operation.
    pub fn carrier(&mut self, process: usize, work: Work) -> Carrier {
        self.operations += 1;
        Carrier::new(self.operations, process, work)
    }

    /// Notes something that happens.
    pub fn tell(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(told) = &mut self.told {
            told.push(format!("{now:>6} ms  {}", text()));
        }
    }

    /// Begins an operation.
    pub fn begin(&mut self, carrier: &mut Carrier) -> Result<Stand, Broken> {
        let step = carrier.work.resume(Event::Start, self.time());
        self.stand(carrier, step)
    }

    /// Lets a request reach the store.
    pub fn serve(&mut self, carrier: &mut Carrier, request: Request) -> Result<Reply, Broken> {
        let (number, now) = (carrier.caller.number, self.store());
        self.tell(|| format!("operation {number}: {}", describe::request(&request, now)));
        let reply = carrier.arrives(&mut self.server, request, now)?;
        self.tell(|| format!("the store: {}", describe::reply(&reply.body, now)));
        Ok(reply)
    }

    /// Hands an operation its reply.
    pub fn answer(&mut self, carrier: &mut Carrier, reply: Reply) -> Result<Stand, Broken> {
        carrier.hears(&self.server, &reply);
        let step = carrier.work.resume(Event::Reply(reply), self.time());
        self.stand(carrier, step)
    }

    /// Tells an operation that no reply comes.
    pub fn fail(&mut self, carrier: &mut Carrier, failure: &Failure) -> Result<Stand, Broken> {
        carrier.caller.failed = true;
        let step = carrier.work.resume(Event::Failure(failure.clone()), self.time());
        self.stand(carrier, step)
    }

    fn stand(&mut self, carrier: &mut Carrier, mut step: Step<Came>) -> Result<Stand, Broken> {
        loop {
            match step {
                Step::Send(request) => {
                    carrier.sends(&request);
                    return Ok(Stand::Sends(request));
                }
                Step::Wait(wait) => {
                    self.now += wait.get().max(1);
                    step = carrier.work.resume(Event::Wake, self.time());
                }
                Step::Done(came) => {
                    let number = carrier.caller.number;
                    self.tell(|| format!("operation {number} ends: {}", told(&came)));
                    carrier.ends(&mut self.server, &came)?;
                    return Ok(Stand::Done(came));
                }
            }
        }
    }

    /// Lets an operation go on to its end, without anything in its way.
    pub fn finish(&mut self, carrier: &mut Carrier, mut stand: Stand) -> Result<Came, Broken> {
        for _ in 0..MAX_EXCHANGES {
            match stand {
                Stand::Done(came) => return Ok(came),
                Stand::Sends(request) => {
                    let reply = self.serve(carrier, request)?;
                    stand = self.answer(carrier, reply)?;
                }
            }
        }
        let detail = format!("operation {} never ends", carrier.caller.number);
        Err(Broken { tag: "LIVENESS", detail })
    }

    /// Carries an operation out.
    pub fn carry_out(&mut self, process: usize, work: Work) -> Result<Came, Broken> {
        let mut carrier = self.carrier(process, work);
        let stand = self.begin(&mut carrier)?;
        self.finish(&mut carrier, stand)
    }

    /// Carries a command out that must be applied, to prepare something.
    pub fn prepare(&mut self, command: impl Into<AnyCommand>) -> Result<(), Broken> {
        let work = self.transact(command.into());
        let came = self.carry_out(0, work)?;
        if let Came::Command(Ok(committed)) = &came
            && let AnyOutcome::CreatePendingWaitpoint(issued) = &committed.outcome
        {
            self.issued.push(issued.clone());
        }
        let done = matches!(came, Came::Command(Ok(_)));
        ensure!(done, "PREPARATION", "a command that prepares a case came to {came:?}");
        Ok(())
    }

    /// The next time at which something is due, by the indexes.
    pub fn next_due(&self) -> Option<u64> {
        let due = self.server.model.places.values().filter_map(|places| places.due);
        due.map(|due| due.instant().since(store_time(0)).get()).filter(|at| *at > self.now).min()
    }
}

/// Exchanges after which an operation will never end.
const MAX_EXCHANGES: usize = 200;

fn told(came: &Came) -> String {
    describe::shortened(&format!("{came:?}")).to_owned()
}
