//! The facts that a rule decides on.

use crate::error::{Missing, Rejection};
use crate::id::{GrantId, LaneId, Namespace, SlotId, SuspensionId};
use crate::lane::Lanes;
use crate::time::{DurationMs, TimestampMs, Window};
use crate::token::{Keyring, KnownKeyring};

use super::identity::Origin;
use super::record::{BlockKind, Execution, RateTurn, SignalRecord};

/// Everything that a decision looks at besides the command and the time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Facts<'a> {
    /// The execution's record, if there is one.
    pub record: Option<&'a Execution>,
    /// The signal that the command names, from the same reply as the record; `None` if it was not
    /// read.
    pub signal: Option<&'a FoundSignal>,
    /// The secrets of tokens; `None` if they were not read.
    pub keyring: Option<&'a KnownKeyring>,
    /// The buffered signals of the execution, as far as they were read.
    pub buffered: Option<&'a BufferedSignals>,
    /// The lanes of the namespace; `None` if they were not read.
    pub lanes: Option<&'a Lanes>,
    /// The answer of the execution's limits to a grant, asked after this version of the record was
    /// read; `None` if they were not asked.
    pub admission: Option<&'a Admission>,
    /// The life and the suspension that the operation saw first; `None` if it saw no record before.
    pub first_seen: Option<FirstSeen>,
}

/// The answer of an execution's budgets and quotas to a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// The grant.
    pub grant: GrantId,
    /// The slot that each quota with a limit of the concurrency has given, if all limits allow it;
    /// `None` if there is no such quota.
    pub slot: Option<SlotId>,
    /// Why the execution has to wait; `None` if all of them allow it to start.
    pub held: Option<Held>,
}

/// The limit that makes an execution wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Whether it is a budget or a quota.
    pub kind: BlockKind,
    /// The place of the quota among those of the execution, if the execution waits for a slot.
    pub quota: Option<u8>,
    /// The limit, in words.
    pub rejection: Rejection,
    /// When it may start, if the limit says that.
    pub retry_after: Option<DurationMs>,
    /// Its turn, if it waits for a rate.
    pub turn: Option<RateTurn>,
}

/// The record of a signal that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundSignal {
    /// There is no such record.
    Absent,
    /// The signal was taken before.
    Taken(Box<SignalRecord>),
}

/// The signals of an execution that an operation has read, in the order of their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BufferedSignals {
    /// Every signal with a number below this one that can count is among them.
    pub through: u32,
    /// The signals.
    pub signals: Vec<SignalRecord>,
}

/// The state of an execution for which an operator's call is meant: the one that its operation saw
/// first. When the call is applied, a later life or a later suspension may have begun, which the
/// operator has not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstSeen {
    /// The life (replay count).
    pub life: u32,
    /// The first suspension, once the operation has seen one.
    pub suspension: Option<SuspensionId>,
    /// The creation of the execution. Another one means that the id was created again.
    pub origin: Option<Origin>,
}

impl<'a> Facts<'a> {
    /// The record of an execution and nothing else.
    pub fn of(record: Option<&'a Execution>) -> Self {
        Self { record, ..Self::default() }
    }

    /// The same facts as a namespace sees them: the executions of other namespaces do not exist.
    #[must_use]
    pub fn in_namespace(self, namespace: &Namespace) -> Self {
        match self.record {
            Some(record) if record.namespace != *namespace => {
                Self { record: None, first_seen: None, ..self }
            }
            _ => self,
        }
    }

    /// The execution's record.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none.
    pub fn execution(&self) -> Result<&'a Execution, Rejection> {
        self.record.ok_or(Rejection::NotFound)
    }

    /// The execution's record, if it is of the execution that the operation saw first, and not of
    /// one that was created under its id since.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none.
    pub fn same_execution(&self) -> Result<&'a Execution, Rejection> {
        let origin = self.first_seen.and_then(|seen| seen.origin);
        let record = self.execution()?;
        match origin.is_none_or(|origin| origin == Origin::of(record)) {
            true => Ok(record),
            false => Err(Rejection::NotFound),
        }
    }

    /// The secrets of tokens, if they were read recently enough to decide by.
    ///
    /// # Errors
    ///
    /// `Unread` if the operation has to read them first.
    pub(super) fn ring(&self, now: TimestampMs) -> Result<&'a Keyring, Rejection> {
        let unread = Rejection::Unread { what: Missing::Secrets };
        self.keyring.map_or(Err(unread), |keyring| keyring.ring(now))
    }

    /// Refuses a submission to a lane that accepts none.
    ///
    /// # Errors
    ///
    /// `LaneDraining`, `LaneDisabled`; `Unread` if the operation has to read the lanes first.
    pub(super) fn check_accepts(&self, lane: &LaneId) -> Result<(), Rejection> {
        let unread = Rejection::Unread { what: Missing::Lanes };
        self.lanes.map_or(Err(unread), |lanes| lanes.check_accepts(lane))
    }

    /// How long a decision by the secrets holds.
    pub(super) fn keyring_window(&self) -> Window {
        self.keyring.map_or(Window::ALWAYS, KnownKeyring::window)
    }
}

impl FirstSeen {
    /// The state of this record, for an operation that has seen `before` first.
    pub fn noted(before: Option<Self>, record: &Execution) -> Self {
        let suspension = record.suspension().map(|suspension| suspension.id);
        match before {
            Some(seen) => Self { suspension: seen.suspension.or(suspension), ..seen },
            None => {
                let origin = Some(Origin::of(record));
                Self { life: record.counts.replays, suspension, origin }
            }
        }
    }
}
