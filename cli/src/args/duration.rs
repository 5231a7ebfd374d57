//! Durations on the command line.

use std::time::Duration;

/// The longest duration that an option takes.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Parses a duration above zero and of at most a year, for example `30s`, `5m` or `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a time such as 500ms, 30s, 5m or 7d".to_owned();
    if let Ok(number) = text.parse::<u64>()
        && number > 0
    {
        return Err(format!("a time has a unit, such as {number}s or {number}ms"));
    }
    let parsed = match text {
        "0" => Duration::ZERO,
        text => humantime::parse_duration(text).map_err(|_| expected())?,
    };
    match parsed {
        Duration::ZERO => Err("the time must be above zero".to_owned()),
        parsed if parsed >= LONGEST => Err("the time must be shorter than a year".to_owned()),
        parsed => Ok(parsed),
    }
}

/// Parses a duration to milliseconds.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    let parsed = duration(text)?.as_millis();
    match u64::try_from(parsed) {
        Ok(milliseconds) if milliseconds > 0 => Ok(milliseconds),
        _ => Err("the time must be at least 1ms".to_owned()),
    }
}

/// Parses the time that a lease lasts, to milliseconds.
pub fn lease_ttl(text: &str) -> Result<u64, String> {
    let ttl = milliseconds(text)?;
    match (10..=86_400_000).contains(&ttl) {
        true => Ok(ttl),
        false => Err("a lease lasts 10ms to 1d".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bounds() {
        for (text, seconds) in
            [("30s", 30), ("5m", 300), ("7d", 604_800), ("1500ms", 1), ("1h 1m", 3_660)]
        {
            assert_eq!(duration(text).map(|parsed| parsed.as_secs()), Ok(seconds), "{text}");
        }
        for text in ["", "0", "0s", "3", "-5s", "5 parsecs", "400d", "1.5"] {
            assert!(duration(text).is_err(), "{text:?}");
        }
        assert_eq!((lease_ttl("2000ms"), lease_ttl("2s")), (Ok(2_000), Ok(2_000)));
        assert!(
            lease_ttl("9ms").is_err() && lease_ttl("2d").is_err() && milliseconds("1us").is_err()
        );
    }
}
