//! What a rule answers: a rejection, a recognised repeat, or a decision to commit.

use std::sync::Arc;

use crate::error::Rejection;
use crate::id::{AttemptIndex, SignalId};
use crate::time::{DurationMs, TimestampMs, Window};

use super::event::Event;
use super::execution::Execution;
use super::frame::Frame;
use super::signal::SignalRecord;

/// What a rule answers.
pub type Ruling<T> = Result<Verdict<T>, Rejection>;

/// An answer that is no rejection.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Nearly always `Apply`.
pub enum Verdict<T> {
    /// The same command was applied before: this was its outcome. Nothing is written.
    Repeat(T),
    /// To be committed.
    Apply(Decision<T>),
}

/// What to commit, and what the caller learns once it is committed.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<T> {
    /// What becomes of the record.
    pub next: Next,
    /// When the decision holds, by the store's clock.
    pub window: Window,
    /// The shortest ttl that the decision stores, counted from the time it was decided for.
    pub stores_ttl: Option<DurationMs>,
    /// What happened, for the journal.
    pub events: Vec<Event>,
    /// What becomes of the values beside the record.
    pub values: Vec<ValueEffect>,
    /// What becomes of signals and output, where anything does.
    pub beside: Option<Box<Beside>>,
    /// What the caller learns.
    pub outcome: T,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // Nearly always `Put`; a box would only add an allocation.
pub enum Next {
    /// It is written with a new version.
    Put(Execution),
    /// It stays as it is, and so does its version; its index entries are written again.
    Keep,
    /// It goes, with all its index entries.
    Remove,
}

/// What becomes of an execution's signals and output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// A signal that is taken; its record is expected to be absent.
    pub signal: Option<SignalRecord>,
    /// Signals that go, with the nonces of their records' versions; `None` where only an entry is
    /// left.
    pub forgotten: Vec<(SignalId, Option<u64>)>,
    /// A frame that is appended to an attempt's output.
    pub frame: Option<(AttemptIndex, Frame)>,
    /// Whether the readers of that output are woken.
    pub rings_readers: bool,
    /// Attempts whose output goes.
    pub dropped: Vec<AttemptIndex>,
}

/// A value beside a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValueKind {
    /// What the submitter handed in.
    Payload,
    /// What the worker handed back.
    Result,
    /// What a signal brought.
    Signal(SignalId),
}

/// What becomes of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueEffect {
    /// It is written byte for byte.
    Put(ValueKind, Arc<[u8]>),
    /// It goes.
    Remove(ValueKind),
}

/// Why a commit is made: a full store refuses admission and still allows what frees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Adds work; refused when the store's memory is full.
    Admit,
    /// Finishes or keeps up work; allowed when the store's memory is full.
    Finish,
}

impl<T> Decision<T> {
    /// A decision for a changed record that holds at any time.
    pub fn put(mut next: Execution, now: TimestampMs, outcome: T) -> Self {
        next.updated_at = now;
        Self {
            next: Next::Put(next),
            window: Window::ALWAYS,
            stores_ttl: None,
            events: Vec::new(),
            values: Vec::new(),
            beside: None,
            outcome,
        }
    }

    /// A decision that only writes the record's index entries again: that is how an entry comes
    /// back whose taker died or gave it back.
    pub fn keep(outcome: T) -> Self {
        Self {
            next: Next::Keep,
            window: Window::ALWAYS,
            stores_ttl: None,
            events: Vec::new(),
            values: Vec::new(),
            beside: None,
            outcome,
        }
    }

    /// The same decision, held to a window.
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

    /// The same decision with what happened before.
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
    pub fn beside(mut self, beside: Beside) -> Self {
        self.beside = Some(Box::new(beside));
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
            beside: self.beside,
            outcome: outcome(self.outcome),
        }
    }

    /// Applies another rule to the record that this decision writes: one unit, intersected
    /// windows, events of both. A composite asks its last command first whether it is a repeat.
    ///
    /// # Errors
    ///
    /// What the second rule refuses is refused as a whole.
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
                    beside: second.beside.or(self.beside),
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
