//! What the fuzz targets check: one module for each, and in each a function `check` that takes the
//! fuzzer's bytes and panics where a promise is broken. `fuzz/README.md` says how to run them.
#![forbid(unsafe_code)]

mod calls;
pub mod commands;
pub mod names;
pub mod records;
mod requests;
pub mod wire;

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
    ("names", names::check),
    ("records", records::check),
    ("wire", wire::check),
];
