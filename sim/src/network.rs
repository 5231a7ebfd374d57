//! The way to the store and back.

use ff_core::entropy::Entropy;

use crate::fault::FaultKind;
use crate::fault::reply_lost::Loss;
use crate::fault::{late_execution, reply_lost};
use crate::settings::Settings;
use crate::streams::{between, stream};

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

/// Decides about each call.
#[derive(Debug)]
pub struct Network {
    latency: Entropy,
    losses: Entropy,
    late: Entropy,
}

impl Network {
    /// The network of a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            latency: stream(seed, "latency", 0),
            losses: stream(seed, "losses", 0),
            late: stream(seed, "late executions", 0),
        }
    }

    /// What becomes of the next call. `calm` is a network without faults.
    pub fn journey(&mut self, settings: &Settings, calm: bool) -> Journey {
        let there = between(&mut self.latency, 1, settings.latency_ms);
        let back = between(&mut self.latency, 1, settings.latency_ms);
        let timeout = settings.timeout_ms;
        let rate = |per_mille| if calm { 0 } else { per_mille };
        let failed = |arrives, fails, fault| Journey {
            arrives,
            reply_after: None,
            fails: Some(fails),
            fault: Some(fault),
        };
        if let Some(delay) = late_execution::draw(&mut self.late, rate(settings.late_execution)) {
            return failed(Some(timeout + delay), (timeout, false), FaultKind::LateExecution);
        }
        match reply_lost::draw(&mut self.losses, rate(settings.reply_lost)) {
            Some(Loss::NotSent) => failed(None, (1, true), FaultKind::RequestLost),
            Some(Loss::Request) => failed(None, (timeout, false), FaultKind::RequestLost),
            Some(Loss::Reply) => failed(Some(there), (timeout, false), FaultKind::ReplyLost),
            None => {
                Journey { arrives: Some(there), reply_after: Some(back), fails: None, fault: None }
            }
        }
    }
}
