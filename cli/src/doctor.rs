//! `ff doctor`: checks the health of a store and suggests fixes.

use std::process::ExitCode;

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use ff_sdk::backend::Location;
use ff_sdk::core::backend::{Finding, FindingLevel};
use ff_sdk::{
    AuditProgress, AuditReport, Auditor, Client, ClientConfig, LaneStatus, LimitState, Namespace,
    Unserved, redacted_url,
};
use serde_json::{Value, json};

use crate::advice::{self, quoted};
use crate::args::StoreArgs;
use crate::exit::{CliError, FAILED, print_line};
use crate::report::{counted, time, wire_name};
use crate::{backend, progress, terminal};

/// The arguments of `ff doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Check only the server, the format and the partitions, without the audit.
    #[arg(long)]
    pub no_audit: bool,
    /// The most entries of each index of a partition that the audit reads.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Check nothing, and give a SQLite file that was copied back a new history: programs that
    /// follow completions then find a gap, and read again what they wait for.
    #[arg(long, conflicts_with_all = ["no_audit", "limit", "json"])]
    pub new_history: bool,
}

/// The width of the table if the width of the terminal is not known.
const WIDTH: u16 = 100;

/// Runs the command.
pub async fn doctor(args: DoctorArgs) -> Result<ExitCode, CliError> {
    if args.new_history {
        return new_history(args.store.backend).await;
    }
    match examine(&args).await {
        // Monitors read standard output: a store that cannot be checked is a finding too.
        Err(error) if args.json && !error.is_usage() => {
            let finding = Finding::new(FindingLevel::Problem, "store", error.message());
            let finding = finding.advise("look at the server, the network and the URL");
            print_line(object(&args, Some(FindingLevel::Problem), &[finding], None))?;
            Ok(ExitCode::from(FAILED))
        }
        examined => examined,
    }
}

async fn new_history(url: String) -> Result<ExitCode, CliError> {
    let Ok(location) = Location::parse(&url) else {
        let problem = "--new-history is for a file: give --backend sqlite:PATH";
        return Err(CliError::usage(problem));
    };
    backend::check_file(&url)?;
    let changed = tokio::task::spawn_blocking(move || ff_sdk::backend::new_history(&location));
    changed.await.map_err(CliError::runtime)?.map_err(CliError::runtime)?;
    print_line(format_args!("{url} has a new history"))?;
    Ok(ExitCode::SUCCESS)
}

