//! Any sequence of commands at any times leaves a record that satisfies the invariants of
//! `docs/architecture.md`, as far as one record can show them, and what a rule refuses or
//! recognises as a repeat has no effect.
//!
//! Commands are made from the record as it stands, so that most of them mean something: fences that
//! are current, stale, partial, forged or missing, grants that are out or not, times at and around
//! what is due. A failing sequence shrinks to a short one.

use std::collections::BTreeSet;

use crate::common::{offer, offer_plain};
use crate::one_record::exploration::command_names;
use crate::one_record::run::Run;
use crate::one_record::steps::{sequences, submissions};
use ff_core::execution::{Decide, Judgement, Offered, Situation, Verdict, judge, situation};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

/// Twice the usual number of sequences. One that fails is printed in its shortest form, to
/// become a separate test.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig { cases: usual.cases.saturating_mul(2), failure_persistence: None, ..usual }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(
        submission in submissions(),
        steps in sequences(),
    ) {
        let mut run = Run::new(submission);
        run.begin();
        for step in &steps {
            run.step(step);
            explains_what_a_worker_is_offered(&run);
        }
    }
}

/// \[INV-WHY-1\] `judge` admits an execution exactly if a worker claims it, or if its reclaim limit
/// ends it when a worker would take it over.
fn explains_what_a_worker_is_offered(run: &Run) {
    let Some(record) = &run.bench.record else { return };
    for mut offer in [offer(991), offer_plain(992)] {
        offer.claim.execution_id = record.id;
        let judgement = judge(record, Some(&offer.capabilities), None, &[], run.now);
        let offered = ff_core::execution::offer(record, &offer, run.now);
        let takes = match &offered {
            Ok(Verdict::Apply(decision)) => {
                matches!(decision.outcome, Offered::Claimed(_) | Offered::CapExceeded { .. })
            }
            _ => false,
        };
        // The rule answers for an execution that its limit has ended before, too.
        let repeats = matches!(offered, Ok(Verdict::Repeat(_)));
        let admits = judgement == Judgement::Admit;
        assert!(repeats || takes == admits, "{judgement:?}, but it is {offered:?}\n{record:?}");
    }
}

/// The random steps are worth something: they apply every command and reach every situation.
#[test]
fn random_sequences_reach_every_command_and_situation() {
    let mut runner = TestRunner::deterministic();
    let (mut applied, mut reached) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..150 {
        let cases = (submissions(), sequences());
        let (submission, steps) = cases.new_tree(&mut runner).unwrap().current();
        let mut run = Run::new(submission);
        run.begin();
        applied.insert("create");
        for step in &steps {
            let before = run.bench.clone();
            let command = run.step(step);
            if run.bench != before {
                applied.insert(command.name());
            }
            reached.extend(run.bench.record.as_ref().map(|record| situation(record, run.now)));
        }
    }
    let missing: Vec<String> =
        command_names().into_iter().filter(|name| !applied.contains(name.as_str())).collect();
    assert_eq!(missing, [""; 0], "never applied");
    assert_eq!(reached, BTreeSet::from(Situation::ALL));
}
