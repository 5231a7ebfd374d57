//! `ff result`: waits for the end of an execution and prints its result.

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::core::state::BlockingReason;
use ff_sdk::{Client, ExecutionId};
use serde_json::json;

use crate::advice;
use crate::args::ResultArgs;
use crate::exit::{CliError, FAILED, Stdout, print_line, warn};
use crate::report::printable;
use crate::{backend, results};

/// Runs the command.
pub async fn result(args: ResultArgs) -> Result<ExitCode, CliError> {
    let ResultArgs { execution, timeout } = args;
    let client = backend::client(&execution.store).await?;
    wait(&client, execution.id, timeout, execution.json).await
}

/// Waits for the end of an execution, and prints its result. The exit code says whether it
/// completed.
pub async fn wait(
    client: &Client,
    id: ExecutionId,
    timeout: Option<Duration>,
    as_json: bool,
) -> Result<ExitCode, CliError> {
    let ended = async {
        tokio::select! {
            biased;
            ended = client.result(&id) => ended,
            never = advise(client, &id) => match never {},
        }
    };
    let ended = match timeout {
        Some(limit) => tokio::time::timeout(limit, ended).await.map_err(|_| {
            let limit = humantime::format_duration(limit);
            CliError::runtime(format!("{id} has not ended within {limit}"))
        })?,
        None => ended.await,
    };
    let ended = ended.map_err(|error| backend::call_error(client, &id, error))?;
    let Some(read) = results::read(client.clone(), id).await? else {
        return Err(CliError::runtime(format!("{id} was removed when its retention ended")));
    };
    if as_json {
        print_line(json!(read))?;
    } else {
        Stdout::new().print_bytes(ended.bytes().unwrap_or_default())?;
    }
    if read.is_completed() {
        return Ok(ExitCode::SUCCESS);
    }
    let failure = read.failure.as_ref();
    let why = failure.map_or_else(String::new, |failure| {
        format!(": {}: {}", failure.category, printable(failure.reason.trim()))
    });
    warn(&format!("ff: {id} {}{why}\n", read.state));
    Ok(ExitCode::from(FAILED))
}

/// How long an execution may wait for a worker before the user gets advice.
const ADVICE_AFTER: Duration = Duration::from_secs(10);

/// Prints how to start a worker if the execution waits for one, and nothing more.
async fn advise(client: &Client, id: &ExecutionId) -> Infallible {
    loop {
        tokio::time::sleep(ADVICE_AFTER).await;
        let Ok(Some(seen)) = client.describe(id).await else { continue };
        let waits = client.store_now().since(seen.updated_at) >= ADVICE_AFTER.into();
        let reason = seen.state.blocking_reason;
        let needs = match reason {
            BlockingReason::WaitingForWorker => "no worker has claimed it",
            BlockingReason::WaitingForCapableWorker => "no worker has the capabilities it requires",
            _ => continue,
        };
        if waits {
            let command = advice::work(&seen.lane, &seen.kind, seen.requires.iter());
            warn(&format!("ff: {id} still waits: {needs}; to start a worker: {command}\n"));
            return std::future::pending().await;
        }
    }
}
