//! The operator and quotas: it sets, raises, lowers, deletes and reads them.

use ff_core::entropy::Entropy;
use ff_core::op::{ChangeResource, Patience};
use ff_core::partition::PartitionConfig;
use ff_core::quota::{DeleteQuota, LookAtQuota, QuotaLimits, Rate, SetQuota};
use ff_core::time::DurationMs;

use crate::determinism::random::{between, happens, one_of, stream};
use crate::process::task::Output;

use super::context::{About, Context};
use super::submissions::{QUOTAS, namespace, quota};

/// Starts an operation on a quota.
pub fn begin(
    partitions: PartitionConfig,
    patience: Patience,
    entropy: &mut Entropy,
    cx: &mut Context<'_>,
) {
    let number = entropy.below(QUOTAS);
    let (namespace, id) = (namespace(), quota(number));
    match entropy.below(12) {
        0 => {
            let delete = ChangeResource::new(DeleteQuota { namespace, id, partitions }, patience);
            cx.begin(About::Nothing, delete, |_| Output::QuotaDone);
        }
        1 => {
            let look = ChangeResource::new(LookAtQuota { namespace, id, partitions }, patience);
            cx.begin(About::Nothing, look, |_| Output::QuotaDone);
        }
        _ => set(number, limits(number, entropy), partitions, patience, cx),
    }
}

/// Sets one of the quotas, as it is at first.
pub fn set_up(
    number: u64,
    partitions: PartitionConfig,
    patience: Patience,
    entropy: &mut Entropy,
    cx: &mut Context<'_>,
) {
    set(number, limits(number, entropy), partitions, patience, cx);
}

/// Makes sure that each quota exists, and lets all work start in good time. `seed`: the limits are
/// the same in each round.
pub fn restore(
    partitions: PartitionConfig,
    seed: u64,
    patience: impl Fn(&mut Entropy) -> Patience,
    entropy: &mut Entropy,
    cx: &mut Context<'_>,
) {
    for number in 0..QUOTAS {
        let draws = &mut stream(seed, "restored quotas", number);
        let rate = Rate { max: between(draws, 10, 40) as u32, window: DurationMs::from_secs(1) };
        let concurrency = between(draws, 2, 6) as u32;
        let limits = QuotaLimits {
            concurrency: (number != 1).then_some(concurrency),
            rate: (number != 0).then_some(rate),
        };
        set(number, limits, partitions, patience(entropy), cx);
    }
}

fn set(
    number: u64,
    limits: QuotaLimits,
    partitions: PartitionConfig,
    patience: Patience,
    cx: &mut Context<'_>,
) {
    let change = SetQuota { namespace: namespace(), id: quota(number), limits, partitions };
    cx.begin(About::Nothing, ChangeResource::new(change, patience), Output::QuotaSet);
}

/// Limits of a quota: mostly of its kind, sometimes of another one, and seldom none, which are
/// refused.
fn limits(number: u64, entropy: &mut Entropy) -> QuotaLimits {
    let kind = if happens(entropy, 100) { entropy.below(4) } else { number };
    let window = one_of(entropy, &[1_000, 1_000, 2_000, 3_000]);
    let rate = Rate { max: between(entropy, 2, 5) as u32, window: DurationMs::new(window) };
    let concurrency = between(entropy, 1, 3) as u32;
    QuotaLimits {
        concurrency: matches!(kind, 0 | 2).then_some(concurrency),
        rate: matches!(kind, 1 | 2).then_some(rate),
    }
}
