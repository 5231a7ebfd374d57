//! The bytes of records never change within a format: golden files pin them
//! (`docs/architecture.md`, Encoding).
#![allow(clippy::disallowed_methods, reason = "reads and writes its own golden file")]

use std::fmt::Write;

use ff_core::bounded::Bounded;
use ff_core::capability::Capabilities;
use ff_core::condition::{
    ConditionPart, CountKind, ResumePolicy, SignalMatcher, SuspensionReason, TimeoutBehaviour,
};
use ff_core::execution::{
    Active, Attempt, AttemptEnd, AttemptKind, AttemptSummary, BlockEntry, BlockKind, Blocks,
    ClaimKind, ConsumedGrant, ContentDigest, Continuation, Counted, Counts, DelayReason, Event,
    Execution, FailOutcome, Fence, Frame, Grant, GrantAudit, GrantSlot, Interruption, Join,
    LatestSuspension, Lease, LeaseFate, Limited, NextAttempt, NotBefore, OperatorOutcome, Outcome,
    Phase, Progress, RateTurn, Release, ReleaseOutcome, ResumedBy, Resumes, Resumption, Runnable,
    SignalContext, SignalEffect, SignalRecord, Suspended, SuspendedHow, Suspension, Tallies, Tally,
    Terminal, Timeout, Waiting, Waitpoint, WaitpointState, WorkFailure,
};
use ff_core::id::{
    AttemptId, AttemptIndex, BudgetId, CorrelationId, ExecutionId, ExecutionKind, FailureCategory,
    FrameType, GrantId, LaneId, LeaseEpoch, LeaseId, Namespace, Nonce, QuotaId, QuotaKey,
    RequestId, SignalCategory, SignalId, SignalName, SignalSource, SignalSourceType, SlotId,
    SuspensionId, WaitpointId, WaitpointKey, WorkerId, WorkerInstanceId,
};
use ff_core::limits::Limits;
use ff_core::partition::PartitionConfig;
use ff_core::policy::{
    Backoff, ExecutionPolicy, Priority, ReclaimMode, RetryPolicy, TimeoutPolicy,
};
use ff_core::quota_ref::QuotaRef;
use ff_core::state::TerminalOutcome;
use ff_core::store::codec::{DecodeError, FORMAT, checksummed, decode, encode};
use ff_core::store::{JournalEntry, StoreMeta};
use ff_core::tags::Tags;
use ff_core::time::{DurationMs, TimestampMs};
use ff_core::token::{Keyring, Kid, Secret, Subject};
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/golden/format-1.txt");

fn uuid(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_f3a1_7b5c_4d2e_8f00_1122_3344_0000 + number)
}

fn at(milliseconds: u64) -> TimestampMs {
    TimestampMs::new(1_764_000_000_000 + milliseconds)
}

fn attempt() -> Attempt {
    Attempt {
        id: AttemptId::from_uuid(uuid(1)),
        index: AttemptIndex(2),
        kind: AttemptKind::Reclaim,
        started_at: at(10),
        frames: 5,
    }
}

fn fence() -> Fence {
    Fence {
        lease_id: LeaseId::from_uuid(uuid(2)),
        lease_epoch: LeaseEpoch(3),
        attempt_id: AttemptId::from_uuid(uuid(1)),
    }
}

fn failure() -> WorkFailure {
    let category = FailureCategory::try_new("exit_code").expect("a category");
    WorkFailure { category, reason: "exit code 3: disk on fire".to_owned() }
}

