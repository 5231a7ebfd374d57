//! The routes of the service, by what they are about.

mod admin;
mod call_id;
mod completions;
mod executions;
mod health;
mod lanes;
mod leases;
mod limits;
mod metrics;
mod operate;
mod output;
mod workers;

use axum::extract::DefaultBodyLimit;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::body;

/// All routes, with their descriptions.
pub(crate) fn all() -> OpenApiRouter<App> {
    let executions = OpenApiRouter::new()
        .routes(routes!(executions::submit, executions::list))
        .routes(routes!(leases::complete))
        .routes(routes!(leases::frames))
        .layer(DefaultBodyLimit::max(body::EXECUTIONS));
    let batch = OpenApiRouter::new()
        .routes(routes!(executions::submit_batch))
        .layer(DefaultBodyLimit::max(body::BATCH));
    let signal = OpenApiRouter::new()
        .routes(routes!(operate::signal))
        .layer(DefaultBodyLimit::max(body::SIGNAL));
    let others = OpenApiRouter::new()
        .routes(routes!(executions::describe))
        .routes(routes!(executions::state))
        .routes(routes!(executions::result))
        .routes(routes!(executions::history))
        .routes(routes!(executions::why))
        .routes(routes!(executions::waitpoints))
        .routes(routes!(output::page))
        .routes(routes!(output::tail))
        .routes(routes!(operate::cancel))
        .routes(routes!(operate::resume))
        .routes(routes!(operate::replay))
        .routes(routes!(operate::revoke_lease))
        .routes(routes!(operate::reclaim))
        .routes(routes!(operate::priority))
        .routes(routes!(workers::list))
        .routes(routes!(workers::grant))
        .routes(routes!(workers::claim))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::dead))
        .routes(routes!(leases::renew))
        .routes(routes!(leases::fail))
        .routes(routes!(leases::delay))
        .routes(routes!(leases::suspend))
        .routes(routes!(leases::progress))
        .routes(routes!(leases::usage))
        .routes(routes!(lanes::list))
        .routes(routes!(lanes::set))
        .routes(routes!(lanes::stats))
        .routes(routes!(limits::quotas))
        .routes(routes!(limits::quota, limits::set_quota, limits::delete_quota))
        .routes(routes!(limits::budgets))
        .routes(routes!(
            limits::budget,
            limits::create_budget,
            limits::update_budget,
            limits::delete_budget
        ))
        .routes(routes!(limits::reset_budget))
        .routes(routes!(completions::follow))
        .routes(routes!(admin::rotate_secret))
        .routes(routes!(admin::secrets))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .layer(DefaultBodyLimit::max(body::OTHER));
    executions.merge(batch).merge(signal).merge(others)
}
