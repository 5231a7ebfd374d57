//! Bugs in submissions.

use ff_core::error::Rejection;
use ff_core::execution::{AnyCommand, AnyOutcome, Asked, CreateOutcome, Facts, Verdict};
use ff_core::id::Nonce;
use ff_core::lane::Lanes;

use super::{Ruled, instead, is_repeat, on, with};

/// A repeated submission is not recognised.
pub fn repeat_unknown(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    let (AnyCommand::Create(create), Some(record), true) =
        (asked.command, asked.facts.record, is_repeat(&ruled))
    else {
        return ruled;
    };
    let mut record = record.clone();
    if record.creator == create.creator {
        record.creator = Nonce(!record.creator.0);
    }
    on(asked, &record)
}

/// A submission to a lane that drains is accepted.
pub fn drained_lane_accepts(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match (asked.command, &ruled) {
        (AnyCommand::Create(create), Err(Rejection::LaneDraining { .. })) => {
            let lanes = Lanes::new(create.namespace.clone());
            with(asked, Facts { lanes: Some(&lanes), ..asked.facts })
        }
        _ => ruled,
    }
}

/// Other content under a known idempotency key is taken for a duplicate.
pub fn digest_not_compared(_: Asked<'_>, ruled: Ruled) -> Ruled {
    match ruled {
        Err(Rejection::IdempotencyMismatch { existing }) => {
            let duplicate = CreateOutcome::Duplicate(existing);
            Ok(Verdict::Repeat(AnyOutcome::Create(duplicate)))
        }
        other => other,
    }
}

/// A duplicate is reported as created.
pub fn duplicate_answered_created(_: Asked<'_>, mut ruled: Ruled) -> Ruled {
    if let Ok(Verdict::Repeat(AnyOutcome::Create(outcome))) = &mut ruled {
        *outcome = CreateOutcome::Created(outcome.id());
    }
    ruled
}

/// A payload of any size is taken.
pub fn payload_limit_ignored(asked: Asked<'_>, ruled: Ruled) -> Ruled {
    match (asked.command, &ruled) {
        (AnyCommand::Create(create), Err(Rejection::PayloadTooLarge { .. })) => {
            let mut create = create.clone();
            create.payload_limit = usize::MAX;
            instead(asked, &create.into())
        }
        _ => ruled,
    }
}
