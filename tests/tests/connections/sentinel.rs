//! A store by its sentinels: programs use the primary that they name, and follow a failover.

use std::collections::BTreeSet;
use std::future::pending;

use ff_sdk::core::backend::{EngineBackend, FindingLevel};
use ff_sdk::{ConnectError, EngineError, ExecutionId, SdkError, Submission, ValkeyBackend};
use ff_tests::kit::{endings, secs, submit, work};
use ff_tests::server::{Sentinels, Server, wait_for};
use tokio::time::{Instant, timeout};

use crate::failover::{NOTICED, Runs, client, runtime};

/// A primary with a replica, and their sentinels.
fn watched() -> (Server, Server, Sentinels) {
    let (primary, replica) = (Server::valkey(), Server::valkey());
    replica.follow(&primary);
    let sentinels = Sentinels::of(&primary);
    (primary, replica, sentinels)
}

/// Waits until all calls of before have reached the replica.
fn replicated(primary: &Server, replica: &Server) {
    wait_for("the replica to have everything", || {
        let offset = |server: &Server, field| server.info("replication", field);
        let written = offset(primary, "master_repl_offset")?;
        (offset(replica, "slave_repl_offset")? == written).then_some(())
    });
}

/// The primary is killed under load. The worker and the client go on at the promoted replica, no
/// submission that the replica had is lost, and each execution ends once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_goes_on_after_the_primary_was_killed() {
    let (mut primary, replica, sentinels) = watched();
    let runs = Runs::new();
    let runtime = runtime(&sentinels.url(), &runs).await;
    let working = tokio::spawn(runtime.run_until(pending::<()>()));
    let client = client(&sentinels.url()).await;
    let mut kept: BTreeSet<ExecutionId> = BTreeSet::new();
    for _ in 0..200 {
        kept.insert(submit(&client, work()).await);
    }
    replicated(&primary, &replica);
    primary.kill();
    let begun = Instant::now();
    // These are tried again until the new primary accepts them.
    while kept.len() < 250 {
        match client.submit(Submission::new("work")).await {
            Ok(created) => drop(kept.insert(created.id())),
            Err(SdkError::Engine(
                EngineError::Unreachable { .. } | EngineError::Timeout { .. },
            )) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let accepted = begun.elapsed();
    for id in &kept {
        let result = timeout(secs(20), client.result(id)).await.expect("the worker goes on");
        assert!(result.unwrap().is_success());
        assert_eq!(endings(&client, id).await, 1, "it ends once");
    }
    println!("accepted after {accepted:?}, all results after {:?}", begun.elapsed());
    assert!(accepted < secs(10), "the sentinels need about a second");
    assert_eq!(sentinels.primary(0), Some(replica.port()));
    working.abort();
}

/// The old primary goes on and still takes writes for a while. Programs leave it as soon as the
/// sentinels name the new one, although it answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_leave_a_primary_that_was_replaced_and_goes_on() {
    let (primary, replica, mut sentinels) = watched();
    let runs = Runs::new();
    let runtime = runtime(&sentinels.url(), &runs).await;
    let working = tokio::spawn(runtime.run_until(pending::<()>()));
    let client = client(&sentinels.url()).await;
    client.result(&submit(&client, work()).await).await.unwrap();
    replicated(&primary, &replica);
    sentinels.fail_over();
    wait_for("all sentinels to name the new primary", || {
        (0..3).all(|number| sentinels.primary(number) == Some(replica.port())).then_some(())
    });
    let begun = Instant::now();
    let other = super::failover::client(&replica.url()).await;
    let id = submit(&other, work()).await;
    timeout(NOTICED, other.result(&id)).await.expect("the worker goes on").unwrap();
    println!("the worker went on after {:?}", begun.elapsed());
    let id = submit(&client, work()).await;
    timeout(NOTICED, other.result(&id)).await.expect("the client goes on, too").unwrap();
    assert_eq!(runs.of(&id), 1);
    // Two of three sentinels are enough, and the primary of before is not.
    sentinels.kill(0);
    let late = super::failover::client(&sentinels.url()).await;
    late.result(&submit(&late, work()).await).await.unwrap();
    let backend = ValkeyBackend::connect(&sentinels.url()).await.unwrap();
    let mut findings = backend.examine().await.unwrap();
    findings.retain(|found| found.subject.starts_with("sentinel "));
    let levels: Vec<FindingLevel> = findings.iter().map(|found| found.level).collect();
    assert_eq!(levels, [FindingLevel::Warning, FindingLevel::Good, FindingLevel::Good]);
    assert!(findings[1].detail.contains(&replica.address()), "{findings:?}");
    working.abort();
}

/// The credentials of servers and sentinels differ.
#[tokio::test]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let (primary, replica) = (Server::valkey(), Server::valkey());
    replica.follow(&primary);
    for server in [&replica, &primary] {
        server.expect(&["CONFIG", "SET", "masterauth", "one"]);
        server.expect(&["CONFIG", "SET", "requirepass", "one"]);
    }
    let sentinels = Sentinels::with_passwords(&primary, Some("two"), Some("one"));
    let plain = sentinels.url();
    let servers = plain.replace("://", "://:one@");
    let both = format!("{servers}?sentinel_password=two");
    let backend = ValkeyBackend::connect(&both).await.unwrap();
    let findings = backend.examine().await.unwrap();
    assert!(findings.iter().all(|found| found.level < FindingLevel::Problem), "{findings:?}");
    for (url, reason) in [(servers, "NOAUTH"), (format!("{plain}?sentinel_password=two"), "NOAUTH")]
    {
        let error = ValkeyBackend::connect(&url).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains(reason) && !error.is_retryable(), "{text}");
    }
}

/// An unknown service, sentinels that are away, and a sentinel that is none are named.
#[tokio::test]
async fn a_primary_that_cannot_be_found_is_an_error_that_says_why() {
    let (_primary, replica, sentinels) = watched();
    let unknown = sentinels.url().replace("/store", "/stores");
    let of_server = format!("valkey-sentinel://{}/store", replica.address());
    let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (url, reason) in [
        (unknown, "knows no `stores`"),
        (of_server, "unknown command"),
        (format!("valkey-sentinel://{away}/store"), "Connection refused"),
    ] {
        let error = ValkeyBackend::connect(&url).await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("cannot find the primary") && text.contains(reason), "{text}");
    }
}
