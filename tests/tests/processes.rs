//! Scenarios with several processes, run with real ones: the command `ff`, a server and a cluster,
//! and real time. Each test has the name of its scenario.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{PipeWriter, Write, pipe};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ff_sdk::core::execution::AttemptEnd;
use ff_sdk::core::partition::PartitionConfig;
use ff_sdk::core::state::PublicState;
use ff_sdk::{Client, ClientConfig, ExecutionId, SdkError};
use ff_tests::crash::{binary, open};
use ff_tests::fixture::{NAMESPACE, PARTITIONS};
use ff_tests::kit::{describe, endings, nth_epoch, work};
use ff_tests::server::{Cluster, Process, Server, wait_for};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// A store that processes share, and a folder for their output.
struct Store {
    url: String,
    folder: TempDir,
    /// The runtime of this process, which uses the store too.
    runtime: Runtime,
}

/// A process of `ff`, and the files of its output.
struct Program {
    process: Process,
    output: PathBuf,
    errors: PathBuf,
}

/// Runs a test on a server and on a cluster.
fn on_each_store(test: impl Fn(&Store)) {
    let (server, cluster) = (Server::valkey(), Cluster::three());
    for url in [server.url(), cluster.url()] {
        let folder = TempDir::new().expect("a temporary folder can be made");
        let runtime = Runtime::new().expect("threads can be started");
        test(&Store { url, folder, runtime });
    }
}

impl Store {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn ff(&self, name: &str, arguments: &[&str]) -> Program {
        self.spawn(name, arguments, Stdio::null())
    }

    /// Starts a submitter. It sends nothing before its input ends.
    fn submitter(&self, name: &str, lines: &[Value]) -> (Program, PipeWriter) {
        let (reader, mut writer) = pipe().expect("a pipe can be made");
        let program = self.spawn(name, &["submit", "-", "--json"], reader.into());
        for line in lines {
            writeln!(writer, "{line}").expect("it reads");
        }
        (program, writer)
    }

    /// Starts a worker with one slot and leases of a second.
    fn worker(&self, name: &str, command: &str, more: &[&str]) -> Program {
        let fixed = ["work", "--exec", command, "--slots", "1", "--lease-ttl", "1s", "--json"];
        self.ff(name, &[&fixed, more].concat())
    }

    fn spawn(&self, name: &str, arguments: &[&str], input: Stdio) -> Program {
        let (output, errors) = (self.path(name), self.path(&format!("{name}.log")));
        let create = |path| File::create(path).expect("the folder can be written to");
        let mut command = Command::new(binary::ff());
        command.args(arguments).args(["--backend", &self.url, "--namespace", NAMESPACE]);
        command.stdin(input).stdout(create(&output)).stderr(create(&errors));
        let process = Process::start(&mut command).expect("the program runs");
        Program { process, output, errors }
    }

    fn connect(&self, partitions: Option<PartitionConfig>) -> Result<Client, SdkError> {
        let mut config = ClientConfig::new(NAMESPACE)?;
        config.partition_config = partitions;
        self.runtime.block_on(async {
            let backend = open(&self.url).await.expect("the store can be opened");
            Client::connect(config, backend).await
        })
    }

    fn client(&self) -> Client {
        self.connect(None).expect("a client connects")
    }

    /// Submits an execution.
    fn submit(&self, client: &Client) -> ExecutionId {
        self.runtime.block_on(ff_tests::kit::submit(client, work()))
    }

    fn wait_for_file(&self, name: &str) {
        wait_for(name, || self.path(name).exists().then_some(()));
    }

    /// A command that creates the file `begun`, and whose first attempt lasts while the file `hold`
    /// exists. Its result is the index of its attempt.
    fn held_command(&self) -> String {
        let (hold, begun) = (self.path("hold"), self.path("begun"));
        File::create(&hold).expect("the folder can be written to");
        format!(
            "touch {}; [ $FF_ATTEMPT_INDEX != 0 ] || while [ -e {} ]; do sleep 0.02; done; \
             printf $FF_ATTEMPT_INDEX",
            begun.display(),
            hold.display()
        )
    }
}

impl Program {
    /// Waits for its end, which must be a success; returns its output.
    fn lines(mut self) -> Vec<Value> {
        let status = wait_for("ff to end", || self.process.ended());
        let log = fs::read_to_string(&self.errors).expect("it has a log");
        assert!(status.success(), "{status}: {log}");
        let text = fs::read_to_string(&self.output).expect("it has an output");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// The text of this field in each line.
fn texts<'a>(lines: &'a [Value], field: &str) -> Vec<&'a str> {
    lines.iter().map(|line| line[field].as_str().expect("a text")).collect()
}

