//! Bugs that are planted on purpose, so that the simulator can prove that it would see them
//! (`docs/architecture.md`, What makes a green run worth something).
//!
//! Only a build with the feature `planted-bugs` has them, and there only the one that is selected
//! does anything. In every other build `planted!` is the constant `false` and this file is empty
//! otherwise.

/// Whether this bug is selected; `false` at compile time in an ordinary build.
#[cfg(feature = "planted-bugs")]
macro_rules! planted {
    ($bug:ident) => {
        $crate::planted::is_selected($crate::planted::PlantedBug::$bug)
    };
}

/// Whether this bug is selected; `false` at compile time in an ordinary build.
#[cfg(not(feature = "planted-bugs"))]
macro_rules! planted {
    ($bug:ident) => {
        false
    };
}

pub(crate) use planted;

#[cfg(feature = "planted-bugs")]
pub use bugs::{PlantedBug, UnknownBug, is_selected, select};

#[cfg(feature = "planted-bugs")]
mod bugs {
    use std::fmt;
    use std::str::FromStr;
    use std::sync::atomic::{AtomicU8, Ordering};

    macro_rules! bugs {
        ($($bug:ident: $what:literal, $rule:literal;)+) => {
            /// One bug of the kind that people make.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum PlantedBug {
                $(#[doc = $what] $bug,)+
            }

            impl PlantedBug {
                /// Every bug.
                pub const ALL: &'static [Self] = &[$(Self::$bug),+];

                /// Its name.
                pub const fn name(self) -> &'static str {
                    match self {
                        $(Self::$bug => stringify!($bug),)+
                    }
                }

                /// What is done wrong, in one sentence.
                pub const fn description(self) -> &'static str {
                    match self {
                        $(Self::$bug => $what,)+
                    }
                }

                /// The rule that it breaks.
                pub const fn rule(self) -> &'static str {
                    match self {
                        $(Self::$bug => $rule,)+
                    }
                }
            }
        };
    }

    bugs! {
        AttemptIndexSkipped: "a reclaim skips an attempt index",
            "attempt indexes are contiguous";
        BlocksAllLifted: "taking one block away takes all of them away",
            "several reasons hold an execution back, each by itself";
        BufferedSignalsConsumed: "a suspension that need not be uses up what it did not count",
            "what did not count is there for a later suspension";
        BufferedSignalsForgotten: "a suspension does not look at what was buffered for it",
            "a signal is never lost between its buffer and its suspension";
        CancelledKeepsLease: "an operator's cancellation leaves the lease where there is one",
            "what is over has no lease";
        CapabilityIgnored: "the capabilities of a worker are not compared",
            "a worker takes only what it can do";
        ClaimRepeatUnknown: "a claim is not recognised when it comes again",
            "a lease id gives one lease";
        ClaimWindowForgotten: "a claim is committed without a time window",
            "a grant is used before it ends";
        CompletionRepeatUnknown: "a completion is not recognised when it comes again",
            "a fence and a kind of call have one outcome";
        CompletionWindowForgotten: "a completion is committed without a time window",
            "only the holder of a live lease finishes";
        ConflictDoubted: "a suspension that met the commits of others is said to be in doubt",
            "who has missed no reply is in no doubt";
        ContinuationForgotten: "when retention is over the values go and the record is not told to",
            "long work is a field of the record that makes it due";
        CreationRepeatUnknown: "a submission is not recognised when it comes again",
            "one's own lost reply is `Created`";
        DelayEndedEarly: "a delay is over a second before its time",
            "nothing starts early";
        DelayForgotten: "a worker's delay is forgotten",
            "what was given back until a time does not go on before it";
        DigestNotCompared: "the content behind an idempotency key is not compared",
            "other content under a known key is refused";
        DueNotMoved: "the entry of what is due is not moved when a lease is renewed",
            "indexes equal the function of the records";
        DueWindowForgotten: "what is due is applied without a time window",
            "nothing expires before its time by the store's clock";
        DuplicateAnsweredCreated: "somebody else's submission is answered as one's own",
            "another's is `Duplicate`";
        EndNotTold: "an operator's cancellation tells the journal nothing",
            "each life has one terminal event";
        EndToldTwice: "a completion tells the journal twice",
            "each life has one terminal event";
        EpochNotRaised: "a reclaim gives its lease under the epoch of the lost one",
            "each lease raises the epoch by one";
        ExpiryToldAsRevocation: "whose lease ran out is told that it was revoked",
            "a refusal is true of the record";
        FailedAttemptResumed: "after a failure the failed attempt goes on",
            "a retry is a new attempt";
        FenceWithoutAttempt: "the attempt is left out when fences are compared",
            "a fence holds as a whole";
        FenceWithoutLease: "the lease id is left out when fences are compared",
            "a fence holds as a whole";
        FirstDueOnly: "of two things that are due only the first is applied",
            "whatever is due is applied, in the order of time";
        FrameRepeatUnknown: "a frame is not recognised when it comes again",
            "a sequence of an attempt is applied once";
        GraceCutShort: "a secret is good for the grace of its last rotation only",
            "a kid in its grace stays good whatever is rotated after it";
        GrantForAnybody: "the worker of a grant is not compared",
            "a grant is consumed by its worker";
        GrantGoodAtItsEnd: "a grant is good in the instant at which it ends",
            "a thing that expires at T is gone when now >= T";
        GrantKept: "a claim leaves the grant that it consumed",
            "a grant is consumed at most once";
        HeldEntryKept: "what a Take left in `due` stays there when nothing is due",
            "indexes equal the function of the records";
        HoldNotGivenBack: "what was taken and not kept is not put back into its lane",
            "what a Take hands out comes back";
        IndexEntryLeftBehind: "an entry of a lane stays when its execution is taken",
            "indexes equal the function of the records";
        JournalGapHidden: "a reader is not told that the history of the store has changed",
            "readers of the journal are told of the gap";
        JournalVersionOld: "the journal names the version before the commit",
            "who did what to which execution, at which version";
        LaterSuspensionResumed: "an operator's call resumes a suspension that it never saw",
            "an operator resumes what he has looked at";
        LeaseGoodAtItsEnd: "a lease is good for its holder in the instant at which it ends",
            "a thing that expires at T is gone when now >= T";
        LeaseOutlivesDeadline: "a lease lasts longer than its execution may",
            "a lease never ends after the deadline or the attempt's timeout";
        LifeNotChecked: "an operator's call is applied to another life than it was meant for",
            "another life is `Superseded`";
        ListSkipsBetweenPages: "the first entry of a list's next page is skipped",
            "lists show every record once";
        LostLeaseBelieved: "a lease is believed in for its whole ttl, however little is left",
            "a lease that is believed in is held";
        LostReplyForgotten: "after a lost reply a rejection is taken for certain",
            "a refused command has changed nothing";
        OldDecisionRetried: "after a conflict the old decision is sent again",
            "a decision holds for the records that it was made on";
        OnePartSatisfiesAll: "one part of a condition satisfies all of it",
            "all parts of a condition must be satisfied";
        OperatorRepeatUnknown: "an operator's call is not recognised when it comes again",
            "a request id has one effect";
        PayloadLimitIgnored: "the size of a payload is not compared with its limit",
            "over a bound is a typed error";
        PayloadRemovedEarly: "a completion removes the payload",
            "a payload is kept until retention is over";
        PriorityLost: "a lane's places are computed without the priority",
            "higher priorities are served first";
        ProgressUnchecked: "more than a hundred per cent are accepted",
            "a percent is 0 to 100";
        ReclaimLimitIgnored: "an execution is reclaimed once more than it may be",
            "max_reclaim_count bounds the reclaims of a life";
        ReclaimWindowForgotten: "a reclaim grant is committed without a time window",
            "nothing is reclaimed before its lease expired by the store's clock";
        ReplayKeepsDeadline: "a replay keeps the deadline of the life before",
            "a new life has no deadline";
        ReplayKeepsResult: "a replay keeps the result of the life before",
            "a new life has no result";
        RepliesMixedUp: "of a batch each command gets the reply of another",
            "each command of a batch has an outcome of its own";
        ResendForgotten: "a refused commit is forgotten though a first copy of it may have applied",
            "the same identity never has a second effect";
        ResultDropped: "an empty result is taken for none",
            "a result is stored byte for byte";
        ResumeDelayForgotten: "a resumed execution does not wait for its resume delay",
            "nothing starts early";
        ResumptionKept: "a later attempt gets the signals of an earlier one",
            "signals are for the claim that their suspension resumed";
        ResendBoundForgotten: "a submission is sent again however long ago it was sent first",
            "what may have come and gone is not created again";
        ResumedTwice: "a signal that comes after the resumption is added to it",
            "a suspension ends once, by what its record says";
        RetentionFromCreation: "retention is counted from the creation",
            "retention is counted from the end of the life";
        RetryCountedTwice: "a failed attempt counts as two retries",
            "a retry counts once";
        RevocationIgnored: "a revoked lease is good until it runs out",
            "a revoked lease changes nothing any more";
        SignalNameIgnored: "a condition takes a signal of whatever name",
            "a condition that names a signal waits for it";
        SignalRepeatUnknown: "a signal is not recognised when it comes again",
            "a signal id has one effect";
        SignalsLeftAfterTimeout: "after a timeout the worker gets what had counted",
            "signals are given only where they resumed";
        SignalsLeftBehind: "retention leaves the signals where they are",
            "retention leaves nothing behind";
        SignalsLostWithGiveBack: "whoever takes what was given back does not get its signals",
            "the claim that was resumed is told of its signals";
        SignatureNotChecked: "a token of the right form is good whatever it says",
            "only a token's bearer signals";
        SourcesCountedBySignal: "each signal counts as a source of its own",
            "distinct sources are counted by source";
        StaleOwnerAppends: "an owner whose lease was taken over still appends",
            "a call with a stale fence changes nothing";
        StaleRejectionTrusted: "a rejection that was decided on an old record is final",
            "a rejection rests on one and the same reply";
        SuspensionIdIgnored: "a second suspension gets the outcome of the first",
            "a suspension is recognised by its id";
        TakeWithoutHold: "what a Take hands out is not left in `due`",
            "a taker who dies loses nothing";
        TimeoutAndSignalBothWin: "a signal resumes what has taken too long already",
            "what comes at the timeout or later does not resume";
        TokenGoodAfterGrace: "a token is good as long as its secret is known",
            "a token is good until its secret's grace ends";
        VersionByCount: "the store compares the counts of versions and not their nonces",
            "a version is never mistaken for another";
        WakeUpReliedUpon: "a worker that has found nothing waits for a wake-up",
            "a wake-up is a hint, nothing depends on it";
        WallClockTrusted: "a decision is committed without a window around its time",
            "the store's clock is the only one that decides";
    }

    impl fmt::Display for PlantedBug {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.name())
        }
    }

    /// A name that no bug has.
    #[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
    #[error("no planted bug is called {0:?}")]
    pub struct UnknownBug(String);

    impl FromStr for PlantedBug {
        type Err = UnknownBug;

        fn from_str(name: &str) -> Result<Self, UnknownBug> {
            let named = Self::ALL.iter().find(|bug| bug.name() == name);
            named.copied().ok_or_else(|| UnknownBug(name.to_owned()))
        }
    }

    /// None, or one more than the selected bug's number.
    static SELECTED: AtomicU8 = AtomicU8::new(0);

    /// Selects the bug that the whole process has from now on, or none.
    pub fn select(bug: Option<PlantedBug>) {
        SELECTED.store(bug.map_or(0, |bug| bug as u8 + 1), Ordering::Relaxed);
    }

    /// Whether this bug is the selected one.
    pub fn is_selected(bug: PlantedBug) -> bool {
        SELECTED.load(Ordering::Relaxed) == bug as u8 + 1
    }
}

#[cfg(test)]
mod tests {
    /// Where the cfg is off there is nothing to select: the macro is a constant, whatever its name.
    #[cfg(not(feature = "planted-bugs"))]
    #[test]
    fn an_ordinary_build_has_no_planted_bug() {
        const { assert!(!planted!(EpochNotRaised)) };
        const { assert!(!planted!(ThereIsNoSuchBug)) };
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn one_bug_at_a_time_is_selected() {
        use super::{PlantedBug, is_selected, select};
        assert!(PlantedBug::ALL.iter().all(|bug| !is_selected(*bug)));
        for bug in PlantedBug::ALL {
            assert_eq!(bug.name().parse(), Ok(*bug));
            select(Some(*bug));
            let selected: Vec<_> = PlantedBug::ALL.iter().filter(|b| is_selected(**b)).collect();
            assert_eq!(selected, [bug]);
        }
        select(None);
    }
}
