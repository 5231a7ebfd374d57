//! Generated pages, and the API documentation.

use crate::shell::{Outcome, cargo, run as run_command};

/// Regenerates docs/states.md, docs/errors.md and the trace in docs/simulation.md, and builds the
/// API documentation.
///
/// # Errors
///
/// When a generator or rustdoc fails.
pub fn run() -> Outcome {
    for (suite, tests) in [("core", "docs::"), ("simulator", "the_guide_shows_the_trace")] {
        let mut generate = cargo(&["test", "--package", "ff-tests", "--test", suite, tests]);
        generate.env("UPDATE_DOCS", "1");
        run_command(generate)?;
    }
    build()
}

/// Builds the API documentation; warnings are errors.
///
/// # Errors
///
/// When rustdoc fails.
pub fn build() -> Outcome {
    let mut doc = cargo(&["doc", "--workspace", "--no-deps"]);
    doc.env("RUSTDOCFLAGS", "-D warnings");
    run_command(doc)
}
