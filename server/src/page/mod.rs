//! The page for people: overview, executions, workers, lanes, quotas and budgets. It makes the same
//! calls as the routes for programs, with the same tokens and roles.

mod assets;
mod bulk;
mod change;
mod execution;
mod executions;
mod frame;
mod lanes;
mod layout;
mod limits;
mod link;
mod login;
mod output;
mod overview;
mod timeline;
mod visitor;
mod waiting;
mod why;
mod workers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::response::Response;
use axum::routing::{get, post};

use crate::app::App;
use crate::body;

/// Nothing from other sites, and no code within the pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The headers of every page.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// The routes of the page.
pub(crate) fn routes() -> Router<App> {
    let signal = post(change::signal).layer(DefaultBodyLimit::max(body::SIGNAL));
    Router::new()
        .route("/", get(overview::show))
        .route("/executions", get(executions::show))
        .route("/executions/bulk", get(bulk::dry_run).post(bulk::run))
        .route("/executions/{id}", get(execution::show))
        .route("/executions/{id}/cancel", post(change::cancel))
        .route("/executions/{id}/replay", post(change::replay))
        .route("/executions/{id}/revoke", post(change::revoke))
        .route("/executions/{id}/priority", post(change::priority))
        .route("/executions/{id}/resume", post(change::resume))
        .route("/executions/{id}/signal", signal)
        .route("/waiting", get(waiting::show))
        .route("/workers", get(workers::show))
        .route("/workers/drain", post(workers::drain))
        .route("/lanes", get(lanes::show).post(lanes::set))
        .route("/limits", get(limits::show))
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .layer(DefaultBodyLimit::max(body::OTHER))
        .layer(middleware::map_response(never_cached))
        .route("/assets/page.css", get(assets::css))
        .route("/assets/page.js", get(assets::script))
        .layer(middleware::map_response(protected))
}

/// The data of a page is of one moment, and of one caller.
async fn never_cached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn protected(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
