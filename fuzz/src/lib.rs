//! The checks of the fuzz targets: one module for each target. Its function `check` takes the
//! fuzzer's bytes and panics if a promise is broken. `fuzz/README.md` describes how to run them.
#![forbid(unsafe_code)]

mod calls;
pub mod commands;
pub mod contract;
#[cfg(test)]
mod corpus;
pub mod http;
pub mod names;
pub mod records;
mod requests;
pub mod rules;
pub mod schedules;
pub mod wire;

// The checks of the property tests and of the conformance suite belong to tests, or to a crate with
// clients of servers. Their files are compiled here again, so that each check has one source.
#[allow(dead_code, reason = "the tests of operations use all of it")]
#[path = "../../sim/tests/operations/carried.rs"]
mod carried;
#[path = "../../core/tests/common/mod.rs"]
mod common;
#[allow(dead_code, unused_imports, reason = "the suites of stores use all of it")]
#[path = "../../tests/src/conformance/mod.rs"]
mod conformance;
#[path = "../../core/tests/one_record/mod.rs"]
mod one_record;

/// A target: its name and its check.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("commands", commands::check),
    ("contract", contract::check),
    ("http", http::check),
    ("names", names::check),
    ("records", records::check),
    ("rules", rules::check),
    ("schedules", schedules::check),
    ("wire", wire::check),
];
