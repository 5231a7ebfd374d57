//! A change of a record beside executions, as a value with a rule.

use std::fmt::Debug;

use uuid::Uuid;

use crate::error::Rejection;
use crate::purpose::Purpose;
use crate::time::{TimestampMs, Window};

use super::{Resource, ResourceId};

/// A change of one record, decided by one rule. It may look at further records of the same
/// partition, and write them in the same commit.
///
/// Identity: the writer and the nonce of its commit, which [`Kept`](super::Kept) remembers. So a
/// change whose reply was lost is recognised, and never applied a second time.
pub trait Change: Clone + Debug + 'static {
    /// The record that it changes.
    type Record: Resource;
    /// The records beside it; [`Self::Record`] if there are none.
    type Beside: Resource;
    /// The outcome that the caller gets.
    type Outcome: Clone + Debug + 'static;

    /// The name of the change, for errors and traces.
    const NAME: &'static str;

    /// Returns the record that it changes.
    fn target(&self) -> ResourceId;

    /// Returns the ids of the records beside it that the rule looks at, without repetition. They
    /// are in the partition of the target.
    fn beside(&self) -> Vec<Uuid> {
        Vec::new()
    }

    /// Returns whether a store with full memory may refuse it.
    fn purpose(&self) -> Purpose {
        Purpose::Admit
    }

    /// Returns whether applying it twice is the same as once, whatever happened between.
    fn is_absolute(&self) -> bool {
        false
    }

    /// Returns whether many programs change the record at the same time. Then a conflict, whose
    /// reply has the present record, is followed by the next try without a wait, and only the
    /// deadline bounds the number of tries.
    fn is_contended(&self) -> bool {
        false
    }

    /// Decides.
    ///
    /// # Errors
    ///
    /// Those of the rule; then nothing changes.
    fn decide(
        &self,
        facts: &Facts<'_, Self::Record, Self::Beside>,
        now: TimestampMs,
    ) -> Decided<Self>;
}

/// The result of the rule of a change.
pub type Decided<C> = Result<
    Changed<<C as Change>::Record, <C as Change>::Beside, <C as Change>::Outcome>,
    Rejection,
>;

/// The records that a change is decided on.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a, R, B> {
    /// The record, if there is one.
    pub record: Option<&'a R>,
    /// The records beside it, in the order of [`Change::beside`].
    pub beside: &'a [Option<B>],
    /// How many commits of this operation have arrived after the end of their window.
    pub late: u32,
}

/// The decision of a change.
#[must_use]
#[derive(Clone, Debug, PartialEq)]
pub struct Changed<R, B, T> {
    /// The change to the record.
    pub next: NextResource<R>,
    /// The records beside it to write, by their position in [`Change::beside`].
    pub beside: Vec<(usize, B)>,
    /// The times by the store's clock at which it may be committed.
    pub window: Window,
    /// The outcome that the caller gets.
    pub outcome: T,
}

/// The change to a record.
#[derive(Clone, Debug, PartialEq)]
pub enum NextResource<R> {
    /// Nothing is written: the change was applied before, or there is nothing to do.
    Keep,
    /// Writes it with a new version.
    Put(R),
    /// Removes it.
    Remove,
}

impl<R, B, T> Changed<R, B, T> {
    /// A decision that writes a record.
    pub const fn put(record: R, outcome: T) -> Self {
        Self::new(NextResource::Put(record), outcome)
    }

    /// A decision that writes nothing.
    pub const fn keep(outcome: T) -> Self {
        Self::new(NextResource::Keep, outcome)
    }

    /// A decision that removes the record.
    pub const fn remove(outcome: T) -> Self {
        Self::new(NextResource::Remove, outcome)
    }

    const fn new(next: NextResource<R>, outcome: T) -> Self {
        Self { next, beside: Vec::new(), window: Window::ALWAYS, outcome }
    }

    /// The same decision, limited to a window.
    pub fn within(mut self, window: Window) -> Self {
        self.window = self.window.and(window);
        self
    }
}
