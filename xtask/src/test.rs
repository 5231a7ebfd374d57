//! Every check that a change has to pass.

use crate::docs;
use crate::packages;
use crate::shell::{Outcome, cargo, run as run_command};
use crate::steps::Steps;

/// Runs the checks one after the other, and stops at the first that fails.
///
/// # Errors
///
/// The failed check's.
pub fn run() -> Outcome {
    let mut steps = Steps::new("test");
    steps.step("format", || run_command(cargo(&["fmt", "--all", "--check"])))?;
    steps.step("clippy, warnings are errors", || {
        run_command(cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
    })?;
    steps.step("each published crate alone, with each feature", packages::check_features)?;
    // Both build the same: all targets, with the features that the whole workspace asks for.
    steps.step("build of the tests", || {
        run_command(cargo(&["test", "--workspace", "--no-run", "--quiet"]))
    })?;
    steps.step("tests and doctests", || {
        run_command(cargo(&["test", "--workspace", "--no-fail-fast"]))
    })?;
    steps.step("documentation, warnings are errors", docs::build)?;
    steps.passed();
    Ok(())
}
