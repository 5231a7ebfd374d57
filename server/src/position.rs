//! The cursor of a list as text: the partition, and the entry after which the next page begins.

use std::fmt;
use std::str::FromStr;

use ff_sdk::ListPosition;
use ff_sdk::core::score::Score;
use ff_sdk::core::store::{Member, ScanPosition};

/// A position in a list, written `PARTITION` or `PARTITION:SCORE:MEMBER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageCursor(pub ListPosition);

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.partition)?;
        match &self.0.after {
            Some(after) => write!(f, ":{}:{}", after.score.get(), after.member.simple()),
            None => Ok(()),
        }
    }
}

/// The text is not a list cursor.
#[derive(Debug)]
pub struct InvalidPosition;

impl fmt::Display for InvalidPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected the cursor that a page of a list ended with")
    }
}

impl std::error::Error for InvalidPosition {}

impl FromStr for PageCursor {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let mut parts = text.split(':');
        let mut part = || parts.next();
        let partition = part().and_then(|text| text.parse().ok()).ok_or(InvalidPosition)?;
        let after = match (part(), part(), part()) {
            (None, ..) => None,
            (Some(score), Some(member), None) => {
                let score = Score::new(score.parse().map_err(|_| InvalidPosition)?);
                let member = Member::parse_str(member).map_err(|_| InvalidPosition)?;
                Some(ScanPosition { score, member })
            }
            _ => return Err(InvalidPosition),
        };
        Ok(Self(ListPosition { partition, after }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips_and_other_texts_are_refused() {
        let member = Member::from_u128(7);
        let score = Score::new(-12);
        for after in [None, Some(ScanPosition { score, member })] {
            let cursor = PageCursor(ListPosition { partition: 255, after });
            assert_eq!(cursor.to_string().parse::<PageCursor>().expect("a cursor"), cursor);
        }
        for text in ["", "x", "-1", "70000", "1:", "1:2", "1:2:x", "1:2:0:4"] {
            assert!(text.parse::<PageCursor>().is_err(), "{text:?}");
        }
    }
}
