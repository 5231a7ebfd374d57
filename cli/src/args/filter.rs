//! The options that select executions: of `ff list`, and of the commands on many executions.

use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use ff_sdk::core::id::ExecutionKind;
use ff_sdk::core::state::UnknownState;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{LaneId, ListFilter, PublicState};

use super::duration::duration;
use super::watch::tag;

/// The names of these options.
pub const FILTERS: [&str; 6] = ["state", "lane", "kind", "tag", "created_after", "created_before"];

/// The options that select executions.
#[derive(Debug, Args)]
pub struct FilterArgs {
    /// Only executions in this state. Repeat --state for several states, or separate them by
    /// commas.
    #[arg(long, value_name = "STATE", value_parser = states(), value_delimiter = ',')]
    pub state: Vec<PublicState>,
    /// Only executions of this lane (a named queue).
    #[arg(long, value_name = "LANE")]
    pub lane: Option<LaneId>,
    /// Only executions of this kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Option<ExecutionKind>,
    /// Only executions with this tag. Repeat --tag to require several tags.
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    pub tag: Vec<(String, String)>,
    /// Only executions that were created at this time or later: 2h for two hours ago, or a time in
    /// UTC such as 2026-11-30T05:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = moment, visible_alias = "since")]
    pub created_after: Option<Moment>,
    /// Only executions that were created before this time.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub created_before: Option<Moment>,
}

impl FilterArgs {
    /// The filter at an instant of the store's clock.
    pub fn filter(&self, now: TimestampMs) -> ListFilter {
        ListFilter {
            lane: self.lane.clone(),
            kind: self.kind.clone(),
            states: self.state.clone(),
            tags: self.tag.clone(),
            created_from: self.created_after.map(|moment| moment.at(now)),
            created_before: self.created_before.map(|moment| moment.at(now)),
        }
    }
}

/// A time on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A time in UTC.
    At(TimestampMs),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    fn at(self, now: TimestampMs) -> TimestampMs {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => {
                let ago = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                TimestampMs::new(now.get().saturating_sub(ago))
            }
        }
    }
}

/// Parses a time: a duration, for so long ago, or a time in UTC by RFC 3339.
fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(ago) = duration(text) {
        return Ok(Moment::Ago(ago));
    }
    let expected = "expected how long ago it was, such as 90s, 2h or 7d, or a time in UTC such as \
                    2026-11-30T05:00:00Z";
    let at = humantime::parse_rfc3339(text).map_err(|_| expected)?;
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| expected)?;
    let since = u64::try_from(since.as_millis()).map_err(|_| expected)?;
    Ok(Moment::At(TimestampMs::new(since)))
}

/// Parses a state. The error for an unknown state lists the known ones.
fn states() -> impl TypedValueParser<Value = PublicState> {
    let names = PossibleValuesParser::new(PublicState::ALL.iter().map(|state| state.as_str()));
    names.try_map(|name| -> Result<PublicState, UnknownState> { name.parse() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_a_time_ago() {
        let now = TimestampMs::new(1_764_000_000_000);
        let at = |text: &str| moment(text).map(|moment| moment.at(now).get());
        assert_eq!(at("2h"), Ok(now.get() - 7_200_000));
        assert_eq!(at("2025-11-24T16:00:00Z"), Ok(now.get()));
        assert_eq!(at("2025-11-24T16:00:00.123Z"), Ok(now.get() + 123));
        for text in ["", "yesterday", "3", "0s", "2025-11-24", "1969-01-01T00:00:00Z"] {
            assert!(moment(text).is_err(), "{text:?}");
        }
    }
}
