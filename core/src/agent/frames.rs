//! The output of one attempt, on the side of the worker that appends it (`docs/spec.md`, 6).

use crate::error::{EngineError, ErrorClass, Rejection};
use crate::execution::Frame;

/// Numbers the frames of one attempt. A frame that may or may not be appended is sent again before
/// any other: another frame could get its sequence, which a late copy of the first one would then
/// take.
#[derive(Clone, Debug)]
pub struct FrameWriter {
    /// The sequence of the next frame.
    next: u64,
    /// The frame that was sent last, until the store has decided on it.
    in_doubt: Option<Frame>,
    /// The frame that is sent once the one in doubt is decided.
    waiting: Option<Frame>,
    /// Whether the present frame has got another sequence after a gap.
    renumbered: bool,
}

impl FrameWriter {
    /// A writer for an attempt that has this many frames.
    pub const fn new(appended: u64) -> Self {
        Self { next: appended + 1, in_doubt: None, waiting: None, renumbered: false }
    }

    /// The frame that was sent and that the store has not decided on.
    pub const fn in_doubt(&self) -> Option<&Frame> {
        self.in_doubt.as_ref()
    }

    /// The sequence of the next frame, if the one in doubt is appended.
    pub fn next_sequence(&self) -> u64 {
        self.in_doubt.as_ref().map_or(self.next, |frame| frame.sequence + 1)
    }

    /// Begins to append a frame, whatever its sequence is, and returns the frame to send first. Its
    /// result goes to [`FrameWriter::answered`].
    pub fn begin(&mut self, frame: Frame) -> Frame {
        match self.in_doubt.clone() {
            Some(in_doubt) => {
                self.waiting = Some(frame);
                in_doubt
            }
            None => self.number(frame),
        }
    }

    /// Notes the result of the frame that was sent, its sequence if it was appended. Returns the
    /// frame to send next; without one the result is that of [`FrameWriter::begin`].
    pub fn answered(&mut self, result: Result<u64, &EngineError>) -> Option<Frame> {
        match result {
            Ok(sequence) => (self.next, self.in_doubt) = (sequence + 1, None),
            Err(error) if self.waiting.is_some() && !is_decided(error) => {
                self.waiting = None;
                return None;
            }
            Err(error) => {
                if let (None, Some(expected)) = (&self.waiting, gap(error))
                    && let Some(frame) = self.in_doubt.as_mut().filter(|_| !self.renumbered)
                {
                    // The store lost frames in a failover.
                    (frame.sequence, self.renumbered) = (expected, true);
                    return self.in_doubt.clone();
                }
                if !error.may_be_applied() {
                    self.in_doubt = None;
                }
            }
        }
        self.waiting.take().map(|frame| self.number(frame))
    }

    /// A frame is in doubt as soon as it may be sent.
    fn number(&mut self, frame: Frame) -> Frame {
        let frame = Frame { sequence: self.next, ..frame };
        (self.in_doubt, self.renumbered) = (Some(frame.clone()), false);
        frame
    }
}

/// Whether the store decided to refuse a call, rather than not answering it.
fn is_decided(error: &EngineError) -> bool {
    error.rejection().is_some() || error.class() != ErrorClass::Retryable
}

/// The sequence that the store expects instead.
fn gap(error: &EngineError) -> Option<u64> {
    match error.rejection() {
        Some(Rejection::SequenceGap { expected, .. }) => Some(*expected),
        _ => None,
    }
}