/// Returns a record without optional content.
pub fn plain(phase: Phase) -> Execution {
    Execution {
        id: ExecutionId::from_parts(7, uuid(0)),
        namespace: Namespace::try_new("ns").expect("a namespace"),
        lane: LaneId::try_new("default").expect("a lane"),
        kind: ExecutionKind::try_new("shell").expect("a kind"),
        priority: Priority::clamped(0),
        created_at: at(0),
        position: 0,
        updated_at: at(0),
        creator: Nonce(42),
        content: None,
        policy: ExecutionPolicy::default(),
        requires: Capabilities::default(),
        tags: Tags::default(),
        deadline: None,
        phase,
        epoch: LeaseEpoch(0),
        last_fence: None,
        attempts_total: 0,
        past_attempts: Bounded::new(),
        counts: Counts::default(),
        progress: None,
        last_release: None,
        requests: Bounded::new(),
        limits: Some(Box::new(Limited {
            limits: Limits {
                budgets: vec![BudgetId::new("llm")],
                quotas: vec![QuotaRef {
                    quota: QuotaId::new("exports"),
                    key: Some(QuotaKey::new("ada")),
                }],
            },
            waits_for: Some(0),
            turn: Some(RateTurn { quota: 0, at: at(0) }),
            slot: Some(GrantSlot {
                grant: GrantId::from_uuid(uuid(6)),
                slot: SlotId::from_uuid(uuid(7)),
            }),
        })),
        waiting: None,
        framed: 0,
        continuation: None,
    }
}

pub fn waiting() -> Phase {
    Phase::Runnable(Runnable {
        next: NextAttempt::First,
        not_before: None,
        blocks: Blocks::default(),
        grant: None,
    })
}

/// Returns a record with all optional content.
fn full(phase: Phase) -> Execution {
    let mut past = Bounded::new();
    for end in [AttemptEnd::Interrupted, AttemptEnd::Failed(failure())] {
        past.push(AttemptSummary { attempt: attempt(), ended_at: at(20), end });
    }
    let mut requests = Bounded::new();
    let request = |name: &str| RequestId::try_new(name).expect("a request id");
    requests.push((request("r1"), OperatorOutcome::Revoked(LeaseEpoch(2))));
    requests.push((request("r2"), OperatorOutcome::PriorityChanged(Priority::clamped(5))));
    requests.push((request("r3"), OperatorOutcome::Resumed(suspension_id())));
    Execution {
        priority: Priority::clamped(9_000),
        position: 999,
        updated_at: at(30),
        content: Some(ContentDigest([0xab; 32])),
        policy: ExecutionPolicy {
            retry: RetryPolicy {
                max_retries: 7,
                backoff: Backoff::Fixed { delay_ms: DurationMs::new(250) },
                retryable_categories: vec![failure().category],
            },
            timeout: TimeoutPolicy {
                attempt_timeout_ms: Some(DurationMs::new(1_000)),
                execution_deadline_ms: Some(DurationMs::new(60_000)),
            },
            reclaim_mode: ReclaimMode::OnRequest,
            max_reclaim_count: 3,
            max_replay_count: 4,
            retention_ms: DurationMs::new(5_000),
        },
        requires: Capabilities::try_new(["gpu", "eu"]).expect("capabilities"),
        tags: Tags::try_new([("team.name", "media")]).expect("tags"),
        deadline: Some(at(60_000)),
        epoch: LeaseEpoch(3),
        last_fence: Some(fence()),
        attempts_total: 3,
        past_attempts: past,
        counts: Counts { retries: 1, reclaims: 2, replays: 1, rechecks: 4 },
        progress: Some(Progress { percent: 50, message: Some("half".to_owned()) }),
        last_release: Some(Release {
            fence: fence(),
            outcome: ReleaseOutcome::Failed(FailOutcome::RetryScheduled { delay_until: at(99) }),
        }),
        requests,
        waiting: Some(Box::new(waitpoints())),
        framed: 3,
        ..plain(phase)
    }
}

fn grant() -> Grant {
    Grant {
        id: GrantId::from_uuid(uuid(3)),
        worker: WorkerId::try_new("worker").expect("a worker"),
        expires_at: at(500),
        audit: Some(Box::new(GrantAudit {
            instance: Some(WorkerInstanceId::try_new("worker-1").expect("an instance")),
            capability_hash: Some("c0ffee".to_owned()),
            route_snapshot_json: Some("{}".to_owned()),
            admission_summary: None,
        })),
    }
}

