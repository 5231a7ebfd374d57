//! `ff submit` on a real server: outcomes, counts and payloads.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::common::store::{LineReader, Store, objects};
use crate::common::{self, text};

#[test]
fn a_submission_is_refused_line_by_line_or_as_a_whole() {
    let store = Store::start();
    let keyed = |n: u32| json!({"kind": "k", "payload": n, "idempotency_key": "key"});
    let output = store.submit(&[keyed(1), keyed(1), keyed(2), json!({"kind": "k"})], &["--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let lines = objects(&text(&output.stdout));
    let outcomes: Vec<&str> = lines.iter().filter_map(|line| line["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["created", "duplicate", "refused", "created"]);
    assert_eq!(lines[0]["execution_id"], lines[1]["execution_id"]);
    assert!(text(&output.stderr).contains("line 3: refused: "), "{}", text(&output.stderr));

    let bad = [json!({"kind": "k"}), json!({"kind": ""}), json!({"kind": "k", "colour": "red"})];
    let output = store.submit(&bad, &[]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    for wanted in ["standard input:2: ", "standard input:3: ", "nothing was submitted"] {
        assert!(errors.contains(wanted), "{errors}");
    }
    assert_eq!(objects(&store.out(&["list", "--all", "--json"])).len(), 2);
}

/// Each pair of payloads is equal as floating-point numbers, or but for order and duplicate keys.
#[test]
fn a_payload_reaches_the_worker_as_it_was_written() {
    let store = Store::start();
    let submit = |line: String| store.run_with_input(&["submit", "-", "--json"], &line);
    let pairs = [
        (r#"{"v":100000000000000000001}"#, r#"{"v":100000000000000000002}"#),
        ("12345678901234567.89", "12345678901234567.88"),
        (r#"{"b": 1, "a": 2}"#, r#"{"a": 2, "b": 1}"#),
        (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
        ("1e400", "1e401"),
    ];
    for (number, (payload, other)) in pairs.into_iter().enumerate() {
        let line =
            |text| format!(r#"{{"kind":"k","idempotency_key":"{number}","payload":{text}}}"#);
        for outcome in ["created", "duplicate"] {
            let output = submit(line(payload));
            assert_eq!(objects(&text(&output.stdout))[0]["outcome"], outcome, "{payload}");
        }
        let refused = submit(line(other));
        assert_eq!(refused.status.code(), Some(1), "{other}");
        assert_eq!(objects(&text(&refused.stdout))[0]["outcome"], "refused", "{other}");
    }
    store.out(&["work", "--exec", "cat", "--until-idle"]);
    let listed = objects(&store.out(&["list", "--all", "--json"]));
    let results: BTreeSet<String> = listed
        .iter()
        .map(|line| store.json(&["describe", line["execution_id"].as_str().expect("an ID")]))
        .map(|seen| seen["result"].as_str().expect("a result").to_owned())
        .collect();
    assert_eq!(results, pairs.iter().map(|(payload, _)| (*payload).to_owned()).collect());
}

/// The counts in the last line but the advice, for example "3 created, ... of 9".
fn counts(errors: &str) -> Vec<u64> {
    let line = errors.lines().find(|line| line.contains(" created, ")).expect("the counts");
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[test]
fn each_line_has_one_outcome_when_the_store_is_full_and_the_rest_can_be_submitted() {
    let store = Store::start();
    store.submit_one(json!({"kind": "k"}));
    let lines: Vec<_> = (0..3_000).map(|n| json!({"kind": "k", "payload": n})).collect();
    // There is room for some of the lines.
    let used = store.query("INFO memory");
    let used = used.lines().find_map(|line| line.strip_prefix("used_memory:"));
    let used: u64 = used.expect("a number").trim().parse().expect("a number");
    store.query(&format!("CONFIG SET maxmemory {}", used + 600_000));
    let submit = ["--key-prefix", "jobs", "--json"];
    let begun = std::time::Instant::now();
    let output = store.submit(&lines, &[&submit[..], &["--timeout", "700ms"]].concat());
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(begun.elapsed() < common::DEADLINE / 10, "it took {:?}", begun.elapsed());
    let outcomes = objects(&text(&output.stdout));
    let numbers: Vec<u64> = outcomes.iter().filter_map(|line| line["line"].as_u64()).collect();
    assert_eq!(numbers, (1..=3_000).collect::<Vec<u64>>());
    let of = |name| outcomes.iter().filter(|line| line["outcome"] == name).count() as u64;
    let names = ["created", "duplicate", "refused", "not_sent", "unknown"];
    let [created, duplicates, refused, not_sent, unknown] = names.map(of);
    assert_eq!(counts(&errors), [created, duplicates, refused, not_sent, unknown, 3_000]);
    assert!(created > 0 && not_sent > 0, "{errors}");
    assert!(errors.contains("OOM"), "{errors}");
    assert!(errors.contains("repeat the command"), "{errors}");

    store.query("CONFIG SET maxmemory 0");
    let begun = std::time::Instant::now();
    let output = store.submit(&lines, &submit);
    // Duplicates do not wait for the budget of retries, 100 in each second.
    assert!(begun.elapsed() < common::DEADLINE / 10, "it took {:?}", begun.elapsed());
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    assert_eq!(counts(&errors), [3_000 - created, created, 0, 3_000], "{errors}");
    let listed = store.out(&["list", "--all", "--limit", "5000", "--json"]);
    assert_eq!(listed.lines().count(), 3_001);
}

#[test]
fn the_ids_without_json_can_be_matched_to_the_lines() {
    let store = Store::start();
    let keyed = |n: u32| json!({"kind": "k", "payload": n, "idempotency_key": "key"});
    let output = store.submit(&[keyed(1), keyed(2), json!({"kind": "k"})], &[]);
    let printed = text(&output.stdout);
    let printed: Vec<&str> = printed.lines().collect();
    assert_eq!((printed.len(), printed[1]), (3, "-"), "{printed:?}");
}

#[test]
fn one_execution_is_submitted_without_a_file_and_its_result_is_printed() {
    let store = Store::start();
    let submit = |more: &[&str]| store.run(&[&["submit", "--kind", "k"], more].concat());
    let one = submit(&["--payload", r#"{"n": 1e400}"#, "--idempotency-key", "a"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one.stderr));
    let id = text(&one.stdout).trim().to_owned();
    let again = submit(&["--payload", r#"{"n": 1e400}"#, "--idempotency-key", "a", "--json"]);
    assert_eq!(objects(&text(&again.stdout))[0]["outcome"], "duplicate");
    let other = submit(&["--payload", r#"{"n": 1e401}"#, "--idempotency-key", "a", "--json"]);
    assert_eq!(objects(&text(&other.stdout))[0]["outcome"], "refused");
    assert_eq!(other.status.code(), Some(1));
    for bad in [&["--payload", "text"][..], &["-"], &["--key-prefix", "a"]] {
        assert_eq!(submit(bad).status.code(), Some(2), "{bad:?}");
    }
    let late = store.run(&["result", &id, "--timeout", "10ms"]);
    assert_eq!(late.status.code(), Some(1));
    assert!(text(&late.stderr).contains("has not ended within 10ms"), "{late:?}");

    // The first of two results is awaited while the worker runs.
    let waiting = store.spawn(&["submit", "--kind", "k", "--payload", "7", "--wait"]);
    let command = "[ $(cat) = 7 ] && printf seven || { echo bad >&2; exit 3; }";
    let work = ["work", "--exec", command, "--max", "2"];
    let mut worker = store.spawn(&work);
    let waited = common::within(move || waiting.wait_with_output().expect("ff ends"));
    assert_eq!((waited.status.code(), text(&waited.stdout).as_str()), (Some(0), "seven"));
    common::within(move || worker.wait().expect("ff ends"));
    store.out(&["cancel", &id]);
    let ended = store.run(&["result", &id, "--json"]);
    let ended_object = &objects(&text(&ended.stdout))[0];
    assert_eq!(ended.status.code(), Some(1));
    assert_eq!(
        (&ended_object["outcome"], &ended_object["execution_id"]),
        (&json!("cancelled"), &json!(id))
    );
}

/// The options have the names of the fields of a line, and the same meaning.
#[test]
fn the_options_of_one_execution_are_those_of_a_line() {
    let store = Store::start();
    let line = json!({"kind": "k", "payload": 7, "lane": "media", "priority": 5, "delay": "1h",
        "timeout": "5m", "retry": {"max_retries": 2}, "tags": {"team.name": "x"},
        "requires": ["gpu"], "idempotency_key": "a"});
    let created = store.submit_one(line);
    let options = [
        "--payload=7",
        "--lane=media",
        "--priority=5",
        "--delay=1h",
        "--attempt-timeout=5m",
        "--max-retries=2",
        "--tag=team.name=x",
        "--requires=gpu",
        "--idempotency-key=a",
    ];
    let submit = |options: &[&str]| {
        let output = store.run(&[&["submit", "--kind", "k", "--json"], options].concat());
        (output.status.code(), objects(&text(&output.stdout)).pop(), text(&output.stderr))
    };
    let duplicate = json!({"line": 1, "outcome": "duplicate", "execution_id": created});
    assert_eq!(submit(&options), (Some(0), Some(duplicate), String::new()));
    // Each of them belongs to the content that the key identifies.
    for number in 0..options.len() - 1 {
        let mut others = options.to_vec();
        let without = others.remove(number);
        let (_, outcome, _) = submit(&others);
        assert_eq!(outcome.expect("an object")["outcome"], "refused", "{without}");
    }
    for (option, problem) in [
        ("--priority=9001", "ff: --priority: 9001 is out of range: 0 to 9000"),
        ("--payload=text", "ff: --payload: this is not JSON"),
    ] {
        let (code, _, errors) = submit(&[option]);
        assert_eq!(code, Some(2));
        assert!(errors.starts_with(problem), "{errors}");
    }
}

#[test]
fn a_wait_for_an_execution_that_no_worker_claims_says_so() {
    let store = Store::start();
    let submit = ["submit", "--kind", "k", "--lane", "media", "--wait"];
    let mut waiting = store.spawn(&submit);
    let errors = LineReader::stderr(&mut waiting);
    errors.wait_for(
        "still waits: no worker has claimed it; to start a worker: ff work --exec COMMAND --lane \
         media --kind k",
    );
    store.out(&["work", "--lane", "media", "--kind", "k", "--exec", "true", "--max", "1"]);
    let status = common::within(move || waiting.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
    assert_eq!(errors.try_line(), None);
}

#[test]
fn progress_is_printed_while_the_store_accepts_nothing_and_it_goes_on_afterwards() {
    let store = Store::start();
    store.submit_one(json!({"kind": "k"}));
    store.query("CONFIG SET maxmemory 1");
    let mut submitting = store.spawn(&["submit", "--timeout", "60s", "../examples/jobs.jsonl"]);
    let errors = LineReader::stderr(&mut submitting);
    errors.wait_for("0 of 15 submitted");
    store.query("CONFIG SET maxmemory 0");
    errors.wait_for("15 created");
    let status = common::within(move || submitting.wait().expect("ff ends"));
    assert_eq!(status.code(), Some(0));
}

/// The recipe of the cookbook for work in another language, with the address of this store.
#[test]
fn the_recipe_for_another_language_counts_words() {
    let store = Store::start();
    let page = include_str!("../../docs/cookbook.md");
    let (_, recipe) = page.split_once("```sh\n").expect("a recipe for the shell");
    let (recipe, _) = recipe.split_once("```").expect("the end of the recipe");
    let (export, recipe) = recipe.split_once('\n').expect("several lines");
    assert!(export.starts_with("export FF_BACKEND="), "{export}");
    let program = Path::new(env!("CARGO_BIN_EXE_ff")).parent().expect("a folder");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-euc", recipe]).env("FF_BACKEND", store.url()).env("PATH", path);
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).trim_end().lines().last(), Some("4"));
}

#[test]
fn stats_count_executions_by_lane_and_state() {
    let store = Store::start();
    store.submit_one(json!({"kind": "k", "lane": "mail"}));
    store.submit_one(json!({"kind": "k", "lane": "mail", "delay_ms": 3_600_000}));
    let mail = store.json(&["stats"]);
    assert_eq!(mail["lane"], "mail");
    assert_eq!((&mail["states"]["waiting"], &mail["states"]["delayed"]), (&json!(1), &json!(1)));
    assert!(mail["oldest_waiting_ms"].is_u64(), "{mail}");
    let table = store.out(&["stats"]);
    assert!(table.contains("delayed") && !table.contains("failed"), "{table}");
    assert!(store.out(&["stats", "--lane", "web"]).contains("has no executions"));
    assert!(store.out(&["stats", "--namespace", "other"]).contains("has no executions"));
}
