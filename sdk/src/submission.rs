//! The builder of an execution to submit.

use std::sync::Arc;
use std::time::Duration;

use ff_core::capability::Capabilities;
use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{Create, Start, content_digest};
use ff_core::id::{
    BudgetId, ExecutionId, ExecutionKind, LaneId, Namespace, Nonce, QuotaId, QuotaKey,
};
use ff_core::limits::Limits;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{ExecutionPolicy, Priority, RetryPolicy};
use ff_core::quota_ref::QuotaRef;
use ff_core::tags::{TRACE_PARENT, Tags};
use ff_core::time::{DurationMs, TimestampMs};
use serde::Serialize;
use uuid::Uuid;

use crate::config::DEFAULT_LANE;
use crate::error::SdkError;
use crate::trace::is_trace_parent;

/// An execution to submit (`docs/spec.md`, 4: create). Everything but the kind has a default.
///
/// ```
/// use std::time::Duration;
/// use ff_sdk::Submission;
///
/// let submission = Submission::new("resize")
///     .payload("image-17")
///     .priority(10)
///     .delay(Duration::from_secs(5))
///     .tag("team.name", "media")
///     .idempotency_key("resize-image-17");
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Submission {
    kind: String,
    lane: String,
    payload: Option<Arc<[u8]>>,
    priority: i64,
    policy: ExecutionPolicy,
    requires: Vec<String>,
    tags: Vec<(String, String)>,
    budgets: Vec<String>,
    quotas: Vec<(String, Option<String>)>,
    start: Start,
    deadline: Option<TimestampMs>,
    id: Option<ExecutionId>,
    idempotency_key: Option<String>,
}

/// A value that can be submitted: a [`Submission`] or a [`Job`](crate::Job).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be submitted",
    note = "submit a `Submission`, or a type that derives `Job`"
)]
pub trait IntoSubmission {
    /// Returns the submission.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when the job cannot be serialized as JSON.
    fn into_submission(self) -> Result<Submission, SdkError>;
}

impl IntoSubmission for Submission {
    fn into_submission(self) -> Result<Submission, SdkError> {
        Ok(self)
    }
}

