//! Lists by creation time over all partitions, their filters, and bulks (`docs/spec.md`, 11).

use std::collections::BTreeSet;

use ff_sdk::core::store::Request;
use ff_sdk::core::time::TimestampMs;
use ff_sdk::{
    Bulk, BulkCommand, BulkOutcome, BulkPage, Client, ExecutionId, ExecutionSnapshot, ListFilter,
    ListOrder, PublicState, Submission,
};

use crate::fixture::{Fixture, lane};
use crate::kit::{claim, describe, ms, state, submit, work};

async fn pages(
    client: &Client,
    filter: &ListFilter,
    order: ListOrder,
    limit: usize,
) -> Vec<ExecutionSnapshot> {
    let (mut listed, mut from) = (Vec::new(), None);
    loop {
        let page = client.list_by_time(filter.clone(), order, from, limit).await.unwrap();
        assert!(page.executions.len() <= limit);
        listed.extend(page.executions);
        from = page.next;
        if from.is_none() {
            return listed;
        }
    }
}

fn ids(listed: &[ExecutionSnapshot]) -> Vec<ExecutionId> {
    listed.iter().map(|seen| seen.execution_id).collect()
}

/// The newest execution comes first, or the oldest one, over all partitions; the pages of any size
/// show each execution once.
pub async fn lists_by_time_have_every_execution_in_order(fixture: &Fixture) {
    let client = fixture.client().await;
    let mut submitted = BTreeSet::new();
    for number in 0..21_u16 {
        // Three executions have the same creation time, two of them in one partition.
        let id = fixture.id_in([0, 3, 3, 1, 2][usize::from(number % 5)]);
        submitted.insert(submit(&client, work().id(id)).await);
        if number % 3 == 2 {
            fixture.advance(ms(1)).await;
        }
    }
    let oldest = pages(&client, &ListFilter::default(), ListOrder::OldestFirst, 100).await;
    assert!(oldest.is_sorted_by_key(|seen| (seen.created_at, seen.execution_id.uuid())));
    assert_eq!(ids(&oldest).into_iter().collect::<BTreeSet<_>>(), submitted);
    assert_eq!(oldest.len(), 21);
    let newest: Vec<ExecutionId> = ids(&oldest).into_iter().rev().collect();
    for limit in [1, 2, 5, 20, 21, 22] {
        let listed = pages(&client, &ListFilter::default(), ListOrder::NewestFirst, limit).await;
        assert_eq!(ids(&listed), newest, "in pages of {limit}");
        let listed = pages(&client, &ListFilter::default(), ListOrder::OldestFirst, limit).await;
        assert_eq!(listed, oldest, "in pages of {limit}");
    }
}

/// A list shows the executions that pass all parts of its filter, in every order.
pub async fn filters_select_by_state_tag_and_time(fixture: &Fixture) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut created = Vec::new();
    for number in 0..12_u16 {
        let colour = if number % 2 == 0 { "red" } else { "blue" };
        let size = if number % 3 == 0 { "big" } else { "small" };
        let submission =
            work().id(fixture.id_in(number % 4)).tag("my.colour", colour).tag("my.size", size);
        submit(&client, submission).await;
        created.push(fixture.now().await);
        fixture.advance(ms(2)).await;
    }
    claim(&worker).await.complete(None).await.unwrap();
    let held = claim(&worker).await;
    submit(&client, Submission::new("work").delay(ms(60_000))).await;

    let counted = async |filter: ListFilter| {
        let mut counts = BTreeSet::new();
        for order in [ListOrder::NewestFirst, ListOrder::OldestFirst] {
            counts.insert(pages(&client, &filter, order, 5).await.len());
        }
        let whole = client.list(filter, None, 100).await.unwrap();
        assert_eq!(whole.next, None);
        counts.insert(whole.executions.len());
        assert_eq!(counts.len(), 1, "the orders differ: {counts:?}");
        counts.pop_first().unwrap()
    };
    let states = |states: &[PublicState]| ListFilter { states: states.to_vec(), ..filter() };
    assert_eq!(counted(filter()).await, 13);
    assert_eq!(counted(states(&[PublicState::Completed])).await, 1);
    assert_eq!(counted(states(&[PublicState::Completed, PublicState::Active])).await, 2);
    assert_eq!(counted(states(&[PublicState::Delayed, PublicState::Failed])).await, 1);
    let tags = |tags: &[(&str, &str)]| {
        let tags = tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ListFilter { tags: tags.collect(), ..filter() }
    };
    assert_eq!(counted(tags(&[("my.colour", "red")])).await, 6);
    assert_eq!(counted(tags(&[("my.colour", "red"), ("my.size", "big")])).await, 2);
    assert_eq!(counted(tags(&[("my.colour", "red"), ("my.colour", "blue")])).await, 0);
    assert_eq!(counted(tags(&[("my.other", "red")])).await, 0);
    let between = |from: Option<TimestampMs>, before: Option<TimestampMs>| ListFilter {
        created_from: from,
        created_before: before,
        ..filter()
    };
    // The first is included, the second is not.
    assert_eq!(counted(between(Some(created[3]), Some(created[7]))).await, 4);
    assert_eq!(counted(between(Some(created[3]), None)).await, 10);
    assert_eq!(counted(between(None, Some(created[3]))).await, 3);
    assert_eq!(counted(between(Some(created[7]), Some(created[3]))).await, 0);
    drop(held);
}

