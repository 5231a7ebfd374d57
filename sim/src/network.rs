//! The way to the store and back.

use crate::fault::chances::Chances;
use crate::fault::request_lost::Loss;
use crate::fault::{FaultKind, late_execution, reply_lost, request_lost};
use crate::settings::Settings;
use crate::streams::between;

/// What becomes of a call; times in milliseconds from its sending.
#[derive(Clone, Copy, Debug)]
pub struct Journey {
    /// When the store carries it out, if it does.
    pub arrives: Option<u64>,
    /// When the reply comes after that, if it does.
    pub reply_after: Option<u64>,
    /// When the caller gives up, where no reply comes, and whether it knows that nothing left.
    pub fails: Option<(u64, bool)>,
    /// The fault, if there is one.
    pub fault: Option<FaultKind>,
}

impl Journey {
    fn failed(arrives: Option<u64>, fails: (u64, bool), fault: FaultKind) -> Self {
        Self { arrives, reply_after: None, fails: Some(fails), fault: Some(fault) }
    }
}

/// What becomes of a call that is known by its key. `calm` is a network without faults.
pub fn journey(chances: &mut Chances, settings: &Settings, key: u64, calm: bool) -> Journey {
    let mut delays = chances.delays(key);
    let there = between(&mut delays, 1, settings.latency_ms);
    let back = between(&mut delays, 1, settings.latency_ms);
    let whole = Journey { arrives: Some(there), reply_after: Some(back), fails: None, fault: None };
    if calm {
        return whole;
    }
    faulty(chances, settings, key, there).unwrap_or(whole)
}

/// The first fault that meets a call.
fn faulty(chances: &mut Chances, settings: &Settings, key: u64, there: u64) -> Option<Journey> {
    use FaultKind::{LateExecution, ReplyLost, RequestLost};
    let timeout = settings.timeout_ms;
    if let Some(weight) = settings.on(LateExecution)
        && let Some(delay) = late_execution::draw(&mut chances.draws(LateExecution, key), weight)
        && chances.inject(LateExecution, key)
    {
        return Some(Journey::failed(Some(timeout + delay), (timeout, false), LateExecution));
    }
    if let Some(weight) = settings.on(RequestLost)
        && let Some(loss) = request_lost::draw(&mut chances.draws(RequestLost, key), weight)
        && chances.inject(RequestLost, key)
    {
        let fails = if loss == Loss::NotSent { (1, true) } else { (timeout, false) };
        return Some(Journey::failed(None, fails, RequestLost));
    }
    if let Some(weight) = settings.on(ReplyLost)
        && reply_lost::draw(&mut chances.draws(ReplyLost, key), weight)
        && chances.inject(ReplyLost, key)
    {
        return Some(Journey::failed(Some(there), (timeout, false), ReplyLost));
    }
    None
}
