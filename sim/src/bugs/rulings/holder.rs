//! Bugs in the calls of a lease's holder.

use ff_core::error::Rejection;
use ff_core::execution::{
    AnyCommand, Asked, Event, Fence, FenceParts, Interruption, LeaseFate, NextAttempt, Phase,
    ValueEffect, ValueKind,
};
use ff_core::id::AttemptId;
use ff_core::time::{DurationMs, Window};

use crate::model::change::{fence_mut, fence_of};

use super::{Ruled, decision, instead, is_repeat, next, on};

/// A repeated completion is not recognised.
pub fn completion_repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match (asked.command, asked.facts.record) {
        (AnyCommand::Complete(_), Some(record)) if is_repeat(&ruled) => {
            let mut record = record.clone();
            record.last_release = None;
            on(asked, &record)
        }
        _ => ruled,
    }
}

/// A completion is committed without a time window.
pub fn completion_window_forgotten(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Complete(_), Some(decision)) = (asked.command, decision(&mut ruled)) {
        decision.window = Window::ALWAYS;
    }
    ruled
}

/// A completion writes its event twice.
pub fn end_told_twice(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Complete(_), Some(decision)) = (asked.command, decision(&mut ruled)) {
        let last = decision.events.last().cloned();
        decision.events.extend(last);
    }
    ruled
}

/// An empty result is stored as no result.
pub fn result_dropped(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Complete(_), Some(decision)) = (asked.command, decision(&mut ruled)) {
        decision.values.retain(|effect| {
            !matches!(effect, ValueEffect::Put(ValueKind::Result, result) if result.is_empty())
        });
    }
    ruled
}

/// A completion removes the payload.
pub fn payload_removed_early(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Complete(_), Some(decision)) = (asked.command, decision(&mut ruled)) {
        decision.values.push(ValueEffect::Remove(ValueKind::Payload));
    }
    ruled
}

/// More than a hundred per cent are accepted.
pub fn progress_unchecked(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (AnyCommand::UpdateProgress(update), Err(Rejection::InvalidInput { .. })) =
        (asked.command, &ruled)
    else {
        return ruled;
    };
    let mut within = update.clone();
    within.percent = 100;
    let mut ruled = instead(asked, &within.into());
    if let Some(progress) = next(&mut ruled).and_then(|next| next.progress.as_mut()) {
        progress.percent = update.percent;
    }
    ruled
}

/// A failed attempt counts as two retries.
pub fn retry_counted_twice(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (Some(record), Some(next)) = (asked.facts.record, next(&mut ruled))
        && next.counts.retries > record.counts.retries
    {
        next.counts.retries += 1;
    }
    ruled
}

/// A retry continues the failed attempt.
pub fn failed_attempt_resumed(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    let attempt = asked.facts.record.and_then(|record| record.attempt().copied());
    if let (Some(attempt), Some(next)) = (attempt, next(&mut ruled))
        && let Phase::Runnable(runnable) = &mut next.phase
        && runnable.next == NextAttempt::Retry
    {
        runnable.next = NextAttempt::Resume { attempt, interruption: Interruption::Delay };
    }
    ruled
}

/// A worker's delay is forgotten.
pub fn delay_forgotten(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::DelayExecution(_), Some(next)) = (asked.command, next(&mut ruled))
        && let Phase::Runnable(runnable) = &mut next.phase
    {
        runnable.not_before = None;
    }
    ruled
}

/// The next claim does not get the signals of an execution that was given back.
pub fn signals_lost_with_give_back(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::DelayExecution(_), Some(next)) = (asked.command, next(&mut ruled))
        && let Phase::Runnable(runnable) = &mut next.phase
        && let NextAttempt::Resume { interruption, .. } = &mut runnable.next
    {
        *interruption = Interruption::Delay;
    }
    ruled
}

