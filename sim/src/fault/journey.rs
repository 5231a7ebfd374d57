//! The way to the store and back.

use crate::determinism::random::between;
use crate::fault::chances::Chances;
use crate::fault::request_lost::Loss;
use crate::fault::{delay, late_execution, reordering, reply_lost, request_lost, resend};
use crate::plan::FaultKind;
use crate::plan::settings::Settings;

/// What becomes of a call; times in milliseconds from its sending.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When the store gets it: never, once, or twice.
    pub arrivals: [Option<Arrival>; 2],
    /// Whether the caller learns at once that it never left.
    pub unsent: bool,
    /// Whether it keeps its place among the calls of its process.
    pub in_order: bool,
    /// The fault, if there is one.
    pub fault: Option<FaultKind>,
}

/// A request reaches the store.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When.
    pub after: u64,
    /// When the reply comes after that, if it does.
    pub reply_after: Option<u64>,
}

impl Journey {
    fn lost(fault: FaultKind, arrives: Option<u64>) -> Self {
        let arrival = arrives.map(|after| Arrival { after, reply_after: None });
        let arrivals = [arrival, None];
        Self { arrivals, unsent: false, in_order: false, fault: Some(fault) }
    }

    fn answered(fault: Option<FaultKind>, after: u64, reply_after: u64) -> Self {
        let arrival = Arrival { after, reply_after: Some(reply_after) };
        let in_order = fault.is_none();
        Self { arrivals: [Some(arrival), None], unsent: false, in_order, fault }
    }
}

/// What becomes of a call that is known by its key. `calm` is a network without faults.
pub fn journey(chances: &mut Chances, settings: &Settings, key: u64, calm: bool) -> Journey {
    let mut delays = chances.delays(key);
    let least = settings.latency_ms.min(1);
    let there = between(&mut delays, least, settings.latency_ms);
    let back = between(&mut delays, least, settings.latency_ms);
    let faulty = if calm {
        None
    } else {
        lost(chances, settings, key, there).or_else(|| late(chances, settings, key, (there, back)))
    };
    faulty.unwrap_or_else(|| Journey::answered(None, there, back))
}

/// A call that gets no reply.
fn lost(chances: &mut Chances, settings: &Settings, key: u64, there: u64) -> Option<Journey> {
    use FaultKind::{LateExecution, ReplyLost, RequestLost};
    if let Some(weight) = settings.on(LateExecution)
        && let Some(delay) = late_execution::draw(&mut chances.draws(LateExecution, key), weight)
        && chances.inject(LateExecution, key)
    {
        return Some(Journey::lost(LateExecution, Some(settings.timeout_ms + delay)));
    }
    if let Some(weight) = settings.on(RequestLost)
        && let Some(loss) = request_lost::draw(&mut chances.draws(RequestLost, key), weight)
        && chances.inject(RequestLost, key)
    {
        let unsent = loss == Loss::NotSent;
        return Some(Journey { unsent, ..Journey::lost(RequestLost, None) });
    }
    if let Some(weight) = settings.on(ReplyLost)
        && reply_lost::draw(&mut chances.draws(ReplyLost, key), weight)
        && chances.inject(ReplyLost, key)
    {
        return Some(Journey::lost(ReplyLost, Some(there)));
    }
    None
}

/// A call that takes longer than others, arrives twice, or out of order.
fn late(
    chances: &mut Chances,
    settings: &Settings,
    key: u64,
    (there, back): (u64, u64),
) -> Option<Journey> {
    use FaultKind::{Delay, Reordering, Resend};
    let timeout = settings.timeout_ms;
    if let Some(weight) = settings.on(Resend)
        && let Some(again) = resend::draw(&mut chances.draws(Resend, key), weight, timeout)
        && chances.inject(Resend, key)
    {
        let mut journey = Journey::answered(Some(Resend), there, back);
        let (first, second) = (there, there + again.later_ms);
        let reply = |answers: bool| answers.then_some(back);
        journey.arrivals = [
            Some(Arrival { after: first, reply_after: reply(again.first_answers) }),
            Some(Arrival { after: second, reply_after: reply(!again.first_answers) }),
        ];
        return Some(journey);
    }
    if let Some(weight) = settings.on(Delay)
        && let Some(more) = delay::draw(&mut chances.draws(Delay, key), weight, timeout)
        && chances.inject(Delay, key)
    {
        return Some(Journey::answered(Some(Delay), there + more.0, back + more.1));
    }
    if let Some(weight) = settings.on(Reordering)
        && reordering::draw(&mut chances.draws(Reordering, key), weight)
        && chances.inject(Reordering, key)
    {
        return Some(Journey::answered(Some(Reordering), there, back));
    }
    None
}
