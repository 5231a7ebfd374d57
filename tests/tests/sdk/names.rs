//! The names that a user of the SDK needs, and the `Debug` output of its values.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use ff_sdk::{
    CompletionCursor, CompletionFilter, Completions, Cursor, JournalCompletions, Signal,
    Submission, TaskContext, WaitpointToken, WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::kit::{claim, submit, work};

/// Types of core that only implementors of a backend, a clock or a store need.
const OF_CORE: [&str; 4] = ["HostTime", "MemoryStore", "Operation", "StoreMeta"];

/// Of the standard library, serde, futures and tower.
const OF_STD: [&str; 32] = [
    "Arc",
    "Args",
    "AsRef",
    "BTreeMap",
    "Clone",
    "ControlFlow",
    "DeserializeOwned",
    "Duration",
    "Error",
    "Fn",
    "FnMut",
    "FnOnce",
    "Future",
    "Into",
    "IntoIterator",
    "Iterator",
    "Item",
    "Layer",
    "None",
    "Option",
    "Output",
    "Response",
    "Result",
    "Self",
    "Send",
    "Serialize",
    "Service",
    "Some",
    "Stream",
    "String",
    "Sync",
    "Vec",
];

/// The text of the SDK's files, without their tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        found.push(text.split("#[cfg(test)]").next().unwrap_or_default().to_owned());
    }
    found
}

/// The names of types in a text.
fn types(text: &str) -> impl Iterator<Item = &str> {
    let names = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    names.filter(|name| {
        let mut letters = name.chars();
        letters.next().is_some_and(char::is_uppercase) && letters.any(char::is_lowercase)
    })
}

/// The signatures of public functions and the types of public fields.
fn public(text: &str) -> impl Iterator<Item = &str> {
    let items = text.match_indices("\n    pub ").map(|(at, _)| &text[at + 9..]);
    items.filter_map(|item| {
        let line = item.lines().next().unwrap_or_default();
        match line.contains("fn ") {
            true => item.split(['{', ';']).next(),
            false => line.split_once(": ").map(|(_, kind)| kind),
        }
    })
}

/// All types in the signatures of public functions can be named from the root of the crate.
#[test]
fn all_types_of_signatures_are_at_the_root() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk/src");
    let root = fs::read_to_string(folder.join("lib.rs")).unwrap();
    let exports = root.split("\npub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let known: BTreeSet<&str> = exports.flat_map(types).chain(OF_CORE).chain(OF_STD).collect();
    let sources = sources(&folder);
    let used: BTreeSet<&str> =
        sources.iter().flat_map(|text| public(text)).flat_map(types).collect();
    assert!(used.contains("Cursor") && used.contains("WorkerId") && used.len() > 50);
    let lacking: Vec<&&str> = used.difference(&known).collect();
    assert!(lacking.is_empty(), "not at the root of ff_sdk: {lacking:?}");
}

/// No value that holds tokens or payloads prints them.
#[tokio::test(start_paused = true)]
async fn tokens_and_payloads_are_not_printed() {
    const HIDDEN: &str = "pssst";
    let bytes = format!("{:?}", HIDDEN.as_bytes());
    let bytes = bytes.trim_matches(['[', ']']);
    let fixture = Fixture::memory();
    let (client, worker) = (fixture.client().await, fixture.worker("w").await);
    let token = WaitpointToken::new(format!("k1:{HIDDEN}"));
    let signal = Signal::new("go", token).unwrap().payload(HIDDEN).idempotency_key(HIDDEN);
    let mut printed = format!("{signal:?}");
    assert!(printed.contains("payload_bytes: Some(5)") && printed.contains("go"), "{printed}");

    let id = submit(&client, work()).await;
    let task = claim(&worker).await;
    for _ in 0..2 {
        task.append_frame("log", HIDDEN, BTreeMap::new()).await.unwrap();
    }
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    tail.next().await.unwrap().unwrap();
    printed += &format!("{tail:?}");
    task.complete(None).await.unwrap();

    let filter = CompletionFilter::default();
    let mut ended = JournalCompletions::new(fixture.backend(), CompletionCursor::start(), filter);
    ended.next().await.unwrap().unwrap();
    printed += &format!("{ended:?}");

    let runtime = WorkerRuntime::new(worker).handle("kind", async |context: TaskContext| {
        TaskContext::append_frame(&context, "log", format!("{context:?}"), BTreeMap::new())
            .await
            .map(|_| ())
    });
    printed += &format!("{runtime:?}");
    let id = submit(&client, Submission::new("kind").payload(HIDDEN)).await;
    runtime.run_until(client.result(&id)).await.unwrap().unwrap();
    let attempt = Default::default();
    let page = client.read_stream(&id, attempt, Cursor::Start, 1, None).await.unwrap();
    printed += &String::from_utf8_lossy(&page.frames[0].frame.payload);
    for name in ["Signal {", "Tail {", "JournalCompletions {", "WorkerRuntime {", "TaskContext {"] {
        assert!(printed.contains(name), "{name}: {printed}");
    }
    assert!(!printed.contains(HIDDEN) && !printed.contains(bytes), "{printed}");
}
