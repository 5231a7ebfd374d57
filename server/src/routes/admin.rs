//! The secrets that sign waitpoint tokens.

use axum::Json;
use ff_io_http::{RotateWaitpointSecretRequest, RotateWaitpointSecretResponse};
use ff_sdk::SecretInfo;
use serde::Serialize;
use utoipa::ToSchema;

use crate::access::{Access, Admin};
use crate::answer::{Answer, Refusal};
use crate::body::Body;

/// Signs waitpoint tokens with a new secret. The secret is shared by all namespaces of the store,
/// so the token of the caller must be for all of them.
#[utoipa::path(post, path = "/v1/admin/rotate-waitpoint-secret", tag = "admin",
    request_body = Object,
    responses((status = 200, description = "Whether anything has changed.", body = Object)))]
pub(crate) async fn rotate_secret(
    access: Access<Admin>,
    Body(request): Body<RotateWaitpointSecretRequest>,
) -> Answer<Json<RotateWaitpointSecretResponse>> {
    sees_all(&access)?;
    Ok(Json(access.app.admin().rotate_waitpoint_secret(request).await?))
}

/// The secrets in use, by key ID; never their bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct Secrets {
    /// The last one signs new tokens.
    #[schema(value_type = Vec<Object>)]
    secrets: Vec<SecretInfo>,
}

/// Lists the secrets that sign waitpoint tokens, never their bytes.
#[utoipa::path(get, path = "/v1/admin/waitpoint-secrets", tag = "admin",
    responses((status = 200, body = Secrets)))]
pub(crate) async fn secrets(access: Access<Admin>) -> Answer<Json<Secrets>> {
    sees_all(&access)?;
    let secrets = access.app.admin().list_waitpoint_secrets().await?;
    Ok(Json(Secrets { secrets }))
}

fn sees_all(access: &Access<Admin>) -> Answer<()> {
    match access.caller.is_limited_to_some() {
        false => Ok(()),
        true => Err(Refusal::new(
            axum::http::StatusCode::FORBIDDEN,
            "forbidden",
            "the secrets belong to all namespaces, and the token to some",
        )),
    }
}
