//! `ff quotas`: lists quotas, sets and deletes them, and shows the use of one.

use std::process::ExitCode;

use ff_sdk::{QuotaLimits, QuotaUsage};
use ff_server::view;
use serde_json::{Value, json};

use crate::args::{ListQuotasArgs, OneQuotaArgs, QuotasArgs, QuotasCommand, SetQuotaArgs};
use crate::backend;
use crate::exit::{CliError, print, print_line};
use crate::report::{counted, duration, table, time};
use crate::terminal::fitted;

/// Runs the command.
pub async fn quotas(args: QuotasArgs) -> Result<ExitCode, CliError> {
    match args.command {
        None => list(args.list).await?,
        Some(QuotasCommand::Set(args)) => set(args).await?,
        Some(QuotasCommand::Show(args)) => {
            let OneQuotaArgs { quota, store, json } = args.one;
            let client = backend::client(&store).await?;
            let usage = client.quota_use(&quota, args.key.as_ref()).await?;
            show(&usage, json)?;
        }
        Some(QuotasCommand::Delete(OneQuotaArgs { quota, store, json })) => {
            let client = backend::client(&store).await?;
            let deleted = client.delete_quota(&quota).await?;
            match (json, deleted) {
                (true, _) => print_line(json!({ "quota": quota, "deleted": deleted }))?,
                (false, true) => print_line(format_args!(
                    "deleted: quota {quota}; executions that count towards it wait until it is \
                     set again"
                ))?,
                (false, false) => {
                    let namespace = client.namespace();
                    print_line(format_args!(
                        "nothing changed: the namespace {namespace} has no quota {quota}"
                    ))?;
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(args: SetQuotaArgs) -> Result<(), CliError> {
    let mut limits = QuotaLimits::new();
    if let Some(max) = args.concurrency {
        limits = limits.concurrency(max);
    }
    if let Some(rate) = args.rate {
        limits = limits.rate(rate.max, rate.window);
    }
    let OneQuotaArgs { quota, store, json } = args.one;
    let client = backend::client(&store).await?;
    let change = client.set_quota(&quota, limits).await?;
    if json {
        let mut object = view::quota(&change.quota);
        object["before"] = change.before.map_or(Value::Null, view::quota_limits);
        return print_line(object);
    }
    let limits = limits_words(limits);
    match change.before {
        None => print_line(format_args!("created: quota {quota}, {limits} for each key")),
        Some(before) if before == change.quota.limits => {
            print_line(format_args!("nothing changed: quota {quota} has {limits} for each key"))
        }
        Some(before) => print_line(format_args!(
            "set: quota {quota}, {limits} for each key; before: {}\nexecutions that wait are \
             looked at again within 60 s",
            limits_words(before)
        )),
    }
}

async fn list(args: ListQuotasArgs) -> Result<(), CliError> {
    let client = backend::client(&args.store).await?;
    let quotas = client.quotas().await?;
    if args.json {
        return quotas.iter().try_for_each(|quota| print_line(view::quota(quota)));
    }
    if quotas.is_empty() {
        let namespace = client.namespace();
        return print_line(format_args!("the namespace {namespace} has no quotas"));
    }
    let mut rows = table(&["quota", "at a time", "starts", "changed"]);
    for quota in quotas {
        let QuotaLimits { concurrency, rate } = quota.limits;
        let none = || "no limit".to_owned();
        rows.add_row(vec![
            quota.id.to_string(),
            concurrency.map_or_else(none, |max| max.to_string()),
            rate.map_or_else(none, |rate| format!("{} in {}", rate.max, duration(rate.window))),
            time(quota.updated_at),
        ]);
    }
    print(&fitted(rows))
}

fn show(usage: &QuotaUsage, json: bool) -> Result<(), CliError> {
    let QuotaUsage { of, limits, holders, admitted, at, .. } = usage;
    if json {
        return print_line(view::quota_usage(usage));
    }
    print_line(format_args!("quota {of}, as of {}", time(*at)))?;
    if let Some(rate) = limits.rate {
        let (max, window) = (rate.max, duration(rate.window));
        print_line(format_args!("{admitted} of {max} starts in the window of {window}"))?;
    }
    let Some(limit) = limits.concurrency else { return Ok(()) };
    print_line(format_args!(
        "{} of {} taken",
        holders.len(),
        counted(limit.into(), "slot", "slots")
    ))?;
    if holders.is_empty() {
        return Ok(());
    }
    let mut rows = table(&["execution", "has its slot since"]);
    for holder in holders {
        rows.add_row(vec![holder.execution.to_string(), time(holder.since)]);
    }
    print(&fitted(rows))
}

/// The limits in words.
fn limits_words(limits: QuotaLimits) -> String {
    let concurrency = limits.concurrency.map(|max| format!("{max} at a time"));
    let rate = limits.rate.map(|rate| {
        let starts = counted(rate.max.into(), "start", "starts");
        format!("{starts} in {}", duration(rate.window))
    });
    concurrency.into_iter().chain(rate).collect::<Vec<_>>().join(" and ")
}
