//! Signals: buffering, repeats, tokens and their secrets, limits, retention (`docs/spec.md`, 5).

use ff_sdk::core::error::RejectionKind;
use ff_sdk::core::execution::EventKind;
use ff_sdk::core::id::{SignalId, WaitpointId};
use ff_sdk::core::policy::ExecutionPolicy;
use ff_sdk::core::state::PublicState;
use ff_sdk::core::store::{IndexName, RecordKey};
use ff_sdk::core::time::DurationMs;
use ff_sdk::core::token::Rotation;
use ff_sdk::{
    ClaimedTask, IssuedWaitpoint, Signal, SignalEffect, SignalOutcome, SuspendOutcome, Suspension,
    WaitpointToken,
};
use uuid::Uuid;

use crate::faulty_backend::commits;
use crate::fixture::Fixture;
use crate::kit::{
    claim, describe, events, kind, ms, rotate, secs, send, state, submit, submitted, work,
};

async fn suspended(task: ClaimedTask) -> IssuedWaitpoint {
    match task.suspend(Suspension::until_signal("approval").unwrap()).await.unwrap() {
        SuspendOutcome::Suspended { waitpoints, .. } => waitpoints.into_iter().next().unwrap(),
        SuspendOutcome::AlreadySatisfied(_) => panic!("no signal was sent yet"),
    }
}

/// A signal before the suspension is buffered; it satisfies the suspension, and the lease is kept.
pub async fn a_signal_before_the_suspension_is_not_lost(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let open = task.create_pending_waitpoint("approval", None).await.unwrap();
    let sent = send(&client, &id, &open, "approved").await.unwrap();
    let buffered = SignalEffect::Buffered;
    assert!(matches!(sent, SignalOutcome::Accepted { effect, .. } if effect == buffered));
    let (lease, epoch) = (task.lease_id(), task.lease_epoch());
    let asked = Suspension::until_signal("approval").unwrap().open(&open);
    let SuspendOutcome::AlreadySatisfied(task) = task.suspend(asked).await.unwrap() else {
        panic!("the signal was received before the suspension");
    };
    assert_eq!(state(&client, &id).await, PublicState::Active);
    assert_eq!((task.lease_id(), task.lease_epoch()), (lease, epoch));
    assert_eq!(task.resume_signals().await.unwrap()[0].name.as_str(), "approved");
    task.complete(None).await.unwrap();
    let kinds = events(&client, &id).await;
    assert!(kinds.contains(&EventKind::AlreadySatisfied) && !kinds.contains(&EventKind::Suspended));
}

/// A pending waitpoint closes at its expiry, before and after a timekeeper has marked it.
pub async fn a_pending_waitpoint_closes_at_its_expiry(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let task = claim(&worker).await;
    let open = task.create_pending_waitpoint("a", Some(secs(5))).await.unwrap();
    fixture.advance(ms(4_999)).await;
    send(&client, &id, &open, "in-time").await.unwrap();
    fixture.advance(ms(1)).await;
    let late = send(&client, &id, &open, "late").await;
    assert_eq!(kind(late), RejectionKind::WaitpointClosed);
    fixture.tick().await;
    assert!(describe(&client, &id).await.waitpoints.is_empty());
    let asked = Suspension::until_signal("a").unwrap().open(&open);
    assert_eq!(kind(task.suspend(asked).await), RejectionKind::WaitpointClosed);
}

/// The signal that resumed, delivered again, is a duplicate; a sender whose reply was lost gets the
/// first outcome.
pub async fn a_repeated_signal_is_recognised(fixture: &Fixture) {
    let faulty = fixture.faulty();
    let client = fixture.client().await;
    let sender = fixture.client_on(faulty.clone()).await;
    let worker = fixture.worker("w").await;
    let id = submit(&client, work()).await;
    let waitpoint = suspended(claim(&worker).await).await;
    let signal =
        || Signal::new("approved", waitpoint.token.clone()).unwrap().idempotency_key("click");
    faulty.lose_replies(1, commits);
    let first = sender.deliver_signal(&id, &waitpoint.id, signal()).await.unwrap();
    let existing_signal_id = SignalId::for_idempotency_key(waitpoint.id, "click");
    let resumed = SignalOutcome::TriggeredResume { signal_id: existing_signal_id };
    assert_eq!(first, resumed, "its own reply was lost");
    for _ in 0..2 {
        let again = client.deliver_signal(&id, &waitpoint.id, signal()).await.unwrap();
        assert_eq!(again, SignalOutcome::Duplicate { existing_signal_id });
    }
    assert_eq!(describe(&client, &id).await.signals, 1);
    // A repeat without the token gets no information.
    let bad = Signal::new("approved", WaitpointToken::new("k1:00")).unwrap();
    let refused = client.deliver_signal(&id, &waitpoint.id, bad.id(existing_signal_id)).await;
    assert_eq!(kind(refused), RejectionKind::InvalidToken);
    claim(&worker).await.complete(None).await.unwrap();
    let again = client.deliver_signal(&id, &waitpoint.id, signal()).await.unwrap();
    assert_eq!(again, SignalOutcome::Duplicate { existing_signal_id });
}

