//! One step of a small world.

use ff_core::error::ErrorClass;
use ff_core::execution::{
    AnyCommand, Cancel, CancelledBy, Claimed, Complete, Resume, RetryAdvice, RevokeLease,
};
use ff_core::op::{CarryCommand, Event, Known, Patience, Step};
use ff_core::partition::Partition;
use ff_core::store::{Failure, Reply, Request};
use ff_core::time::HostTime;

use crate::exhaustive::carrier::{AnyOutput, Carrier, Work};
use crate::exhaustive::inputs::{call, fail};
use crate::report::Broken;

use super::parts::{Exchange, Job, Late, Message, Part, Worker};
use super::state::{Choice, SLOTS, Slot, State, slot_number, worker};
use super::waiting::continues;
use super::worlds::{context, id};

impl State {
    /// Takes a choice.
    pub fn take(&mut self, choice: Choice) -> Result<(), Broken> {
        match choice {
            Choice::Claim(number) => self.claim(number)?,
            Choice::Complete(number) => self.finish(number, true)?,
            Choice::Fail(number) => self.finish(number, false)?,
            Choice::Tend(number) => self.tend(number)?,
            Choice::Crash(number) => self.crash(number),
            Choice::Round => {
                let work = self.round();
                self.begin(Slot::Round, work)?;
            }
            Choice::Cancel | Choice::Revoke | Choice::Resume => self.call(choice)?,
            Choice::Open(number) => self.open(number)?,
            Choice::Suspend(number) => self.suspend(number)?,
            Choice::Signal => self.signal()?,
            Choice::Arrive(slot) => self.arrive(slot)?,
            Choice::Deliver(slot) => {
                let Exchange { carrier, message } = self.take_up(slot);
                if let Message::Reply(reply) = message {
                    self.deliver(slot, carrier, reply)?;
                }
            }
            Choice::LoseRequest(slot) | Choice::LoseReply(slot) => self.lose(slot)?,
            Choice::Late(number) => self.arrive_late(number)?,
            Choice::Time => {
                self.left.slow -= u8::from(self.travelling() > 0);
                self.now = self.next_instant().unwrap_or(self.now);
            }
        }
        self.refresh()?;
        self.check()
    }

    pub(super) fn change(&mut self, number: usize, change: impl FnOnce(&mut Worker)) {
        let mut worker = self.workers[number].copy();
        change(&mut worker);
        self.workers[number] = Part::new(worker);
    }

    fn take_up(&mut self, slot: Slot) -> Exchange {
        let part = self.running[slot_number(slot)].take();
        part.expect("only what is under path goes on").copy()
    }

    pub(super) fn begin(&mut self, slot: Slot, work: Work) -> Result<(), Broken> {
        let process = match slot {
            Slot::Claim(number) | Slot::Finish(number) | Slot::Renew(number) => number,
            Slot::Round => 2,
            Slot::Call => 3,
            Slot::Signal => 4,
        };
        let mut carrier = self.carrier(process, work);
        let step = carrier.work.resume(Event::Start, self.time());
        self.follow(slot, carrier, step)
    }

    /// Carries out the next step of an operation. Polls, reads of the secrets and a `Take` are
    /// carried out immediately, and a wait takes no time.
    fn follow(
        &mut self,
        slot: Slot,
        mut carrier: Carrier,
        step: Step<AnyOutput>,
    ) -> Result<(), Broken> {
        match step {
            Step::Send(request) if is_answered_at_once(&request) => {
                let now = self.store();
                let reply = carrier.arrives(&mut self.server, request, now)?;
                self.deliver(slot, carrier, reply)
            }
            Step::Send(request @ Request::Take(_)) => {
                let now = self.store();
                let reply = carrier.arrives(&mut self.server, request, now)?;
                let exchange = Exchange { carrier, message: Message::Reply(reply) };
                self.running[slot_number(slot)] = Some(Part::new(exchange));
                Ok(())
            }
            Step::Send(request) => {
                carrier.sends(&request);
                let exchange = Exchange { carrier, message: Message::Request(request) };
                self.running[slot_number(slot)] = Some(Part::new(exchange));
                Ok(())
            }
            Step::Wait(wait) => {
                let now = self.time();
                let local = now.local.plus(wait);
                let step = carrier.work.resume(Event::Wake, HostTime { local, ..now });
                self.follow(slot, carrier, step)
            }
            Step::Done(output) => {
                carrier.ends(&mut self.server, &output)?;
                self.share(&carrier);
                self.done(slot, output);
                Ok(())
            }
        }
    }

