//! The coverage of a run: the commands that it decided in each situation, with their effects, and
//! the rejections, events and faults that it met. A run without violations proves something only
//! if its coverage is complete.
//!
//! A command counts where it was decided finally: where its unit was committed, with the record
//! and the clock that the store had then; where it was refused or recognised as a repeat, with the
//! record and the time of the reply that settled it. A decision that was made again does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ff_core::error::{RejectionKind, TABLE};
use ff_core::execution::{AnyCommand, EventKind, Execution, IdentityKind, Situation, situation};
use ff_core::time::TimestampMs;

use crate::plan::FaultKind;

/// A situation, or `None` where there is no execution.
pub type MaybeSituation = Option<Situation>;

macro_rules! command_kinds {
    ($($variant:ident $name:literal $identity:ident;)+) => {
        /// A command without its arguments.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum CommandKind {
            $(#[doc = concat!("`", $name, "`.")] $variant,)+
        }

        impl CommandKind {
            /// Every command.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name of its rule.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The identity by which a repeat is recognised; for a cancel, that of operators.
            const fn identity(self) -> IdentityKind {
                match self { $(Self::$variant => IdentityKind::$identity,)+ }
            }
        }

        impl From<&AnyCommand> for CommandKind {
            fn from(command: &AnyCommand) -> Self {
                match command { $(AnyCommand::$variant(_) => Self::$variant,)+ }
            }
        }
    };
}

command_kinds! {
    Create "create" Creator;
    IssueClaimGrant "issue_claim_grant" Grant;
    Claim "claim" Lease;
    ClaimResumed "claim_resumed" Lease;
    IssueReclaimGrant "issue_reclaim_grant" Grant;
    Reclaim "reclaim" Lease;
    Offer "offer" Lease;
    Admit "admit" Grant;
    ReleaseGrant "release_grant" Absolute;
    Renew "renew" Absolute;
    Complete "complete" Fence;
    Fail "fail" Fence;
    DelayExecution "delay_execution" Fence;
    MoveToWaitingChildren "move_to_waiting_children" Fence;
    UpdateProgress "update_progress" Absolute;
    Cancel "cancel" Request;
    RevokeLease "revoke_lease" Request;
    ChangePriority "change_priority" Request;
    Replay "replay" Request;
    Suspend "suspend" Suspension;
    CreatePendingWaitpoint "create_pending_waitpoint" Waitpoint;
    DeliverSignal "deliver_signal" Signal;
    Resume "resume" Request;
    AppendFrame "append_frame" Sequence;
    ForgetSignals "forget_signals" Absolute;
    Block "block" Absolute;
    Unblock "unblock" Absolute;
    CheckSlot "check_slot" Absolute;
    OnDue "on_due" Absolute;
}

impl CommandKind {
    /// Whether the command starts work.
    pub const fn claims(self) -> bool {
        matches!(self, Self::Claim | Self::ClaimResumed | Self::Reclaim | Self::Offer)
    }
}

impl fmt::Display for CommandKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The effect of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// The record was written and is in this situation now, or is gone.
    Becomes(MaybeSituation),
    /// The record stayed as it was; its index entries were written again.
    Kept,
    /// It was recognised as applied before.
    Repeat,
    /// It was rejected.
    Refused(RejectionKind),
}

/// A command in a situation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// The situation that it was decided in.
    pub from: MaybeSituation,
    /// The command.
    pub command: CommandKind,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.command, situation_name(self.from))
    }
}

/// The identity by which a repeat was recognised: a row of the table of identities
/// (`docs/architecture.md`, Identity).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdentityRow {
    /// The command.
    pub command: CommandKind,
    /// Whether it is a holder's, for commands that operators have too.
    pub by_holder: bool,
}

impl fmt::Display for IdentityRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = if self.by_holder { " by its holder" } else { "" };
        write!(f, "{}{by}", self.command)
    }
}

