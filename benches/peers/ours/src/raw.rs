//! The lower bound: RPUSH of the payload, then BLMPOP and INCR. It has no leases and no retries,
//! and loses a task whose worker dies.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, AsyncConnectionConfig, Client, cmd};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::protocol::{Arguments, Peer, Recorder, fail, now_ns};

const LIST: &str = "tasks";
const COUNTER: &str = "completed";
/// How long a waiting pop blocks, in seconds. Stopping ends it earlier.
const POP_SECONDS: u32 = 30;

/// A connection for submissions, and one for each worker.
pub struct Raw {
    client: Client,
    connection: MultiplexedConnection,
    in_flight: usize,
    running: Mutex<JoinSet<()>>,
}

impl Raw {
    /// Connects a client.
    pub async fn connect(arguments: &Arguments) -> Result<Self> {
        let client = Client::open(format!("redis://127.0.0.1:{}", arguments.port))?;
        let connection = connect(&client).await?;
        let in_flight = arguments.workers * arguments.slots;
        Ok(Self { client, connection, in_flight, running: Mutex::default() })
    }
}

impl Peer for Raw {
    async fn submit(&self, payload: Vec<u8>) -> Result<()> {
        Ok(self.connection.clone().rpush(LIST, payload).await?)
    }

    async fn submit_bulk(&self, payloads: Vec<Vec<u8>>) -> Result<()> {
        Ok(self.connection.clone().rpush(LIST, payloads).await?)
    }

    async fn start(&self, recorder: Arc<Recorder>) -> Result<u64> {
        let mut connections = Vec::new();
        for _ in 0..self.in_flight {
            connections.push(connect(&self.client).await?);
        }
        let mut running = self.running.lock().await;
        let started_ns = now_ns();
        for connection in connections {
            let recorder = recorder.clone();
            running.spawn(async move {
                if let Err(error) = work(connection, &recorder).await {
                    fail(&error);
                }
            });
        }
        Ok(started_ns)
    }

    async fn stop(&self) -> Result<()> {
        // The list is empty: the workers wait, and hold nothing.
        self.running.lock().await.shutdown().await;
        Ok(())
    }
}

async fn work(mut connection: MultiplexedConnection, recorder: &Recorder) -> Result<()> {
    loop {
        let mut pop = cmd("BLMPOP");
        pop.arg(POP_SECONDS).arg(1).arg(LIST).arg("LEFT");
        let popped: Option<(String, Vec<Vec<u8>>)> = pop.query_async(&mut connection).await?;
        let Some((_, mut values)) = popped else { continue };
        recorder.handled(&values.pop().context("BLMPOP returns an element")?)?;
        let _: u64 = connection.incr(COUNTER, 1).await?;
        recorder.completed();
    }
}

/// Connects without a time limit for replies, because pops block.
async fn connect(client: &Client) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    Ok(client.get_multiplexed_async_connection_with_config(&config).await?)
}
