//! Lanes that an operator has paused, drained or disabled (`docs/spec.md`, 7).

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::Rejection;
use crate::id::{LaneId, Namespace};
use crate::partition::PartitionConfig;
use crate::resource::{Change, Changed, Decided, Facts, Resource, ResourceId, ResourceKind};
use crate::time::{DurationMs, TimestampMs};

/// The longest time between two reads of the lanes by a program that submits or starts work: 1 s.
pub const LANES_FOR: DurationMs = DurationMs::from_secs(1);

/// The most lanes of a namespace that are not active at a time.
pub const MAX_LANES: usize = 512;

/// The longest reason of a change, in bytes.
pub const MAX_REASON_BYTES: usize = 256;

/// The longest name of an operator, in bytes.
pub const MAX_BY_BYTES: usize = 64;

/// The state of a lane: whether it accepts submissions and starts work.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// It accepts submissions and starts work.
    #[default]
    Active,
    /// It accepts submissions, and starts nothing.
    Paused,
    /// It refuses submissions, and starts the work that it has.
    Draining,
    /// It refuses submissions, and starts nothing.
    Disabled,
}

impl LaneState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Active, Self::Paused, Self::Draining, Self::Disabled];

    /// Returns whether a lane in this state accepts submissions.
    pub const fn accepts(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }

    /// Returns whether work of a lane in this state starts.
    pub const fn starts(self) -> bool {
        matches!(self, Self::Active | Self::Draining)
    }

    /// Returns the name of the state.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
        }
    }
}

impl fmt::Display for LaneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The error of a text that is not the name of a lane's state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state of a lane {0:?}: expected active, paused, draining or disabled")]
pub struct UnknownLaneState(String);

impl FromStr for LaneState {
    type Err = UnknownLaneState;

    fn from_str(text: &str) -> Result<Self, UnknownLaneState> {
        let named = Self::ALL.into_iter().find(|state| state.as_str() == text);
        named.ok_or_else(|| UnknownLaneState(text.to_owned()))
    }
}

/// The state of a lane, and the change that set it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneSetting {
    /// The state.
    pub state: LaneState,
    /// Since when, by the store's clock.
    pub since: TimestampMs,
    /// The reason that the operator gave.
    pub reason: Option<String>,
    /// The operator, as the call named it.
    pub by: Option<String>,
}

/// The lanes of a namespace that are not active. All others are.
///
/// One record for each namespace, so that a program learns about all its lanes with one read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lanes {
    namespace: Namespace,
    lanes: BTreeMap<LaneId, LaneSetting>,
}

impl Resource for Lanes {
    const KIND: ResourceKind = ResourceKind::Lanes;

    fn wakes(&self) -> Option<&Namespace> {
        Some(&self.namespace)
    }
}

impl Lanes {
    /// The lanes of a namespace in which no lane was changed.
    pub const fn new(namespace: Namespace) -> Self {
        Self { namespace, lanes: BTreeMap::new() }
    }

    /// Names the record of a namespace.
    pub fn id(namespace: &Namespace) -> ResourceId {
        let config = PartitionConfig::default();
        ResourceId::of_names(ResourceKind::Lanes, &[namespace.as_str()], &config)
    }

    /// Returns the namespace.
    pub const fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Iterates over the lanes that are not active, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&LaneId, &LaneSetting)> {
        self.lanes.iter()
    }

    /// Returns the state of a lane.
    pub fn state(&self, lane: &LaneId) -> LaneState {
        self.lanes.get(lane).map_or(LaneState::Active, |setting| setting.state)
    }

    /// Returns the setting of a lane that is not active.
    pub fn setting(&self, lane: &LaneId) -> Option<&LaneSetting> {
        self.lanes.get(lane)
    }

    /// Returns whether work of a lane starts. \[INV-LANE-1\]
    pub fn starts(&self, lane: &LaneId) -> bool {
        self.state(lane).starts()
    }

    /// Refuses a submission to a lane that accepts none.
    ///
    /// # Errors
    ///
    /// `LaneDraining`, `LaneDisabled`.
    pub fn check_accepts(&self, lane: &LaneId) -> Result<(), Rejection> {
        let Some(LaneSetting { state, since, reason, .. }) = self.lanes.get(lane) else {
            return Ok(());
        };
        let (lane, since, reason) = (lane.clone(), *since, reason.clone());
        match state {
            LaneState::Active | LaneState::Paused => Ok(()),
            LaneState::Draining => Err(Rejection::LaneDraining { lane, since, reason }),
            LaneState::Disabled => Err(Rejection::LaneDisabled { lane, since, reason }),
        }
    }
}

/// Sets the state of a lane. A call that finds this state and reason changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetLane {
    /// The namespace.
    pub namespace: Namespace,
    /// The lane. It need not have been used yet.
    pub lane: LaneId,
    /// The new state.
    pub state: LaneState,
    /// Why, for those who look at the lane later; at most [`MAX_REASON_BYTES`] bytes.
    pub reason: Option<String>,
    /// The name of the operator, at most [`MAX_BY_BYTES`] bytes.
    pub by: Option<String>,
}

/// The outcome of [`SetLane`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneChange {
    /// The setting before.
    pub before: LaneSetting,
    /// The setting now.
    pub now: LaneSetting,
}

impl LaneChange {
    /// Returns whether the call changed anything.
    pub fn is_change(&self) -> bool {
        self.before != self.now
    }
}

impl Change for SetLane {
    type Record = Lanes;
    type Beside = Lanes;
    type Outcome = LaneChange;

    const NAME: &'static str = "set_lane";

    fn target(&self) -> ResourceId {
        Lanes::id(&self.namespace)
    }

