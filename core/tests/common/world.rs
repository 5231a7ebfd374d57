//! A store that loses replies, is late, or is changed by others, and a host with a clock that may
//! be wrong.

use ff_core::entropy::Entropy;
use ff_core::error::EngineError;
use ff_core::execution::{ChangePriority, Decide, Event, Fence, OperatorCall};
use ff_core::id::RequestId;
use ff_core::op::{
    self, Committed, Informed, Known, Loaded, Operation, OperationContext, Patience, Step,
    Transact, load,
};
use ff_core::policy::Priority;
use ff_core::store::codec::{Codec, FORMAT, decode};
use ff_core::store::{
    Cursor, Failure, JournalEntry, MemoryStore, Read, RecordKey, Reply, ReplyBody, Request,
    StreamName, StreamPage,
};
use ff_core::time::{DurationMs, HostTime};

use super::{START, Submission, at, execution_id, grant, take_new};

/// What happens to one call.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    /// It is answered.
    Answered,
    /// It never arrives, and the caller knows.
    NotSent,
    /// The store refuses it.
    Refused,
    /// It is applied and the reply is lost.
    ReplyLost,
    /// The caller hears nothing; it is applied only after the next call.
    Late,
    /// It is applied, others change the store, and the client sends it again by itself: the caller
    /// gets the second reply.
    SentTwice,
    /// The same, but the store takes no writes any more when the second copy comes.
    SentTwiceThenRefused,
}

/// What others do to the store before a call.
pub type Meddle = Box<dyn FnMut(&mut MemoryStore, u64)>;

/// A store, a host with a clock that may be wrong, and the fates of the calls to come.
pub struct World {
    pub store: MemoryStore,
    pub true_now: u64,
    /// The host's estimate of the store's clock, less the truth.
    pub wrong_by: i64,
    /// Whether the host corrects its estimate by each reply, as those of programs do.
    pub learns: bool,
    pub fates: Vec<Fate>,
    /// How long the host stands still in its next wait, in milliseconds.
    pub pause: u64,
    pub late: Vec<Request>,
    pub calls: Vec<Request>,
    /// Runs before each call: others that use the same store.
    pub meddle: Meddle,
}

impl World {
    pub fn new() -> Self {
        Self {
            store: MemoryStore::new(1),
            true_now: START,
            wrong_by: 0,
            learns: false,
            fates: Vec::new(),
            pause: 0,
            late: Vec::new(),
            calls: Vec::new(),
            meddle: Box::new(|_, _| {}),
        }
    }

    pub fn now(&self) -> HostTime {
        let estimate = self.true_now.checked_add_signed(self.wrong_by).expect("a time");
        HostTime { local: at(self.true_now), store: at(estimate) }
    }

    pub fn call(&mut self, request: Request) -> Result<Reply, Failure> {
        self.true_now += 1;
        self.calls.push(request.clone());
        (self.meddle)(&mut self.store, self.true_now);
        let lost = || Failure::MaybeApplied("no reply".to_owned());
        let fate = if self.fates.is_empty() { Fate::Answered } else { self.fates.remove(0) };
        let now = at(self.true_now);
        let late = std::mem::take(&mut self.late);
        let answer = match fate {
            Fate::NotSent => Err(Failure::NotSent("unplugged".to_owned())),
            Fate::Refused => Err(Failure::Refused("out of memory".to_owned())),
            Fate::Answered => {
                if self.learns {
                    self.wrong_by = 0;
                }
                Ok(self.store.handle(request, now))
            }
            Fate::ReplyLost => {
                self.store.handle(request, now);
                Err(lost())
            }
            Fate::SentTwice => {
                self.store.handle(request.clone(), now);
                (self.meddle)(&mut self.store, self.true_now);
                Ok(self.store.handle(request, now))
            }
            Fate::SentTwiceThenRefused => {
                self.store.handle(request, now);
                (self.meddle)(&mut self.store, self.true_now);
                Err(Failure::Refused("read only".to_owned()))
            }
            Fate::Late => {
                self.late.push(request);
                Err(lost())
            }
        };
        for request in late {
            self.store.handle(request, now);
        }
        answer
    }

