//! The builder of a signal to a waitpoint.

use ff_core::execution::{DeliverSignal, SignalContext};
use ff_core::id::{
    CorrelationId, ExecutionId, Nonce, SignalCategory, SignalId, SignalName, SignalSource,
    SignalSourceType, WaitpointId,
};
use ff_core::store::Bytes;
use ff_core::token::WaitpointToken;

use crate::error::SdkError;
use crate::shared::Connection;

/// A signal to a waitpoint, with the token that permits sending it (`docs/spec.md`, 5).
///
/// ```
/// use ff_sdk::{Signal, WaitpointToken};
///
/// # fn main() -> Result<(), ff_sdk::SdkError> {
/// # let token = WaitpointToken::new("k1:00");
/// let signal = Signal::new("approved", token)?
///     .source("alice")?
///     .payload(r#"{"comment":"ship it"}"#)
///     .idempotency_key("click-17");
/// # drop(signal);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a signal has to be delivered"]
pub struct Signal {
    name: SignalName,
    token: WaitpointToken,
    source: Option<SignalSource>,
    context: SignalContext,
    payload: Option<Bytes>,
    identity: SignalIdentity,
}

#[derive(Clone)]
enum SignalIdentity {
    Random,
    Id(SignalId),
    Key(String),
}

impl Signal {
    /// Creates a signal. A name is 1 to 64 printable ASCII bytes without space.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the name is invalid.
    pub fn new(name: impl AsRef<str>, token: WaitpointToken) -> Result<Self, SdkError> {
        let (name, source, payload) = (SignalName::try_new(name)?, None, None);
        let (context, identity) = (SignalContext::default(), SignalIdentity::Random);
        Ok(Self { name, token, source, context, payload, identity })
    }

    /// Sets the source: the sender's name for itself, 1 to 64 printable ASCII bytes without space.
    /// The token proves the permission to signal, not the identity of the sender.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when the source is invalid.
    pub fn source(mut self, source: impl AsRef<str>) -> Result<Self, SdkError> {
        self.source = Some(SignalSource::try_new(source)?);
        Ok(self)
    }

    /// Sets the kind of the source, such as `user` or `webhook`: 1 to 64 printable ASCII bytes
    /// without space.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when it is invalid.
    pub fn source_type(mut self, source_type: impl AsRef<str>) -> Result<Self, SdkError> {
        self.context.source_type = Some(SignalSourceType::try_new(source_type)?);
        Ok(self)
    }

    /// Sets the category, such as `approval`: 1 to 64 printable ASCII bytes without space.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when it is invalid.
    pub fn category(mut self, category: impl AsRef<str>) -> Result<Self, SdkError> {
        self.context.category = Some(SignalCategory::try_new(category)?);
        Ok(self)
    }

    /// Sets the id under which the sender knows the conversation that the signal belongs to, such
    /// as that of a request: 1 to 64 printable ASCII bytes without space. The worker gets it with
    /// the signal.
    ///
    /// # Errors
    ///
    /// [`SdkError::Engine`] with `Validation` when it is invalid.
    pub fn correlation_id(mut self, id: impl AsRef<str>) -> Result<Self, SdkError> {
        self.context.correlation_id = Some(CorrelationId::try_new(id)?);
        Ok(self)
    }

    /// Sets the payload for the worker, at most 256 KiB. Default: none.
    pub fn payload(mut self, payload: impl AsRef<[u8]>) -> Self {
        self.payload = Some(Bytes::from(payload.as_ref()));
        self
    }

    /// Sets the idempotency key: the waitpoint accepts one signal under a key, however often it is
    /// sent.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.identity = SignalIdentity::Key(key.into());
        self
    }

    /// Sets the signal's id. Default: a random one. It replaces an idempotency key.
    pub fn id(mut self, id: SignalId) -> Self {
        self.identity = SignalIdentity::Id(id);
        self
    }

    pub(crate) fn into_command(
        self,
        execution_id: ExecutionId,
        waitpoint_id: WaitpointId,
        connection: &Connection,
    ) -> DeliverSignal {
        let mut entropy = connection.entropy();
        DeliverSignal {
            execution_id,
            waitpoint_id,
            token: self.token,
            signal_id: match self.identity {
                SignalIdentity::Random => SignalId::random(&mut entropy),
                SignalIdentity::Id(id) => id,
                SignalIdentity::Key(key) => SignalId::for_idempotency_key(waitpoint_id, &key),
            },
            name: self.name,
            source: self.source,
            context: self.context,
            payload: self.payload,
            creator: Nonce(entropy.next_u64()),
        }
    }
}

impl std::fmt::Debug for Signal {
    /// Leaves out the token, and the payload and the key, which may be confidential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signal")
            .field("name", &self.name)
            .field("source", &self.source)
            .field("context", &self.context)
            .field("payload_bytes", &self.payload.as_ref().map(|payload| payload.len()))
            .finish_non_exhaustive()
    }
}