/// A gap in the coverage of many seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// A command was never decided in a situation.
    Cell(Cell),
    /// A command never had an effect that the rules give it in a situation.
    Effect(Cell, Effect),
    /// No caller ever got this rejection.
    Rejection(RejectionKind),
    /// No execution ever had this event.
    Event(EventKind),
    /// The fault never happened.
    Fault(FaultKind),
    /// The command was never recognised as a repeat.
    Identity(IdentityRow),
    /// No id was used again: a leased execution was removed, and the next with its id was leased.
    IdUsedAgain,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cell(cell) => write!(f, "command {cell}"),
            Self::Effect(cell, Effect::Becomes(to)) => {
                write!(f, "effect {cell}: {}", situation_name(*to))
            }
            Self::Effect(cell, effect) => write!(f, "effect {cell}: {effect:?}"),
            Self::Rejection(kind) => write!(f, "rejection {}", kind.row().name),
            Self::Event(kind) => write!(f, "event {kind:?}"),
            Self::Fault(kind) => write!(f, "fault {kind:?}"),
            Self::Identity(row) => write!(f, "repeat of {row}"),
            Self::IdUsedAgain => f.write_str("lease of an execution whose id was used before"),
        }
    }
}

/// Rejections that no simulated world can meet, and why.
pub const UNREACHABLE: &[(RejectionKind, &str)] = &[
    (RejectionKind::PartitionOutOfRange, "programs check the ids that they are given themselves"),
    (RejectionKind::InvalidCapabilities, "comes from parsing, before there is a command"),
    (RejectionKind::InvalidTagKey, "comes from parsing, before there is a command"),
    (RejectionKind::InvalidId, "comes from parsing, before there is a command"),
    (RejectionKind::InvalidExecutionId, "comes from parsing, before there is a command"),
    (RejectionKind::InvalidKid, "comes from parsing, before there is a command"),
    (RejectionKind::InvalidSecretHex, "comes from parsing, before there is a command"),
    (RejectionKind::SignalLimitExceeded, "no execution of a run is sent ten thousand signals"),
    (RejectionKind::OtherState, "only bulk operations of the sdk name the states that they change"),
    (RejectionKind::UnknownDimension, "an operation returns it as the outcome of one charge"),
    (RejectionKind::Unread, "operations read what is missing, and never tell their callers of it"),
];

/// Commands whose repeats are applied again, with the same effect.
const APPLIED_AGAIN: &[CommandKind] = &[
    CommandKind::Renew,
    CommandKind::UpdateProgress,
    CommandKind::OnDue,
    CommandKind::ForgetSignals,
];

/// The table of transitions, as `docs/states.md` records it from the rules.
const STATES: &str = include_str!("states.md");

const SITUATIONS: usize = Situation::ALL.len() + 1;
const KEPT: usize = SITUATIONS;
const REPEAT: usize = SITUATIONS + 1;
const REFUSED: usize = SITUATIONS + 2;
const EFFECTS: usize = REFUSED + TABLE.len();

/// The coverage of one run, or of many.
#[derive(Clone, PartialEq, Eq)]
pub struct Coverage {
    /// How often each command had each effect in each situation.
    effects: Vec<u64>,
    /// Cancels by holders that were recognised as repeats.
    holder_cancels: u64,
    /// Leases of executions whose id an earlier, leased execution had.
    pub ids_used_again: u64,
    /// Rejections that callers got.
    pub rejections: BTreeMap<RejectionKind, u64>,
    /// Events that were written to the journal.
    pub events: BTreeMap<EventKind, u64>,
    /// Faults that were injected.
    pub faults: BTreeMap<FaultKind, u64>,
}

impl Default for Coverage {
    fn default() -> Self {
        Self {
            effects: vec![0; SITUATIONS * CommandKind::ALL.len() * EFFECTS],
            holder_cancels: 0,
            ids_used_again: 0,
            rejections: BTreeMap::new(),
            events: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coverage")
            .field("cells", &self.cells().values().filter(|count| **count > 0).count())
            .field("rejections", &self.rejections)
            .field("events", &self.events)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}

impl Coverage {
    /// Records the effect of a command that was decided on a record, at a time of the store.
    pub fn note(
        &mut self,
        command: CommandKind,
        record: Option<&Execution>,
        now: TimestampMs,
        effect: Effect,
    ) {
        let from = record.map(|record| situation(record, now));
        self.effects[number(Cell { from, command }, effect)] += 1;
    }

    /// Records that a cancel by a holder was recognised as a repeat.
    pub const fn note_holder_cancel(&mut self) {
        self.holder_cancels += 1;
    }

    /// Adds the coverage of another run.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.effects.iter_mut().zip(&other.effects) {
            *count += more;
        }
        self.holder_cancels += other.holder_cancels;
        self.ids_used_again += other.ids_used_again;
        add(&mut self.rejections, &other.rejections);
        add(&mut self.events, &other.events);
        add(&mut self.faults, &other.faults);
    }

