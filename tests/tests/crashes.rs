//! Crashes with real processes: each scenario of `ff_tests::crash`, with few executions. The soak
//! (`cargo run --release -p ff-tests --bin soak`) runs them many times with many executions.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ff_tests::crash::{Plan, Scenario, binary, http};

/// As many run at the same time as there are threads of tests, one for each core; most of the time
/// they wait for leases. A scenario with a limit for its recovery runs alone.
static ALONE: RwLock<()> = RwLock::new(());

/// Runs one scenario; fails with all problems and the folder of its evidence.
fn survive(scenario: Scenario) {
    let (_alone, _beside) = match scenario.recovers_within() {
        Some(_) => (Some(ALONE.write().unwrap_or_else(PoisonError::into_inner)), None),
        None => (None, Some(ALONE.read().unwrap_or_else(PoisonError::into_inner))),
    };
    let lasting = Duration::from_secs(3);
    let executions = match scenario {
        // A shifted reply is rare: it needs more calls to meet one.
        Scenario::RepliesSpoilt => 1_000,
        // Each commit waits for the disk.
        Scenario::FileWorkerKilled | Scenario::FileWorkerStopped => 200,
        _ => 500,
    };
    let plan = Plan { ff: binary::ff(), scenario, executions, lasting, seed: 1 };
    let report = plan.run();
    println!("{report:?}");
    let problems = report.problems.join("\n  ");
    assert!(problems.is_empty(), "{problems}\nevidence: {:?}\n", report.evidence);
}

/// A test for each scenario.
macro_rules! survive {
    ($($name:ident: $scenario:ident),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                survive(Scenario::$scenario);
            }
        )+

        /// A scenario without a test would run only in the soak.
        #[test]
        fn every_scenario_has_a_test() {
            assert_eq!([$(Scenario::$scenario),+], Scenario::ALL);
        }
    };
}

survive! {
    workers_are_killed: WorkerKilled,
    workers_are_stopped_past_their_leases: WorkerStopped,
    the_server_is_killed_and_restarted: ServerKilled,
    all_clients_are_killed: ClientsKilled,
    the_functions_are_flushed: FunctionsFlushed,
    the_network_drops: NetworkDrops,
    the_network_delays: NetworkDelays,
    replies_are_swallowed: RepliesSwallowed,
    replies_are_spoilt: RepliesSpoilt,
    the_memory_is_full: MemoryFull,
    slots_are_moved: SlotsMoved,
    workers_that_share_a_file_are_killed: FileWorkerKilled,
    workers_that_share_a_file_are_stopped: FileWorkerStopped,
}

/// Two HTTP services on one store are killed again and again, in the middle of requests.
#[test]
fn http_services_are_killed() {
    let _beside = ALONE.read().unwrap_or_else(PoisonError::into_inner);
    let report = http::services_are_killed(&binary::ff(), 500, 1);
    println!("{report:?}");
    assert!(report.kills > 5 && report.unanswered > 0, "too few faults: {report:?}");
    assert!(report.problems.is_empty(), "{:#?}", report.problems);
}
