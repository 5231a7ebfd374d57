//! How often the decisions of a lifecycle and the encoding of its records allocate memory, against
//! a golden file. More or fewer allocations fail the test; bytes may differ by 2 %. The numbers do
//! not depend on the machine, as counted instructions would.
#![allow(clippy::disallowed_methods, reason = "reads and writes its own golden file")]

use std::fmt::Write;

use allocation_counter::{AllocationInfo, measure};
use ff_core::execution::{AnyCommand, Decide, Execution, Facts, Next, Verdict};
use ff_core::lane::Lanes;
use ff_core::store::codec::{FORMAT, decode, encode};

use crate::common::{Bench, START, Submission, at, complete, fail, offer, on_due, renew};

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../core/tests/golden/allocations.txt");

/// The costs of steps, as lines of the golden file.
#[derive(Default)]
struct Costs(String);

impl Costs {
    fn note(&mut self, step: &str, info: AllocationInfo) {
        let AllocationInfo { count_total, bytes_total, .. } = info;
        writeln!(self.0, "{step}: {count_total} allocations, {bytes_total} bytes")
            .expect("a string");
    }

    /// Notes a decision on a record and the encoding and decoding of the one that it writes.
    fn decision(&mut self, step: &str, bench: &mut Bench, command: AnyCommand, now: u64) {
        let record: Option<Execution> = match &command {
            AnyCommand::Create(_) => None,
            _ => Some(bench.record().clone()),
        };
        let lanes = match &command {
            AnyCommand::Create(create) => Some(Lanes::new(create.namespace.clone())),
            _ => None,
        };
        let (record, lanes) = (record.as_ref(), lanes.as_ref());
        let facts = Facts { record, lanes, ..Facts::default() };
        let mut ruling = None;
        self.note(step, measure(|| ruling = Some(command.decide(&facts, at(now)))));
        let Some(Ok(Verdict::Apply(decision))) = ruling else { panic!("{step}: {ruling:?}") };
        if let Next::Put(next) = &decision.next {
            let mut bytes = None;
            self.note(&format!("{step}, encoded"), measure(|| bytes = Some(encode(next, FORMAT))));
            let bytes = bytes.expect("it was encoded");
            let decoding = || drop(decode::<Execution>(&bytes, FORMAT).expect("a record"));
            self.note(&format!("{step}, decoded"), measure(decoding));
        }
        if !matches!(command, AnyCommand::Create(_)) {
            bench.applied(command, now);
        }
    }
}

/// The lines that differ.
fn differences(golden: &str, measured: &str) -> Vec<String> {
    let numbers = |line: &str| -> Vec<f64> {
        let numbers = line.rsplit_once(": ").map_or("", |(_, numbers)| numbers);
        numbers.split(' ').filter_map(|word| word.parse().ok()).collect()
    };
    let same = |is: &str, was: &str| match (&numbers(is)[..], &numbers(was)[..]) {
        ([count, bytes], [had, took]) => count == had && (bytes - took).abs() <= took * 0.02,
        _ => false,
    };
    let differs = |(is, was): (&str, &str)| (!same(is, was)).then(|| format!("{is}; it was {was}"));
    let mut all: Vec<_> = measured.lines().zip(golden.lines()).filter_map(differs).collect();
    if measured.lines().count() != golden.lines().count() {
        all.push("another number of lines".to_owned());
    }
    all
}

#[test]
fn decisions_allocate_what_the_golden_file_says() {
    let submission = || Submission::new().requires(&["gpu", "eu"]).retries(3);
    let mut costs = Costs::default();
    let mut bench = Bench::new(submission());
    costs.decision("create", &mut bench, submission().0.into(), START);
    costs.decision("claim", &mut bench, offer(1).into(), START);
    let fence = bench.active().fence();
    costs.decision("renew", &mut bench, renew(fence, 30_000).into(), START + 10);
    costs.decision("fail and retry", &mut bench, fail(fence, "exit_code").into(), START + 20);
    let due = START + 600_000;
    costs.decision("end the delay", &mut bench, on_due().into(), due);
    costs.decision("claim again", &mut bench, offer(2).into(), due);
    let fence = bench.active().fence();
    costs.decision("complete", &mut bench, complete(fence, Some(b"done")).into(), due + 10);

    let Costs(measured) = costs;
    if std::env::var_os("UPDATE_COSTS").is_some() {
        std::fs::write(GOLDEN, &measured).expect("it can be written");
    }
    let golden = std::fs::read_to_string(GOLDEN).expect("the golden file");
    let differences = differences(&golden, &measured);
    assert!(
        differences.is_empty(),
        "the costs changed: {differences:#?}\nif they should: \
         UPDATE_COSTS=1 cargo test -p ff-tests --test core allocations"
    );
}