#[test]
fn one_key_and_content_from_two_processes_is_one_execution() {
    on_each_store(|store| {
        let line = |number| json!({"kind": "k", "payload": number, "idempotency_key": number});
        let lines: Vec<Value> = (0..50).map(|number| line(number.to_string())).collect();
        let submitters = ["one", "two"].map(|name| store.submitter(name, &lines));
        let (programs, inputs): (Vec<_>, Vec<_>) = submitters.into_iter().unzip();
        drop(inputs);
        let [one, two] = <[_; 2]>::try_from(programs).ok().expect("there are two");
        let (one, two) = (one.lines(), two.lines());
        assert_eq!((one.len(), texts(&one, "execution_id")), (50, texts(&two, "execution_id")));
        for (one, two) in texts(&one, "outcome").into_iter().zip(texts(&two, "outcome")) {
            let mut outcomes = [one, two];
            outcomes.sort_unstable();
            assert_eq!(outcomes, ["created", "duplicate"]);
        }
        let ids: BTreeSet<_> = texts(&one, "execution_id").into_iter().collect();
        let listed = store.ff("list", &["list", "--all", "--json"]).lines();
        assert_eq!(texts(&listed, "execution_id").into_iter().collect::<BTreeSet<_>>(), ids);
        assert_eq!((listed.len(), ids.len()), (50, 50));
    });
}

#[test]
fn partitions_that_contradict_the_store_are_a_configuration_error() {
    on_each_store(|store| {
        let (submitter, input) = store.submitter("first", &[json!({"kind": "k"})]);
        drop(input);
        assert_eq!(texts(&submitter.lines(), "outcome"), ["created"]);
        let refused = store.connect(Some(PARTITIONS)).map(|_| ());
        let Err(SdkError::Config { field, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(field, "partition_config");
        assert_eq!(*store.client().partition_config(), PartitionConfig::default());
    });
}

#[test]
fn many_claimers_claim_each_execution_once() {
    on_each_store(|store| {
        let lines: Vec<Value> = (0..60).map(|_| json!({"kind": "k"})).collect();
        let (submitter, input) = store.submitter("submit", &lines);
        drop(input);
        let submitter = submitter.lines();
        let submitted: BTreeSet<_> = texts(&submitter, "execution_id").into_iter().collect();
        let workers = ["w1", "w2", "w3", "w4"].map(|name| {
            let log = store.path("started");
            let command = format!("echo $FF_EXECUTION_ID $FF_ATTEMPT_INDEX >> {}", log.display());
            store.ff(name, &["work", "--exec", &command, "--until-idle", "--slots", "4", "--json"])
        });
        let finished = workers.map(Program::lines).concat();
        assert!(texts(&finished, "outcome").iter().all(|outcome| *outcome == "success"));
        let started = fs::read_to_string(store.path("started")).expect("an attempt has started");
        let started: Vec<_> = started.lines().filter_map(|line| line.split_once(' ')).collect();
        assert!(started.iter().all(|(_, attempt)| *attempt == "0"), "{started:?}");
        let once: BTreeSet<_> = started.iter().map(|(id, _)| *id).collect();
        assert_eq!((started.len(), finished.len(), once), (60, 60, submitted));
    });
}

#[test]
fn a_crash_counts_as_a_reclaim_and_not_as_a_retry() {
    on_each_store(|store| {
        let (client, command) = (store.client(), store.held_command());
        let id = store.submit(&client);
        let mut killed = store.worker("killed", &command, &[]);
        store.wait_for_file("begun");
        killed.process.kill();
        let lines = store.worker("other", &command, &["--max", "1"]).lines();
        assert_eq!(texts(&lines, "outcome"), ["success"]);
        store.runtime.block_on(async {
            let seen = describe(&client, &id).await;
            assert_eq!((seen.counts.retries, seen.counts.reclaims), (0, 1));
            assert_eq!(
                (seen.lease_epoch, seen.attempts_total),
                (nth_epoch(&client, &id, 2).await, 2)
            );
            assert_eq!(seen.past_attempts[0].end, AttemptEnd::Interrupted);
            assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"1"[..]));
        });
    });
}

#[test]
fn a_reclaimed_lease_is_stale_and_changes_nothing() {
    on_each_store(|store| {
        let (client, command) = (store.client(), store.held_command());
        let id = store.submit(&client);
        let stopped = store.worker("stopped", &command, &["--max", "1"]);
        store.wait_for_file("begun");
        stopped.process.signal(Signal::SIGSTOP);
        let lines = store.worker("other", &command, &["--max", "1"]).lines();
        assert_eq!(texts(&lines, "outcome"), ["success"]);
        // The first attempt ends after its lease has expired.
        fs::remove_file(store.path("hold")).expect("the file exists");
        stopped.process.signal(Signal::SIGCONT);
        assert_eq!(texts(&stopped.lines(), "outcome"), ["lost"]);
        store.runtime.block_on(async {
            let seen = describe(&client, &id).await;
            assert_eq!(seen.state.public_state, PublicState::Completed);
            assert_eq!(
                (seen.lease_epoch, seen.attempts_total),
                (nth_epoch(&client, &id, 2).await, 2)
            );
            assert_eq!(client.result(&id).await.unwrap().bytes(), Some(&b"1"[..]));
            assert_eq!(endings(&client, &id).await, 1);
        });
    });
}
