//! The interface of a test to its simulation.

use std::sync::{Arc, Mutex};

use ff_core::entropy::Entropy;
use ff_sdk::{Client, WorkerConfig, WorkerRuntime};
use tokio::sync::oneshot;

use crate::determinism::random::stream;

use super::host::Host;
use super::outbox::{Content, Start, Starter, Turn, lock};
use super::service::Service;
use super::upkeep::Watched;

/// The simulation, from the view of its test. The test is a process like the others, on the same
/// faulty network, but it neither crashes nor pauses. A clone is another handle.
///
/// Everything that the test awaits takes simulated time: use `tokio::time` to wait.
#[derive(Clone, Debug)]
pub struct Sim {
    host: Host,
    start: Start,
    turn: Turn,
    run_seed: u64,
    entropy: Arc<Mutex<Entropy>>,
}

impl Sim {
    pub(super) fn new(start: Start, turn: Turn, run_seed: u64) -> Self {
        let entropy = Arc::new(Mutex::new(stream(run_seed, "simulation: test", 0)));
        Self { host: Host::new(start.clone()), start, turn, run_seed, entropy }
    }

    /// The seed of the run.
    pub const fn seed(&self) -> u64 {
        self.run_seed
    }

    /// Draws a number below a bound from the seed. Use it for every random value of a test.
    ///
    /// # Panics
    ///
    /// When the bound is 0.
    pub fn draw(&self, below: u64) -> u64 {
        assert!(below > 0, "the bound of a draw is above 0");
        lock(&self.entropy).below(below)
    }

    /// Creates a service outside of all processes that holds this value.
    pub fn service<T: Send + 'static>(&self, name: &str, value: T) -> Service<T> {
        Service::new(name, value, self.turn.clone())
    }

    /// Starts worker processes, `worker-1` and so on. Each connects, and `handlers` adds the
    /// handlers to its runtime, again after each crash.
    pub fn workers(
        &self,
        count: usize,
        handlers: impl Fn(WorkerRuntime) -> WorkerRuntime + Send + Sync + 'static,
    ) {
        self.workers_with(count, |_| {}, handlers);
    }

    /// Starts worker processes with another configuration, for example short leases.
    pub fn workers_with(
        &self,
        count: usize,
        set_up: impl Fn(&mut WorkerConfig) + Send + Sync + 'static,
        handlers: impl Fn(WorkerRuntime) -> WorkerRuntime + Send + Sync + 'static,
    ) {
        let (set_up, handlers) = (Arc::new(set_up), Arc::new(handlers));
        for number in 1..=count {
            let (set_up, handlers) = (set_up.clone(), handlers.clone());
            self.process(&format!("worker-{number}"), move |host| {
                let (set_up, handlers) = (set_up.clone(), handlers.clone());
                async move {
                    let mut config = host.worker_config();
                    set_up(&mut config);
                    let instance = config.worker_instance_id.clone();
                    let ttl_ms = config.lease_ttl.as_millis() as u64;
                    let runtime = host.runtime(config).await.map_err(|error| error.to_string())?;
                    let runtime = handlers(runtime);
                    host.watch(Watched::new(runtime.reports(), instance, ttl_ms));
                    let running = runtime.run_until(std::future::pending::<()>());
                    running.await.map_err(|error| error.to_string())
                }
            });
        }
    }

    /// Starts a process that you write, and starts it again after each crash and each error. A
    /// process that returns `Ok` is not started again. A crash ends all tokio tasks of the process.
    pub fn process<F>(&self, name: &str, start: impl Fn(Host) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let starter: Starter = Arc::new(move |given| Box::pin(start(Host::new(given))));
        self.start.outbox.put(Content::Start(name.to_owned(), starter));
    }

    /// The host of the test itself: its backend and configuration.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Connects a client of the test.
    ///
    /// # Panics
    ///
    /// When the store does not answer for as long as the client tries.
    pub async fn client(&self) -> Client {
        let client = Client::connect(self.host.client_config(), self.host.backend()).await;
        client.expect("the store answers a client that connects")
    }

    /// Ends all faults and waits until the simulation is at rest: processes run again, every
    /// execution is over, and there was no event for 30 seconds. Paused processes and late calls
    /// end before that, so that assertions see the actions of workers that seemed dead.
    pub async fn settle(&self) {
        let (sender, settled) = oneshot::channel();
        self.start.outbox.put(Content::Settle(sender));
        // Where it never settles, the run fails and reports the pending executions.
        if settled.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Adds a line to the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.host.note(text);
    }
}
