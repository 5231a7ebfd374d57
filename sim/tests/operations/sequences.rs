//! Any sequence of commands on one execution, carried by operations, keeps every invariant of the
//! simulator, and an audit finds nothing wrong afterwards.

use ff_core::op::HOLD;
use ff_core::store::bounds::MAX_PAGE_BYTES;
use ff_core::store::{IndexName, Request, Take, TakeUntil};
use ff_sim::scripted::Scripted;
use proptest::prelude::*;

use super::audit::{eligible, look, partition};
use super::carried::{Carried, tick};
use crate::common::execution_id;
use crate::one_record::steps::{sequences, submissions};

fn take(world: &mut Scripted, index: IndexName, until: TakeUntil) {
    let (partition, count, hold, from) = (partition(), 10, HOLD, vec![index]);
    let bytes = MAX_PAGE_BYTES;
    let take = Take { partition, from, count, bytes, until, hold, ring_rest: false };
    world.call(Request::Take(take)).expect("a reply");
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_operations_keeps_the_invariants(
        submission in submissions(),
        steps in sequences(),
        takes in prop::collection::vec(0..6_u8, 100),
    ) {
        let mut carried = Carried::new(submission);
        for (step, take_from) in steps.into_iter().zip(takes) {
            carried.step(step);
            let world = &mut carried.world;
            match take_from {
                0 => take(world, eligible(), TakeUntil::End),
                1 => take(world, IndexName::Due, TakeUntil::Now),
                2 => tick(world),
                _ => {}
            }
            let look = look(world);
            prop_assert!(look.suspects.is_empty(), "{:?}", look.suspects);
            let present = world.record(&execution_id()).is_some();
            prop_assert_eq!(look.executions, u64::from(present));
        }
    }
}
