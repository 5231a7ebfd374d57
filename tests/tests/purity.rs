//! What the crates may depend on, read from `cargo tree`.
//!
//! core decides and does nothing else: it has no runtime, socket, clock or source of entropy. The
//! lists here name everything that it builds on, so that a new dependency fails a test until it is
//! argued for and its name is added.

use std::collections::BTreeSet;
use std::process::Command;

/// What core itself asks for: the codec, the seeded generator, serialization, digests, errors, ids
/// made from names, and what signs the tokens of waitpoints.
const DIRECT: [&str; 7] = ["hmac", "postcard", "rand_chacha", "serde", "sha2", "thiserror", "uuid"];

/// What these bring along.
const TRANSITIVE: [&str; 23] = [
    "block-buffer",    // sha2
    "cfg-if",          // sha2
    "cmov",            // hmac, through ctutils
    "cobs",            // postcard
    "cpufeatures",     // sha2: which instructions the processor has
    "crypto-common",   // sha2
    "ctutils",         // hmac: tokens of waitpoints are compared in constant time
    "digest",          // sha2
    "hybrid-array",    // sha2
    "ppv-lite86",      // rand_chacha
    "proc-macro2",     // derives, at build time
    "quote",           // derives, at build time
    "rand_core",       // rand_chacha: traits only
    "serde_core",      // serde
    "serde_derive",    // serde, at build time
    "sha1_smol",       // uuid: version 5 is SHA-1 of a name
    "syn",             // derives, at build time
    "thiserror-impl",  // thiserror, at build time
    "typenum",         // sha2
    "unicode-ident",   // derives, at build time
    "zerocopy",        // rand_chacha
    "zerocopy-derive", // rand_chacha, where zerocopy asks for it
    "libc",            // sha2, where only the system knows what the processor has
];

/// Those of [`TRANSITIVE`] that some platforms do without.
const PLATFORM_DEPENDENT: [&str; 2] = ["libc", "zerocopy-derive"];

/// The names in a package's dependency tree, without the package itself.
fn tree(package: &str, depth: &str) -> BTreeSet<String> {
    tree_with(package, depth, &[])
}

/// The same with a choice of features.
fn tree_with(package: &str, depth: &str, features: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal", "--prefix", "none"])
        .args(["--depth", depth, "--locked", "--offline"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`cargo tree` failed for {package}:\n{errors}");
    let lines = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let names = lines.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != package).map(str::to_owned).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn core_asks_for_exactly_these_crates() {
    assert_eq!(tree("ff-core", "1"), set(&DIRECT));
}

#[test]
fn core_builds_on_nothing_that_was_not_argued_for() {
    let present = tree("ff-core", "99");
    let argued_for = &set(&DIRECT) | &set(&TRANSITIVE);
    let new: Vec<_> = present.difference(&argued_for).collect();
    assert!(new.is_empty(), "core now builds on {new:?}: argue for each, then add it to the list");

    let expected = &argued_for - &set(&PLATFORM_DEPENDENT);
    let gone: Vec<_> = expected.difference(&present).collect();
    assert!(gone.is_empty(), "core no longer builds on {gone:?}: take them out of the list");
}

#[test]
fn the_library_in_process_needs_no_server_and_no_runtime() {
    let features = ["--no-default-features", "--features", "lua-model"];
    let present = tree_with("ff-io-valkey", "99", &features);
    let unwanted = ["redis", "tokio", "futures-util", "rustls"];
    let found: Vec<_> = unwanted.iter().filter(|name| present.contains(**name)).collect();
    assert!(found.is_empty(), "the model builds on {found:?}");
    assert!(present.contains("mlua") && tree("ff-io-valkey", "1").contains("redis"));
}

#[test]
fn arrows_between_crates_go_one_way() {
    let every: &[&str] = &["--all-features"];
    let arrows: [(&str, &[&str], &[&str]); 6] = [
        ("ff-core", every, &[]),
        ("ff-io-valkey", every, &["ff-core"]),
        // Valkey is the store of the default features, and of no other.
        ("ff-sdk", &["--no-default-features"], &["ff-core"]),
        ("ff-sdk", every, &["ff-core", "ff-io-valkey"]),
        ("ff-sim", every, &["ff-core", "ff-io-valkey", "ff-sdk", "ff-sim-macros"]),
        ("ff-cli", every, &["ff-core", "ff-sdk"]),
    ];
    for (package, features, allowed) in arrows {
        let own =
            tree_with(package, "1", features).into_iter().filter(|name| name.starts_with("ff-"));
        let wrong: Vec<_> = own.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}
