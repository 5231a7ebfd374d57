//! The journey of a call through the network: to the store and back.

use crate::determinism::random::{between, happens, one_of};
use crate::plan::FaultKind;

use super::chances::Chances;

/// The speed of the network, and the patience of callers.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The slowest way to the store or back, in milliseconds.
    pub latency_ms: u64,
    /// How long a caller waits for a reply, in milliseconds.
    pub timeout_ms: u64,
    /// Whether the client library sends requests again by itself.
    pub resends: bool,
}

/// The journey of a call; times in milliseconds from its sending.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When the request arrives: never, once, or twice.
    pub arrivals: [Option<Arrival>; 2],
    /// Whether the caller learns immediately that the request never left.
    pub unsent: bool,
    /// Whether the call keeps its place among the calls of its process.
    pub in_order: bool,
    /// The fault, if there is one.
    pub fault: Option<FaultKind>,
}

/// An arrival of a request.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When, in milliseconds from its sending.
    pub after: u64,
    /// How long after that the reply arrives, if it does.
    pub reply_after: Option<u64>,
}

impl Journey {
    fn unanswered(fault: FaultKind, arrives: Option<u64>) -> Self {
        let arrival = arrives.map(|after| Arrival { after, reply_after: None });
        Self { arrivals: [arrival, None], unsent: false, in_order: false, fault: Some(fault) }
    }

    fn answered(fault: Option<FaultKind>, after: u64, reply_after: u64) -> Self {
        let arrival = Arrival { after, reply_after: Some(reply_after) };
        let in_order = fault.is_none();
        Self { arrivals: [Some(arrival), None], unsent: false, in_order, fault }
    }
}

/// The journey of the call of that key.
pub fn journey(chances: &mut Chances, network: Network, key: u64) -> Journey {
    let mut delays = chances.delays(key);
    let least = network.latency_ms.min(1);
    let there = between(&mut delays, least, network.latency_ms);
    let back = between(&mut delays, least, network.latency_ms);
    unanswered(chances, network.timeout_ms, key, there)
        .or_else(|| resent(chances, network, key, there, back))
        .or_else(|| delayed(chances, network.timeout_ms, key, there, back))
        .unwrap_or_else(|| Journey::answered(None, there, back))
}

/// A call that gets no reply.
fn unanswered(chances: &mut Chances, timeout: u64, key: u64, there: u64) -> Option<Journey> {
    use FaultKind::{LateExecution, ReplyLost, RequestLost};
    let late = chances.strike(LateExecution, key, |draws, weight| {
        happens(draws, weight).then(|| {
            let longest = if happens(draws, 300) { 8_000 } else { 600 };
            between(draws, 0, longest)
        })
    });
    if let Some(late) = late {
        return Some(Journey::unanswered(LateExecution, Some(timeout + late)));
    }
    let unsent = chances.strike(RequestLost, key, |draws, weight| {
        let (lost, unsent) = (happens(draws, weight), happens(draws, 400));
        lost.then_some(unsent)
    });
    if let Some(unsent) = unsent {
        return Some(Journey { unsent, ..Journey::unanswered(RequestLost, None) });
    }
    chances.strikes(ReplyLost, key).then(|| Journey::unanswered(ReplyLost, Some(there)))
}

/// A call that arrives twice.
fn resent(
    chances: &mut Chances,
    network: Network,
    key: u64,
    there: u64,
    back: u64,
) -> Option<Journey> {
    let kind = FaultKind::Resend;
    let (later, first_answers) = chances.strike(kind, key, |draws, weight| {
        (network.resends && happens(draws, weight)).then(|| {
            let longest = if happens(draws, 500) { 5 } else { network.timeout_ms };
            // A request that waits on the way is carried out after the one that replaced it.
            (between(draws, 0, longest), happens(draws, 300))
        })
    })?;
    let arrival =
        |after, answers: bool| Some(Arrival { after, reply_after: answers.then_some(back) });
    let arrivals = [arrival(there, first_answers), arrival(there + later, !first_answers)];
    Some(Journey { arrivals, ..Journey::answered(Some(kind), there, back) })
}

/// A call that takes longer than others, or arrives out of order.
fn delayed(
    chances: &mut Chances,
    timeout: u64,
    key: u64,
    there: u64,
    back: u64,
) -> Option<Journey> {
    use FaultKind::{Delay, Reordering};
    let delay = chances.strike(Delay, key, |draws, weight| {
        happens(draws, weight).then(|| {
            let longest = one_of(draws, &[timeout / 4, timeout, 2 * timeout]);
            let delay = between(draws, 0, longest);
            if happens(draws, 500) { (delay, 0) } else { (0, delay) }
        })
    });
    if let Some((more_there, more_back)) = delay {
        return Some(Journey::answered(Some(Delay), there + more_there, back + more_back));
    }
    chances.strikes(Reordering, key).then(|| Journey::answered(Some(Reordering), there, back))
}
