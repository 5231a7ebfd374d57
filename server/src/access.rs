//! The caller of a request, its permissions, and the namespace.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use ff_sdk::{Client, Namespace};
use serde::Deserialize;

use crate::answer::{Answer, Refusal};
use crate::app::App;
use crate::tokens::{Caller, Permission};

/// The header with the value that only pages of the service have.
const CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");

/// A permission as a type, for the arguments of routes.
pub(crate) trait Needs: Send {
    const PERMISSION: Permission;
}

macro_rules! permissions {
    ($($name:ident),+) => {
        $(pub(crate) struct $name;
        impl Needs for $name {
            const PERMISSION: Permission = Permission::$name;
        })+
    };
}

permissions!(Read, Submit, Work, Operate, Admin);

/// A caller that has a permission, in the namespace of its request.
pub(crate) struct Access<P> {
    pub(crate) app: App,
    /// The client of the namespace.
    pub(crate) client: Client,
    pub(crate) caller: Arc<Caller>,
    permission: PhantomData<P>,
}

impl<P: Needs> FromRequestParts<App> for Access<P> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Answer<Self> {
        let caller = authenticate(app, &parts.method, &parts.headers)?;
        if !caller.role.has(P::PERMISSION) {
            let message = format!("a token with the role {} may not do this", caller.role.name());
            return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        let query = Query::<InNamespace>::try_from_uri(&parts.uri);
        let Query(query) = query.map_err(|error| Refusal::invalid(error.body_text()))?;
        let namespace = namespace(app, &caller, query.namespace)?;
        let (app, client) = (app.clone(), app.client(&namespace));
        Ok(Self { app, client, caller, permission: PhantomData })
    }
}

impl<P> Access<P> {
    /// The client of a namespace that the body names.
    pub(crate) fn client_of(&self, namespace: &Namespace) -> Answer<Client> {
        match self.caller.sees(namespace) {
            true => Ok(self.app.client(namespace)),
            false => Err(Refusal::not_found("namespace")),
        }
    }
}

#[derive(Deserialize)]
struct InNamespace {
    #[serde(default)]
    namespace: Option<String>,
}

/// The caller with the token of the request. A browser may send the cookie of a session instead,
/// with a value that only pages of the service have if the request changes something.
fn authenticate(app: &App, method: &Method, headers: &HeaderMap) -> Answer<Arc<Caller>> {
    if !app.tokens().are_required() {
        return Ok(Arc::new(Caller::anyone()));
    }
    let unauthorized =
        |message: &str| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| {
        let (scheme, token) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    let session = app.sessions().of(headers).filter(|_| given.is_none());
    if let Some(session) = session {
        let repeated = headers.get(CSRF_TOKEN).and_then(|value| value.to_str().ok());
        if !method.is_safe() && !repeated.is_some_and(|repeated| session.csrf.is(repeated)) {
            return Err(Refusal::without_csrf_token());
        }
        let caller = app.tokens().caller_with(&session.token);
        return counted(
            caller.ok_or_else(|| unauthorized("the token of the session was removed"))?,
        );
    }
    let Some(token) = token else {
        return Err(unauthorized("send a token: Authorization: Bearer TOKEN"));
    };
    let Some(caller) = app.tokens().caller(token) else {
        return Err(unauthorized("the token is not known"));
    };
    counted(caller)
}

/// Counts a request of a caller.
pub(crate) fn counted(caller: Arc<Caller>) -> Answer<Arc<Caller>> {
    match caller.count() {
        Ok(()) => Ok(caller),
        Err(wait) => Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_requests",
            "the token has a limit of requests in a second",
        )
        .retry_after(wait)),
    }
}

/// The namespace of a request. To a caller that does not see it, it does not exist.
fn namespace(app: &App, caller: &Caller, named: Option<String>) -> Answer<Namespace> {
    let namespace = match (named, caller.only_namespace()) {
        (Some(named), _) => Namespace::try_new(named)
            .map_err(|error| Refusal::invalid(format!("namespace: {error}")))?,
        (None, Some(only)) => only.clone(),
        (None, None) if caller.is_limited_to_some() => {
            return Err(Refusal::invalid("the token has several namespaces: add ?namespace=NAME"));
        }
        (None, None) => app.default_client().namespace().clone(),
    };
    match caller.sees(&namespace) {
        true => Ok(namespace),
        false => Err(Refusal::not_found("namespace")),
    }
}
