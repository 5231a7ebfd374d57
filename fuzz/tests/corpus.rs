//! Every input that is kept, through its target: what was mended stays so, on any toolchain and
//! without a fuzzer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use ff_fuzz::TARGETS;

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("an entry can be read"))).collect()
}

#[test]
fn every_kept_input_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&folder), targets, "each target has a folder of inputs");
    for (name, check) in TARGETS {
        let folder = folder.join(name);
        let inputs = names_in(&folder);
        assert!(!inputs.is_empty(), "{name} has no input");
        for input in inputs {
            println!("{name}: {input}"); // Shown when it fails.
            check(&fs::read(folder.join(&input)).expect("an input can be read"));
        }
    }
}
