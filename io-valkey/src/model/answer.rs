//! What commands take and give: answers, errors, and numbers in arguments.

use std::ops::Range;

/// What a command answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing is there.
    Nil,
    /// A number.
    Integer(i64),
    /// Bytes.
    Text(Vec<u8>),
    /// A word that says that all is well.
    Status(&'static str),
    /// Several answers.
    List(Vec<Answer>),
}

/// Why a command was refused, in the words of a server; the first word is the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommandError(pub(super) &'static str);

impl CommandError {
    /// The key holds another kind of value.
    pub(super) const WRONG_TYPE: Self =
        Self("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The options make no sense.
    pub(super) const SYNTAX: Self = Self("ERR syntax error");
}

impl Answer {
    pub(super) fn text_or_nil(text: Option<&Vec<u8>>) -> Self {
        text.cloned().map_or(Self::Nil, Self::Text)
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).expect("what is counted fits into memory"))
    }

    pub(super) fn number(number: i64) -> Self {
        Self::Text(number.to_string().into_bytes())
    }
}

/// A number of an argument.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    let number = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    let number = number.and_then(|text| text.parse().ok());
    number.ok_or(CommandError("ERR value is not an integer or out of range"))
}

/// The positions from `start` to `stop`, both inclusive, where below zero counts from the end.
pub(super) fn span(length: usize, start: i64, stop: i64) -> Range<usize> {
    let length = i64::try_from(length).expect("what is counted fits into memory");
    let from_start = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let start = from_start(start).clamp(0, length);
    let end = from_start(stop).saturating_add(1).clamp(start, length);
    start as usize..end as usize
}
