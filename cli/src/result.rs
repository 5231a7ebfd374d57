//! `ff result`: waits for the end of an execution and prints its result.

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::{Client, ExecutionId};
use serde_json::json;

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
    let ended = client.result(&id);
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