/// A bulk changes the executions that its filter selects and that were created before it, each
/// once, also if it is repeated; those whose state has changed since they were listed are skipped.
pub async fn a_bulk_changes_each_selected_execution_once(fixture: &Fixture) {
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    for number in 0..10_u16 {
        let lane = if number < 8 { "default" } else { "other" };
        submit(&client, work().id(fixture.id_in(number % 4)).lane(lane)).await;
        fixture.advance(ms(1)).await;
    }
    let now = client.store_time().await.unwrap();
    let command = || BulkCommand::Cancel { reason: "not needed".to_owned() };
    let filter = ListFilter { lane: Some(lane()), states: vec![PublicState::Waiting], ..filter() };
    let cancel = Bulk::new("b-1", command(), filter.clone(), now).unwrap();
    let later = submit(&client, work()).await;

    let first = client.bulk_page(&cancel, None, 3).await.unwrap();
    assert_eq!(outcomes(&first), [3, 0, 0]);
    let next = first.next;
    // One is running now. It is not cancelled, although it could be.
    let held = claim(&worker).await;
    let rest = client.bulk_page(&cancel, next, 100).await.unwrap();
    assert_eq!((outcomes(&rest), rest.next), ([4, 0, 0], None));
    assert_eq!(state(&client, &later).await, PublicState::Waiting, "it was created later");
    assert_eq!(state(&client, &held.execution_id()).await, PublicState::Active);

    let replay = |id: &str| {
        let states = vec![PublicState::Cancelled, PublicState::Waiting];
        let filter = ListFilter { states, ..filter.clone() };
        Bulk::new(id, BulkCommand::Replay, filter, now).unwrap()
    };
    let once = client.bulk_page(&replay("b-2"), None, 100).await.unwrap();
    assert_eq!(outcomes(&once), [7, 0, 0]);
    // Cancelled again, the same bulk finds them again, but does not replay them again.
    let again = Bulk::new("b-3", command(), filter.clone(), now).unwrap();
    assert_eq!(outcomes(&client.bulk_page(&again, None, 100).await.unwrap()), [7, 0, 0]);
    let repeated = client.bulk_page(&replay("b-2"), None, 100).await.unwrap();
    assert_eq!(outcomes(&repeated), [7, 0, 0]);
    for result in &repeated.results {
        let seen = describe(&client, &result.execution.execution_id).await;
        assert_eq!((seen.state.public_state, seen.counts.replays), (PublicState::Cancelled, 1));
    }
    let none = Bulk::new("b-4", BulkCommand::Replay, filter, now).unwrap_err();
    assert!(none.to_string().contains("does not apply"), "{none}");
    held.complete(None).await.unwrap();
}

/// An execution whose state changes between the list and its command is skipped.
pub async fn a_bulk_skips_executions_in_another_state(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let (client, worker) = (fixture.client_on(faulty.clone()).await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    fixture.advance(ms(1)).await;
    let now = client.store_time().await.unwrap();
    let filter = ListFilter { states: vec![PublicState::Waiting], ..filter() };
    let command = BulkCommand::Cancel { reason: String::new() };
    let cancel = Bulk::new("b-1", command, filter, now).unwrap();
    // The command takes a while, and the execution is claimed meanwhile.
    faulty
        .slow_requests(ms(100), |request| matches!(request, Request::Commit(_) | Request::Read(_)));
    let meanwhile = async {
        fixture.advance(ms(50)).await;
        claim(&worker).await
    };
    let (page, held) = tokio::join!(client.bulk_page(&cancel, None, 10), meanwhile);
    assert_eq!(outcomes(&page.unwrap()), [0, 1, 0]);
    assert_eq!(state(&client, &id).await, PublicState::Active);
    held.complete(None).await.unwrap();
}

/// How many were applied, skipped, and failed.
fn outcomes(page: &BulkPage) -> [usize; 3] {
    let mut counts = [0; 3];
    for result in &page.results {
        match &result.outcome {
            BulkOutcome::Applied => counts[0] += 1,
            BulkOutcome::Skipped => counts[1] += 1,
            _ => counts[2] += 1,
        }
    }
    counts
}

fn filter() -> ListFilter {
    ListFilter::default()
}
