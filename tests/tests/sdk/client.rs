//! The client: results, many submissions, lists, history.

use std::collections::{BTreeMap, BTreeSet};

use ff_sdk::core::error::{Applied, EngineError, RejectionKind};
use ff_sdk::core::execution::{
    AttemptEnd, Block, Command, CreateOutcome, EventKind, Outcome, WireCreate,
};
use ff_sdk::core::id::{ExecutionId, ExecutionKind, LaneId};
use ff_sdk::core::op::ListFilter;
use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::state::PublicState;
use ff_sdk::core::time::DurationMs;
use ff_sdk::{Client, ClientConfig, SdkError, Submission};
use ff_tests::Fixture;
use ff_tests::faulty_backend::{any, commits};
use ff_tests::fixture::{LANE, NAMESPACE, PARTITIONS};
use ff_tests::kit::{claim, events, kind, ms, secs, submit, work};
use tokio::time::Instant;

/// All waiters get a result as soon as the execution ends.
#[tokio::test(start_paused = true)]
async fn waiters_get_a_result_immediately() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work()).await;
    let started = Instant::now();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.result(&id).await.unwrap() })
        })
        .collect();
    fixture.advance(ms(12_345)).await;
    claim(&worker).await.complete(Some(b"out".to_vec())).await.unwrap();
    for waiter in waiters {
        let result = waiter.await.unwrap();
        assert_eq!((result.bytes(), result.is_success()), (Some(&b"out"[..]), true));
    }
    assert_eq!(started.elapsed(), ms(12_345));
    assert_eq!(kind(client.result(&fixture.id_in(0)).await), RejectionKind::NotFound);

    let id = submit(&client, work()).await;
    client.cancel(&id, "no").await.unwrap();
    let result = client.result(&id).await.unwrap();
    assert_eq!(result.outcome, Outcome::Cancelled { reason: "no".to_owned() });
    assert!(!result.is_success());
}

/// The results of many submissions are in their order, for all partitions and also for refused
/// ones, and the number of batches in flight is bounded.
#[tokio::test(start_paused = true)]
async fn many_submissions_have_ordered_results_and_bounded_batches() {
    let fixture = Fixture::memory();
    fixture.client().await;
    let faulty = fixture.faulty();
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    (config.max_in_flight, config.partition_config) = (2, Some(PARTITIONS));
    let client = Client::connect(config, faulty.clone()).await.unwrap();
    faulty.slow_requests(ms(10), any);
    let ids: Vec<ExecutionId> = (0..300).map(|number| fixture.id_in(number % 4)).collect();
    let mut submissions: Vec<_> = ids.iter().map(|id| work().id(*id)).collect();
    submissions.insert(7, work().lane("no lane"));
    submissions.insert(9, work().id(ids[0]));
    let mut outcomes = client.submit_many(submissions).await;
    assert_eq!(kind(outcomes.remove(7)), RejectionKind::InvalidId);
    assert_eq!(outcomes.remove(8).unwrap(), CreateOutcome::Duplicate(ids[0]));
    let created: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let expected: Vec<_> = ids.into_iter().map(CreateOutcome::Created).collect();
    assert_eq!(created, expected);
    assert_eq!(faulty.most_in_flight(), 2);
}

/// Lists show each execution that passes the filter once, page by page.
#[tokio::test(start_paused = true)]
async fn lists_have_filters_and_pages() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let mut submitted = BTreeSet::new();
    for number in 0..23 {
        let submission = Submission::new(if number % 2 == 0 { "even" } else { "odd" });
        let lane = if number < 10 { "first" } else { "second" };
        let id = fixture.id_in(number % 4);
        submitted.insert(submit(&client, submission.lane(lane).id(id)).await);
        fixture.advance(ms(1)).await;
    }
    let (mut listed, mut from, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = client.list(ListFilter::default(), from, 5).await.unwrap();
        assert!(page.executions.len() <= 5);
        pages += 1;
        listed.extend(page.executions.iter().map(|seen| seen.execution_id));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!((listed, pages), (submitted, 5));
    let done = submit(&client, work()).await;
    claim(&worker).await.complete(None).await.unwrap();
    let kind = Some(ExecutionKind::try_new("even").unwrap());
    let lane = Some(LaneId::try_new("first").unwrap());
    let states = vec![PublicState::Completed, PublicState::Failed];
    let counted = async |filter| client.list(filter, None, 100).await.unwrap().executions.len();
    assert_eq!(counted(ListFilter { kind: kind.clone(), ..Default::default() }).await, 12);
    assert_eq!(counted(ListFilter { lane: lane.clone(), ..Default::default() }).await, 10);
    assert_eq!(counted(ListFilter { kind, lane, ..Default::default() }).await, 5);
    let page = client.list(ListFilter { states, ..Default::default() }, None, 100).await.unwrap();
    assert_eq!(page.executions[0].execution_id, done);
    assert_eq!((page.executions.len(), page.next), (1, None));
}

/// The history has the attempts from the record and the events from the journal, in order.
#[tokio::test(start_paused = true)]
async fn history_has_attempts_and_events_in_order() {
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let id = submit(&client, work().id(fixture.id_in(0))).await;
    submit(&client, work().id(fixture.id_in(0)).delay(secs(99))).await;
    claim(&worker).await.fail("it broke", "network").await.unwrap();
    fixture.advance(secs(2)).await;
    fixture.tick().await;
    claim(&worker).await.complete(None).await.unwrap();
    let history = client.history(&id).await.unwrap();
    let ends: Vec<_> = history.attempts.iter().map(|past| &past.end).collect();
    assert!(matches!(ends[..], [AttemptEnd::Failed(_), AttemptEnd::Succeeded]), "{ends:?}");
    use EventKind::{Claimed, Created, DelayOver, Ended, GrantIssued, RetryScheduled};
    let expected =
        [Created, GrantIssued, Claimed, RetryScheduled, DelayOver, GrantIssued, Claimed, Ended];
    assert_eq!(events(&client, &id).await, expected);
    let versions: Vec<_> = history.events.iter().map(|entry| entry.version).collect();
    assert!(versions.is_sorted());
    assert!(history.events.is_sorted_by_key(|entry| (entry.at, entry.epoch)));
}

