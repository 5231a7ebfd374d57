//! \[LIVENESS\] After the faults all work comes to its end, within a bounded number of calls.

use crate::report::{Broken, ensure};

/// The tag.
pub const TAG: &str = "LIVENESS";

/// More steps than any run takes: a run that takes more never ends.
pub const MAX_STEPS: u64 = 400_000;

/// Calls that a run of some processes may make in its simulated time, about so many executions.
const fn calls_allowed(now: u64, processes: u64, executions: u64) -> u64 {
    2_000 + (now / 1_000 + 1) * processes * 40 + executions * 40
}

/// The processes call the store no more often than their work requires.
pub fn check_calls(calls: u64, now: u64, processes: u64, executions: u64) -> Result<(), Broken> {
    let bound = calls_allowed(now, processes, executions);
    ensure!(calls <= bound, TAG, "{calls} calls in {now} ms are more than the {bound} allowed");
    Ok(())
}
