//! Checks that processes act by the states of lanes that they have read.

use std::rc::Rc;

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::AnyCommand;
use ff_core::lane::{LaneChange, LaneState, Lanes};
use ff_core::op::{ResourceChanged, Step};
use ff_core::quota::{Quota, QuotaChange};
use ff_core::store::{Reply, ReplyBody, Request};

use crate::invariant::lane::{self, Does};
use crate::model::identity::is_certain;
use crate::process::submissions::namespace;
use crate::process::task::Output;
use crate::report::coverage::CommandKind;
use crate::report::describe::lanes_in;
use crate::report::invariants::Invariant;
use crate::report::{Broken, ensure};

use super::{Running, World};

impl World {
    /// Checks what an operation is about to send against what it knows of lanes. \[INV-LANE-1\]
    pub(super) fn check_lanes(&mut self, number: u64, step: &Step<Output>) -> Result<(), Broken> {
        let Step::Send(request) = step else { return Ok(()) };
        let Some(running) = self.running.get_mut(&number) else { return Ok(()) };
        let host = &mut self.hosts[running.process];
        let local = host.clock.read(self.now).local;
        let (model, caller) = (&self.server.model, &self.callers[&number]);
        let carries = caller.carries.filter(|_| caller.parts.is_empty());
        let is_agent = caller.command.is_none();
        running.asks_for_lanes = false;
        let for_lanes = matches!(
            request,
            Request::Read(read) if lane::is_read_of_lanes(read.partition, &read.records)
        );
        if running.lanes.is_none() && carries == Some(CommandKind::Create) && !for_lanes {
            // It begins with the lanes that its process knows.
            running.lanes.clone_from(&host.lanes.lanes);
        }
        match request {
            Request::Read(_) if for_lanes => {
                running.asks_for_lanes = true;
                host.lanes.asked_at = Some(local);
            }
            Request::Take(_) | Request::Scan(_)
                if is_agent && matches!(carries, Some(CommandKind::Offer | CommandKind::Admit)) =>
            {
                lane::check_look(model, host.lanes.asked_at, local)?;
                running.lanes.clone_from(&host.lanes.lanes);
            }
            Request::Commit(commit) => {
                let does = match carries {
                    Some(CommandKind::Offer | CommandKind::Admit) if is_agent => Does::Starts,
                    // Its later commits repeat the first one.
                    Some(CommandKind::Create) if !running.submitted => Does::Submits,
                    _ => return Ok(()),
                };
                if does == Does::Submits {
                    running.submitted = true;
                }
                lane::check_sent(model, commit, does, running.lanes.as_deref())?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes the lanes in a reply to an operation that asked for them.
    pub(super) fn note_lanes(&mut self, number: u64, reply: &Reply) {
        let Some(running) = self.running.get_mut(&number).filter(|task| task.asks_for_lanes) else {
            return;
        };
        let ReplyBody::Read(read) = &reply.body else { return };
        let [stored] = &read.records[..] else { return };
        let found = stored.as_ref().map(|stored| lanes_in(&stored.bytes));
        let lanes = match found {
            Some(None) => return,
            Some(Some(lanes)) => lanes,
            None => Lanes::new(namespace()),
        };
        let lanes = Some(Rc::new(lanes));
        running.lanes.clone_from(&lanes);
        self.hosts[running.process].lanes.lanes = lanes;
    }

    /// Notes that an operation that asked for lanes got no answer: it goes on with older ones.
    pub(super) fn lanes_unanswered(&mut self, number: u64) {
        let Some(running) = self.running.get_mut(&number).filter(|task| task.asks_for_lanes) else {
            return;
        };
        let host = &mut self.hosts[running.process];
        host.lanes.asked_at = Some(host.clock.read(self.now).local);
        host.lanes.lanes.get_or_insert_with(|| Rc::new(Lanes::new(namespace())));
        running.lanes.clone_from(&host.lanes.lanes);
    }

    /// A submission is refused because of its lane only if the lanes that it knows say so.
    pub(super) fn check_refused_lane(
        &self,
        running: &Running,
        command: &AnyCommand,
        error: &EngineError,
    ) -> Result<(), Broken> {
        let state = match error.rejection() {
            Some(Rejection::LaneDraining { .. }) => LaneState::Draining,
            Some(Rejection::LaneDisabled { .. }) => LaneState::Disabled,
            _ => return Ok(()),
        };
        let AnyCommand::Create(create) = command else {
            ensure!(false, "REFUSAL", "{command:?} was refused: {error}");
            return Ok(());
        };
        let known = running.lanes.as_ref().map(|lanes| lanes.state(&create.lane));
        let watched = self.server.model.watched.contains(Invariant::Refusal);
        ensure!(!watched || known == Some(state), "REFUSAL", "{error}, but it knows {known:?}");
        Ok(())
    }

    /// An operation that changed a lane reports a change if it committed one, and none if it did
    /// not.
    pub(super) fn check_lane_change(
        &self,
        number: u64,
        jumps: u64,
        result: &Result<ResourceChanged<Lanes, LaneChange>, EngineError>,
    ) -> Result<(), Broken> {
        let is_change = result.as_ref().map(|changed| changed.outcome.is_change());
        self.check_committed(number, jumps, is_change, |changes, expected| changes == expected)
    }

    /// An operation that set a quota reports likewise. If the quota was deleted since it began, it
    /// may have created it again.
    pub(super) fn check_quota_set(
        &self,
        number: u64,
        jumps: u64,
        result: &Result<ResourceChanged<Quota, QuotaChange>, EngineError>,
    ) -> Result<(), Broken> {
        let begun = self.callers[&number].begun;
        let was_deleted = |quota: &Quota| {
            let id = Quota::key(&quota.namespace, &quota.id, &self.server.model.partitions);
            let limits = self.server.model.quotas.since(id.uuid, begun);
            limits.iter().any(Option::is_none)
        };
        let set = result.as_ref().map(|changed| &changed.outcome);
        let again = set.as_ref().is_ok_and(|set| was_deleted(&set.quota));
        let is_change = set.map(|set| set.before != Some(set.quota.limits));
        self.check_committed(number, jumps, is_change, |changes, expected| {
            changes == expected || again && expected == 1 && changes > 1
        })
    }

    /// Compares the number of changes that an operation has committed with its answer, unless that
    /// is in doubt.
    fn check_committed(
        &self,
        number: u64,
        jumps: u64,
        is_change: Result<bool, &EngineError>,
        fits: impl FnOnce(u64, u64) -> bool,
    ) -> Result<(), Broken> {
        let model = &self.server.model;
        if jumps != model.jumps || !model.watched.contains(Invariant::Identity) {
            return Ok(());
        }
        let changes = model.resource_changes.get(&number).copied().unwrap_or(0);
        let expected = match is_change {
            Ok(is_change) => u64::from(is_change),
            Err(error) if is_certain(error) => 0,
            Err(_) => return Ok(()),
        };
        ensure!(
            fits(changes, expected),
            "INV-IDENTITY-1",
            "operation {number} committed {changes} changes, and the answer is {is_change:?}"
        );
        Ok(())
    }
}
