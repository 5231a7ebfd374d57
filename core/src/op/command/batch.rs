//! Many commands on executions of one partition, in as few calls as they need.

use crate::error::EngineError;
use crate::execution::Decide;
use crate::partition::Partition;
use crate::store::bounds::{MAX_MESSAGE_BYTES, MAX_READ_KEYS, MAX_READ_RECORDS, MAX_UNITS};
use crate::store::{Commit, Read, RecordKey, Reply, ReplyBody, Request, Unit, Values};
use crate::time::{DurationMs, HostTime, TimestampMs};

use super::carry::{CarryCommand, Committed};
use crate::op::operation::{Event, Operation, Step};

/// Carries many commands to executions of one partition: what is ready together travels together,
/// except for secrets and signals that a command needs. Each keeps its own outcome.
#[derive(Clone, Debug)]
pub struct Batch<C: Decide> {
    partition: Partition,
    children: Vec<Child<C>>,
    in_flight: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Child<C: Decide> {
    operation: CarryCommand<C>,
    state: State<C::Outcome>,
}

#[derive(Clone, Debug)]
enum State<T> {
    Fresh,
    Commits(Unit),
    Reads(Read),
    /// Sends something that does not travel with others: a scan, or a call to the secrets.
    Sends(Request),
    InFlight {
        keys: (usize, usize),
    },
    Waits {
        until: TimestampMs,
    },
    Done(Result<Committed<T>, EngineError>),
}

impl<C: Decide> Batch<C> {
    /// A batch of operations whose executions all live in `partition`.
    pub fn new(partition: Partition, operations: Vec<CarryCommand<C>>) -> Self {
        let children = operations
            .into_iter()
            .map(|operation| Child { operation, state: State::Fresh })
            .collect();
        Self { partition, children, in_flight: Vec::new() }
    }

    /// Gathers the next requests of the children into one request.
    fn gather(&mut self, now: HostTime) -> Step<Vec<Result<Committed<C::Outcome>, EngineError>>> {
        for child in &mut self.children {
            match child.state {
                State::Fresh => child.resume(Event::Start, now),
                State::Waits { until } if until <= now.local => child.resume(Event::Wake, now),
                _ => {}
            }
            // The others start once this is answered: the program keeps what it reads.
            if let State::Sends(_) = child.state {
                break;
            }
        }
        if let Some(request) = self.commits().or_else(|| self.reads()).or_else(|| self.single()) {
            return Step::Send(request);
        }
        let waits = self.children.iter().filter_map(|child| match child.state {
            State::Waits { until } => Some(until),
            _ => None,
        });
        if let Some(until) = waits.min() {
            return Step::Wait(until.since(now.local).max(DurationMs::new(1)));
        }
        let results = std::mem::take(&mut self.children).into_iter();
        Step::Done(results.filter_map(|child| child.result()).collect())
    }

    fn commits(&mut self) -> Option<Request> {
        let mut units: Vec<Unit> = Vec::new();
        let mut bytes = 0;
        self.in_flight.clear();
        for (number, child) in self.children.iter_mut().enumerate() {
            let State::Commits(unit) = &child.state else { continue };
            let size: usize =
                unit.values.iter().filter_map(|write| write.value.as_ref()).map(|v| v.len()).sum();
            let taken = |key: &RecordKey| units.iter().any(|unit| expects(unit, key));
            let other = units.first().is_some_and(|first| first.purpose != unit.purpose);
            let full = units.len() == MAX_UNITS || bytes + size > MAX_MESSAGE_BYTES;
            // One unit for each record in a request, and one purpose for all.
            if (full && !units.is_empty()) || other || unit.expect.iter().any(|(key, _)| taken(key))
            {
                continue;
            }
            bytes += size;
            if let State::Commits(unit) =
                std::mem::replace(&mut child.state, State::InFlight { keys: (0, 0) })
            {
                units.push(unit);
                self.in_flight.push(number);
            }
        }
        (!units.is_empty()).then_some(Request::Commit(Commit { partition: self.partition, units }))
    }

