//! How many executions are in which state, lane by lane.

use std::time::Duration;

use ff_core::id::LaneId;
use ff_core::op::{CountExecutions, LaneCounts};
use ff_core::state::CountedState;

use super::Client;
use crate::error::SdkError;

/// The executions of a namespace by lane and state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// The lanes that have executions, in the order of their names.
    pub lanes: Vec<LaneStats>,
    /// Whether the store keeps counts. If it keeps none, [`Stats::lanes`] has only lanes with work
    /// for a worker, and their counts are 0.
    pub counted: bool,
}

/// The executions of one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LaneStats {
    /// The lane.
    pub lane: LaneId,
    /// How long the oldest execution that a worker can claim has existed; `None` if a worker can
    /// claim none. It is read from the first entry of each queue: an older execution of a lower
    /// priority is not seen.
    pub oldest: Option<Duration>,
    counts: LaneCounts,
}

impl LaneStats {
    /// Returns the number of executions in a state. Those that have ended count until retention
    /// removes them.
    pub fn count(&self, state: CountedState) -> u64 {
        self.counts.states.get(&state).copied().unwrap_or(0)
    }

    /// Returns the number of executions in each state that has any.
    pub fn states(&self) -> impl Iterator<Item = (CountedState, u64)> {
        self.counts.states.iter().map(|(state, number)| (*state, *number))
    }

    /// Returns the number of executions that something other than a delay holds back: an operator,
    /// the state of the lane, other executions, a budget, a quota or a missing capability.
    pub fn blocked(&self) -> u64 {
        self.states().filter(|(state, _)| state.is_blocked()).map(|(_, number)| number).sum()
    }

    /// Returns the number of executions that have not ended.
    pub fn open(&self) -> u64 {
        self.states().filter(|(state, _)| !state.is_terminal()).map(|(_, number)| number).sum()
    }
}

impl Client {
    /// Counts the executions of the namespace by lane and state (`docs/spec.md`, 7). Reads the
    /// counts that the store keeps, and scans no executions: the call costs each node two requests,
    /// however many executions there are.
    ///
    /// The counts of a partition are exact at one time. The partitions are read one after the
    /// other, so the sums can be off by what changes meanwhile.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use ff_sdk::{Client, CountedState, Submission};
    ///
    /// let client = Client::connect_with(ff_sdk::open("memory:").await?, "demo").await?;
    /// client.submit(Submission::new("greet")).await?;
    /// let stats = client.stats().await?;
    /// assert_eq!(stats.lanes[0].count(CountedState::Waiting), 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when a node of the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn stats(&self) -> Result<Stats, SdkError> {
        let connection = &self.0.connection;
        let (namespace, config) = (self.namespace().clone(), *self.partition_config());
        let count = CountExecutions::new(namespace, config, connection.patience());
        let found = connection.drive(count).await?;
        let lane = |(lane, counts): (LaneId, LaneCounts)| {
            let oldest = counts.oldest.map(Duration::from);
            LaneStats { lane, oldest, counts }
        };
        Ok(Stats { lanes: found.lanes.into_iter().map(lane).collect(), counted: found.counted })
    }
}
