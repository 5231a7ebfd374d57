//! One server with its connection, which is replaced when it breaks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, Value};

use super::failure;
use super::target::{ConnectError, Target};
use ff_core::store::Failure;

/// One server.
pub(super) struct Node {
    /// Its address, `HOST:PORT`.
    pub(super) name: String,
    client: Client,
    connect_timeout: Duration,
    response_timeout: Duration,
    current: Mutex<Option<Current>>,
    /// Locked while connecting; the time and the reason of the latest failed try.
    connecting: tokio::sync::Mutex<Option<(tokio::time::Instant, String)>>,
    next_number: AtomicU64,
}

#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    number: u64,
}

/// The most calls in flight on one connection; further calls wait.
const MAX_IN_FLIGHT: usize = 1_024;

impl Node {
    pub(super) fn new(info: ConnectionInfo, target: &Target) -> Result<Self, RedisError> {
        Ok(Self {
            name: info.addr().to_string(),
            client: Client::open(info)?,
            connect_timeout: target.connect_timeout,
            response_timeout: target.response_timeout,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::new(None),
            next_number: AtomicU64::new(0),
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection, or opens one. Concurrent callers share the outcome of one try.
    async fn connection(&self) -> Result<Current, Failure> {
        if let Some(current) = self.current().clone() {
            return Ok(current);
        }
        let asked = tokio::time::Instant::now();
        let mut latest = self.connecting.lock().await;
        if let Some(current) = self.current().clone() {
            return Ok(current);
        }
        if let Some((_, problem)) = latest.as_ref().filter(|(at, _)| *at > asked) {
            return Err(Failure::NotSent(problem.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(MAX_IN_FLIGHT);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                let current = Current { connection, number };
                *self.current() = Some(current.clone());
                tracing::debug!(node = self.name, number, "connected");
                Ok(current)
            }
            Err(error) => {
                let problem = format!("cannot connect to {}: {error}", self.name);
                *latest = Some((tokio::time::Instant::now(), problem.clone()));
                Err(Failure::NotSent(problem))
            }
        }
    }

    /// Drops a connection, unless another caller has already replaced it.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.number == number) {
            *current = None;
        }
    }

    /// Drops the connection; the next call opens a new one.
    pub(super) fn reconnect(&self) {
        *self.current() = None;
    }

    /// Sends a command. An error reply of the server is a value here.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut current = self.connection().await?;
        current.connection.req_packed_command(command).await.map_err(|error| {
            self.replace(current.number);
            failure::broken(&error, &self.name)
        })
    }

    /// Sends commands as one pipeline; returns a reply for each.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let mut current = self.connection().await?;
        let replies = current.connection.req_packed_commands(commands, 0, commands.len()).await;
        let replies = replies.map_err(|error| {
            self.replace(current.number);
            failure::broken(&error, &self.name)
        })?;
        if replies.len() == commands.len() {
            return Ok(replies);
        }
        self.replace(current.number);
        let (got, sent) = (replies.len(), commands.len());
        Err(Failure::MaybeApplied(format!("{}: {got} replies to {sent} commands", self.name)))
    }

    /// Sends a read-only command; an error reply of the server is a [`Failure`].
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Failure> {
        match self.send(command).await? {
            Value::ServerError(error) => Err(failure::classify(&error, &self.name, true).0),
            value => Ok(value),
        }
    }

    /// Opens a separate connection for subscriptions.
    pub(super) async fn subscriptions(&self) -> Result<redis::aio::PubSub, String> {
        let connecting = self.client.get_async_pubsub();
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(subscriptions)) => Ok(subscriptions),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the server does not answer".to_owned()),
        }
    }

    /// The connect error for a failure of this node.
    pub(super) fn unreachable(&self, failure: &Failure) -> ConnectError {
        ConnectError::Unreachable { node: self.name.clone(), problem: failure.to_string() }
    }
}
