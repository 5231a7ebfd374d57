//! A web service with a worker in the same process: `docs/cookbook.md` shows and explains it.

use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use ff_sdk::{ExecutionId, FlowFabric, Payload, SdkError, Submission, shutdown_signal};
use tokio::sync::oneshot;

type Reply<T> = Result<T, (StatusCode, String)>;

fn status(error: SdkError) -> (StatusCode, String) {
    let status = StatusCode::from_u16(error.http_status());
    (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), error.to_string())
}

/// Returns the ID, with which the client asks for the result.
async fn submit(State(ff): State<FlowFabric>, name: String) -> Reply<(StatusCode, String)> {
    let submission = Submission::new("greet").json(&name).map_err(status)?;
    let created = ff.client().submit(submission).await.map_err(status)?;
    Ok((StatusCode::ACCEPTED, created.id().url_safe()))
}

/// Returns the result, or the state of an execution that has not ended.
async fn result(
    State(ff): State<FlowFabric>,
    Path(id): Path<String>,
) -> Reply<(StatusCode, Json<String>)> {
    let id =
        ExecutionId::from_any(&id).map_err(|bad| (StatusCode::BAD_REQUEST, bad.to_string()))?;
    let Some(seen) = ff.client().describe(&id).await.map_err(status)? else {
        return Err((StatusCode::NOT_FOUND, "there is no such greeting".to_owned()));
    };
    if !seen.state.public_state.is_terminal() {
        return Ok((StatusCode::ACCEPTED, Json(seen.state.public_state.to_string())));
    }
    // It has ended, so this does not wait.
    let result = ff.client().result(&id).await.map_err(status)?;
    Ok((StatusCode::OK, Json(result.json().map_err(status)?)))
}

async fn greet(Payload(name): Payload<String>) -> ff_sdk::Json<String> {
    ff_sdk::Json(format!("hello {name}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // From here on, a signal asks for a shutdown, and does not end the process by itself.
    let signal = shutdown_signal();
    // A request does not wait for longer than this while the store is away.
    let ff = FlowFabric::connect("memory:").call_timeout(Duration::from_secs(3)).await?;
    let worker = ff.worker("greeter").max_concurrent_tasks(16).runtime().await?;
    let worker = worker.handle("greet", greet);

    let app = Router::new()
        .route("/greetings", post(submit))
        .route("/greetings/{id}", get(result))
        .with_state(ff);
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);

    let (stop, stopped) = oneshot::channel();
    let service = axum::serve(listener, app).with_graceful_shutdown(async {
        stopped.await.ok();
    });
    let service = tokio::spawn(service.into_future());
    // One signal stops both. An error of the worker ends the process, so that a supervisor starts
    // it again.
    let asked = async {
        signal.await;
        stop.send(()).ok();
    };
    worker.run_until(asked).await?;
    // Requests that are still being answered have 5 s more.
    if let Ok(served) = tokio::time::timeout(Duration::from_secs(5), service).await {
        served??;
    }
    Ok(())
}
