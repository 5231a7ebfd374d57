//! The log lines of workers: their start, failures, and how leases end; and the
//! counters of the runtime.

use std::time::Duration;

use ff_sdk::core::policy::{ExecutionPolicy, RetryPolicy};
use ff_sdk::core::time::DurationMs;
use ff_sdk::{
    Capabilities, Client, ExecutionId, HandlerError, LaneId, RuntimeReport, Submission,
    WorkerRuntime,
};
use ff_tests::Fixture;
use ff_tests::captured::Captured;
use ff_tests::kit::{secs, submit, work};
use tracing::subscriber::DefaultGuard;

/// The lines that this thread logs at level info and above.
#[derive(Default)]
struct Logs(Captured);

impl Logs {
    /// Collects until the guard is dropped.
    fn collect() -> (Self, DefaultGuard) {
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt().with_writer(logs.0.clone()).without_time();
        (logs, tracing::subscriber::set_default(subscriber.finish()))
    }

    /// The lines with this text.
    fn with(&self, text: &str) -> Vec<String> {
        let all = self.0.text();
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    /// The only line with this text.
    fn only(&self, text: &str) -> String {
        let lines = self.with(text);
        assert_eq!(lines.len(), 1, "{text}: {lines:?} of {:?}", self.with(""));
        lines[0].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_is_logged_with_what_the_worker_serves() {
    let (logs, _guard) = Logs::collect();
    let fixture = Fixture::memory();
    let set_up = |config: &mut ff_sdk::WorkerConfig| {
        config.lanes = ["mail", "bulk"].map(|lane| LaneId::try_new(lane).unwrap()).into();
        config.capabilities = Capabilities::try_new(["gpu", "avx"]).unwrap();
    };
    let worker = fixture.worker_with("w", set_up).await;
    let runtime = WorkerRuntime::new(worker).handle("b", || async {}).handle("a", || async {});
    runtime.run_until(fixture.advance(secs(1))).await.unwrap();
    let started = logs.only("worker started");
    for part in ["INFO", "lanes=\"mail,bulk\"", "kinds=\"a,b\"", "\"2 tokens, digest "] {
        assert!(started.contains(part), "{part} in {started}");
    }
    assert_eq!(logs.with("WARN"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_logged_with_its_cause() {
    let (logs, _guard) = Logs::collect();
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let runtime = WorkerRuntime::new(worker)
        .handle("pay", || async { Err::<(), _>(HandlerError::new("card_declined", "no money")) });
    let work = async {
        let retry = RetryPolicy { max_retries: 1, ..RetryPolicy::default() };
        let id = submit(&client, Submission::new("pay").retry(retry)).await;
        assert!(!client.result(&id).await.unwrap().is_success());
        id
    };
    let id = runtime.run_until(work).await.unwrap();
    let retried = logs.only("attempt failed; retrying");
    assert!(retried.contains("INFO"), "{retried}");
    // The time of the retry is one that a person can read.
    let at = retried.split(" at=").nth(1).and_then(|rest| rest.split(' ').next());
    let at = at.expect("the line has the time");
    assert!(at.contains('T') && at.ends_with('Z'), "{at}");
    let failed = logs.only("execution failed permanently");
    for part in ["WARN", &id.to_string(), "kind=pay", "card_declined", "no money"] {
        assert!(failed.contains(part), "{part} in {failed}");
    }
}

/// Runs a handler that takes this time. Ends its execution with `end` a second after its start.
/// Returns the logs and the counters.
async fn ended(
    submission: Submission,
    takes: Duration,
    end: impl AsyncFnOnce(&Client, &ExecutionId),
) -> (Logs, RuntimeReport) {
    let (logs, _guard) = Logs::collect();
    let fixture = Fixture::memory();
    let client = fixture.client().await;
    let worker = fixture.worker_with("w", |config| config.timekeeper = true).await;
    let runtime = WorkerRuntime::new(worker).handle("work", move || tokio::time::sleep(takes));
    let reports = runtime.reports();
    let id = submit(&client, submission).await;
    let work = async {
        fixture.advance(secs(1)).await;
        end(&client, &id).await;
        fixture.advance(secs(100)).await;
    };
    runtime.run_until(work).await.unwrap();
    (logs, reports.report())
}

/// An attempt that times out, a cancelled execution and one whose deadline passes are reported as
/// such, and not as lost leases.
#[tokio::test(start_paused = true)]
async fn the_end_of_a_lease_is_reported_with_its_cause() {
    let nothing = async |_: &Client, _: &ExecutionId| {};
    let cancel = async |client: &Client, id: &ExecutionId| client.cancel(id, "no").await.unwrap();
    let never = || work().retry(RetryPolicy::never());
    let hour = secs(3_600);
    // Shorter and longer than the ttl of the lease.
    for timeout in [secs(5), secs(50)] {
        let (logs, report) = ended(never().attempt_timeout(timeout), hour, nothing).await;
        assert_eq!((report.timed_out, report.lost), (1, 0));
        assert!(logs.only("WARN").contains("attempt timed out"));
    }
    // The handler ends before and after the next renewal.
    for takes in [secs(2), hour] {
        let (logs, report) = ended(work(), takes, cancel).await;
        assert_eq!((report.cancelled, report.lost), (1, 0), "{takes:?}");
        assert!(logs.only("WARN").contains("execution cancelled"));
    }
    let mut policy = ExecutionPolicy::default();
    policy.timeout.execution_deadline_ms = Some(DurationMs::from_secs(30));
    let (logs, report) = ended(work().policy(policy), hour, nothing).await;
    assert_eq!((report.expired, report.lost), (1, 0));
    assert!(logs.only("WARN").contains("execution expired"));
    let revoke = async |client: &Client, id: &ExecutionId| {
        client.revoke_lease(id).await.unwrap();
    };
    let (logs, report) = ended(work(), secs(60), revoke).await;
    assert_eq!((report.lost, report.cancelled), (1, 0));
    assert!(logs.only("WARN").contains("lease lost"));
}
