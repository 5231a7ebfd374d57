//! Runs the simulator with the fuzzer's bytes as its choices. Coverage guides the behaviour of the
//! network, the clocks and the faults, in place of a random generator.

use ff_sim::{Options, Overrides, Plan, run_plan};

/// A small number of executions and a short time of work: a short run with the right faults finds
/// the same violations as a long one.
const EXECUTIONS: u64 = 4;
const BUSY_MS: u64 = 1_500;

/// Runs one simulation. The first two bytes are the seed, which determines the sizes and the
/// enabled faults. The other bytes are the choices during the run.
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
