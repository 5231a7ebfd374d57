//! Calls about lanes: pausing, draining and disabling them, and what they are set to.

use std::collections::BTreeMap;

use ff_core::id::LaneId;
use ff_core::lane::{LaneChange, LaneSetting, LaneState, Lanes, SetLane};
use ff_core::op::{ChangeResource, ReadResources};
use ff_core::store::IndexName;
use ff_io_http::LaneView;

use super::Client;
use crate::error::SdkError;

/// A lane as [`Client::lanes`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStatus {
    /// The lane.
    pub lane: LaneId,
    /// Its state, and the change that set it.
    pub setting: LaneSetting,
    /// Whether executions wait in it that a worker could claim, if the lane starts work.
    pub has_waiting: bool,
}

impl From<LaneStatus> for LaneView {
    fn from(status: LaneStatus) -> Self {
        let LaneStatus { lane, setting, has_waiting } = status;
        Self::new(lane, setting, has_waiting)
    }
}

/// Why a lane is changed, and by whom, for those who look at it later.
///
/// A text is a note with this reason: `client.set_lane(&lane, LaneState::Paused, "a deploy")`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LaneNote {
    /// The reason, at most 256 bytes.
    pub reason: Option<String>,
    /// The operator, at most 64 bytes.
    pub by: Option<String>,
}

impl LaneNote {
    /// Adds the name of the operator, at most 64 bytes.
    #[must_use]
    pub fn by(self, operator: impl Into<String>) -> Self {
        Self { by: Some(operator.into()), ..self }
    }
}

impl From<&str> for LaneNote {
    fn from(reason: &str) -> Self {
        Self { reason: Some(reason.to_owned()), by: None }
    }
}

impl From<String> for LaneNote {
    fn from(reason: String) -> Self {
        Self { reason: Some(reason), by: None }
    }
}

impl Client {
    /// Sets the state of a lane: pauses, drains, disables or resumes it (`docs/spec.md`, 7). The
    /// lane need not have been used yet. Work that runs goes on, whatever the state.
    ///
    /// All programs follow the change within a second and one call. A call that finds this state
    /// with this reason changes nothing ([`LaneChange::is_change`]).
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` for a note that is too long, or if 512 lanes of the
    /// namespace are not active; `Unreachable`, `Transport` and `Timeout` as for
    /// [`Client::cancel`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: if the future is dropped, the call may or may not have been applied.
    pub async fn set_lane(
        &self,
        lane: &LaneId,
        state: LaneState,
        note: impl Into<LaneNote>,
    ) -> Result<LaneChange, SdkError> {
        let connection = &self.0.connection;
        let LaneNote { reason, by } = note.into();
        let (namespace, lane) = (self.namespace().clone(), lane.clone());
        let change = SetLane { namespace: namespace.clone(), lane, state, reason, by };
        let operation = ChangeResource::new(change.clone(), connection.patience());
        let changed = connection.drive(operation).await?.outcome;
        connection.context().lanes().changed(&namespace);
        if changed.is_change() {
            let SetLane { lane, reason, .. } = &change;
            tracing::info!(%lane, %state, reason, "the state of a lane was set");
        }
        Ok(changed)
    }

    /// Returns the lanes that are not active, and those in which executions wait, in the order of
    /// their names. Costs one call for each partition of the store.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn lanes(&self) -> Result<Vec<LaneStatus>, SdkError> {
        let connection = &self.0.connection;
        let read =
            ReadResources::<Lanes>::new(&[Lanes::id(self.namespace())], connection.patience());
        let found = connection.drive(read).await?.pop().flatten();
        let mut lanes: BTreeMap<LaneId, (LaneSetting, bool)> = BTreeMap::new();
        for (lane, setting) in found.iter().flat_map(|found| found.record().iter()) {
            lanes.insert(lane.clone(), (setting.clone(), false));
        }
        for partition in self.partition_config().flow_partitions() {
            for first in self.queues(partition).await? {
                if let IndexName::Eligible { lane, .. } = first.index {
                    lanes.entry(lane).or_default().1 = true;
                }
            }
        }
        let status = |(lane, (setting, has_waiting))| LaneStatus { lane, setting, has_waiting };
        Ok(lanes.into_iter().map(status).collect())
    }
}
