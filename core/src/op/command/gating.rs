//! The limits of the execution that a command is about: asked when its rule needs them, and the
//! slots that it leaves behind.

use crate::error::EngineError;
use crate::execution::{Admission, Execution, slot_of};
use crate::id::GrantId;
use crate::op::context::{OperationContext, UseTask, UseWork};
use crate::op::loaded::Loaded;
use crate::op::operation::{Event, Operation, Step};
use crate::op::patience::Patience;
use crate::op::resource::{Gate, Replaced};
use crate::planted::planted;
use crate::store::Version;
use crate::time::{DurationMs, HostTime, TimestampMs};

/// The limits that an operation asks.
///
/// An admission is good for the version of the record that was read before the limits were asked.
/// If a commit under it meets another version, they are asked again: a program that frees the slot
/// of a grant that was not committed gives the record a new version first. \[INV-QUOTA-1\]
#[derive(Clone, Debug, Default)]
pub(super) struct Gating {
    gate: Option<Box<Gate>>,
    is_asking: bool,
    found: Option<(Version, Admission)>,
    version: Version,
    /// The store's clock in the reply with the record, and the host's clock at that time: the
    /// limits are on other nodes, whose clocks may show other times.
    read_at: Option<(TimestampMs, TimestampMs)>,
    /// Whether a commit with one of its slots may have been applied.
    may_have_started: bool,
}

impl Gating {
    /// Asks the limits of an execution.
    pub(super) fn ask(
        &mut self,
        loaded: &Loaded,
        grant: GrantId,
        patience: Patience,
        at: TimestampMs,
        now: HostTime,
    ) -> Step<Result<(), EngineError>> {
        // No commit with the slot of an earlier version can be applied any more.
        let unused = !self.may_have_started;
        let replaces = self.gate.take().map(|it| Replaced { slot: it.slot(), unused });
        let Some(gate) = Gate::of(&loaded.execution, grant, replaces, patience) else {
            return Step::Done(Ok(()));
        };
        (self.gate, self.version) = (Some(Box::new(gate)), loaded.version);
        (self.found, self.is_asking) = (None, true);
        self.read_at = Some((at, now.local));
        self.resume(Event::Start, now)
    }

    /// Whether it waits for the limits.
    pub(super) const fn is_asking(&self) -> bool {
        self.is_asking
    }

    /// The answer of the limits to this version of the record.
    pub(super) fn admission(&self, version: Version) -> Option<&Admission> {
        let (asked, admission) = self.found.as_ref()?;
        (*asked == version || planted!(AdmissionReused)).then_some(admission)
    }

    /// The time of the store's clock, counted on from the reply with the record.
    pub(super) fn time(&self, now: HostTime) -> Option<TimestampMs> {
        let (at, local) = self.read_at?;
        Some(at.plus(now.local.since(local)))
    }

    /// The time limit of a call to the limits.
    pub(super) fn reply_within(&self, now: HostTime) -> Option<DurationMs> {
        self.gate.as_ref().filter(|_| self.is_asking)?.reply_within(now)
    }

    /// Goes on with asking.
    pub(super) fn resume(&mut self, event: Event, now: HostTime) -> Step<Result<(), EngineError>> {
        let Some(gate) = &mut self.gate else { return Step::Done(Ok(())) };
        match gate.resume(event, now) {
            Step::Done(Ok(admission)) => {
                if admission.held.is_some() {
                    self.gate = None;
                }
                (self.found, self.is_asking) = (Some((self.version, admission)), false);
                Step::Done(Ok(()))
            }
            Step::Done(Err(error)) => {
                (self.gate, self.is_asking) = (None, false);
                Step::Done(Err(error))
            }
            Step::Send(request) => Step::Send(request),
            Step::Wait(wait) => Step::Wait(wait),
        }
    }

    /// Notes that a commit with a slot may have been applied although no reply confirms it. The
    /// execution may have started, so it stays counted towards a rate. \[INV-QUOTA-2\]
    pub(super) const fn note_doubt(&mut self) {
        self.may_have_started = true;
    }

    /// Gives back slots of a grant that the execution does not have in the end. `after`: the record
    /// then, if it is known. With a commit in doubt they stay until they are checked.
    pub(super) fn end(&mut self, after: Option<&Execution>, in_doubt: bool) {
        let Some(gate) = self.gate.take() else { return };
        let has_it = after.is_some_and(|record| slot_of(record) == Some(gate.slot()));
        if !has_it && !in_doubt {
            gate.give_back(!self.may_have_started);
        }
    }

    /// Whether the execution was held back because all slots of a quota are taken.
    fn has_no_slot(&self) -> bool {
        let held = self.found.as_ref().and_then(|(_, admission)| admission.held.as_ref());
        held.is_some_and(|held| held.quota.is_some())
    }
}

/// Notes what a commit has to do with slots: it frees those of a grant that the execution no longer
/// has. One that was held back for want of a slot looks again, since one may be free by now.
pub(super) fn note_slots(
    gating: Option<&Gating>,
    before: Option<&Execution>,
    after: Option<&Execution>,
    context: &OperationContext,
) {
    free_slots(before, after, context);
    if !gating.is_some_and(Gating::has_no_slot) {
        return;
    }
    let awaited =
        after.and_then(|execution| Some((execution, execution.limits.as_ref()?.awaited()?)));
    if let Some((execution, of)) = awaited {
        let (namespace, of) = (execution.namespace.clone(), of.clone());
        context.uses().push(UseTask { namespace, of, work: UseWork::Wake });
    }
}

/// Frees the slots of a grant that an execution had before a commit and no longer has.
fn free_slots(before: Option<&Execution>, after: Option<&Execution>, context: &OperationContext) {
    let Some((execution, limited)) =
        before.and_then(|execution| Some((execution, execution.limits.as_ref()?)))
    else {
        return;
    };
    let Some(slot) = slot_of(execution) else { return };
    let is_kept = after.is_some_and(|after| slot_of(after) == Some(slot));
    let is_suspended = after.is_some_and(|after| after.suspension().is_some());
    if is_kept || is_suspended && planted!(SuspendedKeepsSlot) {
        return;
    }
    for of in &limited.limits.quotas {
        let (namespace, of) = (execution.namespace.clone(), of.clone());
        context.uses().push(UseTask { namespace, of, work: UseWork::Free { slot, unused: false } });
    }
}
