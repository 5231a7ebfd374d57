//! The parts of the kinds that a runtime claims separately: each kind with a limit, and the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ff_core::id::ExecutionKind;
use ff_core::kinds::Kinds;
use tokio::task::JoinSet;

use crate::claims::ClaimGroup;
use crate::error::SdkError;
use crate::task::ClaimedTask;
use crate::worker::FlowFabricWorker;

use super::handler::Registered;

/// Kinds that are claimed together.
pub(super) struct Source {
    worker: FlowFabricWorker,
    /// The part of the kinds; `None` means all that the worker serves.
    part: Option<Part>,
    /// How many of its tasks may run at the same time.
    limit: usize,
    /// Its tasks.
    pub(super) running: JoinSet<()>,
}

/// A part of the kinds that the worker serves.
struct Part {
    kinds: Kinds,
    group: Arc<ClaimGroup>,
    is_woken: bool,
}

impl Source {
    fn new(
        worker: &FlowFabricWorker,
        kinds: Option<BTreeSet<ExecutionKind>>,
        limit: usize,
    ) -> Self {
        let part = kinds.map(|kinds| {
            let kinds = Kinds::Only(kinds);
            Part { group: worker.group_of(kinds.clone()), kinds, is_woken: false }
        });
        Self { worker: worker.clone(), part, limit, running: JoinSet::new() }
    }

    /// The sources of a runtime with these handlers: a single one if no kind has a limit.
    pub(super) fn all(
        worker: &FlowFabricWorker,
        handlers: &BTreeMap<String, Registered>,
    ) -> Vec<Self> {
        let (mut sources, mut others) = (Vec::new(), BTreeSet::new());
        for (name, registered) in handlers {
            let Ok(kind) = ExecutionKind::try_new(name) else { continue };
            if !worker.config().kinds.serves(&kind) {
                continue;
            }
            match registered.options.concurrency {
                Some(limit) => sources.push(Self::new(worker, Some([kind].into()), limit)),
                None => drop(others.insert(kind)),
            }
        }
        if sources.is_empty() {
            return vec![Self::new(worker, None, usize::MAX)];
        }
        if !others.is_empty() {
            sources.push(Self::new(worker, Some(others), usize::MAX));
        }
        sources
    }

    /// How many tasks it may claim now.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.running.len()).min(self.worker.free_slots())
    }

    /// Claims up to `count` tasks.
    pub(super) async fn claim(&mut self, count: usize) -> Result<Vec<ClaimedTask>, SdkError> {
        let Some(part) = &mut self.part else { return self.worker.claim_many(count).await };
        if !part.group.runs() {
            part.group = self.worker.group_of(part.kinds.clone());
        }
        let is_woken = std::mem::take(&mut part.is_woken);
        self.worker.claim_in(&part.group, count, is_woken).await
    }

    /// Waits until there may be work.
    pub(super) async fn wait_for_work(&mut self) {
        match &mut self.part {
            Some(part) => part.is_woken = self.worker.wait_in(&part.group).await,
            None => self.worker.wait_for_work().await,
        }
    }
}

/// Waits until all tasks have ended. Returns `false` if they need longer than this time.
pub(super) async fn all_end(sources: &mut [Source], within: Duration) -> bool {
    let ended = async {
        for source in sources {
            while source.running.join_next().await.is_some() {}
        }
    };
    tokio::time::timeout(within, ended).await.is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::{FlowFabric, HandlerOptions, Submission};

    /// The tasks of a kind that run now, and the most that ran at the same time.
    #[derive(Default)]
    struct Gauge(AtomicUsize, AtomicUsize);

    impl Gauge {
        async fn run(&self, time: Duration) {
            self.1.fetch_max(self.0.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(time).await;
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// No kind ever exceeds its limit, and no task waits while its kind and the worker have room:
    /// each kind takes the time that its limit allows, however the tasks are submitted.
    #[tokio::test(start_paused = true)]
    async fn limits_hold_and_no_task_waits_while_its_kind_has_room() {
        for seed in 0..20_usize {
            let ff = FlowFabric::connect("memory:").await.unwrap();
            let slots = 8;
            let mut runtime = ff.worker("w").max_concurrent_tasks(slots).runtime().await.unwrap();
            let limits = [Some(1 + seed % 2), Some(2), None];
            let gauges: [Arc<Gauge>; 3] = Default::default();
            let ends: [Arc<Mutex<Option<Instant>>>; 3] = Default::default();
            for (number, limit) in limits.into_iter().enumerate() {
                let (gauge, end) = (gauges[number].clone(), ends[number].clone());
                let handler = move || {
                    let (gauge, end) = (gauge.clone(), end.clone());
                    async move {
                        gauge.run(Duration::from_secs(1)).await;
                        *end.lock().unwrap() = Some(Instant::now());
                    }
                };
                let options = HandlerOptions::default();
                let options = limit.map_or(options.clone(), |limit| options.concurrency(limit));
                runtime = runtime.handle_with(format!("kind-{number}"), handler, options);
            }
            let began = Instant::now();
            let work = async {
                // In another order for each seed; 12 tasks of each kind.
                let all: Vec<_> = (0..36)
                    .map(|n| Submission::new(format!("kind-{}", (n * (seed + 1) + n / 3) % 3)))
                    .collect();
                let mut counts = [0_usize; 3];
                for submission in &all {
                    counts[usize::from(submission.kind().as_bytes()[5] - b'0')] += 1;
                }
                for created in ff.client().submit_many(all).await {
                    let id = created.unwrap().id();
                    assert!(ff.client().result(&id).await.unwrap().is_success());
                }
                counts
            };
            let counts = runtime.run_until(work).await.unwrap();
            let limited: usize = limits.iter().flatten().sum();
            for (number, limit) in limits.into_iter().enumerate() {
                let most = gauges[number].1.load(Ordering::SeqCst);
                assert!(most <= limit.unwrap_or(slots), "{seed}: {most} of kind {number}");
                let rounds = counts[number].div_ceil(limit.unwrap_or(slots - limited));
                let Some(end) = *ends[number].lock().unwrap() else { continue };
                let took = end - began;
                let most = Duration::from_secs(rounds as u64) + Duration::from_millis(300);
                assert!(took < most, "{seed}: kind {number} took {took:?}, not {most:?}");
            }
        }
    }

    /// Kinds whose limits exceed the slots together take turns.
    #[tokio::test(start_paused = true)]
    async fn kinds_that_compete_for_the_slots_take_turns() {
        let ff = FlowFabric::connect("memory:").await.unwrap();
        let mut runtime = ff.worker("w").max_concurrent_tasks(2).runtime().await.unwrap();
        for kind in ["a", "b", "c"] {
            let sleep = || tokio::time::sleep(Duration::from_secs(1));
            let options = HandlerOptions::default().concurrency(2);
            runtime = runtime.handle_with(kind, sleep, options);
        }
        let began = Instant::now();
        let work = async {
            let many = |kind, count| vec![Submission::new(kind); count];
            for created in ff.client().submit_many([many("a", 60), many("b", 60)].concat()).await {
                created.unwrap();
            }
            let id = ff.client().submit(Submission::new("c")).await.unwrap().id();
            assert!(ff.client().result(&id).await.unwrap().is_success());
            began.elapsed()
        };
        let took = runtime.run_until(work).await.unwrap();
        assert!(took < Duration::from_secs(5), "the only task of a kind took {took:?}");
    }
}
