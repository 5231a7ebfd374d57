//! The targets without a fuzzer: every input in the corpus, so that a fixed defect stays fixed, and
//! changed inputs. It runs with any toolchain, also as a test of the workspace.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ff_core::entropy::Entropy;

use crate::TARGETS;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus")
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("the folder can be listed");
    let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    entries.map(|entry| name(entry.expect("an entry can be read"))).collect()
}

/// The inputs of a target, with their names.
fn inputs(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(target);
    let read = |name: String| {
        let input = fs::read(folder.join(&name)).expect("an input can be read");
        (name, input)
    };
    names_in(&folder).into_iter().map(read).collect()
}

#[test]
fn every_input_in_the_corpus_passes() {
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names_in(&folder()), targets, "each target has a folder of inputs");
    for (name, check) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "the corpus of {name} is empty");
        for (input, bytes) in inputs {
            println!("{name}: {input}"); // Shown if the test fails.
            check(&bytes);
        }
    }
}

/// A number from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// `FF_INPUTS` has the number of inputs for each target, and `FF_SEED` the seed of the changes.
#[test]
fn changed_inputs_pass() {
    let (count, seed) = (setting("FF_INPUTS", 100), setting("FF_SEED", 0));
    for (name, check) in TARGETS {
        let (known, mut draws) = (inputs(name), Entropy::from_u64(seed));
        for number in 0..count {
            let changed = changed(&known, &mut draws);
            println!("{name}: input {number} of seed {seed}: {changed:02x?}");
            check(&changed);
        }
    }
}

/// The beginning of an input, the end of another one or random bytes, and a few changed bytes.
fn changed(known: &[(String, Vec<u8>)], draws: &mut Entropy) -> Vec<u8> {
    let part = |draws: &mut Entropy| {
        let (_, input) = &known[draws.below(known.len() as u64) as usize];
        let at = draws.below(input.len() as u64 + 1) as usize;
        (input[..at].to_vec(), input[at..].to_vec())
    };
    let (mut input, _) = part(draws);
    match draws.below(2) {
        0 => input.extend(part(draws).1),
        _ => input.extend((0..draws.below(64)).map(|_| draws.next_u64() as u8)),
    }
    for _ in 0..draws.below(4) {
        let at = draws.below(input.len() as u64 + 1) as usize;
        if let Some(byte) = input.get_mut(at) {
            *byte = draws.next_u64() as u8;
        }
    }
    input
}