/// The error is the same for every bad token, and reveals nothing.
pub async fn every_bad_token_is_the_same_error(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 2).await;
    let id = submit(&client, work()).await;
    let waitpoint = suspended(claim(&worker).await).await;
    let other = submit(&client, work()).await;
    let elsewhere = suspended(claim(&worker).await).await;
    let good = waitpoint.token.expose();
    let flipped = if good.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{flipped}", &good[..good.len() - 1]);
    let unknown_kid = good.replacen("k1:", "k9:", 1);
    let unknown_id = fixture.id_in(1);
    let unknown_waitpoint = WaitpointId::from_uuid(Uuid::from_u128(9));
    let big = vec![0; (256 << 10) + 1];
    let mut errors = Vec::new();
    for (execution, at, token, payload) in [
        (id, waitpoint.id, wrong.as_str(), &b""[..]),
        (id, waitpoint.id, elsewhere.token.expose(), b""),
        (id, waitpoint.id, &unknown_kid, b""),
        (id, waitpoint.id, "", b""),
        (id, unknown_waitpoint, good, b""),
        (other, waitpoint.id, good, b""),
        (unknown_id, waitpoint.id, good, b""),
        (id, waitpoint.id, &wrong, &big),
    ] {
        let signal = Signal::new("approved", WaitpointToken::new(token)).unwrap();
        let refused = client.deliver_signal(&execution, &at, signal.payload(payload)).await;
        let error = refused.expect_err("the token is refused");
        assert_eq!(crate::kit::kind_of(&error), RejectionKind::InvalidToken);
        errors.push(error.to_string());
    }
    errors.dedup();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(describe(&client, &id).await.signals, 0);
    send(&client, &id, &waitpoint, "approved").await.unwrap();
}

/// Secrets in hexadecimal digits.
const SECRETS: [&str; 4] = ["00aa", "01bb", "02cc", "03dd"];

/// A token stays valid for the grace of its secret, however often the secret is rotated after it.
pub async fn a_token_outlives_rotations_within_its_grace(fixture: &Fixture) {
    let client = fixture.client().await;
    let admin = fixture.admin().await;
    let rotate_to = async |number: usize, kid: &str| {
        let rotated = rotate(&admin, kid, SECRETS[number], 60_000).await;
        assert_eq!(rotated.unwrap(), Rotation::Rotated);
        fixture.advance(secs(2)).await;
    };
    let worker = fixture.worker_with("w", |config| config.max_concurrent_tasks = 9).await;
    for back in [false, true] {
        let kid = |number: usize| format!("k{number}-{back}");
        rotate_to(1, &kid(1)).await;
        let id = submit(&client, work()).await;
        let waitpoint = suspended(claim(&worker).await).await;
        assert!(waitpoint.token.expose().starts_with(&kid(1)));
        rotate_to(2, &kid(2)).await;
        if back {
            rotate_to(1, &kid(1)).await;
        }
        rotate_to(3, &kid(3)).await;
        let sent = send(&client, &id, &waitpoint, "approved").await.unwrap();
        let resumed = matches!(sent, SignalOutcome::TriggeredResume { .. });
        assert!(resumed, "back {back}: {sent:?}");
        claim(&worker).await.complete(None).await.unwrap();
    }
    let id = submit(&client, work()).await;
    let waitpoint = suspended(claim(&worker).await).await;
    let last = rotate(&admin, "last", SECRETS[0], 10_000).await.unwrap();
    assert_eq!(last, Rotation::Rotated);
    fixture.advance(secs(10)).await;
    let late = send(&client, &id, &waitpoint, "approved").await;
    assert_eq!(kind(late), RejectionKind::InvalidToken, "its grace has ended");
}

