//! The table of planted bugs: where each is planted, what is done wrong, and the rule that it
//! breaks.
//!
//! Most are functions that spoil a ruling, a request or a reply. A bug that none of these can
//! express is in the code that it breaks, where `planted!` selects it.

use std::fmt;
use std::str::FromStr;

use ff_core::execution::{RulingBug, install_ruling_bug};
use ff_core::planted::{PlantedBug as Code, select as select_code};

use crate::report::invariants::UnknownName;
use crate::store::spoil::{AnsweredBug, SentBug, ServedBug, StoreBugs, install};

use super::rulings::{admission, creation, holder, operator, retry, timer, waiting};
use super::store;

/// Where a bug is planted.
#[derive(Clone, Copy, Debug)]
enum Site {
    /// In the code of `ff-core` that it breaks.
    Code(Code),
    /// In the rulings of commands.
    Ruling(RulingBug),
    /// In what programs send to the store.
    Sent(SentBug),
    /// In the store.
    Served(ServedBug),
    /// In what programs get from the store.
    Answered(AnsweredBug),
}

macro_rules! bugs {
    ($($bug:ident: $site:ident($planted:expr), $what:literal, $rule:literal;)+) => {
        /// A bug of the kind that people make.
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

            /// The mistake, in one sentence.
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

            fn site(self) -> Site {
                match self {
                    $(Self::$bug => Site::$site($planted),)+
                }
            }
        }
    };
}

