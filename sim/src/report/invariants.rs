//! The invariants that a run checks.

use std::fmt;
use std::str::FromStr;

macro_rules! invariants {
    ($($(#[doc = $what:literal])+ $invariant:ident => $tag:literal;)+) => {
        /// An invariant (`docs/architecture.md`, Invariants).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Invariant {
            $($(#[doc = $what])+ $invariant,)+
        }

        impl Invariant {
            /// Every invariant.
            pub const ALL: &'static [Self] = &[$(Self::$invariant),+];

            /// The tag that names it in violations.
            pub const fn tag(self) -> &'static str {
                match self {
                    $(Self::$invariant => $tag,)+
                }
            }

            /// Its description, in a sentence.
            pub fn description(self) -> &'static str {
                match self {
                    $(Self::$invariant => concat!($($what),+).trim_ascii(),)+
                }
            }
        }
    };
}

invariants! {
    /// There is at most one live lease for an execution, by store time.
    Lease => "INV-LEASE-1";
    /// Epochs never repeat or go back, also over executions with one id; attempt indexes are
    /// contiguous.
    Epoch => "INV-EPOCH-1";
    /// A call with a stale fence changes nothing; a rejected command changes nothing.
    Fence => "INV-FENCE-1";
    /// A grant is consumed at most once, before its expiry, by its worker.
    Grant => "INV-GRANT-1";
    /// Each life has one end and one terminal event, and afterwards an entry in `due` alone.
    Terminal => "INV-TERMINAL-1";
    /// Everything that was acknowledged is there.
    Durable => "INV-DURABLE-1";
    /// The same identity gives the same answer or a refusal, never a second effect.
    Identity => "INV-IDENTITY-1";
    /// Indexes equal the function of the records.
    Index => "INV-INDEX-1";
    /// Nothing starts, ends or is taken over before its time.
    Time => "INV-TIME-1";
    /// A worker that believes its lease healthy holds it.
    Health => "INV-HEALTH-1";
    /// A suspension ends at most once, by signals that satisfy it, an operator, or its timeout.
    Suspend => "INV-SUSPEND-1";
    /// An acknowledged signal is taken once, and kept until retention takes it away.
    Signal => "INV-SIGNAL-1";
    /// A signal is taken only with a good token of its waitpoint.
    Token => "INV-TOKEN-1";
    /// The output of an attempt has every acknowledged frame, once and in order.
    Frame => "INV-FRAME-1";
    /// A failed attempt is retried exactly if its policy allows it, and after its backoff.
    Retry => "INV-RETRY-1";
    /// Nothing starts in a lane that starts nothing, and nothing is submitted to one that accepts
    /// nothing, from a second after the change on.
    Lane => "INV-LANE-1";
    /// The usage of a budget is the sum of the charges that were applied, each once and as a whole,
    /// and no charge takes it above a hard limit.
    Budget => "INV-BUDGET-1";
    /// One process holds an instance id at a time, and a process that has lost it starts nothing
    /// after its next heartbeat.
    Registry => "INV-REGISTRY-1";
    /// The counts of a partition are those of its executions, by lane and state.
    Count => "INV-COUNT-1";
    /// Nothing starts that names a budget at its hard limit, or one that does not exist.
    BudgetGate => "INV-BUDGET-2";
    /// No more executions run under a quota and key than the quota allows: each has a slot, and a
    /// slot is freed once its execution does not run any more.
    QuotaSlots => "INV-QUOTA-1";
    /// No sliding window of a quota has more admissions than its maximum.
    QuotaRate => "INV-QUOTA-2";
    /// A worker claims an execution only if `why` finds no reason to wait.
    Why => "INV-WHY-1";
    /// Retries, reclaims and lives are counted once each, and never beyond their limits.
    Counts => "COUNTS";
    /// A rejection rests on a reply of the store, and is true of it.
    Refusal => "REFUSAL";
    /// The journal records the changes of each commit.
    Journal => "JOURNAL";
    /// Lists show every record once, page by page.
    Lists => "LISTS";
    /// Nothing over a bound or undecodable is sent, stored or answered, and retries keep to the
    /// budget of their program.
    Bounds => "BOUNDS";
    /// After the faults all work comes to its end, within a bounded number of calls.
    Liveness => "LIVENESS";
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.tag())
    }
}

