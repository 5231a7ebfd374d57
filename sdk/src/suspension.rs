//! The builder of a suspension: the condition that a worker's execution waits for.

use std::time::Duration;

use ff_core::condition::{
    Condition, ResumePolicy, SuspensionReason, SuspensionTimeout, TimeoutAt, TimeoutBehaviour,
};
use ff_core::execution::{BindWaitpoint, FenceParts, IssuedWaitpoint, Suspend};
use ff_core::id::{ExecutionId, SuspensionId, WaitpointId, WaitpointKey};
use ff_core::time::{DurationMs, TimestampMs};

use crate::error::SdkError;
use crate::shared::Connection;

/// A suspension: a condition over waitpoints, a timeout, and a resume policy (`docs/spec.md`, 5).
///
/// The suspension opens each waitpoint that its condition names, unless it is open already. Open a
/// waitpoint before ([`create_pending_waitpoint`], then [`Suspension::open`]) when its token must
/// be passed on before the task is given back; the waitpoint buffers signals that arrive in
/// between.
///
/// [`create_pending_waitpoint`]: crate::ClaimedTask::create_pending_waitpoint
///
/// ```
/// use std::time::Duration;
/// use ff_sdk::{
///     Condition, CountKind, SignalMatcher, Suspension, SuspensionReason, TimeoutBehaviour,
/// };
///
/// # fn main() -> Result<(), ff_sdk::SdkError> {
/// let two_approvers = Condition::Count {
///     n: 2,
///     kind: CountKind::DistinctSources,
///     matcher: SignalMatcher::ByName("approved".parse()?),
///     waitpoints: vec!["approval".parse()?],
/// };
/// let suspension = Suspension::until(two_approvers)
///     .reason(SuspensionReason::Approval)
///     .timeout(Duration::from_secs(3_600), TimeoutBehaviour::Escalate);
/// # drop(suspension);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "nothing is suspended until a task is given back with it"]
pub struct Suspension {
    condition: Condition,
    reason: SuspensionReason,
    open: Vec<(WaitpointId, WaitpointKey)>,
    timeout: Option<SuspensionTimeout>,
    policy: ResumePolicy,
}

impl Suspension {
    /// Creates a suspension until a condition is satisfied.
    pub fn until(condition: Condition) -> Self {
        let (reason, policy) = (SuspensionReason::default(), ResumePolicy::default());
        Self { condition, reason, open: Vec::new(), timeout: None, policy }
    }

    /// Creates a suspension until any signal to the waitpoint of this name. A name is 1 to 64
    /// printable ASCII bytes without space.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the name is invalid.
    pub fn until_signal(waitpoint: impl AsRef<str>) -> Result<Self, SdkError> {
        Ok(Self::until(Condition::any_signal(WaitpointKey::try_new(waitpoint)?)))
    }

    /// Creates a suspension until an operator resumes the execution.
    pub fn until_operator() -> Self {
        Self::until(Condition::OperatorOnly).reason(SuspensionReason::Operator)
    }

    /// Sets the reason, which is shown as the execution's blocking reason.
    pub const fn reason(mut self, reason: SuspensionReason) -> Self {
        self.reason = reason;
        self
    }

    /// Uses exactly this open waitpoint, with the signals that it has buffered. If it has closed,
    /// the suspension is refused with `WaitpointClosed`. Without this call, the suspension uses the
    /// waitpoint that is open under the name, or opens one.
    pub fn open(mut self, waitpoint: &IssuedWaitpoint) -> Self {
        self.open.push((waitpoint.id, waitpoint.key.clone()));
        self
    }

    /// Sets a timeout, counted from the suspension, and what happens then. Default: none.
    pub fn timeout(mut self, after: Duration, behaviour: TimeoutBehaviour) -> Self {
        self.timeout = Some(SuspensionTimeout::after(DurationMs::from(after), behaviour));
        self
    }

    /// Sets a timeout at a time of the store's clock, and what happens then.
    pub const fn timeout_at(mut self, at: TimestampMs, behaviour: TimeoutBehaviour) -> Self {
        self.timeout = Some(SuspensionTimeout { when: TimeoutAt::At(at), behaviour });
        self
    }

    /// Sets the time between the resume and the moment when the execution can be claimed, in whole
    /// milliseconds. Default: none.
    pub fn resume_delay(mut self, delay: Duration) -> Self {
        self.policy.resume_delay_ms = DurationMs::from(delay);
        self
    }

    /// Leaves the waitpoints open when the execution is resumed: signals under the same tokens
    /// count for a later suspension. With `count_again`, all signals received so far count there
    /// too; otherwise only those after the signal that resumed.
    pub const fn keep_waitpoints(mut self, count_again: bool) -> Self {
        self.policy.close_waitpoints = false;
        self.policy.consume_signals = !count_again;
        self
    }

    /// Builds the command.
    pub(crate) fn into_command(
        self,
        execution_id: ExecutionId,
        fence: FenceParts,
        connection: &Connection,
    ) -> Suspend {
        let mut entropy = connection.entropy();
        let mut waitpoints: Vec<BindWaitpoint> =
            self.open.iter().map(|(id, _)| BindWaitpoint::Open { id: *id }).collect();
        // An invalid condition is refused by the rule of the command.
        let parts = self.condition.parts().unwrap_or_default();
        let mut named: Vec<&WaitpointKey> =
            parts.iter().flat_map(|part| &part.waitpoints).collect();
        named.sort_unstable();
        named.dedup();
        for key in named {
            if self.open.iter().all(|(_, open)| open != key) {
                let (id, key) = (WaitpointId::random(&mut entropy), key.clone());
                waitpoints.push(BindWaitpoint::New { id, key });
            }
        }
        Suspend {
            execution_id,
            fence,
            suspension_id: SuspensionId::random(&mut entropy),
            reason: self.reason,
            waitpoints,
            condition: self.condition,
            timeout: self.timeout,
            policy: self.policy,
        }
    }
}
