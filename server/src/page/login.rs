//! Signing in with a token, and signing out.

use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::frame;
use super::link::own_path;
use super::visitor::{Sent, Shown, Trouble, fields};
use crate::answer::Refusal;
use crate::app::App;
use crate::body;
use crate::origin::{is_from_other_site, other_site};
use crate::session::cookie;

#[derive(Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// The form for a token.
pub(super) async fn show(State(app): State<App>, Query(Next { next }): Query<Next>) -> Response {
    if !app.tokens().are_required() {
        return Redirect::to("/").into_response();
    }
    form(&own_path(&next), None).into_response()
}

fn form(next: &str, problem: Option<&str>) -> Markup {
    let content = html! {
        @if let Some(problem) = problem {
            p.problem role="alert" #problem { (problem) }
        }
        form.stack action="/login" method="post" {
            input type="hidden" name="next" value=(next);
            label for="token" { "Token" }
            input #token name="token" type="password" required autofocus
                autocomplete="current-password" spellcheck="false"
                aria-describedby=[problem.map(|_| "problem")];
            p.hint {
                "An operator makes tokens with " code { "ff token" }
                ". The page can do what the token may do."
            }
            button.main { "Sign in" }
        }
    };
    frame::plain("Sign in", &content)
}

#[derive(Deserialize)]
struct Given {
    token: String,
    #[serde(default)]
    next: String,
}

/// Begins a session for a token.
pub(super) async fn sign_in(State(app): State<App>, request: Request) -> Shown<Response> {
    // A page of another site must not sign a browser in with its token.
    if is_from_other_site(request.uri(), request.headers())
        && request.headers().contains_key("sec-fetch-site")
    {
        return Err(other_site().into());
    }
    let is_secure = is_secure(&app, request.headers());
    let Given { token, next } = fields(&body::received(request, &app).await?)?;
    let next = own_path(&next);
    let Some(caller) = app.tokens().caller(token.trim()) else {
        let page = form(&next, Some("The token is not known."));
        return Ok((StatusCode::UNAUTHORIZED, page).into_response());
    };
    let id = app.sessions().begin(caller.hash).map_err(|error| {
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "bug", error.to_string())
    })?;
    tracing::info!(token = caller.name, "a session began");
    let cookie = cookie(Some(&id), is_secure);
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response())
}

/// Whether the browser uses TLS: with the service, or with a proxy that says so.
fn is_secure(app: &App, headers: &HeaderMap) -> bool {
    let of_proxy = headers.get("x-forwarded-proto");
    app.has_tls() || of_proxy.is_some_and(|scheme| scheme == "https")
}

#[derive(Deserialize)]
pub(super) struct Nothing {}

/// Ends the session.
pub(super) async fn sign_out(
    State(app): State<App>,
    headers: HeaderMap,
    sent: Result<Sent<Nothing>, Trouble>,
) -> Shown<Response> {
    match sent {
        Ok(Sent { fields: Nothing {}, .. }) => app.sessions().end(&headers),
        Err(Trouble::SignIn(_)) => {}
        Err(refused) => return Err(refused),
    }
    let cookie = cookie(None, is_secure(&app, &headers));
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to("/login")).into_response())
}
