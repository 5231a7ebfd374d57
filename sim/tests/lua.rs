//! The function library of Valkey and Redis under the simulator, compared with the reference store.

use ff_sim::{Options, Plan, StoreKind, run, run_plan};

/// Each reply of the function library equals the reference store's, so a seed gives the same run
/// with either.
#[test]
fn a_seed_gives_the_same_run_with_either_store() {
    let options = Options { store: StoreKind::Lua, ..Options::default() };
    for seed in 0..12 {
        let memory = run(seed).unwrap_or_else(|violation| panic!("{violation}"));
        let lua = run_plan(&Plan::from(seed), options.clone())
            .unwrap_or_else(|violation| panic!("{violation}"));
        assert_eq!(memory, lua, "seed {seed}");
    }
}
