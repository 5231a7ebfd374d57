//! Values that are sorted sets, and their commands.

use std::ops::Bound;

use super::super::answer::{Answer, CommandError, integer, span};
use super::sorted::{Limit, Sorted};
use super::value::{Keyspace, Kind, Value};

impl Kind for Sorted {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::Sorted(sorted) = value { Some(sorted) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Sorted(sorted) = value { Some(sorted) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Sorted(self)
    }

    fn is_gone(&self) -> bool {
        self.is_empty()
    }
}

/// Parses an integer that a double holds exactly.
fn score(text: &[u8]) -> Result<i64, CommandError> {
    const LIMIT: u64 = 1 << 53;
    let exact = integer(text).ok().filter(|score| score.unsigned_abs() <= LIMIT);
    exact.ok_or(CommandError("ERR value is not a valid float"))
}

/// Parses one end of a range. The infinity of the other end, which would admit nothing, is not
/// supported.
fn limit(text: &[u8], infinity: &[u8]) -> Result<Limit, CommandError> {
    let limit = match text.split_first() {
        _ if text == infinity => Ok(Bound::Unbounded),
        Some((b'(', text)) => score(text).map(Bound::Excluded),
        _ => score(text).map(Bound::Included),
    };
    limit.map_err(|_| CommandError("ERR min or max is not a float"))
}

fn limits(min: &[u8], max: &[u8]) -> Result<(Limit, Limit), CommandError> {
    Ok((limit(min, b"-inf")?, limit(max, b"+inf")?))
}

/// The options after the ends of a range.
#[derive(Default)]
struct RangeOptions {
    by_score: bool,
    reverse: bool,
    page: Option<(i64, i64)>,
    with_scores: bool,
}

impl RangeOptions {
    fn parse(mut args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        while let Some((name, rest)) = args.split_first() {
            args = match (name.to_ascii_uppercase().as_slice(), rest) {
                (b"BYSCORE", rest) => {
                    options.by_score = true;
                    rest
                }
                (b"REV", rest) => {
                    options.reverse = true;
                    rest
                }
                (b"WITHSCORES", rest) => {
                    options.with_scores = true;
                    rest
                }
                (b"LIMIT", [skip, count, rest @ ..]) => {
                    options.page = Some((integer(skip)?, integer(count)?));
                    rest
                }
                _ => return Err(CommandError::SYNTAX),
            };
        }
        if options.by_score && options.reverse {
            return Err(CommandError("ERR the model does not have BYSCORE with REV"));
        }
        if options.page.is_some() && !options.by_score {
            return Err(CommandError(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX",
            ));
        }
        Ok(options)
    }
}

impl Keyspace {
    /// ZADD key \[LT\] \[CH\] score member ...
    pub(in super::super) fn add_scored(
        &mut self,
        key: &[u8],
        args: &[&[u8]],
    ) -> Result<Answer, CommandError> {
        let (mut only_lower, mut count_changes, mut pairs) = (false, false, args);
        while let Some((first, rest)) = pairs.split_first() {
            match first.to_ascii_uppercase().as_slice() {
                b"LT" => only_lower = true,
                b"CH" => count_changes = true,
                _ => break,
            }
            pairs = rest;
        }
        if pairs.is_empty() || pairs.len() % 2 == 1 {
            return Err(CommandError::SYNTAX);
        }
        // All scores are checked before the first is written.
        let pairs = pairs.chunks(2).map(|pair| Ok((score(pair[0])?, pair[1])));
        let pairs = pairs.collect::<Result<Vec<_>, CommandError>>()?;
        self.edit(key, |sorted: &mut Sorted| {
            let (before, mut changes) = (sorted.len(), 0);
            for (score, member) in pairs {
                let present = sorted.score(member);
                if !only_lower || present.is_none_or(|present| score < present) {
                    changes += usize::from(present != Some(score));
                    sorted.insert(member, score);
                }
            }
            Answer::count(if count_changes { changes } else { sorted.len() - before })
        })
    }

    /// ZREM key member ...
    pub(in super::super) fn remove_scored(
        &mut self,
        key: &[u8],
        members: &[&[u8]],
    ) -> Result<Answer, CommandError> {
        self.edit(key, |sorted: &mut Sorted| {
            Answer::count(members.iter().filter(|member| sorted.remove(member)).count())
        })
    }

    /// ZCARD key
    pub(in super::super) fn scored_length(&self, key: &[u8]) -> Result<Answer, CommandError> {
        Ok(Answer::count(self.get::<Sorted>(key)?.map_or(0, Sorted::len)))
    }

    /// ZSCORE key member
    pub(in super::super) fn score(
        &self,
        key: &[u8],
        member: &[u8],
    ) -> Result<Answer, CommandError> {
        let score = self.get::<Sorted>(key)?.and_then(|sorted| sorted.score(member));
        Ok(score.map_or(Answer::Nil, Answer::number))
    }

    /// ZRANK key member
    pub(in super::super) fn rank(&self, key: &[u8], member: &[u8]) -> Result<Answer, CommandError> {
        let sorted = self.get::<Sorted>(key)?;
        let rank = sorted.and_then(|sorted| sorted.iter().position(|(other, _)| other == member));
        Ok(rank.map_or(Answer::Nil, Answer::count))
    }

    /// ZCOUNT key min max
    pub(in super::super) fn count_scored(
        &self,
        key: &[u8],
        min: &[u8],
        max: &[u8],
    ) -> Result<Answer, CommandError> {
        let (min, max) = limits(min, max)?;
        let sorted = self.get::<Sorted>(key)?;
        Ok(Answer::count(sorted.map_or(0, |sorted| sorted.between(min, max).count())))
    }

    /// ZRANGE key start stop \[BYSCORE\] \[REV\] \[LIMIT offset count\] \[WITHSCORES\]
    pub(in super::super) fn range(
        &self,
        key: &[u8],
        start: &[u8],
        stop: &[u8],
        options: &[&[u8]],
    ) -> Result<Answer, CommandError> {
        let options = RangeOptions::parse(options)?;
        let mut answers = Vec::new();
        let mut answer = |(member, score): (&[u8], i64)| {
            answers.push(Answer::Text(member.to_vec()));
            if options.with_scores {
                answers.push(Answer::number(score));
            }
        };
        if options.by_score {
            let (min, max) = limits(start, stop)?;
            let (skip, count) = options.page.unwrap_or((0, -1));
            let sorted = self.get::<Sorted>(key)?;
            // A negative offset finds nothing, a negative count everything.
            if let (Some(sorted), Ok(skip)) = (sorted, usize::try_from(skip)) {
                let count = usize::try_from(count).unwrap_or(usize::MAX);
                sorted.between(min, max).skip(skip).take(count).for_each(&mut answer);
            }
        } else {
            let (start, stop) = (integer(start)?, integer(stop)?);
            if let Some(sorted) = self.get::<Sorted>(key)? {
                let span = span(sorted.len(), start, stop);
                let (skip, count) = (span.start, span.len());
                match options.reverse {
                    false => sorted.iter().skip(skip).take(count).for_each(&mut answer),
                    true => sorted.iter().rev().skip(skip).take(count).for_each(&mut answer),
                }
            }
        }
        Ok(Answer::List(answers))
    }
}
