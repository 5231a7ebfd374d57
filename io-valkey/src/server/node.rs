//! One server with its connection, which is replaced when it breaks, and closed when a reply does
//! not belong to its call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, Pipeline,
    RedisError, ServerError, Value, cmd,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::failure;
use super::target::{ConnectError, Target};
use super::trouble::{Backoff, Missing, Trouble};
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
    /// Locked while connecting.
    connecting: tokio::sync::Mutex<Connecting>,
    next_number: AtomicU64,
    trouble: Trouble,
    /// The waits between connections that are replaced because the server is a replica.
    replacing: Mutex<Backoff>,
}

/// The tries to connect.
#[derive(Default)]
struct Connecting {
    /// The time and the reason of the latest failed try.
    latest: Option<(Instant, Failure)>,
    backoff: Backoff,
}

#[derive(Clone)]
struct Current {
    connection: MultiplexedConnection,
    number: u64,
    /// Set once a reply did not belong to its call. Then no reply on this connection is certain,
    /// and all its calls end.
    closed: Arc<watch::Sender<bool>>,
    /// When the first of the calls was sent that the server has not answered; `None` after a reply.
    silent_since: Arc<Mutex<Option<Instant>>>,
}

impl Current {
    fn silent_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.silent_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the server has answered nothing on this connection for this time, although it was
    /// called. A caller that gives up at its deadline does not wait for this time.
    fn is_silent_for(&self, limit: Duration) -> bool {
        self.silent_since().is_some_and(|since| since.elapsed() >= limit)
    }

    /// Waits for the reply to a call on this connection, unless the connection is closed.
    async fn reply<T>(
        &self,
        sent: impl Future<Output = Result<T, RedisError>>,
        node: &Node,
    ) -> Result<T, Failure> {
        let mut closed = self.closed.subscribe();
        self.silent_since().get_or_insert_with(Instant::now);
        let reply = tokio::select! {
            biased;
            reply = sent => reply,
            _ = closed.wait_for(|closed| *closed) => return Err(node.was_closed()),
        };
        match reply {
            Ok(reply) => {
                *self.silent_since() = None;
                node.trouble.ends(&node.name, Missing::Answers);
                Ok(reply)
            }
            Err(error) => {
                node.replace(self.number);
                if error.is_timeout() {
                    node.trouble.begins(&node.name, Missing::Answers, NO_ANSWER);
                }
                Err(failure::broken(&error, &node.name))
            }
        }
    }
}

