//! A position in the completions of a store, with a text form that a subscriber can save.
//!
//! Journals are read partition by partition, so a cursor has one position for each of them. The
//! text is `start`, `end`, or `1:HISTORIES:POSITIONS` with hexadecimal numbers: the histories of
//! the store that were read, and for each partition `s` (the start), `z` (the end) or the number of
//! an entry, `[HISTORY/]TIME[.SEQUENCE]`. The number of an entry means the position after it, or
//! with `+EVENTS` the position within it, after this many of its events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::store::{Cursor, StreamId};
use crate::time::TimestampMs;

/// The version of the text.
const VERSION: &str = "1";

/// A position in the completions of a store: one position in the journal of each partition.
///
/// The text form ([`Display`](fmt::Display), [`FromStr`]) is one line without spaces, of about 12
/// bytes for each partition. Save it unchanged. It is valid for the store in which it was made.
///
/// ```
/// use ff_core::backend::{CompletionCursor, CompletionPosition, CursorError};
///
/// let cursor = CompletionCursor::of(vec![CompletionPosition::Start; 4]);
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// assert_eq!("end".parse(), Ok(CompletionCursor::end()));
/// assert_eq!("somewhere".parse::<CompletionCursor>(), Err(CursorError::Malformed));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompletionCursor(Positions);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Positions {
    /// The same position in every partition.
    All(CompletionPosition),
    /// One position for each partition, in their order.
    Each(Vec<CompletionPosition>),
}

/// A position in the completions of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionPosition {
    /// Before the first entry that is kept.
    Start,
    /// After the last entry that exists at the first read.
    End,
    /// After an entry.
    After {
        /// The history of the store in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
    },
    /// Within an entry that has several events.
    Within {
        /// The history of the store in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
        /// The number of its events before the position.
        events: u32,
    },
}

/// The reason a cursor cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The text is not a cursor.
    #[error("invalid cursor: expected start, end, or the text of a cursor from a subscription")]
    Malformed,
    /// This program does not know the version of the text.
    #[error("unknown cursor version {version}: this program knows version 1; use a newer program")]
    UnknownVersion {
        /// The version.
        version: u64,
    },
    /// The cursor was made in a store with another number of partitions.
    #[error(
        "the cursor belongs to a store with {cursor} partitions, but this store has {store}: use \
         start or end"
    )]
    OtherPartitions {
        /// The number of partitions in the cursor.
        cursor: usize,
        /// The number of flow partitions in the store.
        store: u16,
    },
}

impl CompletionCursor {
    /// Returns the cursor before all entries that are kept.
    pub const fn start() -> Self {
        Self(Positions::All(CompletionPosition::Start))
    }

    /// Returns the cursor after all entries that exist when the subscription begins.
    pub const fn end() -> Self {
        Self(Positions::All(CompletionPosition::End))
    }

    /// Creates a cursor from the position in each partition, in their order. Without positions it
    /// is the start.
    pub fn of(positions: Vec<CompletionPosition>) -> Self {
        if positions.is_empty() { Self::start() } else { Self(Positions::Each(positions)) }
    }

    /// Returns the position in each partition of a store with this many flow partitions.
    ///
    /// # Errors
    ///
    /// [`CursorError::OtherPartitions`] if the cursor has another number of positions.
    pub fn positions(&self, partitions: u16) -> Result<Vec<CompletionPosition>, CursorError> {
        match &self.0 {
            Positions::All(position) => Ok(vec![*position; usize::from(partitions)]),
            Positions::Each(each) if each.len() == usize::from(partitions) => Ok(each.clone()),
            Positions::Each(each) => {
                Err(CursorError::OtherPartitions { cursor: each.len(), store: partitions })
            }
        }
    }
}

impl CompletionPosition {
    /// Returns the stream cursor whose page holds the entry or entries after this position.
    pub fn cursor(self) -> Cursor {
        match self {
            Self::Start => Cursor::Start,
            Self::End => Cursor::End,
            Self::After { history, id } => Cursor::After { history, id },
            // The page begins with the entry itself. If the entry was dropped, the page has a gap.
            Self::Within { history, id, .. } => Cursor::After { history, id: id.before() },
        }
    }
}

impl fmt::Display for CompletionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let positions = match &self.0 {
            Positions::All(CompletionPosition::Start) => return f.write_str("start"),
            Positions::All(_) => return f.write_str("end"),
            Positions::Each(positions) => positions,
        };
        let mut histories: Vec<u64> = positions.iter().filter_map(|at| at.history()).collect();
        histories.sort_unstable();
        histories.dedup();
        write!(f, "{VERSION}:")?;
        for (number, history) in histories.iter().enumerate() {
            write!(f, "{}{history:x}", comma(number))?;
        }
        f.write_str(":")?;
        for (number, position) in positions.iter().enumerate() {
            f.write_str(comma(number))?;
            position.write(&histories, f)?;
        }
        Ok(())
    }
}

const fn comma(number: usize) -> &'static str {
    if number == 0 { "" } else { "," }
}

impl CompletionPosition {
    const fn history(&self) -> Option<u64> {
        match self {
            Self::Start | Self::End => None,
            Self::After { history, .. } | Self::Within { history, .. } => Some(*history),
        }
    }

    fn write(self, histories: &[u64], f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (history, id, events) = match self {
            Self::Start => return f.write_str("s"),
            Self::End => return f.write_str("z"),
            Self::After { history, id } => (history, id, None),
            Self::Within { history, id, events } => (history, id, Some(events)),
        };
        // Most stores have one history at a time. Its number, 0, is left out.
        let number = histories.partition_point(|known| *known < history);
        if number > 0 {
            write!(f, "{number:x}/")?;
        }
        write!(f, "{:x}", id.at.get())?;
        if id.sequence > 0 {
            write!(f, ".{:x}", id.sequence)?;
        }
        match events {
            Some(events) => write!(f, "+{events:x}"),
            None => Ok(()),
        }
    }