    /// Updates the caller of its late requests.
    fn share(&mut self, carrier: &Carrier) {
        let caller = &carrier.caller;
        for part in &mut self.late {
            if part.get().carrier.caller.number == caller.number {
                let mut late = part.copy();
                late.carrier.caller = caller.clone();
                *part = Part::new(late);
            }
        }
    }

    fn arrive(&mut self, slot: Slot) -> Result<(), Broken> {
        let Exchange { mut carrier, message } = self.take_up(slot);
        let Message::Request(request) = message else {
            unreachable!("only what is on its path arrives");
        };
        let (reads, now) = (request.is_read_only(), self.store());
        let reply = carrier.arrives(&mut self.server, request, now)?;
        self.share(&carrier);
        if reads {
            return self.deliver(slot, carrier, reply);
        }
        self.running[slot_number(slot)] =
            Some(Part::new(Exchange { carrier, message: Message::Reply(reply) }));
        Ok(())
    }

    fn deliver(&mut self, slot: Slot, mut carrier: Carrier, reply: Reply) -> Result<(), Broken> {
        carrier.hears(&self.server, &reply);
        let step = carrier.work.resume(Event::Reply(reply), self.time());
        self.follow(slot, carrier, step)
    }

    /// Delivers an error instead of a reply. A request in flight may still arrive.
    fn lose(&mut self, slot: Slot) -> Result<(), Broken> {
        let Exchange { mut carrier, message } = self.take_up(slot);
        match message {
            Message::Request(request) => {
                self.left.lost_requests -= 1;
                self.left.faults -= 1;
                let carrier = carrier.clone();
                self.late.push(Part::new(Late { carrier, request }));
            }
            Message::Reply(_) => {
                self.left.lost_replies -= 1;
                self.left.faults -= 1;
            }
        }
        let failure = Failure::MaybeApplied("no reply in time".to_owned());
        carrier.caller.failed = true;
        let step = carrier.work.resume(Event::Failure(failure), self.time());
        self.follow(slot, carrier, step)
    }

    fn arrive_late(&mut self, number: usize) -> Result<(), Broken> {
        let mut late = self.late.remove(number).copy();
        let (request, now) = (late.request, self.store());
        late.carrier.arrives(&mut self.server, request, now)?;
        let caller = late.carrier.caller;
        for part in self.running.iter_mut().flatten() {
            if part.get().carrier.caller.number == caller.number {
                let mut exchange = part.copy();
                exchange.carrier.caller.applied = caller.applied;
                *part = Part::new(exchange);
            }
        }
        Ok(())
    }

    fn claim(&mut self, number: usize) -> Result<(), Broken> {
        let mut work = None;
        self.change(number, |worker| work = Some(worker.agent.claim(1)));
        self.begin(Slot::Claim(number), Work::Claim(work.expect("it was just begun")))
    }

    fn finish(&mut self, number: usize, completes: bool) -> Result<(), Broken> {
        self.left.failures -= u8::from(!completes);
        let mut work = None;
        self.change(number, |worker| {
            let Some(job) = &mut worker.job else { return };
            let Job { claimed, ending, .. } = job;
            let lease = claimed.lease_id;
            let command = ending.get_or_insert_with(|| give_back(claimed, completes));
            let known = worker.agent.leases.known(lease);
            let patience = worker.agent.patience();
            work = Some(CarryCommand::knowing(command.clone(), known, patience));
        });
        self.begin(Slot::Finish(number), Work::Command(work.expect("there is a job")))
    }

