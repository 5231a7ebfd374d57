//! One server with its connection, which is replaced when it breaks, and closed when a reply does
//! not belong to its call.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisError, ServerError,
    Value, cmd,
};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::failure;
use super::stream;
use super::target::{ConnectError, Target};
use super::trouble::{Backoff, Missing, Trouble};
use crate::wire::{Answer, Tag};
use ff_core::store::Failure;

/// One server.
pub(super) struct Node {
    /// Its address, `HOST:PORT`, or the path of its socket.
    pub(super) name: String,
    info: ConnectionInfo,
    tls: bool,
    /// Whether it may be a replica: a sentinel has no role.
    has_role: bool,
    connect_timeout: Duration,
    response_timeout: Duration,
    current: Mutex<Option<Current>>,
    /// Locked while connecting.
    connecting: tokio::sync::Mutex<Connecting>,
    next_number: AtomicU64,
    trouble: Trouble,
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
    /// When the server was known to be no replica for the last time.
    primary_at: Arc<Mutex<Option<Instant>>>,
    _driver: Arc<Driver>,
}

/// The task that reads and writes on a connection. It ends with the last handle of the connection,
/// also if the server does not answer.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
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

    fn primary_at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.primary_at.lock().unwrap_or_else(PoisonError::into_inner)
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
/// For how long a server counts as the primary after it has shown it: by a write, or by its role. A
/// replica answers calls that only read, with old data.
const PRIMARY_FOR: Duration = Duration::from_secs(1);

/// The most calls in flight on one connection; further calls wait.
const MAX_IN_FLIGHT: usize = 1_024;

impl Node {
    pub(super) fn new(info: ConnectionInfo, target: &Target) -> Self {
        Self {
            name: info.addr().to_string(),
            info,
            tls: target.tls,
            has_role: true,
            connect_timeout: target.connect_timeout,
            response_timeout: target.response_timeout,
            current: Mutex::new(None),
            connecting: tokio::sync::Mutex::default(),
            next_number: AtomicU64::new(0),
            trouble: Trouble::new(target.is_open.clone()),
        }
    }

    /// A sentinel. The log says nothing about one: another one may answer.
    pub(super) fn sentinel(info: ConnectionInfo, target: &Target) -> Self {
        let trouble = Trouble::new(Arc::default());
        Self { has_role: false, trouble, ..Self::new(info, target) }
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
        let opened = self.within_limit(self.open()).await;
        let opened = match opened {
            Err(error) => Err(self.not_connected(&error).await),
            Ok(current) => self.check_role(&current).await.map(|()| current),
        };
        match &opened {
            Ok(current) => {
                *self.current() = Some(current.clone());
                *connecting = Connecting::default();
                tracing::debug!(node = self.name, number = current.number, "connected");
            }
            Err(failure) => {
                connecting.latest = Some((Instant::now(), failure.clone()));
                connecting.backoff.failed();
            }
        }
        opened
    }

    /// Waits for a connection, at most for the limit.
    async fn within_limit<T>(
        &self,
        connecting: impl Future<Output = Result<T, RedisError>>,
    ) -> Result<T, RedisError> {
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }

