//! What a test holds of the simulation that it runs in.

use std::sync::{Arc, Mutex};

use ff_core::entropy::Entropy;
use ff_sdk::{Client, WorkerConfig, WorkerRuntime};
use tokio::sync::oneshot;

use crate::determinism::random::stream;

use super::host::Host;
use super::outbox::{Content, Start, Starter, Turn, lock};
use super::service::Service;

/// The simulation as its test sees it. The test is a process like the others, on a network that
/// fails for it too, but it neither crashes nor stands still. Cloning gives another handle.
///
/// Everything that the test awaits takes time of the simulation: use `tokio::time` to wait.
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

    /// A number below a bound, from the seed: what a test draws for itself must come from there.
    ///
    /// # Panics
    ///
    /// When the bound is 0.
    pub fn draw(&self, below: u64) -> u64 {
        assert!(below > 0, "a number is drawn below something");
        lock(&self.entropy).below(below)
    }

    /// A service outside of all processes, which holds this value.
    pub fn service<T: Send + 'static>(&self, name: &str, value: T) -> Service<T> {
        Service::new(name, value, self.turn.clone())
    }

    /// Starts so many worker processes, `worker-1` and so on. Each connects, and `handlers` gives
    /// its runtime the handlers, again after each crash.
    pub fn workers(
        &self,
        count: usize,
        handlers: impl Fn(WorkerRuntime) -> WorkerRuntime + Send + Sync + 'static,
    ) {
        self.workers_with(count, |_| {}, handlers);
    }

    /// Starts worker processes that are set up differently, such as with short leases.
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
                    let runtime = host.runtime(config).await.map_err(|error| error.to_string())?;
                    let running = handlers(runtime).run_until(std::future::pending::<()>());
                    running.await.map_err(|error| error.to_string())
                }
            });
        }
    }

    /// Starts a process of your own making, and starts it again after each crash and each error. A
    /// process that ends well is done. Everything that it spawns with tokio ends with it.
    pub fn process<F>(&self, name: &str, start: impl Fn(Host) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let starter: Starter = Arc::new(move |given| Box::pin(start(Host::new(given))));
        self.start.outbox.put(Content::Start(name.to_owned(), starter));
    }

    /// Where the test itself runs: its way to the store, and its configuration.
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// A client of the test.
    ///
    /// # Panics
    ///
    /// When the store does not answer for as long as the client tries.
    pub async fn client(&self) -> Client {
        let client = Client::connect(self.host.client_config(), self.host.backend()).await;
        client.expect("the store answers a client that connects")
    }

    /// Ends all faults and waits until everything is at rest: processes run again, every execution
    /// is over, and nothing has happened for 30 seconds. What stands or is late comes to its end
    /// before that, so that assertions see what a worker does that was thought dead.
    pub async fn settle(&self) {
        let (sender, settled) = oneshot::channel();
        self.start.outbox.put(Content::Settle(sender));
        // Where it never settles, the run fails and says what is left.
        if settled.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Adds a line to the trace.
    pub fn note(&self, text: impl Into<String>) {
        self.host.note(text);
    }
}