    fn reads(&mut self) -> Option<Request> {
        let (partition, mut records, mut values) = (self.partition, Vec::new(), Vec::new());
        self.in_flight.clear();
        for (number, child) in self.children.iter_mut().enumerate() {
            let State::Reads(read) = &mut child.state else { continue };
            let keys = (read.records.len(), read.values.len());
            if records.len() + keys.0 > MAX_READ_RECORDS
                || records.len() + values.len() + keys.0 + keys.1 > MAX_READ_KEYS
            {
                break;
            }
            records.append(&mut read.records);
            values.append(&mut read.values);
            child.state = State::InFlight { keys };
            self.in_flight.push(number);
        }
        (!records.is_empty()).then_some(Request::Read(Read { partition, records, values }))
    }

    /// The first request that travels alone.
    fn single(&mut self) -> Option<Request> {
        self.children.iter_mut().enumerate().find_map(|(number, child)| {
            let State::Sends(request) = &child.state else { return None };
            let request = request.clone();
            let keys = match &request {
                Request::Read(read) => (read.records.len(), read.values.len()),
                _ => (0, 0),
            };
            child.state = State::InFlight { keys };
            self.in_flight = vec![number];
            Some(request)
        })
    }

    /// Hands each child its part of the reply.
    fn hand_out(&mut self, reply: Reply, now: HostTime) {
        let at = reply.at;
        let numbers = std::mem::take(&mut self.in_flight);
        match reply.body {
            ReplyBody::Commit(units) => {
                let mut units = units.into_iter();
                for number in numbers {
                    let body = ReplyBody::Commit(units.next().into_iter().collect());
                    self.children[number].resume(Event::Reply(Reply { at, body }), now);
                }
            }
            ReplyBody::Read(all) => {
                let (mut records, mut values) = (all.records.into_iter(), all.values.into_iter());
                for number in numbers {
                    let child = &mut self.children[number];
                    let State::InFlight { keys } = child.state else { continue };
                    let body = ReplyBody::Read(Values {
                        records: records.by_ref().take(keys.0).collect(),
                        values: values.by_ref().take(keys.1).collect(),
                    });
                    child.resume(Event::Reply(Reply { at, body }), now);
                }
            }
            body => {
                for number in numbers {
                    let reply = Reply { at, body: body.clone() };
                    self.children[number].resume(Event::Reply(reply), now);
                }
            }
        }
    }
}

impl<C: Decide> Child<C> {
    fn resume(&mut self, event: Event, now: HostTime) {
        let here = self.operation.partition();
        self.state = match self.operation.resume(event, now) {
            Step::Send(Request::Commit(mut commit)) if here == Some(commit.partition) => {
                commit.units.pop().map_or(State::Fresh, State::Commits)
            }
            Step::Send(Request::Read(read)) if here == Some(read.partition) => State::Reads(read),
            Step::Send(other) => State::Sends(other),
            Step::Wait(wait) => State::Waits { until: now.local.plus(wait) },
            Step::Done(result) => State::Done(result),
        };
    }

    fn result(self) -> Option<Result<Committed<C::Outcome>, EngineError>> {
        match self.state {
            State::Done(result) => Some(result),
            _ => None,
        }
    }
}

fn expects(unit: &Unit, key: &RecordKey) -> bool {
    unit.expect.iter().any(|(expected, _)| expected == key)
}

impl<C: Decide> Operation for Batch<C> {
    /// One for each operation, in their order.
    type Output = Vec<Result<Committed<C::Outcome>, EngineError>>;

    fn partition(&self) -> Option<Partition> {
        Some(self.partition)
    }

    fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        let left = |number: &usize| self.children[*number].operation.reply_within(now);
        self.in_flight.iter().filter_map(left).min()
    }

    fn resume(&mut self, event: Event, now: HostTime) -> Step<Self::Output> {
        match event {
            Event::Start | Event::Wake => {}
            Event::Reply(reply) => self.hand_out(reply, now),
            Event::Failure(failure) => {
                for number in std::mem::take(&mut self.in_flight) {
                    self.children[number].resume(Event::Failure(failure.clone()), now);
                }
            }
        }
        self.gather(now)
    }
}