const NO_ANSWER: &str = "it does not answer";
/// How long the error that a server sends to each new connection may take.
const GREETING_WITHIN: Duration = Duration::from_millis(250);
/// How much of it is read, in bytes.
const MAX_GREETING: u64 = 512;

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
            connecting: tokio::sync::Mutex::default(),
            next_number: AtomicU64::new(0),
            trouble: Trouble::new(target.is_open.clone()),
            replacing: Mutex::default(),
        })
    }

    fn current(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection, or opens one. Concurrent callers share the outcome of one try, and
    /// so do those that call before the next try is due. A connection without replies is replaced.
    async fn connection(&self) -> Result<Current, Failure> {
        // The lock is not held in what follows.
        let current = self.current().clone();
        if let Some(current) = current {
            if !current.is_silent_for(self.response_timeout) {
                return Ok(current);
            }
            self.replace(current.number);
        }
        let asked = Instant::now();
        let mut connecting = self.connecting.lock().await;
        if let Some(current) = self.current().clone() {
            return Ok(current);
        }
        if let Some((at, failure)) = &connecting.latest
            && (*at > asked || !connecting.backoff.is_over())
        {
            return Err(failure.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_timeout))
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(MAX_IN_FLIGHT);
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                let number = self.next_number.fetch_add(1, Ordering::Relaxed);
                let closed = Arc::new(watch::Sender::new(false));
                let silent_since = Arc::default();
                let current = Current { connection, number, closed, silent_since };
                *self.current() = Some(current.clone());
                *connecting = Connecting::default();
                tracing::debug!(node = self.name, number, "connected");
                Ok(current)
            }
            Err(error) => {
                let failure = self.not_connected(&error).await;
                connecting.latest = Some((Instant::now(), failure.clone()));
                connecting.backoff.failed();
                Err(failure)
            }
        }
    }

    /// The failure for an error of connecting.
    async fn not_connected(&self, error: &RedisError) -> Failure {
        let asks = error.kind() == ErrorKind::AuthenticationFailed
            || error.is_connection_dropped() && !error.is_connection_refusal();
        let said = if asks { self.greeting().await } else { None };
        let failure = failure::not_connected(error, said.as_deref(), &self.name);
        let (Failure::NotSent(reason) | Failure::Refused(reason) | Failure::MaybeApplied(reason)) =
            &failure;
        let reason =
            reason.rsplit_once(&format!("{}: ", self.name)).map_or(&**reason, |(_, why)| why);
        self.trouble.begins(&self.name, Missing::Answers, reason);
        failure
    }

    /// The error that the server sends to each new connection before it closes it, for example
    /// because it has too many. The client library reports only that the connection was closed.
    async fn greeting(&self) -> Option<String> {
        let ConnectionAddr::Tcp(host, port) = self.client.get_connection_info().addr() else {
            return None;
        };
        let reading = async {
            let stream = TcpStream::connect((host.as_str(), *port)).await.ok()?;
            let mut line = String::new();
            BufReader::new(stream.take(MAX_GREETING)).read_line(&mut line).await.ok()?;
            line.strip_prefix('-').map(|line| line.trim_end().to_owned())
        };
        tokio::time::timeout(GREETING_WITHIN, reading).await.ok().flatten()
    }

    /// Notes a reply to a call: an error about the state of the server, or that it serves again.
    pub(super) fn replied(&self, error: Option<&ServerError>, only_reads: bool) {
        let missing = if only_reads { Missing::Reads } else { Missing::Writes };
        let Some(error) = error else {
            if !only_reads {
                self.replacing().succeeded();
            }
            return self.trouble.ends(&self.name, missing);
        };
        if let Some(words) = failure::in_words(error.code()) {
            self.trouble.begins(&self.name, missing, &format!("{words} ({})", error.code()));
        }
    }

    fn replacing(&self) -> MutexGuard<'_, Backoff> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a connection, unless another caller has already replaced it.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.number == number) {
            *current = None;
        }
    }

    /// Drops the connection; the next call opens a new one. If the server stays a replica, this
    /// happens less and less often.
    pub(super) fn reconnect(&self) {
        let mut replacing = self.replacing();
        if replacing.is_over() {
            replacing.failed();
            *self.current() = None;
        }
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
        let current = self.connection().await?;
        let value = if asking {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(cmd("ASKING")).add_command(command.clone());
            self.send_all_on(&current, &pipeline).await?.pop().unwrap_or(Value::Nil)
        } else {
            self.send_on(&current, command).await?
        };
        match value {
            Value::ServerError(error) => {
                if !only_reads {
                    self.confirm(&current, tag).await?;
                }
                self.replied(Some(&error), only_reads);
                Ok(Err(error))
            }
            value => tag
                .remove_from(answer(value))
                .inspect(|_| self.replied(None, only_reads))
                .map(Ok)
                .map_err(|error| self.close_connection(Some(&current), &error.to_string())),
        }
    }

    /// Confirms that an error reply, which has no tag, belongs to the call that received it. If
    /// the replies of this connection are shifted, this echo gets the reply to an earlier call.
    async fn confirm(&self, current: &Current, tag: Tag) -> Result<(), Failure> {
        match self.send_on(current, cmd("ECHO").arg(tag.as_bytes())).await? {
            Value::BulkString(echo) if echo == tag.as_bytes() => Ok(()),
            _ => Err(self.close_connection(Some(current), "an error is not followed by its echo")),
        }
    }

    /// Sends a command. An error reply of the server is a value here.
    pub(super) async fn send(&self, command: &Cmd) -> Result<Value, Failure> {
        let current = self.connection().await?;
        self.send_on(&current, command).await
    }

    async fn send_on(&self, current: &Current, command: &Cmd) -> Result<Value, Failure> {
        let mut connection = current.connection.clone();
        current.reply(connection.req_packed_command(command), self).await
    }

    /// Sends commands as one pipeline; returns a reply for each.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let current = self.connection().await?;
        self.send_all_on(&current, commands).await
    }

    async fn send_all_on(
        &self,
        current: &Current,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, Failure> {
        let mut connection = current.connection.clone();
        let sent = connection.req_packed_commands(commands, 0, commands.len());
        let replies = current.reply(sent, self).await?;
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
            Value::ServerError(error) => {
                self.replied(Some(&error), true);
                Err(failure::classify(&error, &self.name, true).0)
            }
            value => Ok(value),
        }
    }

    /// Waits for the answer to calls to this node, at most for this time.
    pub(super) async fn within<T>(
        &self,
        limit: Duration,
        calls: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let late = || format!("{}: no answer within {limit:?}", self.name);
        let answered = tokio::time::timeout(limit, calls).await;
        answered.unwrap_or_else(|_| Err(Failure::MaybeApplied(late())))
    }

    /// Opens a separate connection for subscriptions.
    pub(super) async fn subscriptions(&self) -> Result<redis::aio::PubSub, String> {
        let connecting = self.client.get_async_pubsub();
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(subscriptions)) => {
                self.trouble.ends(&self.name, Missing::Answers);
                Ok(subscriptions)
            }
            Ok(Err(error)) => Err(self.not_connected(&error).await.to_string()),
            Err(_) => {
                self.trouble.begins(&self.name, Missing::Answers, NO_ANSWER);
                Err(NO_ANSWER.to_owned())
            }
        }
    }

    /// The connect error for a failure of this node.
    pub(super) fn unreachable(&self, failure: &Failure) -> ConnectError {
        let node = self.name.clone();
        match failure {
            Failure::Refused(problem) if failure::is_access_refused(problem) => {
                ConnectError::Unfit { node, problem: problem.clone() }
            }
            failure => ConnectError::Unreachable { node, problem: failure.to_string() },
        }
    }
}

pub(super) fn answer(value: Value) -> Answer {
    match value {
        Value::Int(number) => Answer::Number(number),
        Value::BulkString(bytes) => Answer::Data(bytes),
        Value::SimpleString(text) => Answer::Data(text.into_bytes()),
        Value::Array(items) => Answer::List(items.into_iter().map(answer).collect()),
        _ => Answer::Nil,
    }
}
