//! `ff serve`: the HTTP service. `ff token`: makes a token for its callers.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use ff_server::{Metrics, NewToken, Server, ServerError, Settings, Tls, Tokens};

use crate::args::{ServeArgs, TokenArgs};
use crate::backend;
use crate::exit::{CliError, print, warn};
use crate::report::counted;
use crate::shutdown::{Shutdown, follow, requested};

/// Runs the service.
pub async fn serve(args: ServeArgs) -> Result<ExitCode, CliError> {
    // Before anything connects, so that all of it is counted.
    let metrics = Metrics::install().map_err(CliError::runtime)?;
    // Registered before anything runs, so that no signal is missed.
    let mut requests = follow()?;
    let store = tokio::select! {
        store = backend::open(&args.store.backend, backend::Wait::Always) => store?,
        () = requested(&mut requests.shutdown, Shutdown::Drain) => return Ok(requests.exit_code()),
    };
    if !store.shared {
        warn("ff: the store ends with this command, and everything in it is lost\n");
    }
    let mut settings = Settings::default();
    settings.metrics = Some(metrics);
    settings.namespace = args.namespace;
    settings.tokens.clone_from(&args.tokens);
    settings.tls =
        args.tls_cert.zip(args.tls_key).map(|(certificate, key)| Tls { certificate, key });
    settings.max_connections = args.max_connections as usize;
    settings.drain_delay = Duration::from_millis(args.drain_delay_ms.unwrap_or_default());
    settings.grace = Duration::from_millis(args.grace_ms);
    let server = Server::bind(args.listen, store.backend.clone(), settings).await;
    let server = server.map_err(|error| match error {
        ServerError::Store(error) => (*error).into(),
        error => CliError::usage(error.to_string()),
    })?;
    warn(&format!("ff: listening on {}\n", server.url()));
    let mut shutdown = requests.shutdown.clone();
    let mut stop = requests.shutdown.clone();
    tokio::select! {
        () = server.run_until(async { requested(&mut shutdown, Shutdown::Drain).await }) => {}
        () = requested(&mut stop, Shutdown::Stop) => warn("ff: requests were not waited for\n"),
    }
    Ok(requests.exit_code())
}

/// Makes a token.
pub fn token(args: &TokenArgs) -> Result<ExitCode, CliError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(CliError::runtime)?;
    let token = NewToken::new(random, &args.name, args.role, &args.namespace, args.per_second);
    let token = token.map_err(CliError::usage)?;
    match &args.tokens {
        None => {
            warn("ff: add this entry to the file of --tokens; the token is not stored there:\n\n");
            warn(&format!("{}\n", token.entry()));
        }
        Some(path) => {
            let count = add(path, &token.entry())?;
            let tokens = counted(count as u64, "token", "tokens");
            warn(&format!(
                "ff: {} has {tokens}; a service that uses it follows within a second; the token is \
                 shown only here:\n",
                path.display()
            ));
        }
    }
    print(&format!("{}\n", token.token))?;
    Ok(ExitCode::SUCCESS)
}

/// Adds an entry to a file of tokens, which others cannot read. Returns how many it has.
fn add(path: &Path, entry: &str) -> Result<usize, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::usage(format!("--tokens {}: {error}", path.display()))
    };
    if path.exists() {
        Tokens::read(path).map_err(|error| CliError::usage(error.to_string()))?;
    }
    let mut options = OpenOptions::new();
    let mut file =
        options.append(true).create(true).mode(0o600).open(path).map_err(|error| failed(&error))?;
    file.write_all(format!("\n{entry}").as_bytes()).map_err(|error| failed(&error))?;
    let tokens = Tokens::read(path).map_err(|error| CliError::usage(error.to_string()))?;
    Ok(tokens.count())
}