    /// How often a command had an effect in a situation.
    pub fn count(&self, cell: Cell, effect: Effect) -> u64 {
        self.effects[number(cell, effect)]
    }

    /// How often each command was decided in each situation.
    pub fn cells(&self) -> BTreeMap<Cell, u64> {
        let count = |cell| (cell, self.effects_of(cell).iter().sum());
        every_cell().map(count).collect()
    }

    /// How often each command was recognised as a repeat.
    pub fn repeats(&self) -> BTreeMap<IdentityRow, u64> {
        let holder = IdentityRow { command: CommandKind::Cancel, by_holder: true };
        let row = |command: &CommandKind| {
            let repeat = |from| self.count(Cell { from, command: *command }, Effect::Repeat);
            let own = if *command == CommandKind::Cancel { self.holder_cancels } else { 0 };
            let by_holder = command.identity() == IdentityKind::Fence;
            let row = IdentityRow { command: *command, by_holder };
            (row, situations().map(repeat).sum::<u64>() - own)
        };
        let repeated = |command: &&CommandKind| !APPLIED_AGAIN.contains(command);
        let rows = CommandKind::ALL.iter().filter(repeated).map(row);
        rows.chain([(holder, self.holder_cancels)]).collect()
    }

    /// The gaps.
    pub fn missing(&self) -> Vec<Gap> {
        let cells = self.cells();
        let cells = none(cells.iter().map(|(cell, count)| (Gap::Cell(*cell), *count)));
        let reachable = TABLE
            .iter()
            .map(|row| row.kind)
            .filter(|kind| UNREACHABLE.iter().all(|(unreachable, _)| unreachable != kind));
        let met = |kind: &RejectionKind| self.rejections.get(kind).copied().unwrap_or_default();
        let rejections = reachable.map(|kind| (Gap::Rejection(kind), met(&kind)));
        let met = |kind: &EventKind| self.events.get(kind).copied().unwrap_or_default();
        let events = EventKind::ALL.iter().map(|kind| (Gap::Event(*kind), met(kind)));
        let met = |kind: &FaultKind| self.faults.get(kind).copied().unwrap_or_default();
        let faults = FaultKind::of_worlds().map(|kind| (Gap::Fault(kind), met(&kind)));
        let repeats = self.repeats();
        let repeats = repeats.iter().map(|(row, count)| (Gap::Identity(*row), *count));
        let again = [(Gap::IdUsedAgain, self.ids_used_again)];
        let others = rejections.chain(events).chain(faults).chain(repeats).chain(again);
        cells.into_iter().chain(none(others)).collect()
    }

    /// The effects that the rules give and that no run has met.
    pub fn missing_effects(&self) -> Vec<Gap> {
        let count = |(cell, effect)| (Gap::Effect(cell, effect), self.count(cell, effect));
        none(transitions().into_iter().map(count))
    }

    fn effects_of(&self, cell: Cell) -> &[u64] {
        let first = number(cell, Effect::Becomes(None));
        &self.effects[first..first + EFFECTS]
    }
}

/// The gaps whose count is zero.
fn none(counted: impl Iterator<Item = (Gap, u64)>) -> Vec<Gap> {
    counted.filter(|(_, count)| *count == 0).map(|(gap, _)| gap).collect()
}

fn add<K: Copy + Ord>(to: &mut BTreeMap<K, u64>, more: &BTreeMap<K, u64>) {
    for (kind, count) in more {
        *to.entry(*kind).or_default() += count;
    }
}

/// The position of an effect's count.
const fn number(cell: Cell, effect: Effect) -> usize {
    let effect = match effect {
        Effect::Becomes(found) => situation_number(found),
        Effect::Kept => KEPT,
        Effect::Repeat => REPEAT,
        Effect::Refused(kind) => REFUSED + kind as usize,
    };
    let cell = situation_number(cell.from) * CommandKind::ALL.len() + cell.command as usize;
    cell * EFFECTS + effect
}

const fn situation_number(found: MaybeSituation) -> usize {
    match found {
        None => 0,
        Some(situation) => 1 + situation as usize,
    }
}

