//! Budgets (`docs/spec.md`, 7).

use std::time::Duration;

use ff_sdk::core::error::Rejection;
use ff_sdk::core::id::RequestId;
use ff_sdk::{BudgetId, BudgetSettings, ChargeOutcome, Client, Dimension, ReportUsageResult};

use crate::fixture::Fixture;
use crate::kit::{claim, rejection, submit, work};

fn llm() -> BudgetId {
    BudgetId::new("llm")
}

fn limit(hard: u64) -> BudgetSettings {
    BudgetSettings::new().limit("tokens", 0, hard).unwrap()
}

fn breach(current: u64) -> ReportUsageResult {
    ReportUsageResult::HardBreach { dimension: Dimension::new("tokens"), current, limit: 100 }
}

async fn used(client: &Client) -> u64 {
    client.budget(&llm()).await.unwrap().dimensions[0].used
}

/// SCENARIOS 49: a charge over the hard limit applies nothing, and a dedup key has one outcome.
pub async fn a_budget_refuses_charges_over_its_hard_limit(fixture: &Fixture) {
    let client = fixture.client().await;
    client.create_budget(&llm(), limit(100)).await.unwrap();
    let worker = fixture.worker("spender").await;
    submit(&client, work()).await;
    let task = claim(&worker).await;
    let twice = [("tokens", 60), ("tokens", 60)];
    assert_eq!(task.report_usage(&llm(), &twice, None).await.unwrap(), breach(0));
    let full = task.report_usage(&llm(), &[("tokens", 100)], Some("full")).await.unwrap();
    assert_eq!(full, ReportUsageResult::Ok);
    let over = task.report_usage(&llm(), &[("tokens", 1)], Some("over")).await.unwrap();
    assert_eq!(over, breach(100));
    let first =
        ChargeOutcome::HardBreach { dimension: Dimension::new("tokens"), current: 100, limit: 100 };
    // The key has the first outcome, also after the limit was raised.
    client.update_budget(&llm(), limit(200)).await.unwrap();
    let again = client.report_usage(&llm(), &[("tokens", 1)], Some("over")).await.unwrap();
    assert_eq!(again, ReportUsageResult::AlreadyApplied(first));
    let again = client.report_usage(&llm(), &[("tokens", 100)], Some("full")).await.unwrap();
    assert_eq!(again, ReportUsageResult::AlreadyApplied(ChargeOutcome::Ok));
    assert_eq!(used(&client).await, 100);
    task.complete(None).await.unwrap();
}

/// Charges of several programs at the same time: none is lost, and none counts twice.
pub async fn charges_of_many_callers_add_up(fixture: &Fixture) {
    let client = fixture.client().await;
    client.create_budget(&llm(), limit(0)).await.unwrap();
    let mut callers = Vec::new();
    for caller in 0..40_u64 {
        // Some share a program, and their charges travel together.
        let client = if caller % 4 == 0 { fixture.client().await } else { client.clone() };
        callers.push(tokio::spawn(async move {
            for step in 0..5 {
                let key = (step % 2 == 0).then(|| format!("{}-{step}", caller / 2));
                let charged = client.report_usage(&llm(), &[("tokens", 1)], key.as_deref()).await;
                charged.unwrap();
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    // Each of 20 pairs shares its three keys; the two charges without a key count for each caller.
    assert_eq!(used(&client).await, 20 * 3 + 40 * 2);
}

/// A reset starts anew, periods begin by the clock, and the list shows the usage.
pub async fn a_budget_resets_on_request_and_by_the_clock(fixture: &Fixture) {
    let client = fixture.client().await;
    let hourly = limit(100).resets_every(Duration::from_secs(3_600));
    let created = client.create_budget(&llm(), hourly.clone()).await.unwrap();
    assert!(!created.repeated);
    let exists = client.create_budget(&llm(), hourly).await;
    assert_eq!(rejection(exists), Rejection::BudgetExists { budget: llm() });
    let charge = async |amount| client.report_usage(&llm(), &[("tokens", amount)], None).await;
    charge(100).await.unwrap();
    let request = Some(RequestId::new("r1"));
    assert!(!client.reset_budget(&llm(), request.clone()).await.unwrap().repeated);
    charge(70).await.unwrap();
    assert!(client.reset_budget(&llm(), request).await.unwrap().repeated);
    assert_eq!(used(&client).await, 70);
    fixture.advance_to(client.budget(&llm()).await.unwrap().resets_at().unwrap()).await;
    let [budget] = &client.budgets().await.unwrap()[..] else { panic!("one budget") };
    assert_eq!((&budget.id, budget.dimensions[0].used), (&llm(), 0));
    assert_eq!(charge(100).await.unwrap(), ReportUsageResult::Ok);
    assert_eq!(charge(1).await.unwrap(), breach(100));
}

/// A missing budget or dimension is a typed error; a budget that was created anew has no usage and
/// no keys.
pub async fn unknown_budgets_and_dimensions_are_typed_errors(fixture: &Fixture) {
    let client = fixture.client().await;
    let charge = async |name: &str, key| client.report_usage(&llm(), &[(name, 1)], key).await;
    assert_eq!(rejection(charge("tokens", None).await), missing());
    client.create_budget(&llm(), limit(100)).await.unwrap();
    let (budget, dimension) = (llm(), Dimension::new("cents"));
    let unknown = Rejection::UnknownDimension { budget, dimension };
    assert_eq!(rejection(charge("cents", None).await), unknown);
    charge("tokens", Some("k")).await.unwrap();
    assert!(client.delete_budget(&llm()).await.unwrap());
    assert_eq!(rejection(client.delete_budget(&llm()).await), missing());
    assert_eq!(rejection(charge("tokens", Some("k")).await), missing());
    client.create_budget(&llm(), limit(100)).await.unwrap();
    assert_eq!(charge("tokens", Some("k")).await.unwrap(), ReportUsageResult::Ok);
    assert_eq!(used(&client).await, 1);
}

fn missing() -> Rejection {
    Rejection::BudgetNotFound { budget: llm() }
}
