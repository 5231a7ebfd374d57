//! The rights that `docs/valkey.md` grants to a user suffice for everything that a program does,
//! and a missing right is reported when a program connects.

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
/// The time limit of each step.
const DEADLINE: Duration = Duration::from_secs(20);

/// The arguments of the command in the guide that creates a user.
fn documented() -> Vec<String> {
    let lines = GUIDE.lines().skip_while(|line| !line.contains("ACL SETUSER"));
    let lines = lines.take_while(|line| line.starts_with("    "));
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// The rights that a sentence of the guide adds: those in the code spans after this text.
fn added(after: &str) -> Vec<String> {
    let sentence = GUIDE.split_once(after).expect("the guide has this sentence").1;
    let quoted = sentence.split('`').skip(1).step_by(2).take_while(|text| text.starts_with('+'));
    quoted.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// Creates the user of the guide with more rights, and without some.
fn create_user(server: &Server, more: &[String], without: &[&str]) {
    let args: Vec<String> = documented().into_iter().chain(more.iter().cloned()).collect();
    server.expect(&["ACL", "DELUSER", "flowfabric"]);
    let args = args.iter().map(String::as_str).filter(|arg| !without.contains(arg));
    server.expect(&args.collect::<Vec<_>>());
}

/// The URL of a server for that user.
fn url(server: &Server, database: u8) -> String {
    format!("valkey://flowfabric:PASSWORD@{}/{database}", server.address())
}

/// The commands that the server has refused to the user, by its ACL log.
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
        panic!("no signal was sent yet");
    };
    let signal = Signal::new("go", waitpoints[0].token.clone()).unwrap().payload("now");
    client.deliver_signal(&id, &waitpoints[0].id, signal).await.unwrap();
    let task = claim(&worker).await;
    assert_eq!(task.resume_signals().await.unwrap().len(), 1);
    task.complete(Some(b"done".to_vec())).await.unwrap();
    assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"done"[..]));
    while !matches!(tail.next().await.unwrap().unwrap(), TailItem::Closed(_)) {}
    ended.next().await.unwrap().expect("the completion is yielded");
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
        create_user(&server, &[], without);
        for database in [0, 1] {
            timeout(DEADLINE, use_all(&url(&server, database))).await.expect("in time");
        }
        // The redis client tries CLIENT SETINFO, which Redis 7.0 does not have, and goes on.
        let log = refused(&server);
        let unknown = without.iter().any(|right| log.contains(&right[1..]));
        assert!(log.is_empty() || (unknown && log.matches("\"object\"").count() == 1), "{log}");
    }
}

#[tokio::test]
async fn the_documented_rights_suffice_on_a_cluster() {
    let cluster = Cluster::three();
    let more = added("On a cluster add ");
    assert_eq!(more, ["+cluster|slots", "+asking"]);
    for node in cluster.nodes() {
        create_user(node, &more, &[]);
    }
    let url = cluster.url().replace("://", "://flowfabric:PASSWORD@");
    timeout(DEADLINE, use_all(&url)).await.expect("in time");
    for node in cluster.nodes() {
        assert_eq!(refused(node), "");
    }
}

/// The guide lists all commands that the library calls and that the adapter sends, also the rare
/// ones.
#[test]
fn every_command_is_documented() {
    let of_sentinels = added("Their user needs\n");
    let more = [added("On a cluster add "), added("(`ff bench`), add"), of_sentinels];
    let listed = [documented(), more.concat()].concat();
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
    // Commands that the redis crate sends.
    sent.extend(["FCALL", "SELECT", "SUBSCRIBE", "UNSUBSCRIBE", "PING"].map(str::to_owned));
    assert!(sent.contains("CLUSTER") && sent.contains("GETRANGE") && sent.contains("MEMORY"));
    for command in sent.iter().map(|command| command.to_lowercase()).filter(|one| !one.is_empty()) {
        let is_listed = listed.iter().any(|right| right.split('|').next() == Some(&command));
        assert!(is_listed, "docs/valkey.md does not grant +{command}");
    }
}