    fn tend(&mut self, number: usize) -> Result<(), Broken> {
        let (now, renews) = (self.time(), self.left.renewals > 0);
        let mut renewals = Vec::new();
        self.change(number, |worker| {
            for lost in worker.agent.leases.ran_out(now) {
                worker.job.take_if(|job| job.claimed.lease_id == lost.lease_id);
            }
            if renews {
                renewals = worker.agent.renewals(now);
            }
        });
        for renewal in renewals {
            self.left.renewals -= 1;
            let lease = renewal.lease_id;
            self.change(number, |worker| worker.renewing = Some(lease));
            self.begin(Slot::Renew(number), Work::Renew(renewal.operation))?;
        }
        Ok(())
    }

    /// Crashes a worker: its requests may still arrive.
    fn crash(&mut self, number: usize) {
        self.left.crashes -= 1;
        self.left.faults -= 1;
        for slot in &SLOTS[number * 3..number * 3 + 3] {
            let Some(part) = self.running[slot_number(*slot)].take() else { continue };
            let Exchange { carrier, message } = part.copy();
            if let Message::Request(request) = message
                && !request.is_read_only()
            {
                self.late.push(Part::new(Late { carrier, request }));
            }
        }
        let start = self.workers[number].get().start + 1;
        self.workers[number] = worker(number, start);
    }

    fn call(&mut self, choice: Choice) -> Result<(), Broken> {
        self.left.calls -= 1;
        let call = call(self.left.calls);
        let execution_id = id(0);
        let command: AnyCommand = match choice {
            Choice::Revoke => RevokeLease { execution_id, call }.into(),
            Choice::Resume => Resume { execution_id, call, suspension: None }.into(),
            _ => {
                let by = CancelledBy::Operator(call);
                Cancel { execution_id, by, reason: "not wanted".to_owned() }.into()
            }
        };
        let patience = Patience::new(context(), self.entropy());
        let work = CarryCommand::knowing(command, Known::Nothing, patience);
        self.begin(Slot::Call, Work::Command(work))
    }

    /// Takes over the output of an operation, as the SDK does.
    fn done(&mut self, slot: Slot, output: AnyOutput) {
        let now = self.time();
        match (slot, output) {
            (Slot::Claim(number), AnyOutput::Claim(result)) => self.change(number, |worker| {
                let mut work = result.unwrap_or_default().work;
                // The worker restarts its rotation.
                worker.agent.claimed(&mut work, None);
                let claimed = work.pop().map(|work| work.claimed);
                worker.job = claimed.map(|claimed| Job { claimed, ending: None, opens: false });
            }),
            (Slot::Renew(number), AnyOutput::Renew(result)) => self.change(number, |worker| {
                let Some(lease) = worker.renewing.take() else { return };
                if let Some(lost) = worker.agent.leases.renewed(lease, result, now) {
                    worker.job.take_if(|job| job.claimed.lease_id == lost.lease_id);
                }
            }),
            (Slot::Finish(number), AnyOutput::Command(result)) => {
                if let Ok(committed) = &result {
                    self.give_out(&committed.outcome);
                }
                self.change(number, |worker| {
                    let again = |error| ErrorClass::Retryable == error;
                    let Some(job) = &mut worker.job else { return };
                    if result.as_ref().is_ok_and(|committed| continues(&committed.outcome)) {
                        job.ending = None;
                    } else if !result.is_err_and(|error| again(error.class())) {
                        worker.agent.leases.release(job.claimed.lease_id);
                        worker.job = None;
                    }
                });
            }
            _ => {}
        }
    }
}

/// Whether a request is a poll, or about secrets. There is one secret all the time, so the answer
/// is the same at any time.
fn is_answered_at_once(request: &Request) -> bool {
    matches!(request, Request::Poll(_)) || request.partition() == Partition::META
}

/// The call of a handler that gives its lease back.
fn give_back(claimed: &Claimed, completes: bool) -> AnyCommand {
    let (execution_id, fence) = (claimed.execution_id, claimed.fence().into());
    if completes {
        return Complete { execution_id, fence, result: None }.into();
    }
    fail(execution_id, fence, RetryAdvice::ByPolicy).into()
}
