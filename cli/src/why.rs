//! `ff why`: explains why an execution does not run.

use std::process::ExitCode;

use ff_sdk::core::state::{OwnershipState, PublicState};
use ff_sdk::{Interrupted, SdkError, TimestampMs, Why};
use ff_server::view;
use serde_json::json;

use crate::args::ExecutionArgs;
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::limits::{is_missing, limit_items};
use crate::operate::revoked_at;
use crate::reasons::{interrupted_item, reason_items, turn_item};
use crate::report::time;

/// Runs the command.
pub async fn why(args: ExecutionArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let why = match client.why(&args.id).await {
        Ok(Some(why)) => why,
        Ok(None) => return Err(not_found(&client, &args).await),
        Err(error) => return Err(backend::call_error(&client, &args.id, error)),
    };
    let revoked_at = match why.interrupted {
        Some(Interrupted::LeaseRevoked { .. }) => revoked_at(&client, &args.id).await?,
        _ => None,
    };
    if args.json {
        let mut object = view::why(&why);
        if let Some(at) = revoked_at {
            object["interrupted"]["at"] = json!(at);
        }
        print_line(object)?;
    } else {
        print(&text(&why, revoked_at))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn not_found(client: &ff_sdk::Client, args: &ExecutionArgs) -> CliError {
    let missing = ff_sdk::EngineError::NotFound { entity: "execution" };
    backend::call_error(client, &args.id, SdkError::Engine(missing))
}

fn text(why: &Why, revoked_at: Option<TimestampMs>) -> String {
    let execution = &why.execution;
    let state = execution.state.public_state;
    let lost = [OwnershipState::LeaseExpiredReclaimable, OwnershipState::LeaseRevoked];
    let detail = match state {
        PublicState::Active if lost.contains(&execution.state.ownership_state) => {
            " (its lease is lost)"
        }
        PublicState::RateLimited if why.limits.iter().any(is_missing) => {
            " (a limit that it names is missing)"
        }
        _ => "",
    };
    let mut text = format!(
        "{state}{detail}: kind {} in lane {}, as of {}\n",
        execution.kind,
        execution.lane,
        time(why.at)
    );
    let mut items: Vec<_> = interrupted_item(why, revoked_at).into_iter().collect();
    items.extend(reason_items(why));
    items.extend(limit_items(why));
    items.extend(why.turn.map(|turn| turn_item(turn, why)));
    for item in items {
        text.push_str(&item.text());
    }
    text
}