fn blocked() -> Phase {
    let mut blocks = Blocks::default();
    blocks.insert(BlockEntry { kind: BlockKind::Route, recheck_at: Some(at(1_000)) });
    blocks.insert(BlockEntry { kind: BlockKind::Operator, recheck_at: None });
    let interruption = Interruption::WaitingChildren;
    Phase::Runnable(Runnable {
        next: NextAttempt::Resume { attempt: attempt(), interruption },
        not_before: Some(NotBefore { until: at(90), reason: DelayReason::RetryBackoff }),
        blocks,
        grant: Some(grant()),
    })
}

fn active(fate: LeaseFate) -> Phase {
    Phase::Active(Active {
        attempt: attempt(),
        lease: Lease {
            id: fence().lease_id,
            epoch: LeaseEpoch(3),
            worker: WorkerId::try_new("worker").expect("a worker"),
            instance: WorkerInstanceId::try_new("worker-1").expect("an instance"),
            how: ClaimKind::Reclaimed,
            acquired_at: at(10),
            expires_at: at(30_010),
            ttl_ms: DurationMs::new(30_000),
            grant: ConsumedGrant { id: GrantId::from_uuid(uuid(3)), expires_at: at(500) },
        },
        fate,
        blocks: Blocks::default(),
        grant: None,
    })
}

fn suspension_id() -> SuspensionId {
    SuspensionId::from_uuid(uuid(4))
}

fn key(text: &str) -> WaitpointKey {
    WaitpointKey::try_new(text).expect("a key")
}

fn signal_id(number: u128) -> SignalId {
    SignalId::from_uuid(uuid(20 + number))
}

fn keyring() -> Keyring {
    let kid = |text: &str| Kid::try_new(text).expect("a kid");
    let secret = |hex: &str| Secret::from_hex(hex).expect("a secret");
    let first = Keyring::new(kid("k1"), secret("c0ffee"));
    let rotated = first.rotate(&kid("k2"), &secret("00ff"), DurationMs::new(60_000), at(0));
    rotated.expect("it is rotated").0
}

fn waitpoint(number: u128, text: &str, state: WaitpointState) -> Waitpoint {
    let id = WaitpointId::from_uuid(uuid(10 + number));
    let key = key(text);
    let subject = Subject { id, key: &key, created_at: at(15) };
    let (kid, token) = keyring().sign(subject).expect("there is a secret");
    let fingerprint = token.fingerprint();
    Waitpoint { id, key, created_at: at(15), kid, fingerprint, state, counts_from: 2, signals: 1 }
}

fn waitpoints() -> Waiting {
    let mut closed = Bounded::new();
    closed.push(waitpoint(3, "old", WaitpointState::Pending { expires_at: Some(at(16)) }));
    let by = ResumedBy::Timeout { signal: true, at: at(60) };
    Waiting {
        open: vec![
            waitpoint(0, "a", WaitpointState::Active),
            waitpoint(1, "b", WaitpointState::Active),
            waitpoint(2, "later", WaitpointState::Pending { expires_at: None }),
        ],
        closed,
        signals: 300,
        latest: Some(LatestSuspension {
            id: suspension_id(),
            waitpoints: [0, 1].map(|number| WaitpointId::from_uuid(uuid(10 + number))).to_vec(),
            outcome: SuspendedHow::AlreadySatisfied(vec![signal_id(0)]),
        }),
        resumption: Some(Resumption {
            suspension_id: suspension_id(),
            by,
            signals: vec![signal_id(0), signal_id(1)],
        }),
    }
}

/// Returns one tally for each kind of count.
fn tallies() -> Tallies {
    let parts = [
        (CountKind::DistinctSignals, SignalMatcher::Wildcard),
        (CountKind::DistinctSources, SignalMatcher::Wildcard),
        (
            CountKind::DistinctWaitpoints,
            SignalMatcher::ByName(SignalName::try_new("approved").expect("a name")),
        ),
    ];
    let part = |(kind, matcher)| ConditionPart {
        n: 2,
        kind,
        matcher,
        waitpoints: vec![key("a"), key("b")],
    };
    let counted = vec![Counted { fingerprint: uuid(30), signal: signal_id(1) }];
    let tally = |parts| Tally { part: part(parts), counted: counted.clone() };
    let joins = vec![Join::Part, Join::Part, Join::AllOf(2), Join::Part, Join::AnyOf(2)];
    Tallies { parts: parts.map(tally).to_vec(), joins }
}