    pub fn drive<O: Operation>(&mut self, mut operation: O) -> O::Output {
        let mut step = operation.resume(op::Event::Start, self.now());
        for _ in 0..10_000 {
            step = match step {
                Step::Done(output) => return output,
                Step::Wait(wait) => {
                    self.true_now += wait.get() + std::mem::take(&mut self.pause);
                    operation.resume(op::Event::Wake, self.now())
                }
                Step::Send(request) => match self.call(request) {
                    Ok(reply) => operation.resume(op::Event::Reply(reply), self.now()),
                    Err(failure) => operation.resume(op::Event::Failure(failure), self.now()),
                },
            };
        }
        panic!("the operation does not end");
    }

    pub fn transact<C: Decide>(
        &mut self,
        command: C,
    ) -> Result<Committed<C::Outcome>, EngineError> {
        self.drive(Transact::new(command, patience(10_000)))
    }

    /// An execution that is leased, and the fence of its holder.
    pub fn leased(&mut self) -> Fence {
        self.transact(Submission::new().0).expect("it is created");
        self.transact(grant(1)).expect("it is granted");
        self.transact(take_new(1)).expect("it is claimed").outcome.fence()
    }

    pub fn record(&mut self) -> Loaded {
        loaded(&mut self.store, self.true_now)
    }

    pub fn events(&mut self) -> Vec<Event> {
        let (partition, stream) = (execution_id().partition(), StreamName::Journal);
        let page = StreamPage { partition, stream, from: Cursor::Start, limit: 1_000 };
        match self.store.handle(Request::Stream(page), at(self.true_now)).body {
            ReplyBody::Stream(page) => page
                .entries
                .iter()
                .flat_map(|entry| {
                    decode::<JournalEntry>(&entry.entry, FORMAT).expect("it decodes").events
                })
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    pub fn ended(&mut self) -> usize {
        self.events().iter().filter(|event| matches!(event, Event::Ended { .. })).count()
    }
}

pub fn loaded(store: &mut MemoryStore, now: u64) -> Loaded {
    found(store, now).expect("it is there")
}

pub fn found(store: &mut MemoryStore, now: u64) -> Option<Loaded> {
    let id = execution_id();
    let (partition, records) = (id.partition(), vec![RecordKey::of(&id)]);
    let read = Read { partition, records, values: Vec::new() };
    match store.handle(Request::Read(read), at(now)).body {
        ReplyBody::Read(mut read) => {
            let stored = read.records.pop().flatten()?;
            Some(load(&stored, &Codec::default()).expect("it decodes"))
        }
        other => panic!("{other:?}"),
    }
}

pub fn patience(milliseconds: u64) -> Patience {
    Patience::new(
        OperationContext::new(DurationMs::new(milliseconds), Codec::default()),
        Entropy::from_u64(milliseconds),
    )
}

/// Somebody else who changes the execution's priority.
pub fn change_priority(store: &mut MemoryStore, now: u64, number: u64) {
    let id = RequestId::try_new(format!("other-{number}")).expect("a request id");
    let priority = Priority::clamped(number as i64);
    let call = OperatorCall::new(id);
    change(store, now, ChangePriority { execution_id: execution_id(), call, priority });
}

/// Somebody else who changes the execution.
pub fn change<C: Decide>(store: &mut MemoryStore, now: u64, command: C) {
    let terms = OperationContext::new(DurationMs::new(1_000), Codec::default());
    let patience = Patience::new(terms, Entropy::from_u64(now));
    let mut operation = Transact::new(command, patience);
    let host = HostTime { local: at(now), store: at(now) };
    let mut step = operation.resume(op::Event::Start, host);
    while let Step::Send(request) = step {
        let reply = store.handle(request, at(now));
        step = operation.resume(op::Event::Reply(reply), host);
    }
}

/// Ten seconds for each call, and secrets that nobody has read yet.
pub fn terms() -> OperationContext {
    OperationContext::new(DurationMs::new(10_000), Codec::default())
}

/// Carries a command that has to know secrets or signals.
pub fn inform<C: Decide>(
    world: &mut World,
    terms: &OperationContext,
    command: C,
) -> Result<Committed<C::Outcome>, EngineError> {
    let entropy = Entropy::from_u64(world.true_now);
    world.drive(Informed::new(command, Known::Nothing, terms.clone(), entropy))
}

/// Somebody else who uses the same store.
pub fn others(store: &mut MemoryStore, now: u64, act: impl FnOnce(&mut World)) {
    let mut other = World::new();
    std::mem::swap(&mut other.store, store);
    other.true_now = now;
    act(&mut other);
    std::mem::swap(&mut other.store, store);
}
