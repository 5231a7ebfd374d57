//! The rights that `docs/valkey.md` gives to a user suffice for everything that a program does, and
//! one that is missing is told when a program connects.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ff_io_valkey::wire::Library;
use ff_sdk::core::backend::{CompletionFilter, Completions};
use ff_sdk::core::store::Cursor;
use ff_sdk::{
    Client, ConnectError, FlowFabricWorker, JournalCompletions, Signal, Submission, SuspendOutcome,
    Suspension, TailItem, ValkeyBackend, WorkerConfig,
};
use ff_tests::kit::{claim, submit};
use ff_tests::server::{Cluster, Server};
use redis::Value;
use tokio::time::timeout;

const GUIDE: &str = include_str!("../../docs/valkey.md");
/// How long anything may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// The words of the command in the guide that makes a user.
fn documented() -> Vec<String> {
    let lines = GUIDE.lines().skip_while(|line| !line.contains("ACL SETUSER"));
    let lines = lines.take_while(|line| line.starts_with("    "));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The rights that a sentence of the guide adds: those between this text and the next full stop.
fn added(after: &str) -> Vec<String> {
    let sentence = GUIDE.split_once(after).expect("the guide says so").1;
    let quoted = sentence.split('`').skip(1).step_by(2).take_while(|text| text.starts_with('+'));
    quoted.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Makes the user of the guide with more rights, and without some.
fn make_user(server: &Server, more: &[String], without: &[&str]) {
    let words: Vec<String> = documented().into_iter().chain(more.iter().cloned()).collect();
    server.expect(&["ACL", "DELUSER", "flowfabric"]);
    let words = words.iter().map(String::as_str).filter(|word| !without.contains(word));
    server.expect(&words.collect::<Vec<_>>());
}

/// The address of a server for that user.
fn url(server: &Server, database: u8) -> String {
    format!("valkey://flowfabric:PASSWORD@{}/{database}", server.address())
}

/// What the server has refused to the user, by its own log.
fn refused(server: &Server) -> String {
    match server.expect(&["ACL", "LOG"]) {
        Value::Array(entries) if entries.is_empty() => String::new(),
        entries => format!("{entries:?}"),
    }
}

/// Everything that a program does with a store.
async fn use_all(url: &str) {
    let store = ff_sdk::open(url).await.unwrap();
    let client = Client::connect_with(store.clone(), "demo").await.unwrap();
    let mut ended =
        JournalCompletions::new(store.clone(), "end".parse().unwrap(), CompletionFilter::default());
    ended.ready().await.unwrap();
    let config = WorkerConfig::new("w", "w-1", "demo").unwrap();
    let worker = FlowFabricWorker::connect_with(config, store.clone(), None).await.unwrap();
    let id = submit(&client, Submission::new("kind").payload("in")).await;
    let task = claim(&worker).await;
    let mut tail = client.tail(&id, None, Cursor::Start, None).await.unwrap();
    task.append_frame("log", "out", Default::default()).await.unwrap();
    let Some(Ok(TailItem::Frame(_))) = tail.next().await else { panic!("a frame was written") };
    let suspension = Suspension::until_signal("go").unwrap();
    let SuspendOutcome::Suspended { waitpoints, .. } = task.suspend(suspension).await.unwrap()
    else {
        panic!("nothing was signalled yet");
    };
    let signal = Signal::new("go", waitpoints[0].token.clone()).unwrap().payload("now");
    client.deliver_signal(&id, &waitpoints[0].id, signal).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.resume_signals().await.unwrap().len(), 1);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    while !matches!(tail.next().await.unwrap().unwrap(), TailItem::Closed(_)) {}
    ended.next().await.unwrap().expect("the end is told");
    client.history(&id).await.unwrap();
    client.list(Default::default(), None, 10).await.unwrap();
    client.replay(&id).await.unwrap();
    client.cancel(&id, "enough").await.unwrap();
    for finding in store.examine().await.unwrap() {
        assert!(finding.level < ff_sdk::core::backend::FindingLevel::Problem, "{finding:?}");
    }
}

#[tokio::test]
async fn the_documented_rights_suffice_on_valkey_and_redis() {
    for (server, without) in
        [(Server::valkey(), &[][..]), (Server::redis7(), &["+client|setinfo"][..])]
    {
        make_user(&server, &[], without);
        for database in [0, 1] {
            timeout(DEADLINE, use_all(&url(&server, database))).await.expect("in time");
        }
        // A client that does not know it asks in vain, and does without.
        let said = refused(&server);
        let unknown = without.iter().any(|right| said.contains(&right[1..]));
        assert!(said.is_empty() || (unknown && said.matches("\"object\"").count() == 1), "{said}");
    }
}

#[tokio::test]
async fn the_documented_rights_suffice_on_a_cluster() {
    let cluster = Cluster::three();
    let more = added("On a cluster add ");
    assert_eq!(more, ["+cluster|slots", "+asking"]);
    for node in cluster.nodes() {
        make_user(node, &more, &[]);
    }
    let url = cluster.url().replace("://", "://flowfabric:PASSWORD@");
    timeout(DEADLINE, use_all(&url)).await.expect("in time");
    for node in cluster.nodes() {
        assert_eq!(refused(node), "");
    }
}

/// Goal: what the library calls and what the adapter sends by itself stands in the guide, also what
/// is rarely sent.
#[test]
fn every_command_is_documented() {
    let listed = [documented(), added("On a cluster add "), added("for `ff bench` ")].concat();
    let listed: BTreeSet<&str> = listed.iter().filter_map(|word| word.strip_prefix('+')).collect();
    let library = Library::default();
    let mut sent: BTreeSet<String> = library.commands().into_iter().map(str::to_owned).collect();
    let sources = [
        include_str!("../../io-valkey/src/server/backend.rs"),
        include_str!("../../io-valkey/src/server/info.rs"),
        include_str!("../../io-valkey/src/server/topology.rs"),
        include_str!("../../io-valkey/src/server/hub.rs"),
    ];
    for source in sources {
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        let calls = source.split("cmd(\"").skip(1).chain(source.split(".arg(\"FCALL").skip(1));
        sent.extend(calls.filter_map(|call| Some(call.split_once('"')?.0.to_owned())));
    }
    // What the client of the store sends by itself, for what it is asked.
    sent.extend(["FCALL", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE", "PING"].map(str::to_owned));
    assert!(sent.contains("CLUSTER") && sent.contains("GETRANGE") && sent.contains("MEMORY"));
    for command in sent.iter().map(|command| command.to_lowercase()).filter(|one| !one.is_empty()) {
        let is_listed = listed.iter().any(|right| right.split('|').next() == Some(&command));
        assert!(is_listed, "docs/valkey.md does not give +{command}");
    }
}

/// Goal: a program whose user lacks a right says so when it connects, and changes nothing.
#[tokio::test]
async fn a_right_that_is_missing_is_told_at_once() {
    let server = Server::valkey();
    let library = Library::default();
    let commands: Vec<String> =
        library.commands().iter().map(|command| format!("+{}", command.to_lowercase())).collect();
    for lacking in commands.iter().map(String::as_str).chain(["&ff:*", "~{meta}*", "~{fp:*"]) {
        make_user(&server, &[], &[lacking]);
        let connected = timeout(DEADLINE, ValkeyBackend::connect(&url(&server, 0))).await;
        match connected.expect("at once").unwrap_err() {
            // Both are asked before anything else.
            ConnectError::Unreachable { problem, .. } if lacking == "+info" => {
                assert!(problem.contains("NOPERM"), "{problem}");
            }
            ConnectError::Unfit { problem, .. } => {
                let named = match lacking.strip_prefix('+') {
                    Some(_) => format!("rights, {lacking},"),
                    None => "docs/valkey.md".to_owned(),
                };
                assert!(problem.contains(&named), "{lacking}: {problem}");
            }
            other => panic!("{lacking}: {other}"),
        }
    }
    assert_eq!(server.expect(&["DBSIZE"]), Value::Int(0));
}

/// Goal: a right that is taken away later is told by what reads, and nothing that may have been
/// written is called refused.
#[tokio::test]
async fn a_right_that_is_taken_away_is_told_by_reads() {
    let server = Server::valkey();
    make_user(&server, &[], &[]);
    let store = Arc::new(ValkeyBackend::connect(&url(&server, 0)).await.unwrap());
    let mut config = ff_sdk::ClientConfig::new("demo").unwrap();
    config.call_timeout = Duration::from_millis(300);
    let client = Client::connect(config, store).await.unwrap();
    let id = submit(&client, Submission::new("kind")).await;
    server.expect(&["ACL", "SETUSER", "flowfabric", "-get"]);
    let error = client.describe(&id).await.unwrap_err().to_string();
    assert!(error.contains("the store refused") && error.contains("'get'"), "{error}");
    server.expect(&["ACL", "SETUSER", "flowfabric", "+get", "-set"]);
    let error = client.cancel(&id, "enough").await.unwrap_err().to_string();
    assert!(error.contains("whether it was applied is unknown"), "{error}");
}
