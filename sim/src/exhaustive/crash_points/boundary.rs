//! Where a process is cut off, and what becomes of it.

/// How far a call got when its process was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// It is about to be sent.
    Unsent,
    /// It was lost on its way.
    Lost,
    /// It was applied, and its reply is lost or late.
    Applied,
    /// It arrives when nobody expects it any more.
    Late,
    /// It was the last one, and the reply has come.
    Over,
}

/// What becomes of the process that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// It died; a fresh one repeats the operation.
    Repeat,
    /// It died, and nobody repeats the operation.
    Gone,
    /// It was slow, and goes on as if nothing had happened.
    GoesOn,
    /// It is told that there was no reply.
    Told,
}

impl Point {
    /// What may come then.
    pub const fn continuations(self) -> &'static [Then] {
        match self {
            Self::Unsent => &[Then::Repeat, Then::Gone, Then::GoesOn],
            Self::Lost | Self::Late => &[Then::Repeat, Then::Gone, Then::Told],
            Self::Applied => &[Then::Repeat, Then::Gone, Then::GoesOn, Then::Told],
            Self::Over => &[Then::Repeat, Then::Gone],
        }
    }
}