    fn decide(&self, facts: &Facts<'_, Lanes, Lanes>, now: TimestampMs) -> Decided<Self> {
        check_length("reason", self.reason.as_deref(), MAX_REASON_BYTES)?;
        check_length("by", self.by.as_deref(), MAX_BY_BYTES)?;
        let mut next = facts.record.cloned().unwrap_or_else(|| Lanes::new(self.namespace.clone()));
        let before = next.lanes.get(&self.lane).cloned().unwrap_or_default();
        let stays = before.state == self.state
            && (self.state == LaneState::Active || before.reason == self.reason);
        if stays {
            return Ok(Changed::keep(LaneChange { now: before.clone(), before }));
        }
        let (reason, by) = (self.reason.clone(), self.by.clone());
        let setting = LaneSetting { state: self.state, since: now, reason, by };
        match self.state {
            LaneState::Active => next.lanes.remove(&self.lane),
            _ => next.lanes.insert(self.lane.clone(), setting.clone()),
        };
        if next.lanes.len() > MAX_LANES {
            let problem = format!("cannot be {}: {MAX_LANES} lanes are not active", self.state);
            return Err(Rejection::InvalidInput { field: "lane", problem });
        }
        Ok(Changed::put(next, LaneChange { before, now: setting }))
    }
}

fn check_length(field: &'static str, text: Option<&str>, limit: usize) -> Result<(), Rejection> {
    match text.map_or(0, str::len) {
        bytes if bytes <= limit => Ok(()),
        bytes => {
            let problem = format!("has {bytes} bytes; at most {limit} are allowed");
            Err(Rejection::InvalidInput { field, problem })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::RejectionKind;
    use crate::store::bounds::MAX_RECORD_BYTES;
    use crate::store::codec::{FORMAT, encode};

    fn set(lane: &str, state: LaneState, reason: Option<&str>) -> SetLane {
        let (namespace, lane) = (Namespace::new("ns"), LaneId::new(lane));
        SetLane { namespace, lane, state, reason: reason.map(str::to_owned), by: None }
    }

    fn decide(
        record: Option<&Lanes>,
        change: &SetLane,
        now: u64,
    ) -> Changed<Lanes, Lanes, LaneChange> {
        let facts = Facts { record, beside: &[], late: 0 };
        change.decide(&facts, TimestampMs::new(now)).expect("the change is allowed")
    }

    fn put(record: Option<&Lanes>, change: &SetLane, now: u64) -> Lanes {
        match decide(record, change, now).next {
            crate::resource::NextResource::Put(lanes) => lanes,
            other => panic!("nothing is written: {other:?}"),
        }
    }

    #[test]
    fn each_state_accepts_and_starts_what_its_name_says() {
        let kinds = [
            (LaneState::Active, None, true),
            (LaneState::Paused, None, false),
            (LaneState::Draining, Some(RejectionKind::LaneDraining), true),
            (LaneState::Disabled, Some(RejectionKind::LaneDisabled), false),
        ];
        let other = LaneId::new("other");
        for (state, refusal, starts) in kinds {
            let before = put(None, &set("mail", LaneState::Paused, Some("first")), 1);
            let lanes = put(Some(&before), &set("mail", state, Some("second")), 2);
            let mail = LaneId::new("mail");
            assert_eq!(lanes.state(&mail), state);
            assert_eq!(lanes.check_accepts(&mail).err().map(|error| error.kind()), refusal);
            assert_eq!(lanes.starts(&mail), starts);
            assert!(lanes.starts(&other) && lanes.check_accepts(&other).is_ok());
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }

    #[test]
    fn a_repeat_changes_nothing_and_shows_when_the_state_began() {
        let pause = set("mail", LaneState::Paused, Some("a deploy"));
        let lanes = put(None, &pause, 5);
        let again = decide(Some(&lanes), &pause, 9);
        assert_eq!(again.next, crate::resource::NextResource::Keep);
        assert_eq!(again.outcome.now.since, TimestampMs::new(5));
        assert!(!again.outcome.is_change());
        let other = set("mail", LaneState::Paused, Some("an incident"));
        assert_eq!(put(Some(&lanes), &other, 9).setting(&pause.lane).unwrap().since.get(), 9);
    }

    #[test]
    fn the_largest_record_fits_and_one_more_lane_is_refused() {
        let mut lanes = Lanes::new(Namespace::new("n".repeat(64)));
        let longest = |number: usize| SetLane {
            namespace: lanes.namespace.clone(),
            lane: LaneId::new(format!("{number:0>64}")),
            state: LaneState::Paused,
            reason: Some("r".repeat(MAX_REASON_BYTES)),
            by: Some("b".repeat(MAX_BY_BYTES)),
        };
        let changes: Vec<_> = (0..=MAX_LANES).map(longest).collect();
        for change in &changes[..MAX_LANES] {
            lanes = put(Some(&lanes), change, u64::MAX);
        }
        let kept = crate::resource::Kept::new(lanes.clone());
        let bytes = encode(&kept, FORMAT).len() + crate::resource::WRITERS * 20;
        assert!(bytes <= MAX_RECORD_BYTES, "{bytes} bytes");
        let facts = Facts { record: Some(&lanes), beside: &[], late: 0 };
        let refused = changes[MAX_LANES].decide(&facts, TimestampMs::ZERO).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::InvalidInput);
        let longer = SetLane {
            reason: Some("r".repeat(MAX_REASON_BYTES + 1)),
            ..set("a", LaneState::Paused, None)
        };
        let refused = longer.decide(&facts, TimestampMs::ZERO).unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::InvalidInput);
    }
}
