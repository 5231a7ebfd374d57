//! The simulator with the fuzzer's bytes as its choices: what the network, the clocks and the
//! faults do is bred by what the code under them reaches, instead of drawn by chance.

use ff_sim::{Options, Overrides, Plan, run_plan};

/// Few executions and a short time at work: a short run with the right faults is worth more than a
/// long one, and breaks the same invariants.
const EXECUTIONS: u64 = 4;
const BUSY_MS: u64 = 1_500;

/// The first two bytes are the seed, which settles sizes and which faults are on; the others decide
/// what happens.
pub fn check(data: &[u8]) {
    let Some((seed, choices)) = data.split_first_chunk::<2>() else { return };
    let executions = Some(EXECUTIONS);
    let plan = Plan {
        seed: u64::from(u16::from_be_bytes(*seed)),
        overrides: Overrides { executions, busy_ms: Some(BUSY_MS), ..Overrides::default() },
        ..Plan::default()
    };
    let options = Options { choices: Some(choices.to_vec()), ..Options::default() };
    if let Err(violation) = run_plan(&plan, options) {
        panic!("{violation}");
    }
}
