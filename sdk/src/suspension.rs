//! What a worker waits for when it gives its task back until it is resumed.

use std::time::Duration;

use ff_core::condition::{
    Condition, ResumePolicy, SuspensionReason, SuspensionTimeout, TimeoutAt, TimeoutBehaviour,
};
use ff_core::execution::{BindWaitpoint, FenceParts, Heard, IssuedWaitpoint, Suspend};
use ff_core::id::{ExecutionId, SuspensionId, WaitpointId, WaitpointKey};
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::KnownKeyring;

use crate::error::SdkError;
use crate::shared::Connection;

/// What a worker waits for: a condition over waitpoints, a timeout, and how it goes on.
///
/// A waitpoint that the condition names is opened with the suspension, unless it was opened before
/// and is given with [`Suspension::open`]. Only then can its token be handed out before the worker
/// lets go of the task, and signals that come meanwhile are not lost.
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
    /// Until a condition is satisfied.
    pub fn until(condition: Condition) -> Self {
        let (reason, policy) = (SuspensionReason::default(), ResumePolicy::default());
        Self { condition, reason, open: Vec::new(), timeout: None, policy }
    }

    /// Until any signal comes to a waitpoint of this name, 1 to 64 printable ASCII bytes without
    /// space.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when it is no such name.
    pub fn until_signal(waitpoint: impl AsRef<str>) -> Result<Self, SdkError> {
        Ok(Self::until(Condition::any_signal(WaitpointKey::try_new(waitpoint)?)))
    }

    /// Until an operator resumes it.
    pub fn until_operator() -> Self {
        Self::until(Condition::OperatorOnly).reason(SuspensionReason::Operator)
    }

    /// Why; it shows as the execution's blocking reason.
    pub const fn reason(mut self, reason: SuspensionReason) -> Self {
        self.reason = reason;
        self
    }

    /// Uses this waitpoint, which is open already, with the signals that it has buffered; refused
    /// with `WaitpointClosed` when it is not open any more. Without it, what is open under a name
    /// of the condition is used, or opened.
    pub fn open(mut self, waitpoint: &IssuedWaitpoint) -> Self {
        self.open.push((waitpoint.id, waitpoint.key.clone()));
        self
    }

    /// After which time from the suspension it has taken too long, and what happens then.
    pub fn timeout(mut self, after: Duration, behaviour: TimeoutBehaviour) -> Self {
        self.timeout = Some(SuspensionTimeout::after(DurationMs::from(after), behaviour));
        self
    }

    /// From which time of the store's clock on it has taken too long, and what happens then.
    pub const fn timeout_at(mut self, at: TimestampMs, behaviour: TimeoutBehaviour) -> Self {
        self.timeout = Some(SuspensionTimeout { when: TimeoutAt::At(at), behaviour });
        self
    }

    /// How long it waits before it can be claimed once it is resumed.
    pub fn resume_delay(mut self, delay: Duration) -> Self {
        self.policy.resume_delay_ms = DurationMs::from(delay);
        self
    }

    /// Leaves its waitpoints open when it is resumed, so that signals under the same tokens count
    /// for a later suspension: those that came after the one that resumed, or, where `count_again`,
    /// all that have come.
    pub const fn keep_waitpoints(mut self, count_again: bool) -> Self {
        self.policy.close_waitpoints = false;
        self.policy.consume_signals = !count_again;
        self
    }

    /// The command that suspends.
    pub(crate) fn into_command(
        self,
        execution_id: ExecutionId,
        fence: FenceParts,
        connection: &Connection,
    ) -> Suspend {
        let mut entropy = connection.entropy();
        let mut waitpoints: Vec<BindWaitpoint> =
            self.open.iter().map(|(id, _)| BindWaitpoint::Open { id: *id }).collect();
        // What is wrong with a condition is for its rule to say.
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
            keyring: KnownKeyring::default(),
            heard: Heard::default(),
        }
    }
}
