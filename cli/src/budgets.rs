//! `ff budgets`: lists budgets, and creates, changes, resets and deletes them.

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::RequestId;
use ff_sdk::{Budget, BudgetChanged, BudgetSettings};
use ff_server::view;
use serde_json::json;

use crate::args::{BudgetsArgs, BudgetsCommand, Limit, ListBudgetsArgs, OneBudgetArgs};
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::report::{table, time};
use crate::terminal::fitted;

/// Runs the command.
pub async fn budgets(args: BudgetsArgs) -> Result<ExitCode, CliError> {
    match args.command {
        None => list(args.list).await?,
        Some(BudgetsCommand::Create(args)) => {
            let settings = settings(args.limit, args.every, args.request_id)?;
            let OneBudgetArgs { budget, store, json } = args.one;
            let client = backend::client(&store).await?;
            let created = client.create_budget(&budget, settings).await;
            changed("created", &created.map_err(CliError::runtime)?, json)?;
        }
        Some(BudgetsCommand::Update(args)) => {
            let mut settings = settings(args.limit, args.every, args.request_id)?;
            if args.never {
                settings = settings.resets_never();
            }
            let OneBudgetArgs { budget, store, json } = args.one;
            let client = backend::client(&store).await?;
            let updated = client.update_budget(&budget, settings).await;
            changed("updated", &updated.map_err(CliError::runtime)?, json)?;
        }
        Some(BudgetsCommand::Reset(args)) => {
            let OneBudgetArgs { budget, store, json } = args.one;
            let client = backend::client(&store).await?;
            let reset = client.reset_budget(&budget, args.request_id).await;
            changed("reset", &reset.map_err(CliError::runtime)?, json)?;
        }
        Some(BudgetsCommand::Delete(OneBudgetArgs { budget, store, json })) => {
            let client = backend::client(&store).await?;
            client.delete_budget(&budget).await.map_err(CliError::runtime)?;
            if json {
                print_line(json!({ "budget": budget, "deleted": true }))?;
            } else {
                print_line(format_args!("deleted: budget {budget}"))?;
            }
        }
        Some(BudgetsCommand::Show(OneBudgetArgs { budget, store, json })) => {
            let client = backend::client(&store).await?;
            let budget = client.budget(&budget).await.map_err(CliError::runtime)?;
            show(&[budget], json)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(
    limits: Vec<Limit>,
    every: Option<Duration>,
    request_id: Option<RequestId>,
) -> Result<BudgetSettings, CliError> {
    let mut settings = BudgetSettings::new();
    for Limit { dimension, soft, hard } in limits {
        let limited = settings.limit(&dimension, soft, hard);
        settings = limited.map_err(|error| CliError::usage(error.to_string()))?;
    }
    if let Some(every) = every {
        settings = settings.resets_every(every);
    }
    Ok(match request_id {
        Some(request_id) => settings.request_id(request_id),
        None => settings,
    })
}

fn changed(done: &str, changed: &BudgetChanged, json: bool) -> Result<(), CliError> {
    let BudgetChanged { budget, repeated } = changed;
    if json {
        let mut object = view::budget(budget);
        object["repeated"] = json!(repeated);
        return print_line(object);
    }
    match repeated {
        true => print_line(format_args!(
            "nothing changed: budget {} was {done} by this request before",
            budget.id
        ))?,
        false => print_line(format_args!("{done}: budget {}", budget.id))?,
    }
    show(std::slice::from_ref(budget), false)
}

async fn list(args: ListBudgetsArgs) -> Result<(), CliError> {
    let client = backend::client(&args.store).await?;
    let budgets = client.budgets().await.map_err(CliError::runtime)?;
    if budgets.is_empty() && !args.json {
        let namespace = client.namespace();
        return print_line(format_args!("the namespace {namespace} has no budgets"));
    }
    show(&budgets, args.json)
}

fn show(budgets: &[Budget], json: bool) -> Result<(), CliError> {
    if json {
        return budgets.iter().try_for_each(|budget| print_line(view::budget(budget)));
    }
    let mut rows = table(&["budget", "dimension", "used", "soft", "hard", "resets"]);
    let limit = |limit: u64| if limit == 0 { "none".to_owned() } else { limit.to_string() };
    for budget in budgets {
        for usage in budget.dimensions.iter() {
            rows.add_row(vec![
                budget.id.to_string(),
                usage.dimension.to_string(),
                usage.used.to_string(),
                limit(usage.soft),
                limit(usage.hard),
                budget.resets_at().map_or_else(|| "on request".to_owned(), time),
            ]);
        }
    }
    print(&fitted(rows))
}
