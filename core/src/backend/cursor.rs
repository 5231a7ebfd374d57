//! A place in the completions of a store, as a text that outlives the program.
//!
//! A journal is read partition by partition, so the place is one in each of them. The text is
//! `start`, `end`, or `1:HISTORIES:PLACES` with hexadecimal numbers: the histories of the store
//! that were read, and for each partition `s` (the start), `z` (the end) or the number of an
//! entry, `[HISTORY/]TIME[.SEQUENCE]`. An entry stands for the place behind it; with `+EVENTS`
//! for the place within it, behind so many of its events.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::store::{Cursor, StreamId};
use crate::time::TimestampMs;

/// The version of the text.
const VERSION: &str = "1";

/// A place in the completions of a store: a place in the journal of each partition.
///
/// Its text ([`Display`](fmt::Display), [`FromStr`]) is one line without spaces, of about 12 bytes
/// for each partition, to be kept as it is. It is good for the store in which it was made.
///
/// ```
/// use ff_core::backend::{CompletionCursor, CompletionPlace, CursorError};
///
/// let place = CompletionPlace::Start;
/// let cursor = CompletionCursor::of(vec![place; 4]);
/// assert_eq!(cursor.to_string().parse(), Ok(cursor));
/// assert_eq!("end".parse(), Ok(CompletionCursor::end()));
/// assert_eq!("somewhere".parse::<CompletionCursor>(), Err(CursorError::Malformed));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CompletionCursor(Places);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Places {
    /// The same place in each, however many there are.
    All(CompletionPlace),
    Each(Vec<CompletionPlace>),
}

/// A place in the completions of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionPlace {
    /// Before the first entry that is kept.
    Start,
    /// Behind the last entry that there is when it is looked at first.
    End,
    /// Behind an entry.
    After {
        /// The history of the store in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
    },
    /// Within an entry that stands for several events.
    Within {
        /// The history of the store in which the entry was read.
        history: u64,
        /// The entry.
        id: StreamId,
        /// How many of its events lie before the place.
        events: u32,
    },
}

/// Why a cursor cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CursorError {
    /// The text is no cursor.
    #[error("it is no cursor: give start, end, or the text that a subscription has given")]
    Malformed,
    /// The text is of a version that this program does not know.
    #[error("this program does not know cursors of version {version}: use a newer program")]
    UnknownVersion {
        /// The version.
        version: u64,
    },
    /// The cursor was made in a store with another number of partitions.
    #[error(
        "the cursor is of a store with {cursor} partitions, and this one has {store}: begin at the \
         start or the end"
    )]
    OtherPartitions {
        /// How many partitions the cursor names.
        cursor: usize,
        /// How many flow partitions the store has.
        store: u16,
    },
}

impl CompletionCursor {
    /// Before everything that is kept.
    pub const fn start() -> Self {
        Self(Places::All(CompletionPlace::Start))
    }

    /// Behind everything that there is when the subscriber begins.
    pub const fn end() -> Self {
        Self(Places::All(CompletionPlace::End))
    }

    /// A place in each partition, in their order; of no partition it is the start.
    pub fn of(places: Vec<CompletionPlace>) -> Self {
        if places.is_empty() { Self::start() } else { Self(Places::Each(places)) }
    }

    /// The place in each partition of a store.
    ///
    /// # Errors
    ///
    /// [`CursorError::OtherPartitions`] when it names another number of them.
    pub fn places(&self, partitions: u16) -> Result<Vec<CompletionPlace>, CursorError> {
        match &self.0 {
            Places::All(place) => Ok(vec![*place; usize::from(partitions)]),
            Places::Each(places) if places.len() == usize::from(partitions) => Ok(places.clone()),
            Places::Each(places) => {
                Err(CursorError::OtherPartitions { cursor: places.len(), store: partitions })
            }
        }
    }
}

impl CompletionPlace {
    /// From where a page has to be read to hold what is behind this place.
    pub fn cursor(self) -> Cursor {
        match self {
            Self::Start => Cursor::Start,
            Self::End => Cursor::End,
            Self::After { history, id } => Cursor::After { history, id },
            // Behind whatever came before the entry: a reader finds a gap when the entry is gone.
            Self::Within { history, id, .. } => Cursor::After { history, id: id.before() },
        }
    }
}

impl fmt::Display for CompletionCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = match &self.0 {
            Places::All(CompletionPlace::Start) => return f.write_str("start"),
            Places::All(_) => return f.write_str("end"),
            Places::Each(places) => places,
        };
        let mut histories: Vec<u64> = places.iter().filter_map(|place| place.history()).collect();
        histories.sort_unstable();
        histories.dedup();
        write!(f, "{VERSION}:")?;
        for (number, history) in histories.iter().enumerate() {
            write!(f, "{}{history:x}", comma(number))?;
        }
        f.write_str(":")?;
        for (number, place) in places.iter().enumerate() {
            f.write_str(comma(number))?;
            place.write(&histories, f)?;
        }
        Ok(())
    }
}

const fn comma(number: usize) -> &'static str {
    if number == 0 { "" } else { "," }
}

impl CompletionPlace {
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
        // Most stores have one history at a time: its number, 0, is left out.
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
        // A place has one text only: what differs has been tampered with, or cut.
        if cursor.to_string() == text { Ok(cursor) } else { Err(CursorError::Malformed) }
    }
}

fn parse(text: &str) -> Option<CompletionCursor> {
    let (histories, places) = text.split_once(':')?;
    let histories: Vec<u64> = match histories {
        "" => Vec::new(),
        histories => histories.split(',').map(hex).collect::<Option<_>>()?,
    };
    let place = |text| CompletionPlace::parse(text, &histories);
    Some(CompletionCursor::of(places.split(',').map(place).collect::<Option<_>>()?))
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

    fn every_kind() -> Vec<CompletionPlace> {
        vec![
            CompletionPlace::After { history: u64::MAX, id: id(u64::MAX, u64::MAX) },
            CompletionPlace::Start,
            CompletionPlace::After { history: 7, id: id(0x1af, 0) },
            CompletionPlace::End,
            CompletionPlace::Within { history: 7, id: id(0x1af, 0x1e), events: 2 },
            CompletionPlace::Within { history: 9, id: id(0, 0), events: 0 },
        ]
    }

    #[test]
    fn a_place_reads_back_from_its_text_and_from_json() {
        let cursor = CompletionCursor::of(every_kind());
        let (latest, most) = (TimestampMs::MAX.get(), u64::MAX);
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
    fn every_other_text_is_refused() {
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
    fn a_cursor_is_for_as_many_partitions_as_it_names() {
        let cursor = CompletionCursor::of(every_kind());
        assert_eq!(cursor.places(6), Ok(every_kind()));
        let other = CursorError::OtherPartitions { cursor: 6, store: 4 };
        assert_eq!(cursor.places(4), Err(other));
        assert_eq!(CompletionCursor::end().places(2), Ok(vec![CompletionPlace::End; 2]));
    }

    #[test]
    fn a_place_within_an_entry_is_read_from_just_before_it() {
        let within = |id| CompletionPlace::Within { history: 7, id, events: 1 }.cursor();
        let after = |id| Cursor::After { history: 7, id };
        assert_eq!(within(id(5, 3)), after(id(5, 2)));
        assert_eq!(within(id(5, 0)), after(id(4, u64::MAX)));
    }
}
