//! The settings of the service.

use std::path::PathBuf;
use std::time::Duration;

use ff_sdk::Namespace;

use crate::metrics::Metrics;

/// The namespace of requests that name none, unless the settings or the token say otherwise. The
/// commands of `ff` have the same.
pub const DEFAULT_NAMESPACE: &str = "ff";

/// The settings of the service. The defaults suit a service on loopback without tokens.
#[derive(Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The namespace of a request that names none and has no token with one namespace. Default:
    /// [`DEFAULT_NAMESPACE`].
    pub namespace: Namespace,
    /// The file of the tokens, which is read again when it changes. Without one, every caller may
    /// do everything, and the service listens on loopback only. Default: `None`.
    pub tokens: Option<PathBuf>,
    /// The metrics that `/metrics` shows. Default: `None`, for a program that exports its metrics
    /// itself.
    pub metrics: Option<Metrics>,
    /// The certificate and key for TLS. Default: `None`, for plain HTTP.
    pub tls: Option<Tls>,
    /// The most connections at the same time; further ones wait to be accepted. Default: 16,384.
    pub max_connections: usize,
    /// The most responses that follow output or completions at the same time; a further one is
    /// refused with 503. Default: 4,096.
    pub max_tails: usize,
    /// How long a connection may be idle, or take for the head of a request. Default: 60 s.
    pub head_timeout: Duration,
    /// How long a request may take for its body. Default: 20 s.
    pub body_timeout: Duration,
    /// After shutdown was requested, how long `/readyz` fails before connections are refused, so
    /// that a load balancer notices. Default: none.
    pub drain_delay: Duration,
    /// After that, how long requests may take to their end. Default: 10 s.
    pub grace: Duration,
}

/// The files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The chain of certificates, in PEM.
    pub certificate: PathBuf,
    /// The private key, in PEM.
    pub key: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            namespace: Namespace::try_new(DEFAULT_NAMESPACE).expect("it is a namespace"),
            tokens: None,
            metrics: None,
            tls: None,
            max_connections: 16_384,
            max_tails: 4_096,
            head_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(20),
            drain_delay: Duration::ZERO,
            grace: Duration::from_secs(10),
        }
    }
}
