//! A rule that a check has seen broken.

/// A rule that was seen broken, before it is known where.
#[derive(Clone, Debug)]
pub struct Broken {
    /// The invariant.
    pub tag: &'static str,
    /// What is wrong.
    pub detail: String,
}

/// Fails with a tag and a text unless a condition holds.
macro_rules! ensure {
    ($holds:expr, $tag:expr, $($text:tt)+) => {
        if !$holds {
            return Err($crate::report::Broken { tag: $tag, detail: format!($($text)+) });
        }
    };
}
pub(crate) use ensure;
