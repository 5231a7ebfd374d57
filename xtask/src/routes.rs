//! Random requests to every route of `ff serve`, made by schemathesis from its OpenAPI document.
//!
//! Each answer must have a status, a type and a body that the document describes, must not be 500
//! or above, and must refuse a request that the document does not allow. The opposite is not
//! checked, since the service refuses more than a schema can describe, such as a key that appears
//! twice.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::shell::{Failed, Outcome, cargo, command, output, run as run_command, target};

/// The requests for each route.
const CASES: &str = "500";
/// The routes that wait for work or for events.
const WAITING: &str = "(/completions|/tail|/claims|/claim)$";
/// The beginning of the line with the URL of a service.
const LISTENING: &str = "ff: listening on ";

/// Makes the requests, if schemathesis is installed; once without tokens, and once with one.
///
/// # Errors
///
/// When an answer is wrong.
pub fn run() -> Outcome {
    let found = Command::new("schemathesis").arg("--version").stdout(Stdio::null()).status();
    if found.is_err() {
        println!(
            "\n== routes: LEFT OUT, since schemathesis is not on the PATH: install the Python \
             package schemathesis, and run `cargo xtask soak --only routes`"
        );
        return Ok(());
    }
    println!("\n== routes: {CASES} requests for each, twice");
    run_command(cargo(&["build", "--package", "flowfabric-cli", "--bin", "ff"]))?;
    requests(&Service::start(&[])?, None)?;

    let tokens = target().join("routes-tokens.toml");
    // `ff token` adds to a file.
    if tokens.exists() {
        std::fs::remove_file(&tokens).map_err(|error| failed(&tokens, &error))?;
    }
    let path = tokens.to_string_lossy().into_owned();
    let made = ["token", "soak", "--role", "admin", "--namespace", "*", "--tokens", &path];
    let token = output(ff(&made))?;
    requests(&Service::start(&["--tokens", &path])?, Some(&token))
}

fn failed(path: &Path, error: &std::io::Error) -> Failed {
    Failed(format!("{}: {error}", path.display()))
}

/// The command `ff` that was built.
fn ff(args: &[&str]) -> Command {
    command(target().join("debug").join("ff"), args)
}

/// Makes the requests to a service.
fn requests(service: &Service, token: Option<&str>) -> Outcome {
    let url = format!("{}/openapi.json", service.url);
    let mut requests = command("schemathesis", &["run", &url, "--max-examples", CASES]);
    requests.args(["--phases", "coverage,fuzzing", "--exclude-path-regex", WAITING]);
    requests.args(["--exclude-checks", "positive_data_acceptance"]);
    requests.args(["--continue-on-failure", "--warnings", "off", "--no-color"]);
    if let Some(token) = token {
        requests.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    let status = crate::shell::status(requests.current_dir(target()))?;
    if status.success() {
        return Ok(());
    }
    // The command line has the token.
    Err(Failed(format!("schemathesis found wrong answers ({status})")))
}

/// A service over a store in memory, which ends with this value.
struct Service {
    process: Child,
    url: String,
}

impl Service {
    /// Starts it on a free port.
    fn start(args: &[&str]) -> Outcome<Self> {
        let mut serve = ff(&["serve", "--backend", "memory:", "--listen", "127.0.0.1:0"]);
        serve.args(args).env("FF_LOG", "error").stderr(Stdio::piped());
        let process = serve.spawn();
        let mut process =
            process.map_err(|error| Failed(format!("cannot start `ff serve`: {error}")))?;
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut service = Self { process, url: String::new() };
        let mut lines = log.lines().map_while(Result::ok);
        let found = lines.find_map(|line| line.strip_prefix(LISTENING).map(str::to_owned));
        service.url = found.ok_or_else(|| Failed("`ff serve` does not listen".to_owned()))?;
        // It must be able to write more.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{line}")));
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A service that has ended needs no more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
