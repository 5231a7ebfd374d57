//! The calls of a task on waitpoints, suspensions, signals and output.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_core::execution::{
    AppendFrame, CreatePendingWaitpoint, Frame, IssuedWaitpoint, Resumption,
    SuspendOutcome as Suspended,
};
use ff_core::id::{FrameType, SignalId, SuspensionId, WaitpointId, WaitpointKey};
use ff_core::op::{ReadSignals, ReceivedSignal};
use ff_core::store::Bytes;
use ff_core::time::{DurationMs, TimestampMs};

use super::ClaimedTask;
use crate::error::SdkError;
use crate::suspension::Suspension;

/// The outcome of [`ClaimedTask::suspend`].
///
/// ```
/// use std::sync::Arc;
/// use ff_sdk::{
///     Client, FlowFabricWorker, MemoryBackend, Signal, Submission, SuspendOutcome, Suspension,
///     WorkerConfig,
/// };
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let backend = Arc::new(MemoryBackend::new());
/// # let client = Client::connect_with(backend.clone(), "demo").await?;
/// # let config = WorkerConfig::new("worker", "worker-1", "demo")?;
/// # let worker = FlowFabricWorker::connect_with(config, backend, None).await?;
/// let id = client.submit(Submission::new("deploy")).await?.id();
/// let task = worker.claim_next().await?.expect("there is work");
/// let SuspendOutcome::Suspended { waitpoints, .. } =
///     task.suspend(Suspension::until_signal("approval")?).await?
/// else {
///     panic!("no signal was sent yet");
/// };
///
/// // Anyone with the token can signal.
/// let signal = Signal::new("approved", waitpoints[0].token.clone())?;
/// client.deliver_signal(&id, &waitpoints[0].id, signal).await?;
///
/// let task = worker.claim_next().await?.expect("the execution was resumed");
/// assert_eq!(task.resume_signals().await?[0].name.as_str(), "approved");
/// # task.complete(None).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "a task that is still held has to be finished"]
pub enum SuspendOutcome {
    /// The execution is suspended, and the lease is released.
    Suspended {
        /// The id of the suspension.
        suspension_id: SuspensionId,
        /// Its waitpoints with their tokens. Pass a token to everyone who may signal.
        waitpoints: Vec<IssuedWaitpoint>,
        /// The time of the timeout, by the store's clock.
        timeout_at: Option<TimestampMs>,
    },
    /// The condition was satisfied by signals received before: the task is still held, and
    /// [`ClaimedTask::resume_signals`] returns the signals.
    AlreadySatisfied(Box<ClaimedTask>),
}

impl ClaimedTask {
    /// Opens a waitpoint while the work continues. It buffers signals until a suspension uses it
    /// ([`Suspension::open`]). It closes after `expires_in`, unless a suspension uses it before,
    /// and with its attempt. `key`, its name, is 1 to 64 printable ASCII bytes without space. If a
    /// waitpoint of this name is open, that one is returned.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::renew_lease`]; `InvalidInput` for more than 16 open waitpoints, and
    /// for a time of zero.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the waitpoint may or may not be open. The call can be repeated.
    pub async fn create_pending_waitpoint(
        &self,
        key: impl AsRef<str>,
        expires_in: Option<Duration>,
    ) -> Result<IssuedWaitpoint, SdkError> {
        let state = self.owner.slot.state();
        let command = CreatePendingWaitpoint {
            execution_id: self.execution_id(),
            fence: self.fence(),
            waitpoint_id: WaitpointId::random(&mut state.connection.entropy()),
            key: WaitpointKey::try_new(key)?,
            expires_in: expires_in.map(DurationMs::from),
        };
        let result = state.connection.transact_knowing(command, self.known()).await;
        self.answered("create_pending_waitpoint", result)
    }

