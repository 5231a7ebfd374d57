//! Snapshots of the text that `ff` prints for people: every help text, and representative output.
//!
//! A test fails if the text differs from its file in `tests/snapshots`. If the change is intended,
//! run `INSTA_UPDATE=always cargo test -p flowfabric-cli --test cli` and review the
//! difference.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use ff_sdk::{
    Condition, CountKind, FlowFabric, FlowFabricWorker, SignalMatcher, SuspendOutcome, Suspension,
    SuspensionReason, TimeoutBehaviour, WorkerConfig,
};
use insta::Settings;
use serde_json::json;
use tempfile::TempDir;

use crate::common::store::{MISSING, Store, objects};
use crate::common::{self, text, within};

/// Compares the text with a snapshot.
fn check(name: &str, text: &str, filters: &[(&str, &str)]) {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in filters {
        settings.add_filter(pattern, *replacement);
    }
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    settings.bind(|| insta::assert_snapshot!(name, lines.join("\n")));
}

/// The replacement has the same width, so that tables keep their layout.
const TIMES: (&str, &str) = (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "YYYY-MM-DDThh:mm:ss.sssZ");
/// An epoch is the creation time in milliseconds and the number of the lease.
const EPOCHS: (&str, &str) = (r"\bepoch \d{13}\b", "epoch N");
const MILLISECONDS: (&str, &str) = (r"\b\d+ ms\b", "N ms");
const SERVERS: (&str, &str) = (r"127\.0\.0\.1:\d+ has no", "127.0.0.1:N has no");
/// For tables with a column whose width varies.
const BORDERS: (&str, &str) = ("[─═]+", "─");
const SPACES: (&str, &str) = (" +", " ");

