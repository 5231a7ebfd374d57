//! The replies and errors of commands, and numbers in arguments.

use std::ops::Range;

/// The reply of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// No value.
    Nil,
    /// An integer.
    Integer(i64),
    /// Bytes.
    Text(Vec<u8>),
    /// A status such as `OK`.
    Status(&'static str),
    /// A list of replies.
    List(Vec<Answer>),
}

/// The error of a command, with the text of a server; its first word is the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct CommandError(pub(super) &'static str);

impl CommandError {
    /// The key holds another kind of value.
    pub(super) const WRONG_TYPE: Self =
        Self("WRONGTYPE Operation against a key holding the wrong kind of value");
    /// The options are invalid.
    pub(super) const SYNTAX: Self = Self("ERR syntax error");
}

impl Answer {
    pub(super) fn text_or_nil(text: Option<&Vec<u8>>) -> Self {
        text.cloned().map_or(Self::Nil, Self::Text)
    }

    pub(super) fn count(count: usize) -> Self {
        Self::Integer(i64::try_from(count).expect("a number of items in memory fits into an i64"))
    }

    pub(super) fn number(number: i64) -> Self {
        Self::Text(number.to_string().into_bytes())
    }
}

/// Parses a number of an argument.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    let number = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    let number = number.and_then(|text| text.parse().ok());
    number.ok_or(CommandError("ERR value is not an integer or out of range"))
}

/// The positions from `start` to `stop`, both inclusive; negative ones count from the end.
pub(super) fn span(length: usize, start: i64, stop: i64) -> Range<usize> {
    let length = i64::try_from(length).expect("a number of items in memory fits into an i64");
    let from_start = |index: i64| if index < 0 { index.saturating_add(length) } else { index };
    let start = from_start(start).clamp(0, length);
    let end = from_start(stop).saturating_add(1).clamp(start, length);
    start as usize..end as usize
}
