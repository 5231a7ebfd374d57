//! Opening a store whose server cannot be used yet (`docs/spec.md`, Stores).

use std::sync::Arc;
use std::time::Duration;

use ff_sdk::core::backend::EngineBackend;
use ff_sdk::{ConnectError, SdkError, StoreOptions};
use ff_tests::server::Server;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A store that is being opened, and the reasons why it cannot be opened yet.
struct Opening {
    task: JoinHandle<Result<Arc<dyn EngineBackend>, SdkError>>,
    reasons: mpsc::UnboundedReceiver<String>,
}

impl Opening {
    fn start(options: StoreOptions) -> Self {
        let (report, reasons) = mpsc::unbounded_channel();
        let options = options.on_failure(move |error| report.send(error.to_string()).unwrap());
        Self { task: tokio::spawn(options.open()), reasons }
    }

    async fn reason(&mut self) -> String {
        self.reasons.recv().await.expect("another try follows")
    }
}

fn options(server: &Server) -> StoreOptions {
    StoreOptions::parse(&server.url()).unwrap()
}

#[tokio::test]
async fn a_server_that_starts_later_is_waited_for() {
    let mut server = Server::valkey();
    server.kill();
    let mut opening = Opening::start(options(&server));
    let reason = opening.reason().await;
    assert!(reason.contains("Connection refused"), "{reason}");
    server.restart();
    opening.task.await.unwrap().expect("the store opens once its server has started");
    assert_eq!(opening.reasons.recv().await, None, "each reason is reported once");
}

#[tokio::test]
async fn a_server_that_never_starts_is_an_error_after_the_timeout() {
    let mut server = Server::valkey();
    server.kill();
    for timeout in [Duration::ZERO, Duration::from_millis(300)] {
        let begun = tokio::time::Instant::now();
        let failed = options(&server).open_timeout(timeout).open().await.err();
        assert!(
            matches!(failed, Some(SdkError::Connect(ConnectError::Unreachable { .. }))),
            "{failed:?}"
        );
        assert!(begun.elapsed() >= timeout);
    }
}

/// A program that only reports the refusal returns it immediately; a worker waits until an
/// operator corrects the server.
#[tokio::test]
async fn a_refusal_ends_the_tries_unless_the_program_waits_for_a_correction() {
    let server = Server::valkey_with(&["--maxmemory-policy", "allkeys-lru"]);
    let refused = options(&server).open().await.err();
    assert!(matches!(refused, Some(SdkError::Connect(ConnectError::Unfit { .. }))), "{refused:?}");

    let mut opening = Opening::start(options(&server).even_if_refused());
    let reason = opening.reason().await;
    assert!(reason.contains("allkeys-lru"), "{reason}");
    server.expect(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    opening.task.await.unwrap().expect("the store opens once its server is corrected");
}
