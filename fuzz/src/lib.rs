//! What the fuzz targets check: one module for each, and in each a function `check` that takes the
//! fuzzer's bytes and panics where a promise is broken. `fuzz/README.md` says how to run them.
#![forbid(unsafe_code)]

mod calls;
pub mod commands;
pub mod contract;
pub mod names;
pub mod records;
mod requests;
pub mod rules;
pub mod schedules;
pub mod wire;

// What the property tests of the rules and the conformance suite check stands in tests, or beside
// clients of servers: the files themselves are built here, so that it has one source.
#[path = "../../core/tests/common/mod.rs"]
mod common;
#[allow(dead_code, unused_imports, reason = "the suites of stores use all of it")]
#[path = "../../tests/src/conformance/mod.rs"]
mod conformance;

// The command's parsers of what users give it. The command is a program that nothing can depend
// on, so that the files themselves are built here.
#[path = "../../cli/src/cursor.rs"]
mod cursor;
#[path = "../../cli/src/job_line.rs"]
mod job_line;

/// A target: its name, and what it checks.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("commands", commands::check),
    ("contract", contract::check),
    ("names", names::check),
    ("records", records::check),
    ("rules", rules::check),
    ("schedules", schedules::check),
    ("wire", wire::check),
];