/// A revoked lease stays valid until it expires.
pub fn revocation_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let refused = Err(&Rejection::LeaseRevoked) == ruled.as_ref()
        || Err(&Rejection::StaleOwnerCannotAppend) == ruled.as_ref();
    let (Some(record), true) = (asked.facts.record, refused) else { return ruled };
    let mut record = record.clone();
    let Phase::Active(active) = &mut record.phase else { return ruled };
    if active.fate != LeaseFate::Revoked {
        return ruled;
    }
    active.fate = LeaseFate::Held;
    let mut ruled = on(asked, &record);
    if let Some(next) = next(&mut ruled)
        && let Phase::Active(active) = &mut next.phase
    {
        active.fate = LeaseFate::Revoked;
    }
    ruled
}

/// An expired lease is reported as revoked.
pub fn expiry_told_as_revocation(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let of_holder = fence_of(asked.command).is_some();
    match ruled {
        Err(Rejection::LeaseExpired { .. }) if of_holder => Err(Rejection::LeaseRevoked),
        other => other,
    }
}

/// The lease id is left out when fences are compared.
pub fn fence_without_lease(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_lax_fence(asked, ruled, |given, latest| Fence { lease_id: latest.lease_id, ..given })
}

/// The attempt is left out when fences are compared.
pub fn fence_without_attempt(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    with_lax_fence(asked, ruled, |given, latest| Fence { attempt_id: latest.attempt_id, ..given })
}

/// The ruling on a command whose fence becomes the latest one by `completed`.
fn with_lax_fence(asked: Asked<'_>, ruled: Ruled, completed: fn(Fence, Fence) -> Fence) -> Ruled {
    let mut command = asked.command.clone();
    let latest = asked.facts.record.and_then(|record| record.last_fence);
    let (Some(fence), Some(latest), Err(_)) = (fence_mut(&mut command), latest, &ruled) else {
        return ruled;
    };
    let Some(given) = fence.complete() else { return ruled };
    if given == latest || completed(given, latest) != latest {
        return ruled;
    }
    *fence = FenceParts::of(latest);
    instead(asked, &command)
}

/// An owner whose lease was taken over still appends.
pub fn stale_owner_appends(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (AnyCommand::AppendFrame(append), Some(record), Err(Rejection::StaleOwnerCannotAppend)) =
        (asked.command, asked.facts.record, &ruled)
    else {
        return ruled;
    };
    let Phase::Active(active) = &record.phase else { return ruled };
    let mut append = append.clone();
    append.fence = active.fence().into();
    instead(asked, &append.into())
}

/// A repeated frame is not recognised.
pub fn frame_repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (AnyCommand::AppendFrame(_), Some(record), true) =
        (asked.command, asked.facts.record, is_repeat(&ruled))
    else {
        return ruled;
    };
    let mut other = record.clone();
    let Phase::Active(active) = &mut other.phase else { return Err(Rejection::StreamClosed) };
    active.attempt.id = AttemptId::from_uuid(record.id.uuid());
    on(asked, &other)
}

/// A lease is still valid for its holder at the instant at which it ends.
pub fn lease_good_at_its_end(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let of_holder = fence_of(asked.command).is_some();
    let (Some(record), true) = (asked.facts.record, of_holder) else { return ruled };
    let mut longer = record.clone();
    let Phase::Active(active) = &mut longer.phase else { return ruled };
    let end = active.lease.expires_at;
    active.lease.expires_at = end.plus(DurationMs::new(1));
    let longer_end = active.lease.expires_at;
    let mut ruled = on(asked, &longer);
    if let Some(next) = next(&mut ruled)
        && let Phase::Active(active) = &mut next.phase
        && active.lease.expires_at == longer_end
    {
        active.lease.expires_at = end;
    }
    ruled
}

/// An operator's cancellation leaves the lease, if there is one.
pub fn cancelled_keeps_lease(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Cancel(_), Some(record)) = (asked.command, asked.facts.record)
        && let (Phase::Active(_), None) = (&record.phase, fence_of(asked.command))
        && let Some(next) = next(&mut ruled)
    {
        next.phase = record.phase.clone();
    }
    ruled
}

/// An operator's cancellation writes no event.
pub fn end_not_told(asked: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let (AnyCommand::Cancel(_), None) = (asked.command, fence_of(asked.command))
        && let Some(decision) = decision(&mut ruled)
    {
        decision.events.retain(|event| !matches!(event, Event::Ended { .. }));
    }
    ruled
}
