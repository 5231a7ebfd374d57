//! Durations on the command line.

use std::time::Duration;

/// The longest duration that an option takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Parses a duration above zero and of at most a year, for example `30s`, `5m` or `7d`. A number
/// without a unit is milliseconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 500ms, 30s, 5m or 7d".to_owned();
    let parsed = match text.parse() {
        Ok(milliseconds) => Duration::from_millis(milliseconds),
        Err(_) => humantime::parse_duration(text).map_err(|_| expected())?,
    };
    match parsed {
        Duration::ZERO => Err("the time must be above zero".to_owned()),
        parsed if parsed >= LONGEST => Err("the time must be shorter than a year".to_owned()),
        parsed => Ok(parsed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("7d", 604_800), ("1500", 1), ("1h 1m", 3_660)]
        {
            assert_eq!(duration(text).map(|parsed| parsed.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["", "0", "0s", "-5s", "5 parsecs", "400d", "1.5"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
    }
}