impl Submission {
    /// Creates a submission of a kind, which selects the handler. It goes to the lane `default`.
    pub fn new(kind: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            lane: DEFAULT_LANE.to_owned(),
            payload: None,
            priority: 0,
            policy: ExecutionPolicy::default(),
            requires: Vec::new(),
            tags: Vec::new(),
            budgets: Vec::new(),
            quotas: Vec::new(),
            start: Start::Now,
            deadline: None,
            id: None,
            idempotency_key: None,
        }
    }

    /// Sets the lane (a named queue). Default: `default`.
    pub fn lane(mut self, lane: impl Into<String>) -> Self {
        self.lane = lane.into();
        self
    }

    /// Sets the payload, which the handler gets byte for byte; at most
    /// [`payload_limit`](crate::ClientConfig::payload_limit) bytes. Default: none.
    pub fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = Some(Arc::from(payload.as_ref()));
        self
    }

    /// Sets the payload to a value as JSON.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when the value cannot be serialized as JSON.
    pub fn json(self, value: &impl Serialize) -> Result<Self, SdkError> {
        let text = serde_json::to_vec(value).map_err(|error| {
            let message = format!("cannot be serialized as JSON: {error}");
            SdkError::config("submission", "payload", message)
        })?;
        Ok(self.payload(text))
    }

    /// Sets the priority; higher is claimed first. It is clamped to 0..=9000. Default: 0.
    pub const fn priority(mut self, priority: i64) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the whole policy: retries, timeouts, reclaims, replays, retention.
    pub fn policy(mut self, policy: ExecutionPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets how often and after which backoff a failed attempt is retried.
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.policy.retry = retry;
        self
    }

    /// Sets the most retries of a failed attempt. Default: 3.
    pub const fn max_retries(mut self, retries: u32) -> Self {
        self.policy.retry.max_retries = retries;
        self
    }

    /// Limits the time that an attempt may run under a lease, in whole milliseconds. Default: no
    /// limit.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.policy.timeout.attempt_timeout_ms = Some(timeout.into());
        self
    }

    /// Adds capabilities that a worker must have to run it.
    pub fn requires<T: Into<String>>(mut self, tokens: impl IntoIterator<Item = T>) -> Self {
        self.requires.extend(tokens.into_iter().map(Into::into));
        self
    }

    /// Adds a tag. A key is of the form `owner.name`: lower-case letters, digits and `_`, with at
    /// least one dot.
    pub fn tag(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.tags.push((key.into(), value.into()));
        self
    }

    /// Sets the trace context of the submitter, so that the handler can continue its trace: the
    /// header `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/), as
    /// `00-TRACEID-PARENTID-FLAGS` in lower-case hexadecimal digits. The handler reads it with
    /// [`TaskContext::trace_parent`](crate::TaskContext::trace_parent).
    ///
    /// It is stored as the tag `w3c.traceparent`. It is not part of the content that an idempotency
    /// key stands for: a repeat may have another one, and the first one stays.
    ///
    /// # Errors
    ///
    /// [`SdkError::Config`] when it is not such a header.
    pub fn trace_parent(self, header: &str) -> Result<Self, SdkError> {
        if !is_trace_parent(header) {
            let message = format!(
                "is {header:?}: expected a version, a trace ID, a parent ID and flags, as 2, 32, \
                 16 and 2 lower-case hexadecimal digits with `-` between them"
            );
            return Err(SdkError::config("submission", "trace_parent", message));
        }
        Ok(self.tag(TRACE_PARENT, header))
    }

    /// Counts it towards a quota: it starts only while the quota allows it. At most 4 quotas. Until
    /// the quota exists, the execution waits.
    pub fn quota(mut self, quota: impl Into<String>) -> Self {
        self.quotas.push((quota.into(), None));
        self
    }

    /// Counts it towards a quota under a key, such as a customer: the limits of the quota hold for
    /// each key by itself.
    pub fn quota_key(mut self, quota: impl Into<String>, key: impl Into<String>) -> Self {
        self.quotas.push((quota.into(), Some(key.into())));
        self
    }

    /// Counts it towards a budget: it does not start while the budget is at a hard limit. At most 8
    /// budgets. Until the budget exists, the execution waits. What it spends is charged by
    /// [`report_usage`](crate::ClaimedTask::report_usage).
    pub fn budget(mut self, budget: impl Into<String>) -> Self {
        self.budgets.push(budget.into());
        self
    }

    /// Delays the start by this time after the submission.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.start = Start::After(DurationMs::from(delay));
        self
    }

    /// Delays the start until a time of the store's clock.
    pub const fn delay_until(mut self, until: TimestampMs) -> Self {
        self.start = Start::At(until);
        self
    }

    /// Sets the time of the store's clock at which it expires, in any phase. Default: never.
    pub const fn deadline(mut self, deadline: TimestampMs) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Sets its id. Default: a random one. An id and an idempotency key exclude each other.
    pub const fn id(mut self, id: ExecutionId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the idempotency key: submitting the same content twice under one key creates one
    /// execution, and other content under that key is refused. The key is remembered until the
    /// execution's retention ends.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    pub(crate) fn lane_name(&self) -> &str {
        &self.lane
    }

    /// Parses all parts into the command.
    pub(crate) fn into_create(
        self,
        namespace: &Namespace,
        partitions: &PartitionConfig,
        payload_limit: usize,
        uuid: Uuid,
        creator: u64,
    ) -> Result<Create, EngineError> {
        let by_key = self
            .idempotency_key
            .as_ref()
            .map(|key| ExecutionId::for_idempotency_key(partitions, namespace, key));
        if self.id.is_some() && by_key.is_some() {
            let problem = "and an id exclude each other: the key determines the id".to_owned();
            return Err(Rejection::InvalidInput { field: "idempotency_key", problem }.into());
        }
        let execution_id =
            self.id.or(by_key).unwrap_or_else(|| ExecutionId::solo(partitions, uuid));
        let (index, count) = (execution_id.partition().index, partitions.num_flow_partitions);
        if index >= count {
            return Err(Rejection::PartitionOutOfRange { index, count }.into());
        }
        let mut create = Create {
            execution_id,
            namespace: namespace.clone(),
            lane: LaneId::try_new(self.lane)?,
            kind: ExecutionKind::try_new(self.kind)?,
            payload: self.payload,
            payload_limit,
            priority: Priority::clamped(self.priority),
            policy: self.policy,
            requires: Capabilities::try_new(self.requires)?,
            tags: Tags::try_new(self.tags)?,
            limits: limits_of(self.budgets, self.quotas)?,
            start: self.start,
            deadline: self.deadline,
            position: 0,
            creator: Nonce(creator),
            content: None,
        };
        if by_key.is_some() {
            create.content = Some(content_digest(&create));
        }
        Ok(create)
    }
}

fn limits_of(
    budgets: Vec<String>,
    quotas: Vec<(String, Option<String>)>,
) -> Result<Limits, Rejection> {
    let budgets = budgets.into_iter().map(BudgetId::try_new).collect::<Result<_, _>>()?;
    let quota = |(quota, key): (String, Option<String>)| {
        let key = key.map(QuotaKey::try_new).transpose()?;
        Ok::<_, Rejection>(QuotaRef { quota: QuotaId::try_new(quota)?, key })
    };
    let quotas = quotas.into_iter().map(quota).collect::<Result<_, _>>()?;
    Limits { budgets, quotas }.checked()
}
