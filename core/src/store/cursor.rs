//! The text form of a position in a stream, which a reader can save.
//!
//! The text is `start`, `end`, or `1:HISTORY:TIME[.SEQUENCE]` with hexadecimal numbers: the
//! position after the entry with this number, in this history of the store.

use std::fmt;
use std::str::FromStr;

use crate::time::TimestampMs;

use super::contract::{Cursor, StreamId};

/// The version of the text.
const VERSION: &str = "1";

/// The error for a text that is not a cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid cursor: expected start, end, or the text of a cursor from a reader")]
pub struct InvalidCursor;

/// Prints one line without spaces. Save it unchanged. It is valid for the stream in which it was
/// made.
///
/// ```
/// use ff_core::store::Cursor;
///
/// assert_eq!("start".parse(), Ok(Cursor::Start));
/// assert_eq!("1:7:1af.2".parse::<Cursor>().unwrap().to_string(), "1:7:1af.2");
/// assert!("somewhere".parse::<Cursor>().is_err());
/// ```
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("start"),
            Self::End => f.write_str("end"),
            Self::After { history, id } => {
                write!(f, "{VERSION}:{history:x}:{:x}", id.at.get())?;
                match id.sequence {
                    0 => Ok(()),
                    sequence => write!(f, ".{sequence:x}"),
                }
            }
        }
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let cursor = parse(text).ok_or(InvalidCursor)?;
        // Each cursor has one text. A different text was changed or truncated.
        if cursor.to_string() == text { Ok(cursor) } else { Err(InvalidCursor) }
    }
}

fn parse(text: &str) -> Option<Cursor> {
    match text {
        "start" => return Some(Cursor::Start),
        "end" => return Some(Cursor::End),
        _ => {}
    }
    let (history, entry) = text.strip_prefix(VERSION)?.strip_prefix(':')?.split_once(':')?;
    let (at, sequence) = entry.split_once('.').unwrap_or((entry, "0"));
    let id = StreamId { at: TimestampMs::new(hex(at)?), sequence: hex(sequence)? };
    Some(Cursor::After { history: hex(history)?, id })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn after(history: u64, at: u64, sequence: u64) -> Cursor {
        Cursor::After { history, id: StreamId { at: TimestampMs::new(at), sequence } }
    }

    #[test]
    fn a_cursor_reads_back_from_its_text() {
        let latest = TimestampMs::MAX.get();
        let most = u64::MAX;
        for (cursor, text) in [
            (Cursor::Start, "start".to_owned()),
            (Cursor::End, "end".to_owned()),
            (after(7, 0x1af, 0), "1:7:1af".to_owned()),
            (after(0, 0, 0x1e), "1:0:0.1e".to_owned()),
            (after(most, latest, most), format!("1:{most:x}:{latest:x}.{most:x}")),
        ] {
            assert_eq!(cursor.to_string(), text);
            assert_eq!(text.parse(), Ok(cursor));
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in [
            "",
            "Start",
            "end ",
            "1",
            "1:",
            "1:7",
            "1:7:",
            "1:7:1.0",
            "1:7:01",
            "1:07:1",
            "1:7:A",
            "1:+7:1",
            "1:7:1.1.1",
            "2:7:1",
            "1:7:fffffffffffffffff",
            "1:7:ffffffffffffffff",
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text:?}");
        }
    }
}
