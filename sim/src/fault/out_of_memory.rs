//! A store whose memory is full: it refuses to begin what is not there to free memory.
//!
//! What finishes work is allowed, and so is taking entries: otherwise a full store could never be
//! emptied.

use ff_core::execution::Purpose;
use ff_core::store::{Failure, Request, Unit};

use crate::plan::settings::Settings;

use super::episode::{Episode, plan as episodes};
use crate::plan::FaultKind;

/// The episodes of a seed.
pub fn plan(seed: u64, settings: &Settings) -> impl Iterator<Item = Episode> {
    episodes(seed, settings, FaultKind::OutOfMemory, &[500, 2_000, 6_000])
}

/// What it refuses: commits with a unit that does not finish anything.
pub fn refusal(request: &Request) -> Option<Failure> {
    let Request::Commit(commit) = request else { return None };
    let finishes = |unit: &Unit| unit.purpose == Purpose::Finish;
    let says = "OOM command not allowed when used memory > 'maxmemory'.";
    (!commit.units.iter().all(finishes)).then(|| Failure::Refused(says.to_owned()))
}