/// An unreachable store is `Unreachable` at the end of the call's time limit, and one that refuses
/// is `Transport`; if a reply may have been lost, it is a `Timeout` of a call in doubt. All of them
/// are retryable. A reply to another request is a `Bug` immediately.
#[tokio::test(start_paused = true)]
async fn an_unreachable_store_is_a_typed_error_in_time() {
    let fixture = Fixture::memory();
    let faulty = fixture.faulty();
    let client = fixture.client_on(faulty.clone()).await;
    let started = Instant::now();
    faulty.disconnect();
    let error = client.submit(work()).await.unwrap_err();
    assert!(matches!(error.engine(), Some(EngineError::Unreachable { op: "create", .. })));
    assert!(error.is_retryable() && started.elapsed() <= secs(30));
    assert!(started.elapsed() > secs(28), "{:?}", started.elapsed());
    faulty.heal();
    faulty.refuse();
    let error = client.submit(work()).await.unwrap_err();
    assert!(matches!(error.engine(), Some(EngineError::Transport { op: "create", .. })));
    assert!(error.is_retryable());
    faulty.heal();
    faulty.lose_replies(u32::MAX, any);
    let error = client.submit(work()).await.unwrap_err();
    let Some(EngineError::Timeout { applied, .. }) = error.engine() else { panic!("{error}") };
    assert_eq!(*applied, Applied::Unknown);
    assert!(error.is_retryable());
    faulty.heal();
    faulty.garble(commits);
    let error = client.submit(work()).await.unwrap_err();
    let Some(EngineError::Timeout { applied, .. }) = error.engine() else { panic!("{error}") };
    assert_eq!(*applied, Applied::Unknown, "the reply to another request is a lost reply");
}

/// No call finds an execution of another namespace (`docs/spec.md`, 7).
#[tokio::test(start_paused = true)]
async fn an_execution_of_another_namespace_is_not_found() {
    use ff_sdk::core::execution::BlockKind;

    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let stranger = fixture.client_of("stranger", fixture.backend().clone()).await;
    let id = submit(&client, work()).await;
    let _task = claim(&worker).await;
    assert_eq!(stranger.describe(&id).await.unwrap(), None);
    assert_eq!(kind(stranger.result(&id).await), RejectionKind::NotFound);
    assert_eq!(kind(stranger.history(&id).await), RejectionKind::NotFound);
    assert_eq!(kind(stranger.cancel(&id, "mine").await), RejectionKind::NotFound);
    assert_eq!(kind(stranger.revoke_lease(&id).await), RejectionKind::NotFound);
    assert_eq!(kind(stranger.change_priority(&id, 9).await), RejectionKind::NotFound);
    assert_eq!(kind(stranger.replay(&id).await), RejectionKind::NotFound);
    let block = Block { execution_id: id, kind: BlockKind::Operator, recheck_at: None };
    assert_eq!(kind(stranger.execute(Command::Block(block)).await), RejectionKind::NotFound);
    let seen = client.describe(&id).await.unwrap().expect("it exists");
    assert_eq!((seen.state.public_state, seen.priority.get()), (PublicState::Active, 0));
}

/// A submission in its wire form is resent for 30 s at most, however long the call timeout: after
/// that the execution may have ended and been removed, and a second one would run the work twice.
#[tokio::test(start_paused = true)]
async fn a_resent_wire_submission_creates_no_second_execution() {
    let fixture = Fixture::memory();
    let (others, backend) = (fixture.client().await, fixture.faulty());
    let mut config = ClientConfig::new(NAMESPACE).unwrap();
    (config.partition_config, config.call_timeout) = (Some(PARTITIONS), secs(120));
    let client = Client::connect(config, backend.clone()).await.unwrap();
    let id = fixture.id_in(0);
    let policy = ExecutionPolicy { retention_ms: DurationMs::ZERO, ..Default::default() };
    let create = WireCreate {
        execution_id: id,
        namespace: NAMESPACE.to_owned(),
        lane: LANE.to_owned(),
        kind: "work".to_owned(),
        payload: None,
        priority: None,
        policy: Some(policy),
        requires: Vec::new(),
        limits: Default::default(),
        tags: BTreeMap::new(),
        start: None,
        deadline: None,
        idempotent: false,
    };
    backend.lose_replies(1, commits);
    let call = tokio::spawn(async move { client.execute(Command::Create(Box::new(create))).await });
    fixture.advance(ms(1)).await;
    backend.disconnect();
    assert!(fixture.record(&id).await.is_some(), "the submission whose reply is lost is applied");
    others.cancel(&id, "not wanted").await.unwrap();
    fixture.advance(secs(61)).await;
    while fixture.record(&id).await.is_some() {
        fixture.tick().await;
    }
    backend.heal();
    let error = call.await.unwrap().expect_err("the call cannot know whether it was applied");
    let SdkError::Engine(EngineError::Contextual { source, .. }) = error else { panic!("{error}") };
    assert!(matches!(*source, EngineError::Timeout { applied: Applied::Unknown, .. }), "{source}");
    assert_eq!(fixture.record(&id).await, None);
}
