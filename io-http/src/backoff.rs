//! The waits between the tries of a call.

use std::time::Duration;

/// The wait after the first try.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

/// Returns the wait after this try, counted from 0: twice as long after each, and shortened by up
/// to a half at random, so that clients that failed together do not come back together.
pub(crate) fn after(tries: u32) -> Duration {
    // Without entropy the clients only lose the spread.
    jittered(tries, getrandom::u32().unwrap_or(u32::MAX))
}

fn jittered(tries: u32, random: u32) -> Duration {
    let whole = FIRST.saturating_mul(2_u32.saturating_pow(tries)).min(LONGEST);
    let half = whole / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_shortened_by_at_most_a_half() {
        let ms = |tries, random| jittered(tries, random).as_millis();
        assert_eq!([0, 1, 2].map(|tries| ms(tries, u32::MAX)), [100, 200, 400]);
        assert_eq!([0, 1, 2].map(|tries| ms(tries, 0)), [50, 100, 200]);
        for tries in [6, 40, u32::MAX] {
            assert_eq!((ms(tries, 0), ms(tries, u32::MAX)), (2_500, 5_000));
        }
    }
}
