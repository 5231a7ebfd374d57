//! The gauges of queues.

use std::collections::{BTreeMap, BTreeSet};

use ::metrics::Gauge;
use ff_core::id::Namespace;
use ff_core::state::CountedState;

use super::stats::Stats;
use crate::metrics::{MAX_NAMES, OTHER_LANES, QUEUE_DEPTH, QUEUE_OLDEST};

/// Records the numbers of executions by lane and state, and the age of the oldest waiting one by
/// lane, as the gauges `ff_queue_depth` and `ff_queue_oldest_seconds`. One program of a fleet is
/// enough, for example when its metrics are read.
///
/// It distinguishes 256 lanes; further ones are added up under the label `other lanes`. A lane that
/// has no more executions goes to 0.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use ff_sdk::{Client, QueueGauges};
///
/// let client = Client::connect_with(ff_sdk::open("memory:").await?, "demo").await?;
/// let mut gauges = QueueGauges::new(client.namespace());
/// gauges.record(&client.stats().await?);
/// # Ok(())
/// # }
/// ```
pub struct QueueGauges {
    namespace: Namespace,
    lanes: BTreeSet<String>,
    depth: BTreeMap<(String, CountedState), Gauge>,
    oldest: BTreeMap<String, Gauge>,
}

impl QueueGauges {
    /// Creates the gauges of a namespace. They go to the recorder that is installed when they are
    /// first recorded.
    pub fn new(namespace: &Namespace) -> Self {
        let (lanes, depth, oldest) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { namespace: namespace.clone(), lanes, depth, oldest }
    }

    /// Sets the gauges to these numbers. A store without counts has only the ages.
    pub fn record(&mut self, stats: &Stats) {
        let mut depth: BTreeMap<(String, CountedState), u64> = BTreeMap::new();
        let mut oldest: BTreeMap<String, f64> = BTreeMap::new();
        for lane in &stats.lanes {
            let label = self.label(lane.lane.as_str());
            for (state, number) in lane.states() {
                *depth.entry((label.to_owned(), state)).or_default() += number;
            }
            let age = lane.oldest.unwrap_or_default().as_secs_f64();
            let known = oldest.entry(label.to_owned()).or_default();
            *known = known.max(age);
        }
        // Those that are gone.
        let gone = self.depth.keys().filter(|key| !depth.contains_key(key)).cloned();
        let gone: Vec<_> = gone.map(|key| (key, 0)).collect();
        depth.extend(gone);
        let gone = self.oldest.keys().filter(|lane| !oldest.contains_key(*lane)).cloned();
        let gone: Vec<_> = gone.map(|lane| (lane, 0.0)).collect();
        oldest.extend(gone);
        let namespace = self.namespace.as_str();
        for ((lane, state), number) in depth {
            let gauge = || QUEUE_DEPTH.register_gauge(&[namespace, &lane, state.as_str()]);
            let known = self.depth.entry((lane.clone(), state)).or_insert_with(gauge);
            known.set(number as f64);
        }
        for (lane, age) in oldest {
            let gauge = || QUEUE_OLDEST.register_gauge(&[namespace, &lane]);
            self.oldest.entry(lane.clone()).or_insert_with(gauge).set(age);
        }
    }

    fn label<'l>(&mut self, lane: &'l str) -> &'l str {
        if self.lanes.contains(lane) {
            return lane;
        }
        if self.lanes.len() >= MAX_NAMES {
            return OTHER_LANES;
        }
        self.lanes.insert(lane.to_owned());
        lane
    }
}

impl std::fmt::Debug for QueueGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueGauges")
            .field("namespace", &self.namespace)
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}
