//! How many executions a quota has admitted lately, in steps of its window.

use serde::{Deserialize, Serialize};

use crate::planted::planted;
use crate::time::{DurationMs, TimestampMs, Window};

use super::record::Rate;

/// The steps that a window is divided into, about.
const STEPS: u64 = 128;

/// How much later than its step and the next one an admission may be committed, by the number of
/// earlier commits of the same one that arrived too late. The network decides how long that takes.
const SLACK: [DurationMs; 4] =
    [DurationMs::ZERO, DurationMs::new(100), DurationMs::new(400), DurationMs::new(2_000)];

/// The latest admissions, counted by steps of the use record's clock.
///
/// An admission is committed at the latest in the step after the one that it counts in. So the
/// admissions of any window, as long as it is, are within as many steps as it touches, and two
/// more; their sum never exceeds the maximum. That costs about 1.5 % of what the quota allows. If
/// the network is so slow that a commit comes too late, the next one counts in a later step, at
/// most 2 s ahead, and as much longer. \[INV-QUOTA-2\]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Admissions {
    /// The length of a step; 0 if nothing was counted.
    step: DurationMs,
    /// Steps, by their number since the Unix epoch, with their admissions; the latest last.
    counts: Vec<(u64, u32)>,
}

/// Why nothing is admitted now.
pub(super) struct WindowFull {
    /// How long it takes until an admission leaves the window.
    pub(super) wait: DurationMs,
}

/// The length of a step of a window.
fn step_of(rate: Rate) -> DurationMs {
    DurationMs::new((rate.window.get() / STEPS).max(1))
}

/// The number of steps whose admissions count.
fn steps_of(rate: Rate) -> u64 {
    rate.window.get().div_ceil(step_of(rate).get()) + 2
}

/// The time between the turns of two executions that wait, in microseconds.
pub(super) fn spacing(rate: Rate) -> u64 {
    let span = steps_of(rate) * step_of(rate).get() * 1_000;
    span.div_ceil(u64::from(rate.max.max(1)))
}

impl Admissions {
    /// Counts one more admission, unless the window is full. Returns when it may be committed, and
    /// the time at which it counts. `late`: how many of its commits have come too late.
    pub(super) fn admit(
        &mut self,
        rate: Rate,
        now: TimestampMs,
        late: u32,
    ) -> Result<(Window, TimestampMs), WindowFull> {
        let (step, steps) = (step_of(rate), steps_of(rate));
        self.change_step(step);
        let current = now.get() / step.get();
        self.follow(current);
        let mut oldest = (current + 1).saturating_sub(steps);
        if planted!(WindowNotSliding) {
            oldest = current / steps * steps;
        }
        self.counts.retain(|(number, _)| *number >= oldest);
        let admitted: u64 = self.counts.iter().map(|(_, count)| u64::from(*count)).sum();
        if admitted >= u64::from(rate.max) {
            return Err(WindowFull { wait: self.wait(admitted, rate, now) });
        }
        let slack = SLACK[SLACK.len().min(late as usize + 1) - 1];
        let ahead = slack.get().div_ceil(step.get());
        let counted = current + ahead;
        match self.counts.binary_search_by_key(&counted, |(number, _)| *number) {
            Ok(place) => self.counts[place].1 = self.counts[place].1.saturating_add(1),
            Err(place) => self.counts.insert(place, (counted, 1)),
        }
        if planted!(AdmissionWindowForgotten) {
            return Ok((Window::ALWAYS, now));
        }
        let start = TimestampMs::new(current * step.get());
        let end = TimestampMs::new((counted + 2) * step.get());
        let counted_at = now.plus(DurationMs::new(ahead * step.get()));
        Ok((Window::from(start).and(Window::until(end)), counted_at))
    }

    /// Takes back an admission of this time, of an execution that did not start.
    pub(super) fn take_back(&mut self, at: TimestampMs) {
        let Some(number) = at.get().checked_div(self.step.get()) else { return };
        if let Some((_, count)) = self.counts.iter_mut().find(|(other, _)| *other == number) {
            *count = count.saturating_sub(1);
        }
    }

    /// Returns the admissions in the window.
    pub(super) fn admitted(&self, rate: Rate, now: TimestampMs) -> u32 {
        let mut present = self.clone();
        present.change_step(step_of(rate));
        let oldest = (now.get() / step_of(rate).get() + 1).saturating_sub(steps_of(rate));
        let counted = present.counts.iter().filter(|(number, _)| *number >= oldest);
        counted.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Returns when the latest admission no longer counts; `None` without any.
    pub(super) fn end(&self, rate: Option<Rate>) -> Option<TimestampMs> {
        let ((latest, _), rate) = (self.counts.last()?, rate?);
        Some(TimestampMs::new((latest + steps_of(rate)) * self.step.get()))
    }

    /// How long it takes until so many steps have left the window that there is room.
    fn wait(&self, admitted: u64, rate: Rate, now: TimestampMs) -> DurationMs {
        let mut left = admitted;
        for (number, count) in &self.counts {
            left -= u64::from(*count);
            if left < u64::from(rate.max) {
                let free = TimestampMs::new((number + steps_of(rate)) * self.step.get());
                return free.since(now).max(DurationMs::new(1));
            }
        }
        rate.window
    }

    /// Counts in steps of another length: each admission in the step that has its latest time.
    fn change_step(&mut self, step: DurationMs) {
        if self.step != step {
            let old = self.step.get();
            for (number, _) in &mut self.counts {
                *number = ((*number + 1) * old - 1) / step.get();
            }
            self.step = step;
        }
    }

    /// If the clock has stepped back, all admissions move back with it: that makes none older.
    fn follow(&mut self, current: u64) {
        if planted!(AdmissionsForgotten) {
            self.counts.retain(|(number, _)| *number <= current);
        }
        let latest = self.counts.last().map_or(0, |(number, _)| *number);
        let ahead = SLACK[SLACK.len() - 1].get().div_ceil(self.step.get().max(1));
        let back = latest.saturating_sub(current + ahead);
        self.counts.iter_mut().for_each(|(number, _)| *number = number.saturating_sub(back));
    }
}
