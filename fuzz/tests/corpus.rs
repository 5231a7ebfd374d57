//! Runs every input in the corpus through its target, so that a fixed defect stays fixed. It needs
//! no fuzzer and runs with any toolchain.

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
fn every_input_in_the_corpus_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&folder), targets, "each target has a folder of inputs");
    for (name, check) in TARGETS {
        let folder = folder.join(name);
        let inputs = names_in(&folder);
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for input in inputs {
            println!("{name}: {input}"); // Shown if the test fails.
            check(&fs::read(folder.join(&input)).expect("an input can be read"));
        }
    }
}
