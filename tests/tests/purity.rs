//! The permitted dependencies of the crates, checked with `cargo tree`.
//!
//! core only decides: it has no runtime, socket, clock or source of entropy. The lists here name
//! all its dependencies, so that a new one fails a test until it is justified and added.

use std::collections::BTreeSet;
use std::process::Command;

/// The direct dependencies of core: the codec, the seeded generator, serialization, digests,
/// errors, ids made from names, and the signatures of waitpoint tokens.
const DIRECT: [&str; 8] =
    ["crc32fast", "hmac", "postcard", "rand_chacha", "serde", "sha2", "thiserror", "uuid"];

/// The dependencies of these.
const TRANSITIVE: [&str; 23] = [
    "block-buffer",    // sha2
    "cfg-if",          // sha2
    "cmov",            // hmac, through ctutils
    "cobs",            // postcard
    "cpufeatures",     // sha2: detects the instructions of the processor
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
    "zerocopy-derive", // rand_chacha, if zerocopy needs it
    "libc",            // sha2, on platforms where only the system knows the processor
];

/// Those of [`TRANSITIVE`] that only some platforms need.
const PLATFORM_DEPENDENT: [&str; 2] = ["libc", "zerocopy-derive"];

/// The names in a package's dependency tree, without the package itself.
fn tree(package: &str, depth: &str) -> BTreeSet<String> {
    tree_with(package, depth, &[])
}

/// The same with these features.
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
fn core_has_exactly_these_direct_dependencies() {
    assert_eq!(tree("ff-core", "1"), set(&DIRECT));
}

#[test]
fn core_has_only_justified_dependencies() {
    let present = tree("ff-core", "99");
    let justified = &set(&DIRECT) | &set(&TRANSITIVE);
    let new: Vec<_> = present.difference(&justified).collect();
    assert!(new.is_empty(), "core now depends on {new:?}: justify each, then add it to the list");

    let expected = &justified - &set(&PLATFORM_DEPENDENT);
    let unused: Vec<_> = expected.difference(&present).collect();
    assert!(unused.is_empty(), "core no longer depends on {unused:?}: remove them from the list");
}

#[test]
fn the_library_in_process_needs_no_redis_client_and_no_runtime() {
    let features = ["--no-default-features", "--features", "lua-model"];
    let present = tree_with("ff-io-valkey", "99", &features);
    let unwanted = ["redis", "tokio", "futures-util", "rustls"];
    let found: Vec<_> = unwanted.iter().filter(|name| present.contains(**name)).collect();
    assert!(found.is_empty(), "the model depends on {found:?}");
    assert!(present.contains("mlua") && tree("ff-io-valkey", "1").contains("redis"));
}

/// The bodies cost a program that does not use HTTP nothing, and TLS is that of ring everywhere.
#[test]
fn only_the_transport_of_http_needs_a_client_and_a_runtime() {
    let bodies = tree("ff-io-http", "99");
    let transport = tree_with("ff-io-http", "99", &["--features", "client"]);
    let wanted = ["reqwest", "rustls", "ring", "tokio"];
    assert!(wanted.iter().all(|name| transport.contains(*name) && !bodies.contains(*name)));
    let unwanted = ["aws-lc-rs", "openssl", "native-tls", "h2"];
    let found: Vec<_> = unwanted.iter().filter(|name| transport.contains(**name)).collect();
    assert!(found.is_empty(), "the transport depends on {found:?}");
}

#[test]
fn dependencies_between_crates_go_one_way() {
    let every: &[&str] = &["--all-features"];
    let stores = ["ff-core", "ff-io-http", "ff-io-sqlite", "ff-io-valkey", "ff-sdk-macros"];
    let permitted: [(&str, &[&str], &[&str]); 9] = [
        ("ff-core", every, &[]),
        ("ff-io-http", every, &["ff-core"]),
        ("ff-io-sqlite", every, &["ff-core"]),
        ("ff-io-valkey", every, &["ff-core"]),
        // Only the default features include SQLite and Valkey.
        ("ff-sdk", &["--no-default-features"], &["ff-core", "ff-io-http", "ff-sdk-macros"]),
        ("ff-sdk", every, &stores),
        ("ff-sim", every, &["ff-core", "ff-io-valkey", "ff-sdk", "ff-sim-macros"]),
        ("ff-server", every, &["ff-io-http", "ff-sdk"]),
        ("flowfabric-cli", every, &["ff-core", "ff-sdk", "ff-server"]),
    ];
    for (package, features, allowed) in permitted {
        let own =
            tree_with(package, "1", features).into_iter().filter(|name| name.starts_with("ff-"));
        let wrong: Vec<_> = own.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(wrong.is_empty(), "{package} must not depend on {wrong:?}");
    }
}