    async fn open(&self) -> Result<Current, RedisError> {
        let stream = stream::open(self.info.addr(), self.tls).await?;
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(self.response_timeout))
            .set_pipeline_buffer_size(MAX_IN_FLIGHT);
        let settings = self.info.redis_settings();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(settings, stream, config).await?;
        Ok(Current {
            connection,
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
            closed: Arc::new(watch::Sender::new(false)),
            silent_since: Arc::default(),
            primary_at: Arc::default(),
            _driver: Arc::new(Driver(tokio::spawn(driver).abort_handle())),
        })
    }

    /// Checks that the server is not a replica, unless it was not one a moment ago.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        let current = self.connection().await?;
        self.check_role(&current).await
    }

    /// The same on this connection, which is dropped if the server is a replica: the next one may
    /// lead to another server. A replica in a cluster redirects all calls by itself.
    async fn check_role(&self, current: &Current) -> Result<(), Failure> {
        let is_known = current.primary_at().is_some_and(|at| at.elapsed() < PRIMARY_FOR);
        if is_known || !self.has_role {
            return Ok(());
        }
        let info = self.send_on(current, cmd("INFO").arg("replication").arg("cluster")).await?;
        // A server that cannot report its role fails when it is called.
        let info = redis::from_redis_value::<String>(info).unwrap_or_default();
        if info.contains("role:slave") && !info.contains("cluster_enabled:1") {
            self.replace(current.number);
            let words = failure::in_words("READONLY").unwrap_or_default();
            self.trouble.begins(&self.name, Missing::Primary, &format!("{words} (READONLY)"));
            return Err(Failure::Refused(format!("{}: READONLY {words}", self.name)));
        }
        self.shown_as_primary(current);
        Ok(())
    }

    fn shown_as_primary(&self, current: &Current) {
        *current.primary_at() = Some(Instant::now());
        self.trouble.ends(&self.name, Missing::Primary);
    }

    /// The failure for an error of connecting.
    async fn not_connected(&self, error: &RedisError) -> Failure {
        // A server with TLS closes connections without it; one without TLS waits for more, or
        // answers something else.
        let is_unclear = match self.tls {
            true => error.is_timeout() || failure::is_not_tls(error),
            false => error.is_connection_dropped() || error.kind() == ErrorKind::Parse,
        };
        let asks = error.kind() == ErrorKind::AuthenticationFailed || is_unclear;
        let greeting = match asks && !error.is_connection_refusal() {
            true => stream::greeting(self.info.addr(), self.tls).await,
            false => None,
        };
        let failure = failure::not_connected(error, greeting.as_ref(), &self.name);
        let (Failure::NotSent(reason) | Failure::Refused(reason) | Failure::MaybeApplied(reason)) =
            &failure;
        let reason =
            reason.rsplit_once(&format!("{}: ", self.name)).map_or(&**reason, |(_, why)| why);
        self.trouble.begins(&self.name, Missing::Answers, reason);
        failure
    }

    /// Notes a reply to a call: an error about the state of the server, or that it serves again.
    /// The connection to a replica is dropped.
    pub(super) fn replied(&self, error: Option<&ServerError>, only_reads: bool) {
        let mut missing = if only_reads { Missing::Reads } else { Missing::Writes };
        let Some(error) = error else {
            return self.trouble.ends(&self.name, missing);
        };
        if error.code() == "READONLY" {
            missing = Missing::Primary;
            // The next connection may lead to another server.
            *self.current() = None;
        }
        if let Some(words) = failure::in_words(error.code()) {
            self.trouble.begins(&self.name, missing, &format!("{words} ({})", error.code()));
        }
    }

    /// Drops a connection, unless another caller has already replaced it.
    fn replace(&self, number: u64) {
        let mut current = self.current();
        if current.as_ref().is_some_and(|current| current.number == number) {
            *current = None;
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
        let role = async { if only_reads { self.check_role(&current).await } else { Ok(()) } };
        let value = if asking {
            let mut pipeline = Pipeline::with_capacity(2);
            pipeline.add_command(cmd("ASKING")).add_command(command.clone());
            self.send_all_on(&current, &pipeline).await?.pop().unwrap_or(Value::Nil)
        } else {
            tokio::try_join!(self.send_on(&current, command), role)?.0
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
                .inspect(|_| {
                    self.replied(None, only_reads);
                    if !only_reads {
                        *current.primary_at() = Some(Instant::now());
                    }
                })
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

    /// Sends commands that only read as one pipeline; returns a reply for each.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failure> {
        let current = self.connection().await?;
        let sent = self.send_all_on(&current, commands);
        Ok(tokio::try_join!(sent, self.check_role(&current))?.0)
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

    /// Opens a separate connection for subscriptions, unless the server is a replica.
    pub(super) async fn subscriptions(&self) -> Result<PubSub, String> {
        self.check().await.map_err(|failure| failure.to_string())?;
        let opening = async {
            let stream = stream::open(self.info.addr(), self.tls).await?;
            PubSub::new(self.info.redis_settings(), stream).await
        };
        match self.within_limit(opening).await {
            Ok(subscriptions) => {
                self.trouble.ends(&self.name, Missing::Answers);
                Ok(subscriptions)
            }
            Err(error) => Err(self.not_connected(&error).await.to_string()),
        }
    }

    /// The connect error for a failure of this node.
    pub(super) fn unreachable(&self, failure: &Failure) -> ConnectError {
        connect_error(self.name.clone(), failure)
    }
}

/// The connect error for a failure of what is named so.
pub(super) fn connect_error(node: String, failure: &Failure) -> ConnectError {
    match failure {
        Failure::Refused(problem) if failure::is_access_refused(problem) => {
            ConnectError::Unfit { node, problem: problem.clone() }
        }
        Failure::Refused(problem) if problem.contains(": READONLY ") => {
            let problem = format!("{problem}: connect to the primary");
            ConnectError::Unfit { node, problem }
        }
        failure => ConnectError::Unreachable { node, problem: failure.to_string() },
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
