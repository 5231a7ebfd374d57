//! The arguments of `ff serve` and `ff token`.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::Args;
use ff_sdk::Namespace;
use ff_server::Role;

use super::duration::milliseconds;
use super::store::TransientStoreArgs;
use crate::pool::NAMESPACE;

/// The arguments of `ff serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub store: TransientStoreArgs,
    /// The address to listen on. Without --tokens it must be a loopback address. Port 0 takes a
    /// free one, which is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "FF_LISTEN")]
    pub listen: SocketAddr,
    /// The namespace of requests that name none and whose token does not have one namespace.
    #[arg(long, value_name = "NS", default_value = NAMESPACE, env = "FF_NAMESPACE")]
    pub namespace: Namespace,
    /// The file of the tokens of callers, which ff token adds to. It is read again when it changes.
    /// Without it, every caller may do everything.
    #[arg(long, value_name = "FILE", env = "FF_TOKENS")]
    pub tokens: Option<PathBuf>,
    /// The chain of certificates for TLS, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// The private key for TLS, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// The most connections at the same time. Further ones wait.
    #[arg(long, value_name = "N", default_value_t = 16_384,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub max_connections: u32,
    /// After a signal to end, how long GET /readyz fails before connections are refused, so that a
    /// load balancer notices. Without it, they are refused immediately.
    #[arg(long = "drain-delay", value_name = "TIME", value_parser = milliseconds)]
    pub drain_delay_ms: Option<u64>,
    /// After that, how long requests may take to their end.
    #[arg(long = "grace", value_name = "TIME", default_value = "10s",
        value_parser = milliseconds)]
    pub grace_ms: u64,
}

/// The arguments of `ff token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The name of the token, for the log and for changes that its holder makes.
    pub name: String,
    /// The role of its holder: submit, work, operate or admin.
    #[arg(long, value_name = "ROLE")]
    pub role: Role,
    /// A namespace that its holder sees. Repeat --namespace for several; "*" stands for all.
    #[arg(long, value_name = "NS", required = true)]
    pub namespace: Vec<String>,
    /// The most requests in a second, with bursts of as many. Without it, there is no limit.
    #[arg(long, value_name = "N")]
    pub per_second: Option<NonZeroU32>,
    /// The file to add it to, which is created if it does not exist. Without it, the entry for the
    /// file is printed too.
    #[arg(long, value_name = "FILE", env = "FF_TOKENS")]
    pub tokens: Option<PathBuf>,
}
