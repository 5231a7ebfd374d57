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
    Replied,
}

/// The fate of the interrupted process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Continuation {
    /// It crashed; a new process repeats the operation.
    Repeat,
    /// It crashed, and no process repeats the operation.
    Abandon,
    /// It was paused, and continues with the reply.
    Continue,
    /// It gets an error instead of the reply.
    Error,
}

impl Point {
    /// The ways in which the run may continue.
    pub const fn continuations(self) -> &'static [Continuation] {
        match self {
            Self::Unsent => &[Continuation::Repeat, Continuation::Abandon, Continuation::Continue],
            Self::Lost | Self::Late => {
                &[Continuation::Repeat, Continuation::Abandon, Continuation::Error]
            }
            Self::Applied => &[
                Continuation::Repeat,
                Continuation::Abandon,
                Continuation::Continue,
                Continuation::Error,
            ],
            Self::Replied => &[Continuation::Repeat, Continuation::Abandon],
        }
    }
}
