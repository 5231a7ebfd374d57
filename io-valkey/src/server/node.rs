//! One server with its connection, which is replaced when it breaks, and closed when a reply does
//! not belong to its call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, Pipeline, RedisError, ServerError, Value,
    cmd,
};
use tokio::sync::watch;

use super::failure;
use super::target::{ConnectError, Target};
use crate::wire::{Answer, Tag};
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
    /// Set once a reply did not belong to its call. Then no reply on this connection is certain,
    /// and all its calls end.
    closed: Arc<watch::Sender<bool>>,
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
                let closed = Arc::new(watch::Sender::new(false));
                let current = Current { connection, number, closed };
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

    /// Closes the connection because a reply on it does not fit its call. All calls in flight on it
    /// end as perhaps applied, since their replies may be those of other calls.
    pub(super) fn close(&self, what: &str) -> Failure {
        let current = self.current().clone();
        self.close_connection(current.as_ref(), what)
    }

    fn close_connection(&self, current: Option<&Current>, what: &str) -> Failure {
        tracing::warn!(node = self.name, what, "a reply does not fit its call: connection closed");
        if let Some(current) = current {
            self.replace(current.number);
            current.closed.send_replace(true);
        }
        Failure::MaybeApplied(format!("{}: a reply does not fit its call: {what}", self.name))
    }

    /// Calls a function whose last argument is the tag; returns its reply without the tag, or the
    /// error reply of the server. With `asking`, the call goes to a slot that is being imported.
    pub(super) async fn call(
        &self,
        command: &Cmd,
        tag: Tag,
        asking: bool,
        only_reads: bool,
    ) -> Result<Result<Answer, ServerError>, Failure> {
        let mut current = self.connection().await?;
        let value = if asking {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(cmd("ASKING")).add_command(command.clone());
            self.send_all_on(&mut current, &pipeline).await?.pop().unwrap_or(Value::Nil)
        } else {
            self.send_on(&mut current, command).await?
        };
        match value {
            Value::ServerError(error) => {
                if !only_reads {
                    self.confirm(&mut current, tag).await?;
                }
                Ok(Err(error))
            }
            value => tag
                .remove_from(answer(value))
                .map(Ok)
                .map_err(|error| self.close_connection(Some(&current), &error.to_string())),
        }
    }

    /// Confirms that an error reply, which has no tag, belongs to the call that received it. If
    /// the replies of this connection are shifted, this echo gets the reply to an earlier call.
    async fn confirm(&self, current: &mut Current, tag: Tag) -> Result<(), Failure> {
        match self.send_on(current, cmd("ECHO").arg(tag.as_bytes())).await? {
            Value::BulkString(echo) if echo == tag.as_bytes() => Ok(()),
            _ => Err(self.close_connection(Some(current), "an error is not followed by its echo")),
        }
    }

    /// Sends a command. An error reply of the server is a value here.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let mut current = self.connection().await?;
        self.send_on(&mut current, command).await
    }

    async fn send_on(&self, current: &mut Current, command: &Cmd) -> Result<Value, Failure> {
        let mut closed = current.closed.subscribe();
        let sent = tokio::select! {
            biased;
            sent = current.connection.req_packed_command(command) => sent,
            _ = closed.wait_for(|closed| *closed) => return Err(self.was_closed()),
        };
        sent.map_err(|error| {
            self.replace(current.number);
            failure::broken(&error, &self.name)
        })
    }

    /// Sends commands as one pipeline; returns a reply for each.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let mut current = self.connection().await?;
        self.send_all_on(&mut current, commands).await
    }

    async fn send_all_on(
        &self,
        current: &mut Current,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let mut closed = current.closed.subscribe();
        let sent = tokio::select! {
            biased;
            sent = current.connection.req_packed_commands(commands, 0, commands.len()) => sent,
            _ = closed.wait_for(|closed| *closed) => return Err(self.was_closed()),
        };
        let replies = sent.map_err(|error| {
            self.replace(current.number);
            failure::broken(&error, &self.name)
        })?;
        if replies.len() == commands.len() {
            return Ok(replies);
        }
        let what = format!("{} replies to {} commands", replies.len(), commands.len());
        Err(self.close_connection(Some(current), &what))
    }

    fn was_closed(&self) -> Failure {
        let why = "the connection was closed, since an earlier reply did not fit its call";
        Failure::MaybeApplied(format!("{}: {why}", self.name))
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

fn answer(value: Value) -> Answer {
    match value {
        Value::Int(number) => Answer::Number(number),
        Value::BulkString(bytes) => Answer::Data(bytes),
        Value::SimpleString(text) => Answer::Data(text.into_bytes()),
        Value::Array(items) => Answer::List(items.into_iter().map(answer).collect()),
        _ => Answer::Nil,
    }
}