/// Commands with what they print.
struct Transcript {
    environment: Vec<(&'static str, String)>,
    folder: TempDir,
    text: String,
}

impl Transcript {
    /// The environment of the commands has these variables and PATH only. They run in an empty
    /// folder.
    fn new(environment: &[(&'static str, &str)]) -> Self {
        let mut environment: Vec<_> =
            environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if environment.iter().all(|(name, _)| *name != "PATH") {
            environment.push(("PATH", std::env::var("PATH").expect("there is a PATH")));
        }
        let folder = tempfile::tempdir().expect("a folder");
        Self { environment, folder, text: String::new() }
    }

    fn run(&mut self, arguments: &[&str]) {
        self.run_with_input(arguments, "");
    }

    fn run_with_input(&mut self, arguments: &[&str], input: &str) {
        common::heed_interrupts();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ff"));
        command.args(arguments).env_clear().envs(self.environment.clone());
        command.current_dir(self.folder.path());
        // The log of ff work has times, which differ from run to run.
        command.env("FF_LOG", "off");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("ff starts");
        let mut stdin = child.stdin.take().expect("its input is a pipe");
        // A command that fails early does not read its input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = within(move || child.wait_with_output().expect("ff ends"));
        self.text.push_str("$ ff");
        for argument in arguments {
            let quote = if argument.contains(' ') { "'" } else { "" };
            self.text.push_str(&format!(" {quote}{argument}{quote}"));
        }
        self.text.push('\n');
        for line in input.lines() {
            self.text.push_str(&format!("< {line}\n"));
        }
        self.text.push_str(&text(&output.stdout));
        self.text.push_str(&text(&output.stderr));
        if let Some(code @ 1..) = output.status.code() {
            self.text.push_str(&format!("(exit code {code})\n"));
        }
        self.text.push('\n');
    }
}

/// Adds the help of a command and of its subcommands.
fn add_help(transcript: &mut Transcript, path: &[&str]) {
    let start = transcript.text.len();
    transcript.run(&[path, &["--help"]].concat());
    let help = transcript.text[start..].to_owned();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    for line in commands.take_while(|line| !line.is_empty()) {
        // The second line of a long summary is indented.
        let name = line.strip_prefix("  ").and_then(|line| line.split(' ').next());
        if let Some(name) = name.filter(|name| !name.is_empty() && *name != "help") {
            add_help(transcript, &[path, &[name]].concat());
        }
    }
}

#[test]
fn help_texts() {
    let mut transcript = Transcript::new(&[("FF_BACKEND", "valkey://user:password@host:1")]);
    add_help(&mut transcript, &[]);
    check("help", &transcript.text, &[]);
}

#[test]
fn run_output() {
    let lines = [
        json!({"kind": "shell", "payload": {"command": "echo one"}}),
        json!({"kind": "shell", "payload": {"command": "echo 'disk full' >&2; exit 3"},
            "retry": {"max_retries": 1, "backoff": {"fixed": {"delay_ms": 10}}}}),
        json!({"kind": "shell", "payload": {"argv": ["missing"]}, "retry": {"max_retries": 0}}),
    ];
    let lines = lines.map(|line| format!("{line}\n")).concat();
    let mut transcript = Transcript::new(&[("FF_BACKEND", "memory:")]);
    let run = ["run", "-", "--workers", "1", "--seed", "1", "--lease-ttl", "10m"];
    transcript.run_with_input(&[&run[..], &["--verbose"]].concat(), &lines);
    let many = r#"{"kind": "shell", "payload": {"command": "true"}}"#.to_owned() + "\n";
    let start = transcript.text.len();
    let lines = many.repeat(40) + &lines;
    transcript.run_with_input(&run, &lines);
    // The input was printed above.
    let (_, output) = transcript.text[start..].rsplit_once("\n< ").expect("the input is printed");
    let (_, output) = output.split_once('\n').expect("the output follows");
    let output = format!("{}$ ff run (43 lines)\n{output}", &transcript.text[..start]);
    let durations = [
        MILLISECONDS,
        EPOCHS,
        (r"in \d+\.\d s", "in N s"),
        // The percentiles, and the column ms of the other table.
        (r"┆ +\d+ ┆ +\d+ ┆ +\d+ │\n", "┆ N ┆ N ┆ N │\n"),
        (r"┆ +\d+ ┆ ([^┆\n]*│)\n", "┆ N ┆ $1\n"),
    ];
    check("run", &output, &[&durations[..], &[BORDERS, SPACES]].concat());
}

#[test]
fn doctor_output() {
    let mut transcript = Transcript::new(&[]);
    transcript.run(&["doctor", "--backend", "memory:"]);
    // The findings and the advice are texts of the library. Rows that continue them are left out.
    let findings = [
        (r"(?m)^│ +┆ +┆.*\n", ""),
        (r"(│ (?:good|warning|problem) +┆ [^┆]*┆)[^│]*│", "$1 FINDING ┆ ADVICE │"),
    ];
    check("doctor", &transcript.text, &[&findings[..], &[BORDERS, SPACES]].concat());
}

#[test]
fn server_session() {
    let store = Store::start();
    let mut session = Transcript::new(&[("FF_BACKEND", &store.url())]);
    // An ID that is derived from an idempotency key is the same in every run.
    let line = |key, kind, lane| {
        let line = json!({"kind": kind, "idempotency_key": key, "lane": lane, "priority": 5,
            "payload": {"image": 17}, "retry": {"max_retries": 0}, "tags": {"team.name": "media"}});
        format!("{line}\n")
    };
    let command = "cat; [ $FF_EXECUTION_KIND = resize ] || { echo 'disk full' >&2; exit 3; }";
    let work = |lane| {
        let names = ["work", "--worker", "w", "--instance", "w-1", "--lane", lane];
        [&names[..], &["--exec", command, "--max", "1", "--verbose"]].concat()
    };
    session.run(&["list"]);
    session.run_with_input(&["submit", "-"], &line("a", "resize", "media"));
    session.run(&["secret", "list"]);
    session.run_with_input(&["submit", "-"], &line("a", "resize", "media"));
    session.run(&work("media"));
    session.run_with_input(&["submit", "-"], &line("b", "crop", "slow"));
    session.run(&work("slow"));
    session.run_with_input(&["submit", "-"], &line("c", "resize", "later"));
    let id = |lane| {
        let first = objects(&store.out(&["list", "--json", "--lane", lane])).remove(0);
        first["execution_id"].as_str().expect("an ID").to_owned()
    };
    let (completed, failed) = (id("media"), id("slow"));
    session.run(&["list"]);
    session.run(&["list", "--state", "failed"]);
    session.run(&["list", "--limit", "1"]);
    for id in [&completed, &failed] {
        session.run(&["describe", id]);
        session.run(&["history", id]);
    }
    session.run(&["tail", &completed]);
    session.run(&["watch", "--lane", "slow", "--from", "start", "--count", "1"]);
    session.run(&["waitpoints", &completed]);
    session.run(&["replay", &failed, "--request-id", "r-1"]);
    session.run(&["cancel", &failed, "--request-id", "r-2", "--reason", "not needed"]);
    session.run(&["describe", &failed]);
    session.run(&["signal", &failed, "approval", "approved", "--token-file", "/dev/null"]);
    session.run(&["describe", MISSING]);
    session.run(&["secret", "rotate", "--kid", "2026-08", "--generate"]);
    session.run(&["secret", "list"]);
    // The tables of ff history, which have five columns, have a column ms.
    let attempts = [
        (r"(?m)^.(?:[─═]+[┬╪┴]){4}[─═]+.$", "(border)"),
        (r"┆ +ms ┆", "┆ ms ┆"),
        (r"--after 69:\d{13}:", "--after 69:EPOCH:"),
        (r"┆ +\d+ ┆ (succeeded|exit_code)", "┆ N  ┆ $1"),
    ];
    check(
        "session",
        &session.text,
        &[&attempts[..], &[TIMES, MILLISECONDS, EPOCHS, SERVERS]].concat(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_execution() {
    let store = Store::start();
    let id = store.submit_one(json!({"kind": "release", "idempotency_key": "a"}));
    let backend = ff_sdk::open(&store.url()).await.expect("the store answers");
    let config = WorkerConfig::new("w", "w-1", "ff").expect("valid names");
    let worker = FlowFabricWorker::connect_with(config, backend, None).await;
    let worker = worker.expect("the store answers");
    let task = worker.claim_next().await.expect("the store answers").expect("there is work");
    let hour = Duration::from_secs(3_600);
    let pending = task.create_pending_waitpoint("callback", Some(hour)).await;
    pending.expect("the waitpoint is opened");
    let approvals = Condition::Count {
        n: 2,
        kind: CountKind::DistinctSources,
        matcher: SignalMatcher::ByName("approved".parse().expect("a name")),
        waitpoints: vec!["approval".parse().expect("a name")],
    };
    let suspension = Suspension::until(approvals).reason(SuspensionReason::Approval);
    let suspension = suspension.timeout(hour, TimeoutBehaviour::Escalate);
    let suspended = task.suspend(suspension).await.expect("the execution is suspended");
    let SuspendOutcome::Suspended { waitpoints, .. } = suspended else { panic!("{suspended:?}") };
    let token = waitpoints[0].token.expose();
    let environment = [("FF_BACKEND", store.url()), ("FF_WAITPOINT_TOKEN", token.to_owned())];
    let mut transcript = Transcript::new(&environment.each_ref().map(|(n, v)| (*n, v.as_str())));
    let signal = |key| {
        let source = if key == "c" { "bob" } else { "alice" };
        let name = if key == "b" { "rejected" } else { "approved" };
        ["signal", &id, "approval", name, "--source", source, "--idempotency-key", key]
    };
    transcript.run(&signal("a"));
    transcript.run(&signal("a"));
    transcript.run(&signal("b"));
    transcript.run(&["signal", &id, "other", "approved"]);
    transcript.run(&["waitpoints", &id]);
    transcript.run(&["describe", &id]);
    transcript.run(&signal("c"));
    transcript.run(&["history", &id]);
    let random = [
        ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"),
        (r"\b[0-9a-f]{16}\b", "xxxxxxxxxxxxxxxx"),
    ];
    check("suspended", &transcript.text, &[&random[..], &[TIMES, MILLISECONDS, EPOCHS]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn limited_executions() {
    let store = Store::start();
    let mut session = Transcript::new(&[("FF_BACKEND", &store.url())]);
    let submit = ["submit", "--kind", "export", "--quota-key", "per-customer", "ada"];
    session.run(&[&submit[..], &["--budget", "llm", "--idempotency-key", "a"]].concat());
    session.run(&[&submit[..], &["--budget", "llm", "--idempotency-key", "b"]].concat());
    session.run(&submit[..5]);
    session.run(&["quotas"]);
    let set = ["quotas", "set", "per-customer", "--concurrency", "1"];
    session.run(&set);
    session.run(&set);
    session.run(&[&set[..], &["--rate", "100/1m"]].concat());
    session.run(&["quotas", "set", "per-customer"]);
    session.run(&["quotas", "set", "per-customer", "--rate", "100"]);
    session.run(&["quotas", "set", "per-customer", "--concurrency", "1001"]);
    session.run(&["budgets", "create", "llm", "--limit", "tokens=10"]);
    let client = FlowFabric::connect(store.url()).namespace("ff").await.expect("it answers");
    let worker =
        client.worker("w").max_concurrent_tasks(2).connect().await.expect("the store answers");
    let claim = async || worker.claim_next().await.expect("the store answers");
    let task = claim().await.expect("there is work");
    assert!(claim().await.is_none(), "one at a time");
    let ids = objects(&store.out(&["list", "--json", "--state", "rate_limited"]));
    let waiting = ids[0]["execution_id"].as_str().expect("an ID").to_owned();
    session.run(&["quotas"]);
    session.run(&["quotas", "show", "per-customer"]);
    session.run(&["quotas", "show", "per-customer", "--key", "ada"]);
    session.run(&["why", &waiting]);
    task.report_usage(&"llm".parse().expect("an ID"), &[("tokens", 10)], None).await.expect("room");
    session.run(&["quotas", "delete", "per-customer"]);
    session.run(&["quotas", "delete", "per-customer"]);
    session.run(&["quotas", "show", "per-customer"]);
    session.run(&["why", &waiting]);
    check("limited", &session.text, &[TIMES, MILLISECONDS, EPOCHS]);
}

#[test]
fn error_messages() {
    let mut errors = Transcript::new(&[]);
    errors.run(&["fly"]);
    errors.run(&["list"]);
    errors.run(&["list", "--backend", "memory:"]);
    errors.run(&["list", "--backend", "tape://user:password@host"]);
    errors.run(&["list", "--after", "x"]);
    errors.run(&["list", "--state", "done"]);
    errors.run(&["watch", "--tag", "team.name"]);
    errors.run(&["watch", "--tag", "a.b=x", "--tag", "a.b=y"]);
    errors.run(&["run", "no-such-file"]);
    errors.run(&["run", "no-such-file", "--workers", "0"]);
    let line = r#"{"kind": "shell", "payload": {"command": "true"}}"#;
    errors.run_with_input(&["run", "-", "--results", "-"], line);
    errors.run(&["run", "-"]);
    let lines = r#"
{"kind": "shell", "payload": {"command": "true"}
{"kind": "mail", "payload": {"command": "true"}}
{"kind": "shell", "payload": {}}
{"kind": "shell", "payload": {"command": 7}}
{"kind": "shell", "payload": ["true"]}
["shell", {"command": "true"}]
{"kind": "shell", "payload": {"command": "true"}, "delay_ms": -5}
{"kind": "shell", "payload": {"command": "true"}, "priority": 9001}
{"kind": "shell", "payload": {"command": "true"}, "colour": "red"}
{"kind": "shell", "payload": {"command": "true"}, "lane": "media"}
{"kind": "shell", "payload": {"command": "true"}, "idempotency_key": "k"}
{"kind": "shell", "payload": {"command": "false"}, "idempotency_key": "k"}
"#;
    errors.run_with_input(&["run", "-"], lines);
    let signal = ["signal", MISSING, "approval", "approved", "--backend", "valkey://127.0.0.1:1"];
    errors.run(&signal);
    errors.run(&[&signal[..], &["--token-stdin"]].concat());
    errors.run(&[&signal[..], &["--token", "k1:00"]].concat());
    errors.run(&["secret", "rotate", "--kid", "k"]);
    let mut errors_without_path = Transcript::new(&[("PATH", "/nowhere")]);
    errors_without_path.run(&["bench", "--backend", "valkey:"]);
    check("errors", &(errors.text + &errors_without_path.text), &[]);
}
