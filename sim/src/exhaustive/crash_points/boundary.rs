//! The points at which a process is interrupted, and what happens next.

/// How far a call got when its process was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// It is about to be sent.
    Unsent,
    /// The request was lost.
    Lost,
    /// It was applied, and its reply is lost or late.
    Applied,
    /// It arrives when no process expects it any more.
    Late,
    /// It was the last one, and the reply has arrived.
    Over,
}

/// What happens to the interrupted process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Then {
    /// It crashed; a new process repeats the operation.
    Repeat,
    /// It crashed, and no process repeats the operation.
    Gone,
    /// It was paused, and continues with the reply.
    GoesOn,
    /// It gets an error instead of the reply.
    Told,
}

impl Point {
    /// What may happen next.
    pub const fn continuations(self) -> &'static [Then] {
        match self {
            Self::Unsent => &[Then::Repeat, Then::Gone, Then::GoesOn],
            Self::Lost | Self::Late => &[Then::Repeat, Then::Gone, Then::Told],
            Self::Applied => &[Then::Repeat, Then::Gone, Then::GoesOn, Then::Told],
            Self::Over => &[Then::Repeat, Then::Gone],
        }
    }
}
