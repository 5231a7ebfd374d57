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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Applied;
    use crate::id::FrameType;
    use crate::time::DurationMs;

    fn frame(text: &str) -> Frame {
        Frame {
            sequence: 0,
            frame_type: FrameType::try_new("log").expect("a valid type"),
            payload: text.as_bytes().into(),
            metadata: Default::default(),
        }
    }

    /// A frame as a number and its text.
    fn seen(frame: &Frame) -> (u64, &str) {
        (frame.sequence, std::str::from_utf8(&frame.payload).expect("a text"))
    }

    fn lost() -> EngineError {
        let (elapsed, applied) = (DurationMs::new(1), Applied::Unknown);
        EngineError::Timeout { op: "append_frame", elapsed, applied }
    }

    fn expects(expected: u64) -> EngineError {
        EngineError::State(Rejection::SequenceGap { expected, given: 9 })
    }

    #[test]
    fn frames_are_numbered_one_after_the_other() {
        let mut writer = FrameWriter::new(6);
        for (sequence, text) in [(7, "a"), (8, "b"), (9, "c")] {
            assert_eq!(writer.next_sequence(), sequence);
            assert_eq!(seen(&writer.begin(frame(text))), (sequence, text));
            assert_eq!(writer.next_sequence(), sequence + 1);
            assert_eq!(writer.answered(Ok(sequence)), None);
            assert_eq!(writer.in_doubt(), None);
        }
    }

    #[test]
    fn a_frame_in_doubt_is_sent_again_before_the_next_one() {
        let mut writer = FrameWriter::new(0);
        writer.begin(frame("a"));
        assert_eq!(writer.answered(Err(&lost())), None);
        assert_eq!(writer.in_doubt().map(seen), Some((1, "a")));
        // While its result is not known, the frames after it end with its error.
        assert_eq!(seen(&writer.begin(frame("b"))), (1, "a"));
        assert_eq!(writer.answered(Err(&lost())), None);
        assert_eq!(writer.in_doubt().map(seen), Some((1, "a")));
        assert_eq!(seen(&writer.begin(frame("c"))), (1, "a"));
        let next = writer.answered(Ok(1)).expect("the next frame is sent");
        assert_eq!(seen(&next), (2, "c"));
        assert_eq!(writer.answered(Ok(2)), None);
    }

    /// The sequence of a frame that the store has refused is free.
    #[test]
    fn a_frame_that_was_refused_makes_way_for_the_next_one() {
        let mut writer = FrameWriter::new(0);
        writer.begin(frame("a"));
        writer.answered(Err(&lost()));
        writer.begin(frame("b"));
        let refused = EngineError::State(Rejection::NotFound);
        let next = writer.answered(Err(&refused)).expect("the next frame is sent");
        assert_eq!(seen(&next), (1, "b"));
        assert_eq!(writer.answered(Err(&refused)), None);
        assert_eq!(writer.in_doubt(), None);
    }

    /// After a failover that lost frames, a frame takes the next sequence of the store, once.
    #[test]
    fn a_gap_gives_a_frame_another_sequence_once() {
        let mut writer = FrameWriter::new(4);
        assert_eq!(writer.begin(frame("a")).sequence, 5);
        let again = writer.answered(Err(&expects(3))).expect("it is sent again");
        assert_eq!(seen(&again), (3, "a"));
        assert_eq!(writer.answered(Err(&expects(2))), None);
        assert_eq!(writer.in_doubt(), None);
        writer.begin(frame("b"));
        assert!(writer.answered(Err(&expects(2))).is_some(), "the next frame may move too");
    }
}
