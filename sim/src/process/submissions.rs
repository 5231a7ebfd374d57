//! The submissions of the client.

use std::sync::Arc;

use ff_core::capability::Capabilities;
use ff_core::entropy::Entropy;
use ff_core::execution::{Create, DEFAULT_PAYLOAD_LIMIT, Start, content_digest};
use ff_core::id::{
    BudgetId, ExecutionId, ExecutionKind, FailureCategory, LaneId, Namespace, Nonce, QuotaId,
    QuotaKey, WorkerInstanceId,
};
use ff_core::limits::Limits;
use ff_core::policy::{Backoff, ExecutionPolicy, Priority, ReclaimMode};
use ff_core::quota::QuotaRef;
use ff_core::tags::Tags;
use ff_core::time::{DurationMs, TimestampMs};

use crate::determinism::random::{between, happens, one_of};
use crate::plan::settings::Settings;

/// The one tenant.
pub fn namespace() -> Namespace {
    Namespace::try_new("world").expect("a valid namespace")
}

/// The instance id of a process at one of its starts.
pub fn instance_id(number: usize, start: u64) -> WorkerInstanceId {
    WorkerInstanceId::try_new(format!("process-{number}.{start}")).expect("a valid id")
}

/// The two lanes.
pub fn lane(number: u64) -> LaneId {
    LaneId::try_new(if number == 0 { "fast" } else { "slow" }).expect("a valid lane")
}

/// The two kinds.
pub fn kind(number: u64) -> ExecutionKind {
    ExecutionKind::try_new(if number == 0 { "work" } else { "report" }).expect("a valid kind")
}

/// How many budgets there are.
pub const BUDGETS: u64 = 2;

/// A budget.
pub fn budget(number: u64) -> BudgetId {
    BudgetId::try_new(format!("budget-{number}")).expect("a valid id")
}

/// How many quotas there are.
pub const QUOTAS: u64 = 3;

/// A quota: the first limits the concurrency, the second the rate, and the third both.
pub fn quota(number: u64) -> QuotaId {
    QuotaId::try_new(format!("quota-{number}")).expect("a valid id")
}

/// The capabilities of workers. No worker has the last one.
pub const TOKENS: [&str; 3] = ["gpu", "disk", "telepathy"];

/// A submission. `store` is the client's estimate of the store's clock.
pub fn submission(settings: &Settings, store: TimestampMs, entropy: &mut Entropy) -> Create {
    let keyed = happens(entropy, 250);
    let execution_id = if keyed {
        let key = format!("key-{}", entropy.below(4));
        ExecutionId::for_idempotency_key(&settings.partitions, &namespace(), &key)
    } else {
        ExecutionId::solo(&settings.partitions, entropy.uuid())
    };
    let payload = match entropy.below(4) {
        0 => None,
        1 => Some(Arc::from([])),
        _ => Some(Arc::from(entropy.below(3).to_le_bytes())),
    };
    let mut create = Create {
        execution_id,
        namespace: namespace(),
        lane: lane(entropy.below(2)),
        kind: kind(u64::from(happens(entropy, 250))),
        payload,
        payload_limit: if happens(entropy, 30) { 4 } else { DEFAULT_PAYLOAD_LIMIT },
        priority: Priority::clamped(between(entropy, 0, 3) as i64 * 100),
        policy: policy(settings, entropy),
        requires: requires(entropy),
        tags: Tags::default(),
        limits: Limits::default(),
        start: start(store, entropy),
        deadline: happens(entropy, 150)
            .then(|| store.plus(DurationMs::new(between(entropy, 0, 12_000)))),
        position: 0,
        creator: Nonce(entropy.next_u64()),
        content: None,
    };
    create.limits = limits(settings, entropy);
    if keyed {
        create.content = Some(content_digest(&create));
    }
    create
}

/// The budgets and quotas of a submission: in most runs none.
fn limits(settings: &Settings, entropy: &mut Entropy) -> Limits {
    let rate = settings.wait_rates.limits;
    if rate == 0 || !happens(entropy, rate) {
        return Limits::default();
    }
    let mut limits = Limits::default();
    for number in 0..QUOTAS {
        if happens(entropy, 350) {
            let key = one_of(entropy, &[None, None, Some("a"), Some("b")]);
            let key = key.map(|key| QuotaKey::try_new(key).expect("a valid key"));
            limits.quotas.push(QuotaRef { quota: quota(number), key });
        }
    }
    for number in 0..BUDGETS {
        if happens(entropy, 150) {
            limits.budgets.push(budget(number));
        }
    }
    limits
}

fn start(store: TimestampMs, entropy: &mut Entropy) -> Start {
    let soon = DurationMs::new(between(entropy, 0, 3_000));
    match entropy.below(10) {
        0 => Start::At(store.plus(soon)),
        1 | 2 => Start::After(soon),
        _ => Start::Now,
    }
}

fn requires(entropy: &mut Entropy) -> Capabilities {
    let tokens: &[&str] = match entropy.below(20) {
        0..3 => &TOKENS[..1],
        3..5 => &TOKENS[1..2],
        5 => &TOKENS[..2],
        6 => &TOKENS[2..],
        _ => &[],
    };
    Capabilities::try_new(tokens).expect("valid tokens")
}

fn policy(settings: &Settings, entropy: &mut Entropy) -> ExecutionPolicy {
    let mut policy = ExecutionPolicy::default();
    policy.retry.max_retries = between(entropy, 0, 3) as u32;
    policy.retry.backoff = if happens(entropy, 500) {
        Backoff::Fixed { delay_ms: DurationMs::new(between(entropy, 0, 1_500)) }
    } else {
        let (initial_ms, max_ms) = (DurationMs::new(200), DurationMs::new(3_000));
        Backoff::Exponential { initial_ms, multiplier: 2, max_ms }
    };
    if happens(entropy, 300) {
        let flaky = FailureCategory::try_new("flaky").expect("a valid category");
        policy.retry.retryable_categories = vec![flaky];
    }
    if happens(entropy, 200) {
        let timeout = between(entropy, 100, 4_000);
        policy.timeout.attempt_timeout_ms = Some(DurationMs::new(timeout));
    }
    if happens(entropy, 150) {
        let after = between(entropy, 500, 15_000);
        policy.timeout.execution_deadline_ms = Some(DurationMs::new(after));
    }
    if happens(entropy, 100) {
        policy.reclaim_mode = ReclaimMode::OnRequest;
    }
    policy.max_reclaim_count = one_of(entropy, &[1, 3, 10, 10]);
    policy.max_replay_count = one_of(entropy, &[1, 10]);
    if happens(entropy, 400) {
        // Some are removed while the client still tries to submit them.
        let most = one_of(entropy, &[1, 500, settings.patience.get() + 4_000]);
        policy.retention_ms = DurationMs::new(between(entropy, 0, most));
    }
    if happens(entropy, 10) {
        // An invalid policy.
        policy.timeout.execution_deadline_ms = Some(DurationMs::ZERO);
    }
    policy
}
