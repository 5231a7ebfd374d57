//! Fixed defects stay fixed: every plan of the corpus passes. The test `bugs` checks that each
//! still finds the bug that it is named after, where that bug is planted.

use std::fs;
use std::path::Path;

use ff_sim::{Options, Plan, run_plan};

#[test]
fn every_plan_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/corpus");
    let mut plans = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let plan: Plan = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        let result = run_plan(&plan, Options::default());
        assert!(result.is_ok(), "{}: {}", file.display(), result.unwrap_err());
        plans += 1;
    }
    assert!(plans > 0, "the corpus is empty");
}
