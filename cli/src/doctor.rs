//! `ff doctor`: what is wrong with a store, and how to mend it.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ContentArrangement, Table};
use ff_sdk::core::backend::{Finding, FindingLevel};
use ff_sdk::{AuditProgress, AuditReport, Auditor, Namespace};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::args::store::StoreArgs;
use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, SOME_FAILED, print};

/// The arguments of `ff doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Leave out the audit: look at the server only.
    #[arg(long)]
    pub no_audit: bool,
    /// How many entries of each index of a partition the audit reads at most.
    #[arg(long, value_name = "N", default_value_t = 10_000,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Width of the table where the terminal does not tell.
const WIDTH: u16 = 100;

/// Runs the command.
pub async fn doctor(args: DoctorArgs) -> Result<ExitCode, Failed> {
    let namespace = args.store.namespace.clone();
    // A store of this command's own shows at least that one can be opened.
    let store = match &args.store.backend {
        Some(url) => backend::open(url).await,
        None => backend::open_shared(&args.store).await,
    };
    let store = store.map_err(Failed::before_anything)?;
    let cannot = |error| Failed::runtime(format!("the store cannot be examined: {error}"));
    let auditor = Auditor::connect(store.backend.clone()).await.map_err(cannot)?;
    let mut findings = auditor.examine().await.map_err(cannot)?;
    let report = match args.no_audit {
        true => None,
        false => Some(audit(&auditor, &namespace, args.limit as usize).await?),
    };
    findings.extend(report.iter().flat_map(AuditReport::findings));
    let worst = findings.iter().map(|finding| finding.level).max();
    if args.json {
        print(&format!("{}\n", object(&args, worst, &findings, report.as_ref())))?;
    } else {
        print(&format!("{}\n{}\n", table(&findings), verdict(&findings)))?;
    }
    Ok(ExitCode::from(match worst {
        Some(FindingLevel::Problem) => SOME_FAILED,
        _ => ALL_COMPLETED,
    }))
}

async fn audit(
    auditor: &Auditor,
    namespace: &Namespace,
    limit: usize,
) -> Result<AuditReport, Failed> {
    let bar = match std::io::stderr().is_terminal() {
        true => ProgressBar::new(0),
        false => ProgressBar::hidden(),
    };
    let style = "{msg} {bar:20.cyan/blue} {pos}/{len} partitions";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    bar.set_message("auditing");
    bar.enable_steady_tick(Duration::from_millis(100));
    let audit = auditor.audit(namespace, limit, |progress| match progress {
        AuditProgress::Looking { done, total } => {
            bar.set_length(total);
            bar.set_position(done);
        }
        AuditProgress::Waiting { suspicious, pause } => {
            let seconds = pause.as_secs();
            bar.set_message(format!("{suspicious} look odd: looking again in {seconds} s"));
        }
        _ => {}
    });
    let report = audit.await;
    bar.finish_and_clear();
    Ok(report?)
}

const fn word(level: FindingLevel) -> &'static str {
    match level {
        FindingLevel::Good => "good",
        FindingLevel::Warning => "warning",
        FindingLevel::Problem => "problem",
    }
}

fn table(findings: &[Finding]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Dynamic);
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    table.set_header(vec!["", "what", "found", "advice"]);
    for finding in findings {
        let advice = finding.advice.clone().unwrap_or_default();
        let (subject, detail) = (finding.subject.clone(), finding.detail.clone());
        table.add_row(vec![word(finding.level).to_owned(), subject, detail, advice]);
    }
    table
}

fn verdict(findings: &[Finding]) -> String {
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    match (count(FindingLevel::Problem), count(FindingLevel::Warning)) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("nothing is wrong; {warnings} to look at"),
        (problems, warnings) => format!("{problems} wrong, {warnings} to look at"),
    }
}

fn object(
    args: &DoctorArgs,
    worst: Option<FindingLevel>,
    findings: &[Finding],
    report: Option<&AuditReport>,
) -> Value {
    let fault = |suspect: &ff_sdk::core::op::Suspect| {
        json!({
            "execution": suspect.execution,
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
        "backend": args.store.backend.as_deref().map(backend::hidden),
        "namespace": args.store.namespace,
        "worst": worst,
        "findings": findings,
        "audit": report.map(audit),
    })
}