fn suspended(resumes: Resumes, timeout: Option<Timeout>) -> Phase {
    let suspension = Suspension {
        id: suspension_id(),
        reason: SuspensionReason::ToolResult,
        since: at(30),
        resumes,
        escalated_at: timeout.is_none().then_some(at(90)),
        timeout,
        policy: ResumePolicy {
            resume_delay_ms: DurationMs::new(250),
            close_waitpoints: false,
            consume_signals: true,
        },
    };
    Phase::Suspended(Box::new(Suspended { attempt: attempt(), suspension }))
}

fn signal(source: Option<&str>, effect: SignalEffect) -> SignalRecord {
    SignalRecord {
        id: signal_id(0),
        number: 128,
        waitpoint_id: WaitpointId::from_uuid(uuid(10)),
        waitpoint_key: key("a"),
        waitpoint_created_at: at(15),
        name: SignalName::try_new("approved").expect("a name"),
        source: source.map(|text| SignalSource::try_new(text).expect("a source")),
        context: SignalContext {
            category: source.map(|_| SignalCategory::new("approval")),
            source_type: source.map(|_| SignalSourceType::new("user")),
            correlation_id: source.map(|_| CorrelationId::new("order-17")),
        },
        at: at(50),
        creator: Nonce(43),
        effect,
    }
}

fn frame() -> Frame {
    Frame {
        sequence: 5,
        frame_type: FrameType::try_new("log").expect("a type"),
        payload: (*b"a line").into(),
        metadata: [("stream".to_owned(), "stdout".to_owned())].into(),
    }
}

fn terminal(outcome: Outcome, attempt: Option<Attempt>) -> Phase {
    Phase::Terminal(Terminal { outcome, attempt, at: at(40) })
}

fn executions() -> Vec<(&'static str, Execution)> {
    let cancelled = Outcome::Cancelled { reason: "not wanted".to_owned() };
    let mut removing = plain(terminal(Outcome::Expired, None));
    removing.continuation = Some(Continuation::RemoveRecord);
    let mut forgetting = removing.clone();
    forgetting.continuation = Some(Continuation::RemoveSignals);
    let mut dropping = removing.clone();
    dropping.continuation = Some(Continuation::RemoveFrames(100));
    let timeout = |behaviour| Some(Timeout { at: at(90), behaviour });
    let signals = Resumes::Signals(tallies());
    let fails = timeout(TimeoutBehaviour::Fail);
    let resumes = timeout(TimeoutBehaviour::AutoResumeWithTimeoutSignal);
    let interruption = Interruption::Suspension;
    let resumed = Phase::Runnable(Runnable {
        next: NextAttempt::Resume { attempt: attempt(), interruption },
        not_before: Some(NotBefore { until: at(90), reason: DelayReason::ResumeDelay }),
        blocks: Blocks::default(),
        grant: None,
    });
    vec![
        ("waiting", plain(waiting())),
        ("blocked and full", full(blocked())),
        ("active", plain(active(LeaseFate::Held))),
        ("revoked and full", full(active(LeaseFate::Revoked))),
        ("succeeded", plain(terminal(Outcome::Success, Some(attempt())))),
        ("failed and full", full(terminal(Outcome::Failed(failure()), Some(attempt())))),
        ("cancelled", plain(terminal(cancelled, None))),
        ("expired and going", removing),
        ("expired and forgetting", forgetting),
        ("expired and dropping", dropping),
        ("suspended and full", full(suspended(signals.clone(), fails))),
        ("suspended and escalated", full(suspended(signals, None))),
        ("suspended for an operator", plain(suspended(Resumes::OperatorOnly, None))),
        ("suspended for a time", plain(suspended(Resumes::TimeoutOnly, resumes))),
        ("resumed and full", full(resumed)),
    ]
}

