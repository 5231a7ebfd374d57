//! The visitor of a page, and the parts of a request that the pages share.

use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use ff_sdk::{Client, ExecutionId, Namespace, SdkError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::frame;
use super::link::Link;
use crate::access::counted;
use crate::answer::Refusal;
use crate::app::App;
use crate::body;
use crate::origin::{is_from_other_site, other_site};
use crate::params;
use crate::session::CsrfToken;
use crate::tokens::{Caller, Permission};

/// A page that cannot be shown.
pub(crate) enum Trouble {
    /// The caller has to sign in, and then goes to this page.
    SignIn(String),
    /// The request is refused.
    Refused(Refusal),
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<SdkError> for Trouble {
    fn from(error: SdkError) -> Self {
        Self::Refused(error.into())
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::SignIn(next) => {
                let login = Link::to("/login").with("next", next);
                Redirect::to(&login.to_string()).into_response()
            }
            Self::Refused(refusal) => {
                let page = (refusal.status(), frame::problem(&refusal)).into_response();
                let (mut parts, body) = page.into_parts();
                parts.extensions.insert(refusal);
                Response::from_parts(parts, body)
            }
        }
    }
}

/// The result of a page.
pub(crate) type Shown<T> = Result<T, Trouble>;

/// A caller that looks at a page, in the namespace of its request.
pub(crate) struct Visitor {
    pub(crate) app: App,
    /// The client of the namespace.
    pub(crate) client: Client,
    pub(crate) caller: Arc<Caller>,
    pub(crate) csrf: CsrfToken,
    /// Whether the request names its namespace, which links then keep.
    is_named: bool,
    /// The message that the request asks for: what was done before.
    pub(crate) done: Option<String>,
    /// The path of the page.
    pub(crate) path: String,
}

#[derive(Deserialize)]
struct Common {
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    done: Option<String>,
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Shown<Self> {
        let (caller, csrf) = known(app, &parts.uri, &parts.headers, parts.method.is_safe())?;
        let common = Query::<Common>::try_from_uri(&parts.uri);
        let Query(common) = common.map_err(|error| Refusal::invalid(error.body_text()))?;
        let Common { namespace: named, done } = common;
        let named = named.filter(|named| !named.is_empty());
        let is_named = named.is_some();
        let namespace = namespace(app, &caller, named)?;
        let (app, client) = (app.clone(), app.client(&namespace));
        Ok(Self { app, client, caller, csrf, is_named, done, path: parts.uri.path().to_owned() })
    }
}

impl Visitor {
    /// A link to a page, in the namespace of this one.
    pub(crate) fn link(&self, path: impl Into<String>) -> Link {
        let link = Link::to(path);
        match self.is_named {
            true => link.with("namespace", self.client.namespace().as_str()),
            false => link,
        }
    }

    /// Whether links name the namespace.
    pub(crate) const fn is_named(&self) -> bool {
        self.is_named
    }

    /// Whether the caller may change executions, lanes and workers.
    pub(crate) fn operates(&self) -> bool {
        self.caller.role.has(Permission::Operate)
    }

    /// Refuses a caller that may not change executions, lanes and workers.
    pub(crate) fn may_operate(&self) -> Result<(), Refusal> {
        if self.operates() { Ok(()) } else { Err(self.forbidden()) }
    }

    /// Refuses a caller that may not send signals.
    pub(crate) fn may_submit(&self) -> Result<(), Refusal> {
        if self.submits() { Ok(()) } else { Err(self.forbidden()) }
    }

    fn forbidden(&self) -> Refusal {
        let message = format!("a token with the role {} may not do this", self.caller.role.name());
        Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// Whether the caller may send signals.
    pub(crate) fn submits(&self) -> bool {
        self.caller.role.has(Permission::Submit)
    }
}

/// The caller of a page. Without tokens everyone is known; otherwise by the cookie of a session.
fn known(
    app: &App,
    uri: &Uri,
    headers: &HeaderMap,
    is_safe: bool,
) -> Shown<(Arc<Caller>, CsrfToken)> {
    if !app.tokens().are_required() {
        return Ok((Arc::new(Caller::anyone()), app.csrf().clone()));
    }
    let session = app.sessions().of(headers);
    let found = session.and_then(|session| {
        let caller = app.tokens().caller_with(&session.token)?;
        Some((caller, session.csrf))
    });
    let Some((caller, csrf)) = found else {
        let next = match is_safe {
            true => uri.path_and_query().map_or("/", |path| path.as_str()),
            false => "/",
        };
        return Err(Trouble::SignIn(next.to_owned()));
    };
    Ok((counted(caller)?, csrf))
}

/// The namespace of a page. To a caller that does not see it, it does not exist.
fn namespace(app: &App, caller: &Caller, named: Option<String>) -> Shown<Namespace> {
    let namespace = match (named, caller.namespaces()) {
        (Some(named), _) => Namespace::try_new(named)
            .map_err(|error| Refusal::invalid(format!("namespace: {error}")))?,
        (None, Some([first, ..])) => first.clone(),
        (None, _) => app.default_client().namespace().clone(),
    };
    match caller.sees(&namespace) {
        true => Ok(namespace),
        false => Err(Refusal::not_found("namespace").into()),
    }
}

/// The execution of a path.
pub(crate) struct Id(pub(crate) ExecutionId);

impl FromRequestParts<App> for Id {
    type Rejection = Trouble;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Shown<Self> {
        let params::Id(id) = params::Id::from_request_parts(parts, app).await?;
        Ok(Self(id))
    }
}

/// The fields of a form that was sent from a page of the service.
pub(crate) struct Sent<T> {
    pub(crate) visitor: Visitor,
    pub(crate) fields: T,
}

#[derive(Deserialize)]
struct Repeated {
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<App> for Sent<T> {
    type Rejection = Trouble;

    async fn from_request(request: Request, app: &App) -> Shown<Self> {
        if is_from_other_site(request.uri(), request.headers()) && !hides_origin(request.headers())
        {
            return Err(other_site().into());
        }
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, app).await?;
        let form = body::received(Request::from_parts(parts, body), app).await?;
        let repeated = fields::<Repeated>(&form).map_err(|_| Refusal::without_csrf_token())?;
        if !visitor.csrf.is(&repeated.csrf) {
            return Err(Refusal::without_csrf_token().into());
        }
        Ok(Self { visitor, fields: fields(&form)? })
    }
}

/// Whether a browser hides the site of a request, as older ones do for pages that send no referrer.
/// Then the value of the form decides.
fn hides_origin(headers: &HeaderMap) -> bool {
    let is_null = headers.get("origin").is_some_and(|origin| origin == "null");
    is_null && !headers.contains_key("sec-fetch-site")
}

/// The fields of a form.
pub(crate) fn fields<T: DeserializeOwned>(form: &[u8]) -> Result<T, Refusal> {
    serde_urlencoded::from_bytes(form)
        .map_err(|error| Refusal::invalid(format!("the form: {error}")))
}
