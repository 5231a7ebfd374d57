//! Parameters in the path and the query.

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use ff_sdk::ExecutionId;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::answer::Refusal;

/// The execution of a path, in the text form of its id or in the form for URLs.
pub(crate) struct Id(pub(crate) ExecutionId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Param(text) = Param::<String>::from_request_parts(parts, state).await?;
        parse_id(&text).map(Self)
    }
}

/// Parses the id of an execution.
pub(crate) fn parse_id(text: &str) -> Result<ExecutionId, Refusal> {
    ExecutionId::from_any(text).map_err(|error| Refusal::from(ff_sdk::EngineError::from(error)))
}

/// Parameters of the path.
pub(crate) struct Param<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Param<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value)).map_err(|error| Refusal::invalid(error.body_text()))
    }
}

/// Parameters of the query. Each type has a field for the namespace, which access has read.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|error| Refusal::invalid(error.body_text()))
    }
}

/// The namespace of a request, in its query.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it describes what access reads")]
pub(crate) struct InNamespace {
    /// The namespace; if absent, that of the token, or of the service.
    namespace: Option<String>,
}

/// The id of an operator's call.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "it describes what CallId reads")]
pub(crate) struct Operator {
    /// Identifies the call, so that a repeat is recognised; random if absent.
    #[serde(rename = "Idempotency-Key")]
    #[param(rename = "Idempotency-Key")]
    idempotency_key: Option<String>,
}