    fn parse(text: &str, histories: &[u64]) -> Option<Self> {
        match text {
            "s" => return Some(Self::Start),
            "z" => return Some(Self::End),
            _ => {}
        }
        let (number, text) = text.split_once('/').unwrap_or(("0", text));
        let (text, events) = match text.split_once('+') {
            Some((text, events)) => (text, Some(u32::from_str_radix(events, 16).ok()?)),
            None => (text, None),
        };
        let (at, sequence) = text.split_once('.').unwrap_or((text, "0"));
        let id = StreamId { at: TimestampMs::new(hex(at)?), sequence: hex(sequence)? };
        let history = *histories.get(usize::try_from(hex(number)?).ok()?)?;
        Some(match events {
            Some(events) => Self::Within { history, id, events },
            None => Self::After { history, id },
        })
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

impl FromStr for CompletionCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        match text {
            "start" => return Ok(Self::start()),
            "end" => return Ok(Self::end()),
            _ => {}
        }
        let (version, rest) = text.split_once(':').ok_or(CursorError::Malformed)?;
        if version != VERSION {
            let version = version.parse().map_err(|_| CursorError::Malformed)?;
            return Err(CursorError::UnknownVersion { version });
        }
        let cursor = parse(rest).ok_or(CursorError::Malformed)?;
        // Each cursor has one text. A different text was changed or truncated.
        if cursor.to_string() == text { Ok(cursor) } else { Err(CursorError::Malformed) }
    }
}

fn parse(text: &str) -> Option<CompletionCursor> {
    let (histories, positions) = text.split_once(':')?;
    let histories: Vec<u64> = match histories {
        "" => Vec::new(),
        histories => histories.split(',').map(hex).collect::<Option<_>>()?,
    };
    let position = |text| CompletionPosition::parse(text, &histories);
    Some(CompletionCursor::of(positions.split(',').map(position).collect::<Option<_>>()?))
}

impl TryFrom<String> for CompletionCursor {
    type Error = CursorError;

    fn try_from(text: String) -> Result<Self, CursorError> {
        text.parse()
    }
}

impl From<CompletionCursor> for String {
    fn from(cursor: CompletionCursor) -> Self {
        cursor.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn id(at: u64, sequence: u64) -> StreamId {
        StreamId { at: TimestampMs::new(at), sequence }
    }

    fn every_kind() -> Vec<CompletionPosition> {
        vec![
            CompletionPosition::After { history: u64::MAX, id: id(u64::MAX, u64::MAX) },
            CompletionPosition::Start,
            CompletionPosition::After { history: 7, id: id(0x1af, 0) },
            CompletionPosition::End,
            CompletionPosition::Within { history: 7, id: id(0x1af, 0x1e), events: 2 },
            CompletionPosition::Within { history: 9, id: id(0, 0), events: 0 },
        ]
    }

    #[test]
    fn a_cursor_reads_back_from_its_text_and_from_json() {
        let cursor = CompletionCursor::of(every_kind());
        let latest = TimestampMs::MAX.get();
        let most = u64::MAX;
        let text = format!("1:7,9,{most:x}:2/{latest:x}.{most:x},s,1af,z,1af.1e+2,1/0+0");
        assert_eq!(cursor.to_string(), text);
        for cursor in [cursor, CompletionCursor::start(), CompletionCursor::end()] {
            assert_eq!(cursor.to_string().parse(), Ok(cursor.clone()));
            let json = serde_json::to_string(&cursor).unwrap();
            assert_eq!(json, format!("\"{cursor}\""));
            assert_eq!(serde_json::from_str::<CompletionCursor>(&json).unwrap(), cursor);
        }
        assert!(serde_json::from_str::<CompletionCursor>("\"begin\"").is_err());
    }

    #[test]
    fn malformed_texts_are_refused() {
        let texts = [
            "",
            "Start",
            "1",
            "1:",
            "1::",
            "1:7:",
            "1::1",
            "1::+1",
            "1:7:1,",
            "1:7:1 ",
            "1:7:0x1",
            "1:7:01",
            "1:7:1.0",
            "1:7:0/1",
            "1:7:1/1",
            "1:7:A",
            "1:7,7:1",
            "1:7,8:1",
            "1:9,7:1,1/1",
            "1:7:1+",
            "1:7:1+01",
            "1:7:11111111111111111",
            "1:7:1+111111111",
            "1:7:s\n",
            ":7:1",
        ];
        for text in texts {
            assert_eq!(text.parse::<CompletionCursor>(), Err(CursorError::Malformed), "{text:?}");
        }
        let newer = CursorError::UnknownVersion { version: 2 };
        assert_eq!("2:anything".parse::<CompletionCursor>(), Err(newer));
    }

    #[test]
    fn a_cursor_is_valid_for_its_number_of_partitions_only() {
        let cursor = CompletionCursor::of(every_kind());
        assert_eq!(cursor.positions(6), Ok(every_kind()));
        let other = CursorError::OtherPartitions { cursor: 6, store: 4 };
        assert_eq!(cursor.positions(4), Err(other));
        assert_eq!(CompletionCursor::end().positions(2), Ok(vec![CompletionPosition::End; 2]));
    }

    #[test]
    fn a_position_within_an_entry_is_read_from_just_before_the_entry() {
        let within = |id| CompletionPosition::Within { history: 7, id, events: 1 }.cursor();
        let after = |id| Cursor::After { history: 7, id };
        assert_eq!(within(id(5, 3)), after(id(5, 2)));
        assert_eq!(within(id(5, 0)), after(id(4, u64::MAX)));
    }
}