/// No execution, and every situation.
pub fn situations() -> impl Iterator<Item = MaybeSituation> {
    std::iter::once(None).chain(Situation::ALL.map(Some))
}

/// The name of a situation, or of its absence.
pub fn situation_name(found: MaybeSituation) -> &'static str {
    found.map_or("absent", Situation::as_str)
}

/// Every command in every situation.
pub fn every_cell() -> impl Iterator<Item = Cell> {
    let commands =
        |from| CommandKind::ALL.iter().map(move |command| Cell { from, command: *command });
    situations().flat_map(commands)
}

/// Every effect other than a rejection that the rules give to a command in a situation, as the
/// table of `docs/states.md` has them.
pub fn transitions() -> BTreeSet<(Cell, Effect)> {
    let is_header = |line: &&str| line.starts_with("| command | absent |");
    let mut rows = STATES.lines().skip_while(|line| !is_header(line));
    let situations: Vec<MaybeSituation> = rows.next().map(situations_of).unwrap_or_default();
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let mut found = BTreeSet::new();
    for row in rows {
        let mut columns = columns(row);
        let name = columns.next().unwrap_or_default();
        let Some(command) = CommandKind::ALL.iter().find(|kind| kind.name() == name) else {
            continue;
        };
        for (from, effects) in situations.iter().zip(columns) {
            let cell = Cell { from: *from, command: *command };
            found.extend(effects.split(", ").filter_map(effect).map(|effect| (cell, effect)));
        }
    }
    found
}

fn columns(row: &str) -> impl Iterator<Item = &str> {
    row.trim_matches('|').split('|').map(str::trim)
}

fn situations_of(header: &str) -> Vec<MaybeSituation> {
    columns(header).skip(1).filter_map(situation_named).collect()
}

fn situation_named(name: &str) -> Option<MaybeSituation> {
    situations().find(|found| situation_name(*found) == name)
}

fn effect(name: &str) -> Option<Effect> {
    match name {
        "_kept_" => Some(Effect::Kept),
        "_repeat_" => Some(Effect::Repeat),
        name => situation_named(name).map(Effect::Becomes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A command that is missing here would leave no coverage.
    #[test]
    fn commands_are_those_of_the_rules() {
        let variants: Vec<String> =
            CommandKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
        assert_eq!(variants, AnyCommand::NAMES);
    }

    /// The table is read correctly: each command has an effect, and only one creates.
    #[test]
    fn the_table_of_transitions_is_understood() {
        let found = transitions();
        for command in CommandKind::ALL {
            assert!(found.iter().any(|(cell, _)| cell.command == *command), "{command}");
        }
        let creating = found.iter().filter(|(cell, _)| cell.from.is_none());
        assert!(creating.clone().all(|(cell, _)| cell.command == CommandKind::Create));
        assert_eq!(creating.count(), 2);
        let cell = Cell { from: Some(Situation::Expired), command: CommandKind::Reclaim };
        assert!(found.contains(&(cell, Effect::Becomes(Some(Situation::Leased)))));
        assert!(found.contains(&(cell, Effect::Repeat)));
    }

    /// Every count has its own position.
    #[test]
    fn no_two_effects_share_a_count() {
        let effects: Vec<Effect> = situations()
            .map(Effect::Becomes)
            .chain([Effect::Kept, Effect::Repeat])
            .chain(TABLE.iter().map(|row| Effect::Refused(row.kind)))
            .collect();
        let numbers: BTreeSet<usize> = every_cell()
            .flat_map(|cell| effects.iter().map(move |effect| number(cell, *effect)))
            .collect();
        assert_eq!(numbers.len(), Coverage::default().effects.len());
        assert_eq!(numbers.last().copied(), Some(Coverage::default().effects.len() - 1));
    }

    /// A count above zero is not a gap any more, merged or not.
    #[test]
    fn what_is_met_is_not_missing() {
        let mut coverage = Coverage::default();
        let everything = coverage.missing();
        let gap = Gap::Cell(Cell { from: None, command: CommandKind::Create });
        assert!(everything.contains(&gap));
        let mut other = Coverage::default();
        other.note(CommandKind::Create, None, TimestampMs::ZERO, Effect::Becomes(None));
        other.events.insert(EventKind::Created, 1);
        coverage.merge(&other);
        assert!(!coverage.missing().contains(&gap));
        assert_eq!(coverage.missing().len(), everything.len() - 2);
    }
}
