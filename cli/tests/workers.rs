//! `ff workers`, with a real server and a real worker.

use serde_json::json;

use crate::common::store::{LineReader, Store, objects};
use crate::common::{signal, text, within};

#[test]
fn workers_are_listed_and_stopped_and_work_that_none_serves_is_found() {
    let store = Store::start();
    store.submit_one(json!({"kind": "other"}));
    let is_found = || store.json(&["doctor"]).to_string().contains("no live worker serves it");
    assert!(is_found(), "no worker runs");

    let exec = ["work", "--exec", "true", "--kind", "mail", "--instance", "w-1", "--slots", "3"];
    let mut worker = store.spawn(&exec);
    LineReader::stderr(&mut worker).wait_for("worker w-1 started");
    let listed = objects(&store.out(&["workers", "--json"]));
    let [listed] = &listed[..] else { panic!("one worker: {listed:?}") };
    assert_eq!((&listed["state"], &listed["slots"]), (&json!("live"), &json!(3)));
    assert_eq!((&listed["kinds"], &listed["lanes"]), (&json!(["mail"]), &json!(["default"])));
    let table = store.out(&["workers"]);
    assert!(table.contains("w-1") && table.contains("0/3"), "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    assert!(is_found(), "it does not serve the kind");

    let second = store.run(&["work", "--exec", "true", "--instance", "w-1"]);
    assert_eq!(second.status.code(), Some(1), "{}", text(&second.stderr));
    assert!(text(&second.stderr).contains("another process is registered as w-1"));
    assert!(store.out(&["workers", "drain", "w-1"]).contains("draining: worker w-1"));
    assert_eq!(objects(&store.out(&["workers", "--json"]))[0]["state"], "draining");
    assert!(store.out(&["workers", "dead", "w-1"]).contains("dead: worker w-1"));
    assert_eq!(objects(&store.out(&["workers", "--json"]))[0]["state"], "dead");
    let unknown = store.run(&["workers", "drain", "w-2"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(text(&unknown.stderr).contains("no live process is registered as w-2"));

    signal(&worker, nix::sys::signal::Signal::SIGTERM);
    within(move || worker.wait().expect("ff ends"));
    assert!(store.out(&["workers"]).contains("no worker is registered"));
}