/// The same secret again is not a rotation; another one under the same kid is a conflict.
pub async fn rotations_are_recognised(fixture: &Fixture) {
    let admin = fixture.admin().await;
    let rotate =
        async |kid: &str, secret: &str, grace: u64| rotate(&admin, kid, secret, grace).await;
    assert_eq!(rotate("k1", "c0ffee", 0).await.unwrap(), Rotation::Rotated);
    assert_eq!(rotate("k1", "C0FFEE", 0).await.unwrap(), Rotation::Noop);
    assert_eq!(kind(rotate("k1", "c0ffef", 0).await), RejectionKind::RotationConflict);
    assert_eq!(kind(rotate("", "00", 0).await), RejectionKind::InvalidKid);
    assert_eq!(kind(rotate("a:b", "00", 0).await), RejectionKind::InvalidKid);
    assert_eq!(kind(rotate("k2", "xyz", 0).await), RejectionKind::InvalidSecretHex);
    assert_eq!(kind(rotate("k2", "00", u64::MAX).await), RejectionKind::InvalidGraceMs);
    assert_eq!(rotate("k2", "00", 60_000).await.unwrap(), Rotation::Rotated);
    let listed = admin.list_waitpoint_secrets().await.unwrap();
    let kids: Vec<_> = listed.iter().map(|info| (info.kid.as_str(), info.current)).collect();
    assert_eq!(kids, [("k1", false), ("k2", true)]);
}

/// A payload at the limit is accepted, and one byte more is refused.
pub async fn a_signals_payload_has_a_limit(fixture: &Fixture) {
    let (client, worker, id) = submitted(fixture).await;
    let waitpoint = suspended(claim(&worker).await).await;
    let signal = |bytes: usize| {
        let token = waitpoint.token.clone();
        Signal::new("data", token).unwrap().payload(vec![7; bytes])
    };
    let over = client.deliver_signal(&id, &waitpoint.id, signal((256 << 10) + 1)).await;
    assert_eq!(kind(over), RejectionKind::PayloadTooLarge);
    client.deliver_signal(&id, &waitpoint.id, signal(256 << 10)).await.unwrap();
    let signals = claim(&worker).await.resume_signals().await.unwrap();
    assert_eq!(signals[0].payload.as_deref(), Some(&vec![7; 256 << 10][..]));
}

/// Retention removes an execution's signals and output, and nothing else.
pub async fn retention_removes_signals_and_output(fixture: &Fixture) {
    let client = fixture.client().await;
    let worker = fixture.worker("w").await;
    let keep = submit(&client, work()).await;
    let kept = suspended(claim(&worker).await).await;
    send(&client, &keep, &kept, "approved").await.unwrap();
    let held = claim(&worker).await;
    held.complete(None).await.unwrap();

    let short =
        ExecutionPolicy { retention_ms: DurationMs::from_secs(60), ..ExecutionPolicy::default() };
    let id = submit(&client, work().policy(short)).await;
    let task = claim(&worker).await;
    task.append_frame("log", "hello", Default::default()).await.unwrap();
    let open = task.create_pending_waitpoint("inbox", None).await.unwrap();
    for _ in 0..250 {
        send(&client, &id, &open, "data").await.unwrap();
    }
    task.complete(None).await.unwrap();
    fixture.advance(secs(61)).await;
    for _ in 0..4 {
        fixture.tick().await;
    }
    assert!(client.describe(&id).await.unwrap().is_none());
    let index = |id: &ff_sdk::ExecutionId| IndexName::Signals { execution: id.uuid() };
    assert!(fixture.entries_of(id.partition(), index(&id)).await.is_empty());
    let late = send(&client, &id, &open, "late").await;
    assert_eq!(kind(late), RejectionKind::InvalidToken);
    assert_eq!(fixture.entries_of(keep.partition(), index(&keep)).await.len(), 1);
    let signal = |member| RecordKey::Signal { execution: keep.uuid(), signal: member };
    let member = fixture.entries_of(keep.partition(), index(&keep)).await[0].0;
    assert!(fixture.has_record(keep.partition(), signal(member)).await);
}
