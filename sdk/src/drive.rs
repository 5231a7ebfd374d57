//! The loop between an operation and a backend.

use ff_core::backend::EngineBackend;
use ff_core::op::{Event, Operation, Step};
use ff_core::store::{Failure, Reply};
use ff_core::time::DurationMs;
use tokio::time::Instant;

use crate::error::is_access_refused;
use crate::host::HostClock;
use crate::metrics::{RequestKind, StoreMeter};

/// Runs an operation to its end: sends its requests to the backend, and waits when it asks to. A
/// call that is not answered within [`Operation::reply_within`] is dropped.
///
/// # Cancel safety
///
/// Not cancel safe: the operation ends; requests in flight may be applied.
///
/// Its calls are not among the metrics.
pub async fn drive<O: Operation>(
    backend: &dyn EngineBackend,
    clock: &HostClock,
    operation: O,
) -> O::Output {
    drive_within(backend, clock, operation, None, None).await
}

/// Runs an operation like [`drive`]. If the store refuses the access of this program and `allowed`
/// is the time limit of the operation, it ends as if the limit had passed: so the operation itself
/// decides what is known of its effect. The meter, if there is one, counts its calls.
pub(crate) async fn drive_within<O: Operation>(
    backend: &dyn EngineBackend,
    clock: &HostClock,
    mut operation: O,
    allowed: Option<DurationMs>,
    meter: Option<&StoreMeter>,
) -> O::Output {
    let now = |operation: &O| {
        let number = operation.partition().map(|partition| backend.clock_of(partition));
        number.map_or_else(|| clock.now(), |number| clock.now_of(number))
    };
    let begun = now(&operation);
    let mut step = operation.resume(Event::Start, begun);
    loop {
        step = match step {
            Step::Done(output) => return output,
            Step::Wait(wait) => {
                tokio::time::sleep(wait.into()).await;
                let woken = now(&operation);
                operation.resume(Event::Wake, woken)
            }
            Step::Send(request) => {
                let number = backend.clock_of(request.partition());
                let limit = operation.reply_within(clock.now_of(number));
                let (kind, sent) = (RequestKind::of(&request), Instant::now());
                let result = within(limit, backend.call(request)).await;
                if let Some(meter) = meter {
                    meter.called(kind, sent.elapsed(), &result);
                }
                let event = match result {
                    Ok(reply) => {
                        clock.observe(number, reply.at);
                        Event::Reply(reply)
                    }
                    Err(failure) => {
                        tracing::debug!(backend = backend.name(), %failure, "call failed");
                        Event::Failure(failure)
                    }
                };
                let mut received = clock.now_of(number);
                if let (Some(allowed), Event::Failure(Failure::Refused(refused))) =
                    (allowed, &event)
                    && is_access_refused(refused)
                {
                    received.local = received.local.plus(allowed);
                }
                operation.resume(event, received)
            }
        };
    }
}

/// Waits for the reply to a call, at most for this time.
async fn within(
    limit: Option<DurationMs>,
    call: impl Future<Output = Result<Reply, Failure>>,
) -> Result<Reply, Failure> {
    let Some(limit) = limit else { return call.await };
    let late = |_| Err(Failure::MaybeApplied(format!("no reply within {limit}")));
    tokio::time::timeout(limit.into(), call).await.unwrap_or_else(late)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use ff_core::backend::{BackendReport, BoxFuture, Finding, WakeUps};
    use ff_core::partition::Partition;
    use ff_core::store::{MemoryStore, Request, Topic};
    use ff_core::time::TimestampMs;

    use super::*;
    use crate::shared::lock;
    use crate::{Client, ClientConfig, Submission};

    /// A store on two nodes; the second one's clock is an hour ahead.
    struct TwoNodes {
        nodes: [Mutex<MemoryStore>; 2],
        calls: [AtomicUsize; 2],
        clock: HostClock,
        /// Whether it reports two clocks.
        tells: bool,
    }

    const HOUR: DurationMs = DurationMs::from_secs(3_600);

    impl TwoNodes {
        fn new(tells: bool) -> Arc<Self> {
            let nodes = [1, 2].map(|seed| Mutex::new(MemoryStore::new(seed)));
            let calls = [AtomicUsize::new(0), AtomicUsize::new(0)];
            Arc::new(Self { nodes, calls, clock: HostClock::new(), tells })
        }

        fn calls(&self) -> [usize; 2] {
            [0, 1].map(|number| self.calls[number].load(Ordering::Relaxed))
        }

        fn now(&self, number: usize) -> TimestampMs {
            let now = self.clock.now().store;
            if number == 0 { now } else { now.plus(HOUR) }
        }
    }

    impl EngineBackend for TwoNodes {
        fn name(&self) -> &'static str {
            "two nodes"
        }

        fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
            let number = usize::from(request.partition().index % 2);
            self.calls[number].fetch_add(1, Ordering::Relaxed);
            let reply = lock(&self.nodes[number]).handle(request, self.now(number));
            Box::pin(std::future::ready(Ok(reply)))
        }

        fn clock_of(&self, partition: Partition) -> usize {
            if self.tells { usize::from(partition.index % 2) } else { 0 }
        }

        fn subscribe(&self, _topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
            None
        }

        fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
            Box::pin(std::future::ready(Ok(BackendReport::default())))
        }

        fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
            Box::pin(std::future::ready(Ok(Vec::new())))
        }
    }

    /// Sends 32 commands. Returns how many took more than one call, and how many went to another
    /// node than the command before.
    async fn repeated(nodes: &Arc<TwoNodes>) -> (usize, usize) {
        let mut config = ClientConfig::new("clocks").unwrap();
        config.seed = Some(7);
        let client = Client::connect(config, nodes.clone()).await.unwrap();
        let (mut repeated, mut changes, mut last) = (0, 0, 0);
        for round in 0..32 {
            let mut before = nodes.calls();
            // The first submission also reads the states of lanes, on the first node.
            before[0] += usize::from(round == 0);
            let id = client.submit(Submission::new("work")).await.unwrap().id();
            let number = usize::from(id.partition().index % 2);
            assert_eq!(nodes.calls()[1 - number], before[1 - number]);
            repeated += usize::from(nodes.calls()[number] - before[number] > 1);
            changes += usize::from(number != last);
            last = number;
        }
        (repeated, changes)
    }

    #[tokio::test(start_paused = true)]
    async fn each_clock_of_the_store_has_its_own_estimate() {
        // The first command on the second node learns its clock.
        let (learned, changes) = repeated(&TwoNodes::new(true)).await;
        assert!(learned <= 1 && changes > 5, "{learned} of {changes}");
        // With one estimate for both clocks, the first command after a change of node is refused.
        let (refused, changes) = repeated(&TwoNodes::new(false)).await;
        assert_eq!(refused, changes);
    }
}
