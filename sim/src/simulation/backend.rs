//! The backend of a simulated process.

use std::sync::Arc;

use ff_core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, FindingLevel, WakeUps};
use ff_core::store::{Failure, Reply, Request, Topic, Wake};
use tokio::sync::mpsc;

use super::call::{Call, Cargo, Pending};
use super::outbox::{Content, Outbox};

/// The backend through which a process reaches the simulated store.
#[derive(Debug)]
pub struct SimulatedBackend(pub Arc<Outbox>);

impl EngineBackend for SimulatedBackend {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(async move {
            let (reply, answered) = Pending::new();
            self.0.put(Content::Call(Call::new(Cargo::Store { request, reply })));
            let gone = || Failure::MaybeApplied("the simulation is over".to_owned());
            answered.await.unwrap_or_else(|_| Err(gone()))
        })
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.0.put(Content::Subscribe(topics, sender));
        Some(Box::new(Subscription(receiver)))
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        Box::pin(std::future::ready(Ok(BackendReport::new(self.name(), 0, 0, 0))))
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        let finding = Finding::new(FindingLevel::Good, "store", "simulated");
        Box::pin(std::future::ready(Ok(vec![finding])))
    }
}

struct Subscription(mpsc::UnboundedReceiver<Option<Wake>>);

impl WakeUps for Subscription {
    fn next(&mut self) -> BoxFuture<'_, Option<Option<Wake>>> {
        Box::pin(self.0.recv())
    }
}
