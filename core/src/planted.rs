//! Bugs that are planted on purpose, so that the simulator can prove that it would see them
//! (`docs/decisions.md`, 18).
//!
//! The simulator defines most of them as functions that spoil a ruling or a request. Here are those
//! that no such function can express: `planted!` selects them in the code that they break. Only a
//! build with the feature `planted-bugs` has any, and there only the selected one does anything. In
//! every other build `planted!` is the constant `false`.

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
pub use bugs::{PlantedBug, is_selected, select};

#[cfg(feature = "planted-bugs")]
mod bugs {
    use std::sync::atomic::{AtomicU8, Ordering};

    /// A bug in the code that it breaks. The simulator names and describes them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum PlantedBug {
        /// A program reads a budget once, and never again.
        BudgetReadOnce,
        /// A hard breach is recorded although the charge is refused.
        BreachApplied,
        /// A report of usage whose reply was lost is decided again as if it were new.
        ChargeAppliedTwice,
        /// A unit changes counts although it conflicts.
        ConflictCounted,
        /// A suspension that met other commits is reported as in doubt.
        ConflictDoubted,
        /// A charge is applied although its dedup key is known.
        DedupKeyForgotten,
        /// `judge` does not report an exhausted budget.
        ExhaustedBudgetNotTold,
        /// `judge` does not report a full quota.
        FullQuotaNotTold,
        /// A secret is good for the grace of its last rotation only.
        GraceCutShort,
        /// A heartbeat prolongs the registration of another process.
        HeartbeatOfOther,
        /// A heartbeat revives a registration that has expired or is marked as dead.
        HeartbeatRevives,
        /// Readers of the journal do not compare the identity of the store.
        IdentityIgnored,
        /// A process registers although another live one holds its instance id.
        InstanceTakenFromLive,
        /// A change of a lane whose reply was lost is decided again as if it were new.
        LaneChangeRepeated,
        /// A program reads the lanes once, and never again.
        LanesReadOnce,
        /// A worker takes executions of kinds that it does not serve.
        KindIgnored,
        /// A worker relies on a lease for its whole ttl, however little is left.
        LostLeaseBelieved,
        /// After a lost reply a rejection is reported as certain.
        LostReplyForgotten,
        /// A reservation that was not used is kept.
        ReservationKept,
        /// A quota admits more executions than its limit.
        QuotaOverrun,
        /// A slot is freed although a commit of its grant may be under way.
        SlotFreedUnfenced,
        /// The slot of an execution that is suspended is kept.
        SuspendedKeepsSlot,
        /// After a conflict a grant is given although its limits were asked before it.
        AdmissionReused,
        /// Admissions are forgotten when the clock steps back.
        AdmissionsForgotten,
        /// An admission may be committed at any time.
        AdmissionWindowForgotten,
        /// A slot that is freed a second time frees another one.
        FreedTwiceFreesTwo,
        /// A slot is kept for an execution without an end.
        PromiseKept,
        /// An execution that a limit holds back is not looked at again.
        LimitRecheckForgotten,
        /// A rate is counted from the start of fixed windows on.
        WindowNotSliding,
        /// After a conflict the old decision is sent again.
        OldDecisionRetried,
        /// A worker takes executions of paused lanes.
        PausedLaneTaken,
        /// The record in a reply is taken for the one that was requested.
        RecordNotCompared,
        /// A queue is removed from the list although a take leaves entries in it.
        RestNotListed,
        /// A refused commit is forgotten, though a first copy of it may have been applied.
        ResendForgotten,
        /// A submission is sent again however long ago it was sent first.
        ResendBoundForgotten,
        /// A retry does not wait for its turn in the program's budget.
        RetryBudgetIgnored,
        /// A token of the right form is good, whatever it says.
        SignatureNotChecked,
        /// A rejection that was decided on an old record is final.
        StaleRejectionTrusted,
        /// A process that shuts down removes the registration of another one.
        StrangerDeregistered,
        /// A process that was superseded goes on claiming.
        SupersededClaims,
        /// A timekeeper does not notice that the store's clock has stepped back.
        StepBackIgnored,
        /// A token is good as long as its secret is known.
        TokenGoodAfterGrace,
        /// A worker that has found nothing waits for a wake-up.
        WakeUpReliedUpon,
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
    /// Without the feature there is nothing to select: the macro is a constant for any name.
    #[cfg(not(feature = "planted-bugs"))]
    #[test]
    fn an_ordinary_build_has_no_planted_bug() {
        const { assert!(!planted!(LostReplyForgotten)) };
        const { assert!(!planted!(ThereIsNoSuchBug)) };
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn one_bug_at_a_time_is_selected() {
        use super::{PlantedBug, is_selected, select};
        let bugs = [PlantedBug::LostReplyForgotten, PlantedBug::OldDecisionRetried];
        assert!(bugs.iter().all(|bug| !is_selected(*bug)));
        select(Some(bugs[1]));
        assert_eq!(bugs.map(is_selected), [false, true]);
        select(None);
        assert_eq!(bugs.map(is_selected), [false, false]);
    }
}
