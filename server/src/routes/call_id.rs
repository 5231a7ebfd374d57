//! The id of an operator's call.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use ff_io_http::IDEMPOTENCY_KEY;
use ff_sdk::RequestId;
use uuid::Uuid;

use crate::answer::Refusal;

/// The id of a call, from the header `Idempotency-Key`, so that a repeat is recognised; a random
/// one if there is no such header.
pub(crate) struct CallId(pub(crate) RequestId);

impl<S: Send + Sync> FromRequestParts<S> for CallId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let given = match parts.headers.get(IDEMPOTENCY_KEY).map(|value| value.to_str()) {
            None => Uuid::new_v4().to_string(),
            Some(Ok(given)) => given.to_owned(),
            Some(Err(_)) => return Err(Refusal::invalid("Idempotency-Key: is not ASCII text")),
        };
        let id = RequestId::try_new(given);
        id.map(Self).map_err(|error| Refusal::invalid(format!("Idempotency-Key: {error}")))
    }
}
