//! A server by its unix socket.

use ff_tests::kit::{submit, work};
use ff_tests::server::Server;
use redis::Value;

use crate::failover::client;

/// A client uses the database of the URL, and reports a socket that does not exist.
#[tokio::test]
async fn a_server_is_used_by_its_socket() {
    let server = Server::valkey();
    let socket = server.folder().join("a.sock");
    let started = Server::valkey_with(&["--unixsocket", &socket.display().to_string()]);
    let url = format!("valkey+unix://{}?db=2", socket.display());
    let client = client(&url).await;
    submit(&client, work()).await;
    let keys = |database: &str| {
        let text = started.info("keyspace", database);
        text.is_some_and(|keys| keys.starts_with("keys="))
    };
    assert!(keys("db2") && !keys("db0"));
    assert_eq!(server.expect(&["DBSIZE"]), Value::Int(0));
    let url = format!("redis+unix://{}.not", socket.display());
    let error = ff_sdk::ValkeyBackend::connect(&url).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("a.sock.not"), "{error}");
}