bugs! {
    AdmissionReused: Code(Code::AdmissionReused),
        "after a conflict a grant is given although its limits were asked before it",
        "limits are asked after the record was read that the grant changes";
    AdmissionWindowForgotten: Code(Code::AdmissionWindowForgotten),
        "an admission is committed without a time window",
        "an admission counts when it is committed";
    AdmissionsForgotten: Code(Code::AdmissionsForgotten),
        "admissions are forgotten when the clock of the quota steps back",
        "earlier admissions move back with the clock";
    AlternativesAllNeeded: Ruling(waiting::alternatives_all_needed),
        "a condition with alternatives needs all of them",
        "one member satisfies any_of";
    AttemptIndexSkipped: Ruling(admission::attempt_index_skipped),
        "a reclaim skips an attempt index",
        "attempt indexes have no gaps";
    BackoffAhead: Ruling(retry::backoff_ahead),
        "a retry waits for the backoff of the retry after it",
        "a retry starts after the backoff of its policy";
    BackoffForgotten: Ruling(retry::backoff_forgotten),
        "a retry does not wait for its backoff",
        "a retry starts after the backoff of its policy";
    BackoffHalved: Ruling(retry::backoff_halved),
        "a retry waits for half of its backoff",
        "a retry starts after the backoff of its policy";
    BlocksAllLifted: Ruling(admission::blocks_all_lifted),
        "removing one block removes all of them",
        "each reason that holds an execution back holds by itself";
    BreachApplied: Code(Code::BreachApplied),
        "a charge over a hard limit is refused, and applied nevertheless",
        "a charge over a hard limit changes nothing";
    BudgetReadOnce: Code(Code::BudgetReadOnce),
        "a program reads a budget once, and never again",
        "a program looks at a budget at most 100 ms before it starts something";
    BufferedSignalsConsumed: Ruling(waiting::buffered_signals_consumed),
        "a suspension that buffered signals satisfy consumes also those that it did not count",
        "a signal that did not count is there for a later suspension";
    BufferedSignalsForgotten: Ruling(waiting::buffered_signals_forgotten),
        "a suspension ignores the signals that were buffered for it",
        "no signal is lost between its buffer and its suspension";
    CancelledKeepsLease: Ruling(holder::cancelled_keeps_lease),
        "an operator's cancellation leaves the lease, if there is one",
        "an execution that is over has no lease";
    CapabilityIgnored: Ruling(admission::capability_ignored),
        "the capabilities of a worker are not compared",
        "a worker claims only executions that it has the capabilities for";
    ChargeAppliedTwice: Code(Code::ChargeAppliedTwice),
        "a report of usage whose reply was lost is decided again as if it were new",
        "a charge is applied once";
    ClaimRepeatUnknown: Ruling(admission::claim_repeat_unknown),
        "a repeated claim is not recognised",
        "a lease id gives one lease";
    ClaimWindowForgotten: Ruling(admission::claim_window_forgotten),
        "a claim is committed without a time window",
        "a grant is used before it ends";
    CompletionRepeatUnknown: Ruling(holder::completion_repeat_unknown),
        "a repeated completion is not recognised",
        "a fence and a kind of call have one outcome";
    CompletionWindowForgotten: Ruling(holder::completion_window_forgotten),
        "a completion is committed without a time window",
        "only the holder of a live lease completes";
    ConflictCounted: Code(Code::ConflictCounted),
        "a commit that conflicts changes the counts",
        "a count changes in the commit of the record that it counts";
    ConflictDoubted: Code(Code::ConflictDoubted),
        "a suspension whose commit conflicted with others is reported as in doubt",
        "a call without a lost reply is not in doubt";
    ContinuationForgotten: Ruling(timer::continuation_forgotten),
        "retention removes the values, and the record does not note the next step",
        "work in several steps is a field of the record that makes it due";
    CreationRepeatUnknown: Ruling(creation::repeat_unknown),
        "a repeated submission is not recognised",
        "a submission whose reply was lost is `Created`";
    CutPageTakenAsLast: Answered(store::cut_page_taken_as_last),
        "a page that ends early because of its size is taken for the last one",
        "a page shows whether entries are left";
    DedupKeyForgotten: Code(Code::DedupKeyForgotten),
        "a charge is applied although its dedup key is known",
        "a dedup key has one effect";
    DelayedCountedAsWaiting: Sent(store::delayed_counted_as_waiting),
        "a delayed execution is counted as one that waits",
        "each execution is counted once, in its state";
    DelayEndedEarly: Ruling(timer::delay_ended_early),
        "a delay ends one second early",
        "nothing starts early";
    DelayForgotten: Ruling(holder::delay_forgotten),
        "a worker's delay is forgotten",
        "an execution that was delayed does not go on before that time";
    DigestNotCompared: Ruling(creation::digest_not_compared),
        "the content under an idempotency key is not compared",
        "other content under a known key is refused";
    DrainedLaneAccepts: Ruling(creation::drained_lane_accepts),
        "a submission to a lane that drains is accepted",
        "a draining lane accepts no submissions";
    DueNotMoved: Sent(store::due_not_moved),
        "the entry in `due` is not moved when a lease is renewed",
        "indexes equal the function of the records";
    DueWindowForgotten: Ruling(timer::due_window_forgotten),
        "due timers are applied without a time window",
        "nothing expires before its time by the store's clock";
    DuplicateAnsweredCreated: Ruling(creation::duplicate_answered_created),
        "another call's submission is reported as created",
        "the submission of another call is `Duplicate`";
    EndNotTold: Ruling(holder::end_not_told),
        "an operator's cancellation writes no event",
        "each life has one terminal event";
    EndToldTwice: Ruling(holder::end_told_twice),
        "a completion writes its event twice",
        "each life has one terminal event";
    EpochNotRaised: Ruling(admission::epoch_not_raised),
        "a reclaim gives its lease under the epoch of the lost one",
        "each lease raises the epoch by one";
    EpochRestarted: Ruling(admission::epoch_restarted),
        "the epochs of each new execution begin at 1",
        "epochs rise from a removed execution to the next with its id";
    ExhaustedBudgetNotTold: Code(Code::ExhaustedBudgetNotTold),
        "`judge` does not report a budget at its hard limit",
        "each reason that holds an execution back is reported";
    ExpiryToldAsRevocation: Ruling(holder::expiry_told_as_revocation),
        "an expired lease is reported as revoked",
        "a refusal is true of the record";
    FailedAttemptResumed: Ruling(holder::failed_attempt_resumed),
        "a retry continues the failed attempt",
        "a retry is a new attempt";
    FenceWithoutAttempt: Ruling(holder::fence_without_attempt),
        "the attempt is left out when fences are compared",
        "a fence counts as a whole";
    FenceWithoutLease: Ruling(holder::fence_without_lease),
        "the lease id is left out when fences are compared",
        "a fence counts as a whole";
    FirstDueOnly: Ruling(timer::first_due_only),
        "if two timers are due, only the first is applied",
        "all timers that are due are applied, in the order of time";
    FrameRepeatUnknown: Ruling(holder::frame_repeat_unknown),
        "a repeated frame is not recognised",
        "each sequence of an attempt is applied once";
    FreedTwiceFreesTwo: Code(Code::FreedTwiceFreesTwo),
        "a slot that is freed a second time frees another one",
        "freeing a slot twice frees it once";
    FullQuotaNotTold: Code(Code::FullQuotaNotTold),
        "`judge` does not report a full quota",
        "each reason that holds an execution back is reported";
    GraceCutShort: Code(Code::GraceCutShort),
        "a rotation can shorten the grace period that a secret had before",
        "a key ID in its grace period stays valid through later rotations";
    GrantForAnybody: Ruling(admission::grant_for_anybody),
        "the worker of a grant is not compared",
        "a grant is consumed by its worker";
    GrantGoodAtItsEnd: Ruling(admission::grant_good_at_its_end),
        "a grant is still valid at the instant at which it ends",
        "a thing that expires at T is expired when now >= T";
    GrantKept: Ruling(admission::grant_kept),
        "a claim leaves the grant that it consumed",
        "a grant is consumed at most once";
    GrantReleasedByAnybody: Ruling(admission::grant_released_by_anybody),
        "giving a grant back ends also the grant of another worker",
        "only its worker gives a grant back";
    HeartbeatOfOther: Code(Code::HeartbeatOfOther),
        "a heartbeat prolongs the registration of another process, as its own",
        "a process that has lost its instance id never gets it back with a heartbeat";
    HeartbeatRevives: Code(Code::HeartbeatRevives),
        "a heartbeat revives a registration that has expired or is marked as dead",
        "a heartbeat prolongs only a registration in force";
    HeldEntryKept: Sent(store::held_entry_kept),
        "the entry that a `Take` left in `due` stays there when nothing is due",
        "indexes equal the function of the records";
    HoldNotGivenBack: Sent(store::hold_not_given_back),
        "an entry that was taken and not used is not put back into its lane",
        "every entry that a `Take` returns gets back into its index";
    IdentityIgnored: Code(Code::IdentityIgnored),
        "readers of the journal do not compare the identity of the store",
        "readers of the journal learn of a gap";
    IndexEntryLeftBehind: Sent(store::index_entry_left_behind),
        "an entry stays in a lane when its execution is claimed",
        "indexes equal the function of the records";
    InstanceTakenFromLive: Code(Code::InstanceTakenFromLive),
        "a process registers although another live one holds its instance id",
        "one process holds an instance id at a time";
    JournalGapHidden: Served(store::journal_gap_hidden),
        "a reader does not learn that the store's history has changed",
        "readers of the journal learn of a gap";
    JournalVersionOld: Sent(store::journal_version_old),
        "the journal names the version before the commit",
        "the journal has the version that each commit wrote";
    KindIgnored: Code(Code::KindIgnored),
        "a worker takes executions of kinds that it does not serve",
        "a worker is offered only the kinds that it serves";
    LaneChangeRepeated: Code(Code::LaneChangeRepeated),
        "a change of a lane whose reply was lost is decided again as if it were new",
        "a change of a record beside executions is recognised by its writer and nonce";
    LaneIgnored: Ruling(admission::lane_ignored),
        "the lane that a claim names is not compared",
        "a claim takes only executions of the lane that it names";
    LanesReadOnce: Code(Code::LanesReadOnce),
        "a program reads the states of lanes once, and never again",
        "a paused lane starts nothing after a second";
    LaterSuspensionResumed: Ruling(operator::later_suspension_resumed),
        "an operator's call resumes a suspension that it never saw",
        "an operator resumes the suspension that was shown";
    LeaseGoodAtItsEnd: Ruling(holder::lease_good_at_its_end),
        "a lease is still valid for its holder at the instant at which it ends",
        "a thing that expires at T is expired when now >= T";
    LeaseOutlivesDeadline: Ruling(admission::lease_outlives_deadline),
        "a lease ends after the deadline or the attempt timeout",
        "a lease never ends after the deadline or the attempt's timeout";
    LifeNotChecked: Ruling(operator::life_not_checked),
        "an operator's call is applied to another life than the one that it saw first",
        "another life is `Superseded`";
    LimitRecheckForgotten: Code(Code::LimitRecheckForgotten),
        "an execution that a limit holds back is not looked at again",
        "every execution that waits for a limit starts once there is room";
    ListSkipsBetweenPages: Served(store::list_skips_between_pages),
        "the first entry of a list's next page is skipped",
        "lists show every record once";
    LostLeaseBelieved: Code(Code::LostLeaseBelieved),
        "a worker relies on a lease for a whole ttl, however little of it remains",
        "a lease that a worker relies on is held";
    LostReplyForgotten: Code(Code::LostReplyForgotten),
        "after a lost reply a rejection is reported as certain",
        "a refused command has changed nothing";
    OldDecisionRetried: Code(Code::OldDecisionRetried),
        "after a conflict the old decision is sent again",
        "a decision holds for the records that it was made on";
    OnePartSatisfiesAll: Ruling(waiting::one_part_satisfies_all),
        "one part of a condition satisfies all of it",
        "all parts of a condition must be satisfied";
    OperatorRepeatUnknown: Ruling(operator::repeat_unknown),
        "a repeated call of an operator is not recognised",
        "a request id has one effect";
    PausedLaneTaken: Code(Code::PausedLaneTaken),
        "a worker takes executions of paused lanes",
        "a paused lane starts nothing";
    PayloadLimitIgnored: Ruling(creation::payload_limit_ignored),
        "the size of a payload is not compared with its limit",
        "a value over its bound is a typed error";
    PayloadRemovedEarly: Ruling(holder::payload_removed_early),
        "a completion removes the payload",
        "a payload is kept until retention is over";
    PermanenceIgnored: Ruling(retry::permanence_ignored),
        "a permanent failure is retried",
        "a permanent failure ends the life";
    PriorityLost: Sent(store::priority_lost),
        "the positions in a lane are computed without the priority",
        "higher priorities are served first";
    ProgressUnchecked: Ruling(holder::progress_unchecked),
        "progress of more than 100 percent is accepted",
        "a percent is 0 to 100";
    ReclaimLimitIgnored: Ruling(admission::reclaim_limit_ignored),
        "an execution is reclaimed once more than its limit allows",
        "max_reclaim_count bounds the reclaims of a life";
    ReclaimWindowForgotten: Ruling(admission::reclaim_window_forgotten),
        "a reclaim grant is committed without a time window",
        "nothing is reclaimed before its lease expired by the store's clock";
    ReplayKeepsDeadline: Ruling(operator::replay_keeps_deadline),
        "a replay keeps the deadline of the previous life",
        "a new life has no deadline";
    ReplayKeepsResult: Ruling(operator::replay_keeps_result),
        "a replay keeps the result of the previous life",
        "a new life has no result";
    PromiseKept: Code(Code::PromiseKept),
        "a slot is kept for an execution without an end",
        "a free slot is kept for 2 s";
    QuotaOverrun: Code(Code::QuotaOverrun),
        "a quota admits more executions than its limit",
        "no more executions run than the quota allows";
    RecordNotCompared: Code(Code::RecordNotCompared),
        "the record in a reply is taken for the one that was requested",
        "a reply with the record of another execution says nothing about the call";
    RemovedStaysCounted: Sent(store::removed_stays_counted),
        "a removed execution stays counted",
        "each execution is counted once, in its state";
    RepliesMixedUp: Answered(store::replies_mixed_up),
        "each command of a batch gets the reply of another",
        "each command of a batch has its own outcome";
    ReservationKept: Code(Code::ReservationKept),
        "a slot is kept although nothing starts",
        "a slot that was not used is given back";
    ResendBoundForgotten: Code(Code::ResendBoundForgotten),
        "a submission is sent again however long ago it was first sent",
        "an execution that may have been created and removed is not created again";
    ResendForgotten: Code(Code::ResendForgotten),
        "a refused commit is forgotten, though a first copy of it may have been applied",
        "the same identity never has a second effect";
    RestNotListed: Code(Code::RestNotListed),
        "a queue is removed from the list although a take leaves entries in it",
        "the list of queues names each queue that has entries";
    ResultDropped: Ruling(holder::result_dropped),
        "an empty result is stored as no result",
        "a result is stored byte for byte";
    ResumeDelayForgotten: Ruling(waiting::resume_delay_forgotten),
        "a resumed execution does not wait for its resume delay",
        "nothing starts early";
    ResumedTwice: Ruling(waiting::resumed_twice),
        "a signal that arrives after the resumption is added to the resumption",
        "a suspension ends once, by the condition in its record";
    ResumptionKept: Ruling(admission::resumption_kept),
        "a later attempt gets the signals of an earlier one",
        "signals are for the claim that goes on from their suspension";
    RetentionFromCreation: Ruling(timer::retention_from_creation),
        "retention is counted from the creation",
        "retention is counted from the end of the life";
    RetryAfterIgnored: Ruling(retry::retry_after_ignored),
        "a retry waits for its backoff although the worker gave a time for it",
        "a retry starts after the time that the worker gave, if it gave one";
    RetryBudgetIgnored: Code(Code::RetryBudgetIgnored),
        "a retry does not wait for its turn in the program's budget",
        "the calls of a program retry no more often than its budget allows";
    RetryCountedTwice: Ruling(holder::retry_counted_twice),
        "a failed attempt counts as two retries",
        "a retry counts once";
    RevocationIgnored: Ruling(holder::revocation_ignored),
        "a revoked lease stays valid until it expires",
        "a revoked lease changes nothing";
    SignalNameIgnored: Ruling(waiting::signal_name_ignored),
        "a condition counts signals of any name",
        "a condition that names a signal waits for it";
    SignalRepeatUnknown: Ruling(waiting::signal_repeat_unknown),
        "a repeated signal is not recognised",
        "a signal id has one effect";
    SignalTakenAfterDeadline: Ruling(waiting::signal_taken_after_deadline),
        "the deadline of an execution is not compared when a signal arrives",
        "no signal is accepted at the deadline or later";
    SignalWindowPastDeadline: Ruling(waiting::signal_window_past_deadline),
        "the commit of a signal may be late for the deadline of the execution",
        "no signal is accepted at the deadline or later";
    SignalsLeftAfterTimeout: Ruling(waiting::signals_left_after_timeout),
        "after a timeout the worker gets the signals that were counted before it",
        "a worker gets signals only if they resumed the execution";
    SignalsLeftBehind: Ruling(timer::signals_left_behind),
        "retention leaves the signals",
        "retention leaves nothing";
    SignalsLostWithGiveBack: Ruling(holder::signals_lost_with_give_back),
        "the next claim of an execution that was given back does not get its signals",
        "a claim that goes on from a suspension gets its signals";
    SignatureNotChecked: Code(Code::SignatureNotChecked),
        "any token of the right form is accepted, whatever its signature is",
        "only the bearer of a token signals";
    SlotFreedUnfenced: Code(Code::SlotFreedUnfenced),
        "a slot is freed although a commit of its grant may be in flight",
        "a slot is free once nothing can start under its grant";
    SourcesCountedBySignal: Ruling(waiting::sources_counted_by_signal),
        "each signal counts as its own source",
        "distinct sources are counted by source";
    StaleOwnerAppends: Ruling(holder::stale_owner_appends),
        "an owner whose lease was taken over still appends",
        "a call with a stale fence changes nothing";
    StaleRejectionTrusted: Code(Code::StaleRejectionTrusted),
        "a rejection that was decided on an old record is final",
        "a rejection rests on the record and the time of one reply";
    StepBackIgnored: Code(Code::StepBackIgnored),
        "a timekeeper does not notice that the store's clock has stepped back",
        "a lease ends in time by the clock after a step back";
    StrangerDeregistered: Code(Code::StrangerDeregistered),
        "a process that shuts down removes the registration of another one",
        "a process gives up only its own registration";
    SupersededClaims: Code(Code::SupersededClaims),
        "a process that was superseded goes on claiming",
        "a superseded process starts nothing after its next heartbeat";
    SuspendedKeepsSlot: Code(Code::SuspendedKeepsSlot),
        "the slot of an execution that suspends is kept",
        "a suspended execution has no slot";
    SuspensionIdIgnored: Ruling(waiting::suspension_id_ignored),
        "a second suspension gets the outcome of the first",
        "a suspension is recognised by its id";
    SuspensionWindowPastExpiry: Ruling(waiting::suspension_window_past_expiry),
        "the commit of a suspension may be late for the expiry of a waitpoint that it uses",
        "a suspension uses open waitpoints";
    TakeWithoutHold: Served(store::take_without_hold),
        "the entries that a `Take` returns are not left in `due`",
        "a program that dies after a `Take` loses nothing";
    TimeoutAndSignalBothWin: Ruling(waiting::timeout_and_signal_both_win),
        "a signal resumes an execution whose suspension has timed out",
        "a signal at the timeout or later does not resume";
    TokenGoodAfterGrace: Code(Code::TokenGoodAfterGrace),
        "a token stays valid as long as its secret is known",
        "a token is valid until the grace period of its secret ends";
    VersionByCount: Served(store::version_by_count),
        "the store compares the counts of versions and not their nonces",
        "a version is never mistaken for another";
    WakeUpReliedUpon: Code(Code::WakeUpReliedUpon),
        "a worker that has found no work looks again only after a wake-up",
        "a wake-up is a hint that nothing depends on";
    WallClockTrusted: Sent(store::wall_clock_trusted),
        "a decision is committed without a window around its time",
        "only the store's clock decides";
    WindowNotSliding: Code(Code::WindowNotSliding),
        "a rate is counted from the start of fixed windows on",
        "no sliding window has more admissions than the maximum";
}

/// Selects the bug that the whole process has from now on, or none.
pub fn select(bug: Option<PlantedBug>) {
    let (mut code, mut ruling, mut bugs) = (None, None, StoreBugs::default());
    match bug.map(PlantedBug::site) {
        None => {}
        Some(Site::Code(bug)) => code = Some(bug),
        Some(Site::Ruling(bug)) => ruling = Some(bug),
        Some(Site::Sent(bug)) => bugs.sent = Some(bug),
        Some(Site::Served(bug)) => bugs.served = Some(bug),
        Some(Site::Answered(bug)) => bugs.answered = Some(bug),
    }
    select_code(code);
    install_ruling_bug(ruling);
    install(bugs);
}

impl fmt::Display for PlantedBug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for PlantedBug {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        UnknownName::find("planted bug", name, Self::ALL, Self::name)
    }
}
