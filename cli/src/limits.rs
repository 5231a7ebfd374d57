//! Budgets and quotas that hold an execution back, in words.

use ff_sdk::{LimitState, QuotaUsage};

use crate::report::{counted, duration, time};

/// The most executions that are named as those that take the slots of a quota.
const NAMED: usize = 10;

/// The state of a limit in words, and what an operator can do about it.
pub fn limit_words(state: &LimitState) -> (String, String) {
    match state {
        LimitState::Quota(usage) => quota_words(usage),
        LimitState::QuotaNotFound { of } => {
            let quota = &of.quota;
            (
                format!("quota {quota} does not exist"),
                format!("to create it: ff quotas set {quota} --concurrency N --rate N/WINDOW"),
            )
        }
        LimitState::Budget { budget } => (
            format!("budget {budget} is below its hard limits, and lets it start"),
            "nothing to do".to_owned(),
        ),
        LimitState::BudgetExhausted { budget, dimension, limit, resets_at } => {
            let resets = match resets_at {
                Some(at) => format!("it resets itself at {}", time(*at)),
                None => "it is reset on request only".to_owned(),
            };
            (
                format!("budget {budget}: {dimension} is at its hard limit of {limit}; {resets}"),
                format!(
                    "to let it start: ff budgets reset {budget}, or ff budgets update {budget} \
                     --limit {dimension}=N"
                ),
            )
        }
        LimitState::BudgetNotFound { budget } => (
            format!("budget {budget} does not exist"),
            format!("to create it: ff budgets create {budget} --limit DIMENSION=N"),
        ),
        other => (format!("{other:?}"), "see ff describe".to_owned()),
    }
}

fn quota_words(usage: &QuotaUsage) -> (String, String) {
    let QuotaUsage { of, limits, holders, admitted, .. } = usage;
    let mut parts = Vec::new();
    if let Some(limit) = limits.concurrency {
        let named = holders.iter().take(NAMED).map(|holder| holder.execution.to_string());
        let named = named.collect::<Vec<_>>().join("\n    ");
        let more = match holders.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!("\n    and {more} more"),
        };
        let by = if holders.is_empty() { "" } else { ", by\n    " };
        let slots = counted(limit.into(), "slot", "slots");
        parts.push(format!("{} of {slots} taken{by}{named}{more}", holders.len()));
    }
    if let Some(rate) = limits.rate {
        let has_slot = limits.concurrency.is_none_or(|limit| holders.len() < limit as usize);
        let state = match (*admitted >= rate.max, has_slot) {
            (true, _) => ", so the window is full",
            (false, true) => ", and others may wait before it",
            (false, false) => "",
        };
        let (max, window) = (rate.max, duration(rate.window));
        parts.insert(0, format!("{admitted} of {max} starts in {window}{state}"));
    }
    let next = format!("to change the limits: ff quotas set {}", of.quota);
    (format!("quota {of}: {}", parts.join("; ")), next)
}
