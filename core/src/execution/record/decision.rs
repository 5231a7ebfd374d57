//! The result of a rule: a rejection, a recognised repeat, or a decision to commit.

use std::sync::Arc;

use crate::error::Rejection;
use crate::id::{AttemptIndex, SignalId};
use crate::time::{DurationMs, TimestampMs, Window};

use super::event::Event;
use super::execution::Execution;
use super::frame::Frame;
use super::signal::SignalRecord;

/// The result of a rule.
pub type Ruling<T> = Result<Verdict<T>, Rejection>;

/// The result of a rule that does not reject the command.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Nearly always `Apply`.
pub enum Verdict<T> {
    /// The same command was applied before, with this outcome. Nothing is written.
    Repeat(T),
    /// The command takes effect once this is committed.
    Apply(Decision<T>),
}

/// The changes to commit, and the outcome that the caller gets once they are committed.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// The change to the record.
    pub next: Next,
    /// The times by the store's clock at which the decision may be committed.
    pub window: Window,
    /// The shortest ttl that the decision stores, counted from the time it was made for.
    pub stores_ttl: Option<DurationMs>,
    /// Events for the journal.
    pub events: Vec<Event>,
    /// The changes to payload, result and signal payloads.
    pub values: Vec<ValueEffect>,
    /// The changes to signals and output, if there are any.
    pub side_effects: Option<Box<SideEffects>>,
    /// The outcome that the caller gets.
    pub outcome: T,
}

/// The change that a decision makes to the record.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Nearly always `Put`; a box would only add an allocation.
pub enum Next {
    /// Writes it with a new version.
    Put(Execution),
    /// Keeps it and its version, and writes its index entries again.
    Keep,
    /// Removes it, with all its index entries.
    Remove,
}

/// The changes that a decision makes to an execution's signals and output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideEffects {
    /// A signal to store; its record is expected to be absent.
    pub signal: Option<SignalRecord>,
    /// Signals to remove, with the nonces of their records' versions; `None` where only an index
    /// entry is left.
    pub forgotten: Vec<(SignalId, Option<u64>)>,
    /// A frame to append to an attempt's output.
    pub frame: Option<(AttemptIndex, Frame)>,
    /// Whether to wake the readers of that output.
    pub rings_readers: bool,
    /// Attempts whose output to remove.
    pub dropped: Vec<AttemptIndex>,
}

/// A value that is stored apart from the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKind {
    /// The payload that the submitter gave.
    Payload,
    /// The result that the worker returned.
    Result,
    /// The payload of a signal.
    Signal(SignalId),
}

/// The change that a decision makes to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueEffect {
    /// Writes it byte for byte.
    Put(ValueKind, Arc<[u8]>),
    /// Removes it.
    Remove(ValueKind),
}

impl<T> Decision<T> {
    /// A decision that writes a changed record and may be committed at any time.
    pub fn put(mut next: Execution, now: TimestampMs, outcome: T) -> Self {
        next.updated_at = now;
        Self::new(Next::Put(next), outcome)
    }

    /// A decision that only writes the record's index entries again. It restores an entry whose
    /// taker died or did not keep it.
    pub const fn keep(outcome: T) -> Self {
        Self::new(Next::Keep, outcome)
    }

    /// A decision that removes the record.
    pub const fn remove(outcome: T) -> Self {
        Self::new(Next::Remove, outcome)
    }

    const fn new(next: Next, outcome: T) -> Self {
        Self {
            next,
            window: Window::ALWAYS,
            stores_ttl: None,
            events: Vec::new(),
            values: Vec::new(),
            side_effects: None,
            outcome,
        }
    }

    /// The same decision, limited to a window.
    pub fn within(mut self, window: Window) -> Self {
        self.window = self.window.and(window);
        self
    }

    /// The same decision, which stores an expiry `ttl` after now.
    pub fn storing_ttl(mut self, ttl: DurationMs) -> Self {
        self.stores_ttl = Some(self.stores_ttl.map_or(ttl, |shortest| shortest.min(ttl)));
        self
    }

    /// The same decision with an event.
    pub fn event(mut self, event: Event) -> Self {
        self.events.push(event);
        self
    }

    /// The same decision with earlier events before its own.
    pub fn after(mut self, events: Vec<Event>) -> Self {
        self.events.splice(0..0, events);
        self
    }

    /// The same decision with an effect on a value.
    pub fn value(mut self, effect: ValueEffect) -> Self {
        self.values.push(effect);
        self
    }

    /// The same decision with effects on signals or output.
    pub fn side_effects(mut self, effects: SideEffects) -> Self {
        self.side_effects = Some(Box::new(effects));
        self
    }

    /// The same decision with another outcome.
    pub fn map<U>(self, outcome: impl FnOnce(T) -> U) -> Decision<U> {
        Decision {
            next: self.next,
            window: self.window,
            stores_ttl: self.stores_ttl,
            events: self.events,
            values: self.values,
            side_effects: self.side_effects,
            outcome: outcome(self.outcome),
        }
    }

    /// Applies another rule to the record that this decision writes: one commit, the intersection
    /// of both windows, the events of both. A composite first checks whether its last command is a
    /// repeat.
    ///
    /// # Errors
    ///
    /// Those of the second rule; then neither is applied.
    pub fn then<U>(self, rule: impl FnOnce(&Execution) -> Ruling<U>) -> Ruling<(T, U)> {
        let Next::Put(record) = &self.next else {
            return Err(Rejection::NotFound);
        };
        match rule(record)? {
            Verdict::Repeat(outcome) => Ok(Verdict::Apply(self.map(|first| (first, outcome)))),
            Verdict::Apply(mut second) => {
                let mut events = self.events;
                events.append(&mut second.events);
                let mut values = self.values;
                values.append(&mut second.values);
                let stores_ttl = match (self.stores_ttl, second.stores_ttl) {
                    (Some(first), Some(second)) => Some(first.min(second)),
                    (first, second) => first.or(second),
                };
                Ok(Verdict::Apply(Decision {
                    next: second.next,
                    window: self.window.and(second.window),
                    stores_ttl,
                    events,
                    values,
                    side_effects: second.side_effects.or(self.side_effects),
                    outcome: (self.outcome, second.outcome),
                }))
            }
        }
    }
}

impl<T> Verdict<T> {
    /// The same verdict with another outcome.
    #[must_use]
    pub fn map<U>(self, outcome: impl FnOnce(T) -> U) -> Verdict<U> {
        match self {
            Self::Repeat(first) => Verdict::Repeat(outcome(first)),
            Self::Apply(decision) => Verdict::Apply(decision.map(outcome)),
        }
    }

    /// The outcome, whether it is repeated or to be committed.
    pub const fn outcome(&self) -> &T {
        match self {
            Self::Repeat(outcome) => outcome,
            Self::Apply(decision) => &decision.outcome,
        }
    }
}

impl<T> From<Decision<T>> for Verdict<T> {
    fn from(decision: Decision<T>) -> Self {
        Self::Apply(decision)
    }
}