async fn examine(args: &DoctorArgs) -> Result<ExitCode, CliError> {
    let namespace = args.store.namespace.clone();
    // A store of this command alone is accepted: it shows at least that one can be opened.
    backend::check_file(&args.store.backend)?;
    let store = backend::open(&args.store.backend, backend::Wait::No).await?;
    let failed = |error| CliError::runtime(format!("cannot check the store: {error}"));
    let auditor = Auditor::connect(store.backend.clone()).await.map_err(failed)?;
    let mut findings = auditor.examine().await.map_err(failed)?;
    let report = match args.no_audit {
        true => None,
        false => Some(audit(&auditor, &namespace, args.limit as usize).await?),
    };
    findings.extend(report.iter().flat_map(AuditReport::findings));
    // A command that only looks at an empty store writes nothing.
    if report.as_ref().is_some_and(|report| report.executions > 0) {
        let config = ClientConfig::new(namespace.as_str())?;
        let client = Client::connect(config, store.backend.clone()).await.map_err(failed)?;
        let unserved = client.unserved().await.map_err(failed)?;
        findings.extend(unserved.iter().map(unserved_finding));
        let lanes = client.lanes().await.map_err(failed)?;
        findings.extend(lanes.iter().filter_map(lane_finding));
        let limits = client.limits_that_hold().await.map_err(failed)?;
        findings.extend(limits.iter().filter_map(limit_finding));
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    if args.json {
        print_line(object(args, worst, &findings, report.as_ref()))?;
    } else {
        print_line(format_args!("{}\n{}", table(&findings), verdict(&findings)))?;
    }
    Ok(match worst {
        Some(FindingLevel::Problem) => ExitCode::from(FAILED),
        _ => ExitCode::SUCCESS,
    })
}

/// The finding that work waits which no live worker serves.
fn unserved_finding(unserved: &Unserved) -> Finding {
    let Unserved { lane, kind, requires, nearest, draining, .. } = unserved;
    let with = match requires.is_empty() {
        true => String::new(),
        false => format!(" that requires {requires}"),
    };
    let nearest = match (draining, nearest) {
        (Some(draining), _) => format!("worker {draining} serves it, but is draining"),
        (None, Some(nearest)) => format!("nearest: {nearest}"),
        (None, None) => "no worker claims now".to_owned(),
    };
    let detail = format!(
        "work of kind {kind} in lane {lane}{with} waits, and no live worker serves it ({nearest})"
    );
    let finding = Finding::new(FindingLevel::Warning, "workers", detail);
    finding.advise(format!(
        "start a worker that serves it: {}; to see those that run: {}",
        advice::work(lane, kind, requires.iter()),
        advice::ff("workers")
    ))
}

/// The finding that work waits in a lane that an operator has stopped.
fn lane_finding(status: &LaneStatus) -> Option<Finding> {
    let LaneStatus { lane, setting, has_waiting, .. } = status;
    if setting.state.starts() || !has_waiting {
        return None;
    }
    let (state, since) = (setting.state, time(setting.since));
    let detail = format!("work waits in lane {lane}, which is {state} since {since}");
    let resume = advice::ff(format!("lanes resume {}", quoted(lane)));
    let finding = Finding::new(FindingLevel::Warning, "lanes", detail);
    Some(finding.advise(format!("to start it: {resume}")))
}

/// The finding that work waits for a quota or a budget that lets nothing start.
fn limit_finding(state: &LimitState) -> Option<Finding> {
    let (subject, detail, command) = match state {
        LimitState::QuotaNotFound { of } => (
            "quotas",
            format!("work waits for quota {}, which does not exist", of.quota),
            format!("quotas set {} --concurrency N --rate N/WINDOW", quoted(&of.quota)),
        ),
        LimitState::BudgetNotFound { budget } => (
            "budgets",
            format!("work waits for budget {budget}, which does not exist"),
            format!("budgets create {} --limit DIMENSION=N", quoted(budget)),
        ),
        LimitState::BudgetExhausted { budget, dimension, limit, resets_at } => {
            let resets = match resets_at {
                Some(at) => format!("until {}", time(*at)),
                None => "until it is reset".to_owned(),
            };
            let at = format!("whose {dimension} is at the hard limit of {limit}, {resets}");
            let detail = format!("work waits for budget {budget}, {at}");
            ("budgets", detail, format!("budgets reset {}", quoted(budget)))
        }
        _ => return None,
    };
    let finding = Finding::new(FindingLevel::Warning, subject, detail);
    Some(finding.advise(format!("to let it start: {}", advice::ff(command))))
}

async fn audit(
    auditor: &Auditor,
    namespace: &Namespace,
    limit: usize,
) -> Result<AuditReport, CliError> {
    let bar = progress::bar(0, "{msg} {bar:20.cyan/blue} {pos}/{len} partitions");
    bar.set_message("auditing");
    let audit = auditor.audit(namespace, limit, |progress| match progress {
        AuditProgress::Looking { done, total } => {
            bar.set_length(total);
            bar.set_position(done);
        }
        AuditProgress::Waiting { suspicious, pause } => {
            let seconds = pause.as_secs();
            bar.set_message(format!("{suspicious} suspicious: checking again in {seconds} s"));
        }
        _ => {}
    });
    let report = audit.await;
    bar.finish_and_clear();
    Ok(report?)
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_width(terminal::width().unwrap_or(WIDTH));
    table.set_header(vec!["level", "check", "finding", "advice"]);
    for finding in findings {
        let advice = finding.advice.clone().unwrap_or_default();
        let (subject, detail) = (finding.subject.clone(), finding.detail.clone());
        table.add_row(vec![wire_name(finding.level), subject, detail, advice]);
    }
    table
}

fn verdict(findings: &[Finding]) -> String {
    let count = |level, singular, plural| {
        let count = findings.iter().filter(|finding| finding.level == level).count();
        counted(count as u64, singular, plural)
    };
    let problems = count(FindingLevel::Problem, "problem", "problems");
    format!("{problems}, {}", count(FindingLevel::Warning, "warning", "warnings"))
}

fn object(
    args: &DoctorArgs,
    worst: Option<FindingLevel>,
    findings: &[Finding],
    report: Option<&AuditReport>,
) -> Value {
    let fault = |suspect: &ff_sdk::core::op::Suspect| {
        json!({
            "execution_id": suspect.execution,
            "fault": suspect.fault.title(),
            "advice": suspect.fault.advice(),
        })
    };
    let audit = |report: &AuditReport| {
        json!({
            "partitions": report.partitions,
            "partial": report.partial,
            "executions": report.executions,
            "newer_format": report.newer_format,
            "overdue": report.overdue,
            "unroutable": report.unroutable,
            "outside": report.outside.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "faults": report.faults.iter().map(fault).collect::<Vec<_>>(),
        })
    };
    json!({
        "backend": redacted_url(&args.store.backend),
        "namespace": args.store.namespace,
        "worst": worst,
        "findings": findings,
        "audit": report.map(audit),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_counts_problems_and_warnings() {
        let finding = |level| Finding::new(level, "store", "detail");
        let (problem, warning) = (finding(FindingLevel::Problem), finding(FindingLevel::Warning));
        assert_eq!(verdict(&[finding(FindingLevel::Good)]), "0 problems, 0 warnings");
        let findings = [problem.clone(), warning, problem];
        assert_eq!(verdict(&findings), "2 problems, 1 warning");
    }
}
