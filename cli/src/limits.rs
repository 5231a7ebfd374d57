//! Budgets and quotas that hold an execution back, in words.

use ff_sdk::{LimitState, PublicState, QuotaUsage, Reason, TimestampMs, Why};

use crate::advice::{self, quoted};
use crate::report::{Item, counted, duration, time};

/// The most executions that are named as those that take the slots of a quota.
const NAMED: usize = 10;

/// The budgets and quotas of an execution that waits for one of them, an item for each, and an item
/// for the time of the next look.
pub fn limit_items(why: &Why) -> Vec<Item> {
    let mut items: Vec<Item> = why.limits.iter().map(limit_item).collect();
    if items.is_empty() {
        return items;
    }
    let rechecks = why.reasons.iter().filter_map(recheck_at);
    let look = match (rechecks.min(), why.limits.iter().any(LimitState::holds)) {
        (Some(at), false) => {
            format!("the limits let it start: it starts at the next look, by {}", time(at))
        }
        (Some(at), true) => format!("it is looked at again by {}", time(at)),
        // No worker has found yet that it has to wait.
        (None, true) if why.execution.state.public_state != PublicState::RateLimited => {
            "it starts once they let it start".to_owned()
        }
        (None, _) => "it waits until it is unblocked".to_owned(),
    };
    items.push(Item::new(look));
    items
}

/// Whether a budget or a quota holds the execution back, which [`limit_items`] describes.
pub const fn is_limited(reason: &Reason) -> bool {
    matches!(reason, Reason::BlockedByBudget { .. } | Reason::BlockedByQuota { .. })
}

/// Whether a limit that does not exist holds an execution back.
pub const fn is_missing(state: &LimitState) -> bool {
    matches!(state, LimitState::QuotaNotFound { .. } | LimitState::BudgetNotFound { .. })
}

const fn recheck_at(reason: &Reason) -> Option<TimestampMs> {
    match reason {
        Reason::BlockedByBudget { recheck_at } | Reason::BlockedByQuota { recheck_at } => {
            *recheck_at
        }
        _ => None,
    }
}

/// The state of a limit, and what an operator can do about it.
fn limit_item(state: &LimitState) -> Item {
    match state {
        LimitState::Quota(usage) => quota_item(usage),
        LimitState::QuotaNotFound { of } => {
            let set = format!("quotas set {} --concurrency N --rate N/WINDOW", quoted(&of.quota));
            Item::new(format!("quota {} does not exist", of.quota)).then(format!(
                "to create it, with one of these limits or both: {}",
                advice::ff(set)
            ))
        }
        LimitState::Budget { budget } => {
            Item::new(format!("budget {budget} is below its hard limits"))
        }
        LimitState::BudgetExhausted { budget, dimension, limit, resets_at } => {
            let resets = match resets_at {
                Some(at) => format!("it resets itself at {}", time(*at)),
                None => "it is reset on request only".to_owned(),
            };
            let id = quoted(budget);
            let update = format!("budgets update {id} --limit {}=N", quoted(dimension));
            Item::new(format!(
                "budget {budget}: {dimension} is at its hard limit of {limit}; {resets}"
            ))
            .then(format!("to let it start: {}", advice::ff(format!("budgets reset {id}"))))
            .then(format!("to raise the limit: {}", advice::ff(update)))
        }
        LimitState::BudgetNotFound { budget } => {
            let create = format!("budgets create {} --limit DIMENSION=N", quoted(budget));
            Item::new(format!("budget {budget} does not exist"))
                .then(format!("to create it: {}", advice::ff(create)))
        }
        other => Item::new(format!("{other:?}")),
    }
}

fn quota_item(usage: &QuotaUsage) -> Item {
    let QuotaUsage { of, limits, holders, admitted, .. } = usage;
    let (mut full, mut free) = (Vec::new(), Vec::new());
    let mut set = format!("quotas set {}", quoted(&of.quota));
    if let Some(limit) = limits.concurrency {
        let slots = counted(limit.into(), "slot", "slots");
        let part = format!("{} of {slots} taken", holders.len());
        let parts = if usage.has_no_slot() { &mut full } else { &mut free };
        parts.push(part);
        set += &format!(" --concurrency {limit}");
    }
    if let Some(rate) = limits.rate {
        let (max, window) = (rate.max, duration(rate.window));
        let starts = counted(max.into(), "start", "starts");
        let part = format!("{admitted} of {starts} in {window} used");
        let parts = if usage.is_window_full() { &mut full } else { &mut free };
        parts.push(part);
        // As one argument, such as 100/1m30s.
        set += &format!(" --rate {max}/{}", window.replace(' ', ""));
    }
    let parts = [full, free].concat().join("; ");
    if !usage.is_full() {
        let others = if limits.rate.is_some() { "; others may start before it" } else { "" };
        return Item::new(format!("quota {of} is free now: {parts}{others}"));
    }
    let mut item = Item::new(format!("quota {of} is full: {parts}"));
    if usage.has_no_slot() {
        for holder in holders.iter().take(NAMED) {
            let see = advice::ff(format!("why {}", holder.execution));
            item = item.then(format!(
                "a slot is taken since {}; to see by what: {see}",
                time(holder.since)
            ));
        }
        if let Some(more @ 1..) = holders.len().checked_sub(NAMED) {
            item = item.then(format!("and {more} more"));
        }
    }
    item.then(format!(
        "to raise what is full (set replaces all limits of the quota): {}",
        advice::ff(set)
    ))
}
