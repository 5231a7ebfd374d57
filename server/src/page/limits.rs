//! Quotas and budgets, with their use.

use ff_sdk::{Budget, BudgetReset, LimitState, Quota, QuotaUsage, TimestampMs};
use futures_util::{StreamExt, TryStreamExt, stream};
use maud::{Markup, html};

use super::layout::{self, At, lasting};
use super::visitor::{Shown, Visitor};

/// The reads of quotas at the same time.
const READS: usize = 16;

/// The page.
pub(super) async fn show(visitor: Visitor) -> Shown<Markup> {
    let client = &visitor.client;
    let (quotas, budgets, holding, now) = tokio::try_join!(
        client.quotas(),
        client.budgets(),
        client.limits_that_hold(),
        client.store_time(),
    )?;
    let uses = stream::iter(quotas).map(async |quota: Quota| {
        let used = client.quota_use(&quota.id, None).await?;
        Ok::<_, ff_sdk::SdkError>((quota, used))
    });
    let uses: Vec<(Quota, QuotaUsage)> = uses.buffered(READS).try_collect().await?;
    let content = html! {
        @for limit in &holding { (held_by(limit)) }
        section aria-labelledby="quotas" {
            h2 #quotas { "Quotas" }
            p.hint {
                "How many executions run at a time, and how many start in a window. The use is \
                 that of executions without a key; each key has its own slots."
            }
            @if uses.is_empty() { p { "There are no quotas." } }
            @else { (quota_table(&uses, now)) }
        }
        section aria-labelledby="budgets" {
            h2 #budgets { "Budgets" }
            p.hint { "What executions spend. A budget at a hard limit holds executions back." }
            @if budgets.is_empty() { p { "There are no budgets." } }
            @else { (budget_table(&budgets, now)) }
        }
    };
    Ok(layout::page(&visitor, "Quotas and budgets", &content))
}

/// A limit that executions wait for.
fn held_by(limit: &LimitState) -> Markup {
    let text = match limit {
        LimitState::QuotaNotFound { of } => {
            format!("Executions wait for the quota {of}, which does not exist.")
        }
        LimitState::BudgetNotFound { budget } => {
            format!("Executions wait for the budget {budget}, which does not exist.")
        }
        LimitState::BudgetExhausted { budget, dimension, limit, .. } => format!(
            "Executions wait for the budget {budget}: {dimension} is at its hard limit of {limit}."
        ),
        _ => return html! {},
    };
    html! { p.warning { (text) } }
}

/// A use of a limit, with a bar.
fn used(used: u64, most: u64) -> Markup {
    html! { meter min="0" max=(most) value=(used) aria-hidden="true" {} " " (used) " of " (most) }
}

fn quota_table(uses: &[(Quota, QuotaUsage)], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "quota" }
                th scope="col" { "run now" }
                th scope="col" { "started in the window" }
                th scope="col" { "changed" }
            } }
            tbody {
                @for (quota, usage) in uses { tr {
                    th scope="row" { (quota.id) }
                    td {
                        @match quota.limits.concurrency {
                            Some(most) => (used(usage.holders.len() as u64, most.into())),
                            None => "no limit",
                        }
                    }
                    td {
                        @match quota.limits.rate {
                            Some(rate) => {
                                (used(usage.admitted.into(), rate.max.into()))
                                " in " (lasting(rate.window))
                            },
                            None => "no limit",
                        }
                    }
                    td { (At(quota.updated_at, now)) }
                } }
            }
        } }
    }
}

fn budget_table(budgets: &[Budget], now: TimestampMs) -> Markup {
    html! {
        div.wide { table {
            thead { tr {
                th scope="col" { "budget" }
                th scope="col" { "dimension" }
                th scope="col" { "used of the hard limit" }
                th.number scope="col" { "soft limit" }
                th scope="col" { "resets" }
            } }
            tbody {
                @for budget in budgets {
                    @for (number, usage) in budget.dimensions.iter().enumerate() { tr {
                        @if number == 0 {
                            th scope="rowgroup" rowspan=(budget.dimensions.len()) { (budget.id) }
                        }
                        td { (usage.dimension) }
                        td {
                            @match usage.hard {
                                0 => { (usage.used) ", no hard limit" },
                                hard => (used(usage.used, hard)),
                            }
                        }
                        td.number { @match usage.soft { 0 => "–", soft => (soft) } }
                        td {
                            @match (budget.resets_at(), budget.reset) {
                                (Some(at), BudgetReset::Every { every, .. }) => {
                                    (At(at, now)) ", every " (lasting(every))
                                },
                                _ => "on request",
                            }
                        }
                    } }
                }
            }
        } }
    }
}