/// The error of a text that names no invariant, or no planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    kind: &'static str,
    name: String,
    known: Vec<&'static str>,
}

impl UnknownName {
    /// Finds a name among those of a kind.
    pub(crate) fn find<T: Copy>(
        kind: &'static str,
        name: &str,
        all: &[T],
        name_of: impl Fn(T) -> &'static str,
    ) -> Result<T, Self> {
        let found = all.iter().find(|one| name_of(**one) == name).copied();
        let known = || all.iter().map(|one| name_of(*one)).collect();
        found.ok_or_else(|| Self { kind, name: name.to_owned(), known: known() })
    }
}

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, known } = self;
        write!(f, "unknown {kind} {name:?}: expected one of {}", known.join(", "))
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Invariant {
    type Err = UnknownName;

    fn from_str(tag: &str) -> Result<Self, UnknownName> {
        UnknownName::find("invariant", tag, Self::ALL, Self::tag)
    }
}

/// A set of invariants. A run does not check the others, and otherwise stays the same.
///
/// ```
/// use ff_sim::{Invariant, InvariantSet};
///
/// let set: InvariantSet = "INV-LEASE-1,LIVENESS".parse()?;
/// assert!(set.contains(Invariant::Lease) && !set.contains(Invariant::Fence));
/// assert_eq!(set.to_string(), "INV-LEASE-1,LIVENESS");
/// # Ok::<(), ff_sim::UnknownName>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvariantSet(u32);

impl InvariantSet {
    /// Every invariant.
    pub const ALL: Self = Self((1 << Invariant::ALL.len()) - 1);
    /// No invariant.
    pub const NONE: Self = Self(0);

    /// The invariants that can be judged by requests and replies alone, without knowing the command
    /// of each request: those that a simulation of users' handlers checks.
    pub const OF_REQUESTS: Self = Self::ALL
        .without(Invariant::Suspend)
        .without(Invariant::Signal)
        .without(Invariant::Token)
        .without(Invariant::Frame);

    /// A set of one invariant.
    pub const fn only(invariant: Invariant) -> Self {
        Self(1 << invariant as u32)
    }

    /// The set without an invariant.
    #[must_use]
    pub const fn without(self, invariant: Invariant) -> Self {
        Self(self.0 & !Self::only(invariant).0)
    }

    /// The set with an invariant.
    #[must_use]
    pub const fn with(self, invariant: Invariant) -> Self {
        Self(self.0 | Self::only(invariant).0)
    }

    /// Whether an invariant is in it.
    pub const fn contains(self, invariant: Invariant) -> bool {
        self.0 & Self::only(invariant).0 != 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The invariants in it.
    pub fn iter(self) -> impl Iterator<Item = Invariant> {
        Invariant::ALL.iter().copied().filter(move |invariant| self.contains(*invariant))
    }
}

impl Default for InvariantSet {
    fn default() -> Self {
        Self::ALL
    }
}

impl fmt::Display for InvariantSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<&str> = self.iter().map(Invariant::tag).collect();
        f.pad(&tags.join(","))
    }
}

impl FromStr for InvariantSet {
    type Err = UnknownName;

    /// Parses tags between commas; `all` stands for every invariant.
    fn from_str(tags: &str) -> Result<Self, UnknownName> {
        if tags == "all" {
            return Ok(Self::ALL);
        }
        tags.split(',').map(str::trim).try_fold(Self::NONE, |set, tag| Ok(set.with(tag.parse()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_read_from_tags_as_they_are_written() {
        for invariant in Invariant::ALL {
            assert_eq!(invariant.tag().parse(), Ok(*invariant));
            let alone = InvariantSet::only(*invariant);
            assert_eq!(alone.to_string().parse(), Ok(alone));
            assert!(!InvariantSet::ALL.without(*invariant).contains(*invariant));
        }
        assert_eq!("all".parse(), Ok(InvariantSet::ALL));
        assert_eq!(InvariantSet::ALL.to_string().parse(), Ok(InvariantSet::ALL));
        assert!("INV-LEASE-1,nonsense".parse::<InvariantSet>().is_err());
    }
}
