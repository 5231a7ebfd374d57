//! A broken rule, as a check reports it.

use std::fmt;

/// A broken rule, before the step at which it broke is known.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The invariant.
    pub tag: &'static str,
    /// The violation in words.
    pub detail: String,
}

/// Writes the steps that led to a broken rule, and the rule.
pub fn write_broken(
    f: &mut fmt::Formatter<'_>,
    trace: &[String],
    tag: &dyn fmt::Display,
    detail: &str,
) -> fmt::Result {
    trace.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
    writeln!(f, "[{tag}] {detail}")
}

/// Returns a [`Broken`] with a tag and a text unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $tag:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::report::Broken { tag: $tag, detail: format!($($text)+) });
        }
    };
}

/// Returns early, without a check, unless the run of a model checks an invariant.
macro_rules! when_watched {
    ($model:expr, $invariant:ident) => {
        if !$model.watched.contains($crate::report::invariants::Invariant::$invariant) {
            return Ok(());
        }
    };
}
pub(crate) use {ensure, when_watched};