/// The channels and keys of the documented user.
const KEYS: [&str; 6] = ["&ff:*", "~{meta}*", "~{fp:*", "~{b:*", "~{q:*", "~{w:*"];

/// A program whose user lacks a right reports it when it connects, and changes nothing.
#[tokio::test]
async fn a_missing_right_is_reported_at_connect() {
    let server = Server::valkey();
    let library = Library::default();
    let commands: Vec<String> =
        library.commands().iter().map(|command| format!("+{}", command.to_lowercase())).collect();
    for lacking in commands.iter().map(String::as_str).chain(KEYS) {
        create_user(&server, &[], &[lacking]);
        let connected = timeout(DEADLINE, ValkeyBackend::connect(&url(&server, 0))).await;
        match connected.expect("it fails within the time limit").unwrap_err() {
            // INFO is sent before the rights are checked.
            ConnectError::Unfit { problem, .. } if lacking == "+info" => {
                assert!(problem.contains("NOPERM"), "{problem}");
            }
            ConnectError::Unfit { problem, .. } => {
                let named = match lacking.strip_prefix('+') {
                    Some(_) => format!("rights {lacking},"),
                    None => "docs/valkey.md".to_owned(),
                };
                assert!(problem.contains(&named), "{lacking}: {problem}");
            }
            other => panic!("{lacking}: {other}"),
        }
    }
    assert_eq!(server.expect(&["DBSIZE"]), Value::Int(0));
}

/// After a right was removed from the user of a connected program, a read reports the missing
/// right, and a write that may have been applied is not reported as refused.
#[tokio::test]
async fn a_right_that_is_removed_later_is_reported_by_reads() {
    let server = Server::valkey();
    create_user(&server, &[], &[]);
    let store = Arc::new(ValkeyBackend::connect(&url(&server, 0)).await.unwrap());
    let mut config = ff_sdk::ClientConfig::new("demo").unwrap();
    config.call_timeout = Duration::from_millis(300);
    let client = Client::connect(config, store).await.unwrap();
    let id = submit(&client, Submission::new("kind")).await;
    server.expect(&["ACL", "SETUSER", "flowfabric", "-get"]);
    let error = client.describe(&id).await.unwrap_err().to_string();
    assert!(error.contains("the store refused") && error.contains("'get'"), "{error}");
    server.expect(&["ACL", "SETUSER", "flowfabric", "+get", "-mset"]);
    let error = client.cancel(&id, "enough").await.unwrap_err().to_string();
    assert!(error.contains("whether it was applied is unknown"), "{error}");
}

/// The calls of a client whose password has changed end immediately, not at their time limit. What
/// may have been applied stays in doubt. The worker goes on when the password is valid again.
#[tokio::test]
async fn a_client_whose_password_changes_is_refused_immediately() {
    const SOON: Duration = Duration::from_secs(2);
    let server = Server::valkey();
    create_user(&server, &[], &[]);
    let store = ff_sdk::open(&url(&server, 0)).await.unwrap();
    let client = Client::connect_with(store.clone(), "demo").await.unwrap();
    let config = WorkerConfig::new("w", "w-1", "demo").unwrap();
    let worker = FlowFabricWorker::connect_with(config, store, None).await.unwrap();
    submit(&client, Submission::new("kind")).await;
    let task = claim(&worker).await;
    server.expect(&["ACL", "SETUSER", "flowfabric", "resetpass", ">other"]);
    server.expect(&["CLIENT", "KILL", "USER", "flowfabric"]);
    let completing = tokio::spawn(task.complete(None));
    // The first call may still be sent on the closed connection.
    let error = timeout(SOON, client.submit(Submission::new("kind"))).await.unwrap().unwrap_err();
    let engine = error.engine().unwrap();
    assert!(engine.may_be_applied() || !error.is_retryable(), "{error}");
    let error = timeout(SOON, client.submit(Submission::new("kind"))).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("WRONGPASS"), "{error}");
    assert!(!error.is_retryable() && !error.engine().unwrap().may_be_applied(), "{error}");
    server.expect(&["ACL", "SETUSER", "flowfabric", ">PASSWORD"]);
    timeout(DEADLINE, completing).await.expect("it tries again").unwrap().unwrap();
}