    /// Suspends the execution until the condition of the suspension is satisfied (`docs/spec.md`,
    /// 5). Then the worker that claims it continues the same attempt.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::complete`]; [`SdkError::Engine`] with `WaitpointClosed`, and with
    /// `InvalidInput` for an invalid condition, its waitpoints, or a timeout in the past.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the execution may or may not be suspended, as in a crash.
    pub async fn suspend(mut self, suspension: Suspension) -> Result<SuspendOutcome, SdkError> {
        Ok(match self.end_suspend(suspension).await? {
            Suspended::Suspended { suspension_id, waitpoints, timeout_at } => {
                SuspendOutcome::Suspended { suspension_id, waitpoints, timeout_at }
            }
            Suspended::AlreadySatisfied { suspension_id, signals } => {
                self.resumed_by(suspension_id, signals);
                SuspendOutcome::AlreadySatisfied(Box::new(self))
            }
        })
    }

    pub(crate) async fn end_suspend(&self, suspension: Suspension) -> Result<Suspended, SdkError> {
        let state = self.owner.slot.state();
        let (id, connection) = (self.execution_id(), &state.connection);
        let command = suspension.into_command(id, self.fence(), connection);
        let result = connection.transact_knowing(command, self.known()).await;
        let outcome = self.answered("suspend", result)?;
        if let Suspended::Suspended { timeout_at: Some(at), .. } = &outcome {
            state.will_be_due(id, *at);
        }
        Ok(outcome)
    }

    /// Stores the signals that satisfied a suspension while the lease was kept.
    pub(crate) fn resumed_by(&mut self, suspension_id: SuspensionId, signals: Vec<SignalId>) {
        let by = ff_core::execution::ResumedBy::Signals;
        self.work.claimed.resumption = Some(Resumption { suspension_id, by, signals });
    }

    /// The end of the suspension from which this task was resumed; `None` if it was not resumed.
    pub const fn resumption(&self) -> Option<&Resumption> {
        self.claimed().resumption.as_ref()
    }

    /// Reads the signals that satisfied the condition of the suspension that this claim resumed
    /// from, in the order in which they were received. Empty when an operator or a timeout ended
    /// the suspension (except for [`AutoResumeWithTimeoutSignal`]), and when there was none.
    ///
    /// [`AutoResumeWithTimeoutSignal`]: crate::TimeoutBehaviour::AutoResumeWithTimeoutSignal
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn resume_signals(&self) -> Result<Vec<ReceivedSignal>, SdkError> {
        match self.resumption() {
            Some(resumption) => self.signals_of(resumption.clone()).await,
            None => Ok(Vec::new()),
        }
    }

    pub(crate) async fn signals_of(
        &self,
        resumption: Resumption,
    ) -> Result<Vec<ReceivedSignal>, SdkError> {
        let connection = &self.owner.slot.state().connection;
        let read = ReadSignals::new(&self.execution_id(), resumption, connection.patience());
        Ok(connection.drive(read).await?)
    }

    /// Appends a frame to the attempt's output (`docs/spec.md`, 6), and returns its sequence, from
    /// 1, when the store has it. Frames of one task are in the order of the calls.
    ///
    /// A frame has at most 64 KiB, and its metadata 4 KiB. The store has the latest 10,000 frames
    /// and 8 MiB of an attempt.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleOwnerCannotAppend`, `StreamClosed`, `PayloadTooLarge`, and
    /// `InvalidInput` for the metadata; `Timeout` when the store did not answer in time, which says
    /// whether the frame may have been appended.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the frame may or may not be appended. The next call of this task sends it
    /// again first.
    pub async fn append_frame(
        &self,
        frame_type: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
        metadata: BTreeMap<String, String>,
    ) -> Result<u64, SdkError> {
        let frame_type = FrameType::try_new(frame_type)?;
        let payload = Bytes::from(payload.as_ref());
        let mut output = self.output.lock().await;
        let rings = output.rings();
        let mut frame = output.writer.begin(Frame { sequence: 0, frame_type, payload, metadata });
        loop {
            let appended = self.append(frame, rings).await;
            let result = match &appended {
                Ok(sequence) => Ok(*sequence),
                Err(SdkError::Engine(error)) => Err(error),
                Err(_) => return appended,
            };
            match output.writer.answered(result) {
                Some(next) => frame = next,
                None => return appended,
            }
        }
    }

    async fn append(&self, frame: Frame, rings: bool) -> Result<u64, SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let command = AppendFrame { execution_id, fence, frame, rings };
        self.call(command).await.map(|appended| appended.sequence)
    }
}