fn events() -> Vec<Event> {
    let Execution { namespace, lane, .. } = plain(waiting());
    vec![
        Event::Created { namespace: namespace.clone(), lane: lane.clone() },
        Event::GrantIssued { expires_at: at(500) },
        Event::GrantExpired,
        Event::GrantReleased,
        Event::Claimed {
            how: ClaimKind::New,
            instance: WorkerInstanceId::try_new("worker-1").expect("an instance"),
            attempt: AttemptIndex(0),
            epoch: LeaseEpoch(1),
        },
        Event::LeaseExpired { epoch: LeaseEpoch(1) },
        Event::LeaseRevoked { epoch: LeaseEpoch(1) },
        Event::RetryScheduled { failure: failure(), delay_until: at(99) },
        Event::Released { how: ReleaseOutcome::Delayed },
        Event::Blocked { kind: BlockKind::Budget },
        Event::Unblocked { kind: BlockKind::Quota },
        Event::DelayOver,
        Event::PriorityChanged { priority: Priority::clamped(5) },
        Event::Ended {
            namespace,
            lane,
            tags: Tags::try_new([("team.name", "x")]).expect("tags"),
            outcome: TerminalOutcome::Failed,
            failure: Some(failure()),
        },
        Event::Replayed { life: 1 },
        Event::WaitpointCreated { waitpoint_id: WaitpointId::from_uuid(uuid(10)), key: key("a") },
        Event::WaitpointExpired { waitpoint_id: WaitpointId::from_uuid(uuid(10)) },
        Event::Suspended {
            suspension_id: suspension_id(),
            reason: SuspensionReason::Approval,
            timeout_at: Some(at(90)),
        },
        Event::AlreadySatisfied { suspension_id: suspension_id() },
        Event::SignalTaken {
            signal_id: signal_id(0),
            waitpoint_id: WaitpointId::from_uuid(uuid(10)),
            name: SignalName::try_new("approved").expect("a name"),
            effect: SignalEffect::Counted,
        },
        Event::Resumed { suspension_id: suspension_id(), by: ResumedBy::Operator },
        Event::Escalated { suspension_id: suspension_id() },
        Event::Removed,
    ]
}

fn journal() -> JournalEntry {
    JournalEntry {
        execution: plain(waiting()).id,
        version: 12,
        epoch: LeaseEpoch(3),
        attempt: Some(AttemptIndex(2)),
        events: events(),
    }
}

fn meta() -> StoreMeta {
    StoreMeta { partitions: PartitionConfig::default(), format: 1, counts: false }
}

fn line<T>(name: &str, value: &T) -> String
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let bytes = encode(value, 1);
    assert_eq!(decode::<T>(&bytes, 1).as_ref(), Ok(value), "{name} round-trips");
    let mut text = format!("{name}: ");
    for byte in bytes.iter() {
        write!(text, "{byte:02x}").expect("a text takes any write");
    }
    text.push('\n');
    text
}

#[test]
fn the_bytes_of_format_1_are_pinned() {
    let mut text = String::new();
    for (name, execution) in executions() {
        text += &line(name, &execution);
    }
    text += &line("journal", &journal());
    text += &line("meta", &meta());
    text += &line("signal", &signal(None, SignalEffect::Buffered));
    text += &line("signal and full", &signal(Some("alice"), SignalEffect::Resumed));
    text += &line("keyring", &keyring());
    text += &line("frame", &frame());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(GOLDEN, &text).expect("the golden file is written");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden file exists");
    assert!(
        golden == text,
        "the bytes of a record changed, but a store may hold records with the old bytes: give the \
         change a new format number, and keep reading this format. Only before the first release \
         may the file be rewritten: UPDATE_GOLDEN=1 cargo test -p ff-tests --test core golden"
    );
}

