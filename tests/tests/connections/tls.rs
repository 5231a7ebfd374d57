//! TLS: certificates, servers that answer otherwise than the URL says, and programs with their
//! own cryptography provider. The tests of certificates run in a child process, which gets the
//! environment.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ff_sdk::{Client, ConnectError, ValkeyBackend};
use ff_tests::kit::{secs, submit, work};
use ff_tests::server::Server;
use tokio::time::Instant;

/// The variable that holds the URL for a child, and says that the process is one.
const URL: &str = "FF_TESTS_TLS_URL";
/// The variable that holds the text that the child's error must contain; empty for success.
const ERROR: &str = "FF_TESTS_TLS_ERROR";

/// Makes a self-signed certificate for localhost the usual way, and its key.
fn self_signed(folder: &Path, name: &str) -> [String; 2] {
    let files =
        ["key", "crt"].map(|end| folder.join(format!("{name}.{end}")).display().to_string());
    let [key, certificate] = &files;
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "9"])
        .args(["-keyout", key, "-out", certificate, "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .output()
        .expect("openssl runs: install it with scripts/setup");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    files
}

/// A server with a port for TLS besides its plain one.
struct TlsServer {
    _server: Server,
    port: u16,
    certificate: String,
    other: String,
    _folder: tempfile::TempDir,
}

impl TlsServer {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [key, certificate] = self_signed(folder.path(), "server");
        let [_, other] = self_signed(folder.path(), "other");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Server::valkey_with(&[
            "--tls-port",
            &port.to_string(),
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &certificate,
            "--tls-auth-clients",
            "no",
        ]);
        Self { _server: server, port, certificate, other, _folder: folder }
    }

    /// Runs [`child`] with a URL, trusted certificates and the expected error.
    fn child(&self, host: &str, trusted: &str, error: &str) {
        let mut program = Command::new(std::env::current_exe().unwrap());
        program.args(["--exact", "--nocapture", "tls::child"]);
        program.env(URL, format!("valkeys://{host}:{}", self.port));
        let output = program.env("SSL_CERT_FILE", trusted).env(ERROR, error).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
    }
}

/// Connects in a child process. Afterwards the program installs its own provider.
#[tokio::test]
async fn child() {
    let (Ok(url), Ok(error)) = (std::env::var(URL), std::env::var(ERROR)) else { return };
    let connected = ValkeyBackend::connect(&url).await;
    if error.is_empty() {
        let client = Client::connect_with(std::sync::Arc::new(connected.unwrap()), "demo").await;
        submit(&client.unwrap(), work()).await;
    } else {
        let refused = connected.unwrap_err();
        assert!(matches!(refused, ConnectError::Unfit { .. }), "{refused}");
        assert!(refused.to_string().contains(&error), "{refused}");
    }
    let provider = rustls::crypto::ring::default_provider();
    assert!(provider.install_default().is_ok(), "the library has installed a provider");
}

/// A self-signed certificate that is trusted is accepted for its names, and no other one is.
#[test]
fn a_self_signed_certificate_is_accepted_if_it_is_trusted() {
    let server = TlsServer::start();
    server.child("localhost", &server.certificate, "");
    server.child("localhost", &server.other, "in SSL_CERT_FILE");
    server.child("127.0.0.1", &server.certificate, "certificate");
}

/// A server that answers otherwise than the URL says is named as such, within the time limit of a
/// connection, and is not tried again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_or_without_tls_unlike_its_url_is_named() {
    let server = tokio::task::spawn_blocking(TlsServer::start).await.unwrap();
    let plain = Server::valkey();
    let guarded = Server::valkey();
    guarded.expect(&["CONFIG", "SET", "requirepass", "one"]);
    for (url, reason) in [
        (format!("valkey://127.0.0.1:{}", server.port), "answers in TLS"),
        (plain.url().replace("valkey:", "valkeys:"), "answers without TLS"),
        (format!("valkeys://:one@{}", guarded.address()), "answers without TLS"),
    ] {
        let begun = Instant::now();
        let error = ValkeyBackend::connect(&format!("{url}?connect_timeout_ms=1000")).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ConnectError::Unfit { .. }), "{error}");
        assert!(error.to_string().contains(reason), "{error}");
        assert!(begun.elapsed() < secs(1) + Duration::from_millis(500), "{:?}", begun.elapsed());
    }
}
