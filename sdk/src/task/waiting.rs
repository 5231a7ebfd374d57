//! What a task does about waitpoints, signals and output.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_core::error::{EngineError, Rejection};
use ff_core::execution::{
    AppendFrame, CreatePendingWaitpoint, Frame, IssuedWaitpoint, Resumption,
    SuspendOutcome as Suspended,
};
use ff_core::id::{FrameType, SignalId, SuspensionId, WaitpointId, WaitpointKey};
use ff_core::op::{ReadSignals, ReceivedSignal};
use ff_core::store::Bytes;
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::KnownKeyring;
use tokio::time::Instant;

use super::ClaimedTask;
use crate::error::SdkError;
use crate::output::{Output, RING_EVERY};
use crate::suspension::Suspension;

/// What came of a suspension.
#[derive(Debug)]
#[must_use = "a task that is still held has to be finished"]
pub enum SuspendOutcome {
    /// The task was given back until it is resumed.
    Suspended {
        /// The suspension.
        suspension_id: SuspensionId,
        /// Its waitpoints with their tokens, to be handed to whoever may signal.
        waitpoints: Vec<IssuedWaitpoint>,
        /// When it has taken too long, by the store's clock.
        timeout_at: Option<TimestampMs>,
    },
    /// The signals were there already: the task is still held, and
    /// [`ClaimedTask::resume_signals`] gives them.
    AlreadySatisfied(Box<ClaimedTask>),
}

impl ClaimedTask {
    /// Opens a waitpoint while the work goes on: signals to it are kept until a suspension uses it
    /// ([`Suspension::open`]). It closes after `expires_in` unless one does, and with its attempt.
    /// The name is 1 to 64 printable ASCII bytes without space.
    ///
    /// # Errors
    ///
    /// As for [`ClaimedTask::renew_lease`]; `InvalidInput` for a name that is taken, for more than
    /// 16 open waitpoints, and for a time of zero.
    ///
    /// Dropping the future may leave the waitpoint open or not.
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
            keyring: KnownKeyring::default(),
        };
        let result = state.connection.inform(command, self.known()).await;
        self.answered("create_pending_waitpoint", result)
    }

    /// Gives the task back until a condition is satisfied; the same attempt goes on then, with
    /// whichever worker claims it.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] as for [`ClaimedTask::complete`], `WaitpointClosed`, and `InvalidInput`
    /// for a condition, its waitpoints or a timeout that cannot be.
    ///
    /// Dropping the future may leave the execution suspended or not, like a crash.
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
        let result = connection.inform(command, self.known()).await;
        let outcome = self.answered("suspend", result)?;
        if let Suspended::Suspended { timeout_at: Some(at), .. } = &outcome {
            state.will_be_due(*at);
        }
        Ok(outcome)
    }

    /// Notes the signals that satisfied a suspension while the lease was kept.
    pub(crate) fn resumed_by(&mut self, suspension_id: SuspensionId, signals: Vec<SignalId>) {
        let by = ff_core::execution::ResumedBy::Signals;
        self.work.claimed.resumption = Some(Resumption { suspension_id, by, signals });
    }

    /// How a suspension was resumed, if this very claim goes on after one.
    pub const fn resumption(&self) -> Option<&Resumption> {
        self.claimed().resumption.as_ref()
    }

    /// The signals that satisfied the condition of the suspension that this very claim resumed, in
    /// the order in which they came. Empty after an operator's resume and after a timeout, unless
    /// that asked for a signal of its own, and where nothing was suspended.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] when the store does not answer. Cancel safe.
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

    /// Appends a frame to the attempt's output, and waits until it is kept. A frame has at most 64
    /// KiB; of an attempt's output 10,000 frames and 8 MiB are kept, the oldest go first. Frames of
    /// one task stand in the order of the calls. Gives the frame's sequence, from 1.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `StaleOwnerCannotAppend`, `StreamClosed`, `PayloadTooLarge`,
    /// `InvalidInput` for metadata over 4 KiB, and `Timeout` when nobody can say whether it was
    /// appended.
    ///
    /// Dropping the future may leave the frame appended or not; the next call makes sure that it
    /// is.
    pub async fn append_frame(
        &self,
        frame_type: impl AsRef<str>,
        payload: impl AsRef<[u8]>,
        metadata: BTreeMap<String, String>,
    ) -> Result<u64, SdkError> {
        let frame_type = FrameType::try_new(frame_type)?;
        let payload = Bytes::from(payload.as_ref());
        let mut output = self.output.lock().await;
        let rings = output.rang.is_none_or(|rang| rang.elapsed() >= RING_EVERY);
        if rings {
            output.rang = Some(Instant::now());
        }
        if let Some(doubted) = output.doubted.clone() {
            let appended = self.append(doubted, rings).await;
            if let Err(error) = &appended
                && !is_decided(error)
            {
                return appended;
            }
            output.settle(&appended);
        }
        let sequence = output.next.unwrap_or(self.claimed().attempt.frames + 1);
        let mut frame = Frame { sequence, frame_type, payload, metadata };
        output.doubted = Some(frame.clone());
        let mut appended = self.append(frame.clone(), rings).await;
        if let Err(error) = &appended
            && let Some(Rejection::SequenceGap { expected, .. }) =
                error.engine().and_then(EngineError::rejection)
        {
            // The store has lost frames that it had.
            frame.sequence = *expected;
            output.doubted = Some(frame.clone());
            appended = self.append(frame, rings).await;
        }
        output.settle(&appended);
        appended
    }

    async fn append(&self, frame: Frame, rings: bool) -> Result<u64, SdkError> {
        let (execution_id, fence) = (self.execution_id(), self.fence());
        let command = AppendFrame { execution_id, fence, frame, rings };
        self.call(command).await.map(|appended| appended.sequence)
    }
}

impl Output {
    /// Takes over what is known of the frame that was sent.
    fn settle(&mut self, appended: &Result<u64, SdkError>) {
        match appended {
            Ok(sequence) => (self.next, self.doubted) = (Some(sequence + 1), None),
            Err(error) if !is_in_doubt(error) => self.doubted = None,
            Err(_) => {}
        }
    }
}

/// Whether the store has decided that a call is refused, and not failed to answer it.
fn is_decided(error: &SdkError) -> bool {
    let refused = |error: &EngineError| error.rejection().is_some();
    error.engine().is_some_and(refused) || !error.is_retryable()
}

/// Whether a call that failed may have been applied.
fn is_in_doubt(error: &SdkError) -> bool {
    error.engine().is_some_and(EngineError::may_be_applied)
}