/// Format 2 is the body of format 1 and a checksum: the standard CRC-32 of all bytes before it.
#[test]
fn the_bytes_of_format_2_are_those_of_format_1_and_a_checksum() {
    assert_eq!(checksummed(b"123456789".to_vec())[9..], 0xcbf4_3926_u32.to_be_bytes());
    for (name, execution) in executions() {
        let mut first = encode(&execution, 1).to_vec();
        first[0] = 2;
        let bytes = encode(&execution, 2);
        assert_eq!(bytes[..], checksummed(first)[..], "{name}");
        assert_eq!(decode::<Execution>(&bytes, 2).as_ref(), Ok(&execution), "{name}");
    }
}

/// A program that does not know of counts reads the stored format as a newer one.
#[test]
fn a_store_with_counts_has_a_format_above_those_of_programs_without() {
    let (without, with) = (meta(), StoreMeta { counts: true, ..meta() });
    let [bytes, longer] = [&without, &with].map(|meta| encode(meta, 1));
    assert_eq!(decode::<StoreMeta>(&longer, 1), Ok(with));
    let differences: Vec<_> = bytes.iter().zip(longer.iter()).filter(|(a, b)| a != b).collect();
    assert_eq!((bytes.len(), differences), (longer.len(), vec![(&1, &129)]));
}

#[test]
fn a_newer_format_is_distinguished_from_corruption() {
    let mut bytes = encode(&plain(waiting()), 1).to_vec();
    for (format, known) in [(2, 1), (FORMAT + 1, FORMAT)] {
        bytes[0] = format;
        let newer = DecodeError::NewerFormat { found: format, known };
        assert_eq!(decode::<Execution>(&checksummed(bytes.clone()), known), Err(newer));
    }
    for bytes in [vec![], vec![0, 1, 2], vec![1], vec![FORMAT], vec![FORMAT + 1, 1, 2, 3, 4]] {
        let error = decode::<Execution>(&bytes, 1);
        assert!(matches!(error, Err(DecodeError::Corrupt { .. })), "{bytes:?}");
    }
}

#[test]
fn truncated_and_extended_records_do_not_decode() {
    for (name, execution) in executions() {
        for format in 1..=FORMAT {
            let bytes = encode(&execution, format).to_vec();
            for length in 0..bytes.len() {
                let cut = decode::<Execution>(&bytes[..length], FORMAT);
                assert!(cut.is_err(), "{name} cut to {length}");
            }
            let longer = [&bytes[..], &[0]].concat();
            let longer = decode::<Execution>(&longer, FORMAT);
            assert!(longer.is_err(), "{name} with one more byte");
        }
    }
}

/// No damage to one byte of a record passes for another record, or for a newer format. Only a
/// format number that becomes 1 leaves nothing to check but the form.
#[test]
fn a_damaged_byte_is_noticed() {
    let execution = plain(waiting());
    let whole = encode(&execution, FORMAT).to_vec();
    for index in 0..whole.len() {
        for damage in 1..=u8::MAX {
            let mut bytes = whole.clone();
            bytes[index] ^= damage;
            let decoded = decode::<Execution>(&bytes, FORMAT);
            assert!(matches!(decoded, Err(DecodeError::Corrupt { .. })), "{index}: {damage:#x}");
        }
    }
}

proptest! {
    #[test]
    fn decoding_never_panics(bytes: Vec<u8>, which in 0..15_usize, index: prop::sample::Index) {
        let _ = decode::<Execution>(&bytes, 1);
        let _ = decode::<JournalEntry>(&bytes, 1);
        let _ = decode::<SignalRecord>(&bytes, 1);
        let _ = decode::<Keyring>(&bytes, 1);
        let _ = decode::<Frame>(&bytes, 1);
        // A real record with one changed byte is closer to the errors of a disk.
        let mut record = encode(&executions()[which].1, 1).to_vec();
        let position = index.index(record.len());
        record[position] ^= bytes.first().copied().unwrap_or(1);
        if let Ok(execution) = decode::<Execution>(&record, 1) {
            prop_assert_eq!(decode(&encode(&execution, 1), 1), Ok(execution));
        }
    }
}
