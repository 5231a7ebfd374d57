//! The target of a connection: parses store URLs with credentials and options.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use crate::redaction::{OPTIONS, is_scheme, redacted_url, shown};

/// A parsed store URL.
#[derive(Clone)]
pub struct Target {
    /// The URL without its password, for messages.
    pub(super) url: String,
    /// The nodes of the URL; all have its credentials and TLS setting.
    pub(super) seeds: Vec<ConnectionInfo>,
    pub(super) cluster: bool,
    pub(super) allow_eviction: bool,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) poll_grace: Duration,
    pub(super) open_timeout: Duration,
    pub(super) library: crate::wire::Library,
    /// Set once the store was opened.
    pub(super) is_open: Arc<AtomicBool>,
}

impl ConnectError {
    /// Returns whether connecting may succeed later without a change to the URL or the server.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The seeds hold the password.
        f.debug_struct("Target").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The reason why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is invalid.
    #[error("invalid store URL `{url}`: {problem}")]
    Url {
        /// The URL without its password.
        url: String,
        /// The problem with it, and what is valid.
        problem: String,
    },
    /// The server did not answer, or refused the connection.
    #[error("cannot reach {node}: {problem}")]
    Unreachable {
        /// The address of the server.
        node: String,
        /// The failure.
        problem: String,
    },
    /// The server is unfit to hold executions: its version, role, eviction policy or access rights.
    #[error("cannot use {node}: {problem}")]
    Unfit {
        /// The address of the server.
        node: String,
        /// The problem with it, and how to fix it.
        problem: String,
    },
}

const FORMS: &str = "expected memory:, valkey://HOST:PORT or \
                     valkey-cluster://HOST:PORT,HOST:PORT (with TLS valkeys:// and \
                     valkeys-cluster://); user and password go before an @";

const ENCODE: &str = "write `/`, `?`, `#` and `@` in a user or password in percent form: %2F, \
                      %3F, %23 and %40";

/// The default of `open_timeout_ms`.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// The default of `connect_timeout_ms`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `response_timeout_ms`.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The default of `poll_grace_ms`. Longer than the 200 ms after which Linux sends a lost packet
/// again, so that one lost packet does not make a node late; short against the second between two
/// polls of a worker.
const POLL_GRACE: Duration = Duration::from_millis(250);

impl Target {
    /// Parses a store URL: `SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST...][/DATABASE]`, followed by
    /// `?OPTION=VALUE[&OPTION=VALUE...]`.
    ///
    /// The scheme is `valkey` or `redis` for one server, with TLS `valkeys` or `rediss`; appended
    /// `-cluster` means a cluster, by one or more of its nodes. `allow_eviction=true` accepts a
    /// server that may evict keys. `open_timeout_ms`, by default 10,000, is the time for which
    /// `ff_sdk::open` tries again while the server cannot be reached; `ValkeyBackend::open` itself
    /// tries once. `connect_timeout_ms` and `response_timeout_ms` are the longest
    /// waits for a connection and for a reply, at least 1 and by default 5,000. A search for work
    /// asks all nodes of a cluster. Once one has answered, it waits for the others for
    /// `poll_grace_ms`, by default 250.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let invalid = |problem: String| ConnectError::Url { url: redacted_url(url), problem };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| invalid(FORMS.to_owned()))?;
        let single = scheme.strip_suffix("-cluster").unwrap_or(scheme);
        let cluster = single != scheme;
        if !matches!(single, "valkey" | "valkeys" | "redis" | "rediss") {
            // Text that cannot be a scheme may be a part of a password.
            let unknown = if is_scheme(scheme) { scheme } else { "***" };
            return Err(invalid(format!("unknown scheme {unknown}://; {FORMS}")));
        }
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may contain commas and slashes, but only percent-encoded.
        let (user, hosts) = location.split_at(location.rfind('@').map_or(0, |at| at + 1));
        if user.contains(['/', '#']) || query.contains('@') {
            return Err(invalid(ENCODE.to_owned()));
        }
        let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
        if hosts.is_empty() {
            return Err(invalid(format!("it has no host; {FORMS}")));
        }
        if !cluster && hosts.contains(',') {
            let problem = format!("several hosts are a cluster: use {single}-cluster://{hosts}");
            return Err(invalid(problem));
        }
        let mut target = Self {
            url: redacted_url(url),
            seeds: Vec::new(),
            cluster,
            allow_eviction: false,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            poll_grace: POLL_GRACE,
            open_timeout: OPEN_TIMEOUT,
            library: crate::wire::Library::default(),
            is_open: Arc::default(),
        };
        for host in hosts.split(',') {
            let info = format!("{single}://{user}{host}/{database}").into_connection_info();
            target.seeds.push(info.map_err(|error| invalid(error.to_string()))?);
        }
        for option in query.split('&').filter(|option| !option.is_empty()) {
            target.set(option).map_err(invalid)?;
        }
        Ok(target)
    }

    /// Returns the URL without its user and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how long a program tries to open the store again while it cannot be reached.
    pub const fn open_timeout(&self) -> Duration {
        self.open_timeout
    }

    /// Sets the user and password for all nodes; without a user, those of the default user.
    #[must_use]
    pub fn with_credentials(mut self, user: Option<&str>, password: &str) -> Self {
        for seed in &mut self.seeds {
            let mut settings = seed.redis_settings().clone().set_password(password);
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
            *seed = seed.clone().set_redis_settings(settings);
        }
        self
    }

    /// Replaces the function library that is loaded into the servers, for tests of the library.
    #[must_use]
    pub fn with_library(mut self, library: crate::wire::Library) -> Self {
        self.library = library;
        self
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let duration = || match value.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
            _ => Err(format!("{name} is `{}`: it must be milliseconds, at least 1", shown(value))),
        };
        match name {
            "allow_eviction" => match value.parse() {
                Ok(allowed) => self.allow_eviction = allowed,
                Err(_) => {
                    return Err(format!("{name} is `{}`: it must be true or false", shown(value)));
                }
            },
            "open_timeout_ms" => self.open_timeout = duration()?,
            "connect_timeout_ms" => self.connect_timeout = duration()?,
            "response_timeout_ms" => self.response_timeout = duration()?,
            "poll_grace_ms" => self.poll_grace = duration()?,
            _ => {
                let options = OPTIONS.join(", ");
                return Err(format!("unknown option {name}; the options are {options}"));
            }
        }
        Ok(())
    }

    /// The connection settings of another node of the cluster: those of the first one.
    pub(super) fn node(&self, host: &str, port: u16) -> ConnectionInfo {
        let mut address = self.seeds[0].addr().clone();
        if let ConnectionAddr::Tcp(its_host, its_port)
        | ConnectionAddr::TcpTls { host: its_host, port: its_port, .. } = &mut address
        {
            (*its_host, *its_port) = (host.to_owned(), port);
        }
        self.seeds[0].clone().set_addr(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_scheme_are_parsed() {
        let target = Target::parse("valkeys://me:s%2Fecret@db.example:7000/2").unwrap();
        assert_eq!(target.seeds[0].addr().to_string(), "db.example:7000");
        assert_eq!(target.seeds[0].redis_settings().password(), Some("s/ecret"));
        assert_eq!(target.seeds[0].redis_settings().db(), 2);
        let node = target.node("other", 1);
        assert!(matches!(node.addr(), ConnectionAddr::TcpTls { .. }));
        assert_eq!(node.redis_settings().username(), Some("me"));
        let url = "redis-cluster://a:1,b:2?allow_eviction=true&response_timeout_ms=50";
        let target = Target::parse(url).unwrap();
        assert_eq!((target.seeds.len(), target.cluster, target.allow_eviction), (2, true, true));
        assert_eq!(target.response_timeout, Duration::from_millis(50));
        assert_eq!(target.seeds[1].addr().to_string(), "b:2");
    }

    #[test]
    fn an_invalid_url_is_refused_without_showing_the_password() {
        for url in [
            "localhost:6379",
            "http://x",
            "valkey://",
            "valkey://a,b",
            "valkey://a?evict=1",
            "valkey://a?allow_eviction=maybe",
            "valkey://a?response_timeout_ms=0",
            "valkey://a?poll_grace_ms=x",
            "valkey://a:port",
        ] {
            assert!(matches!(Target::parse(url), Err(ConnectError::Url { .. })), "{url}");
        }
        let error = Target::parse("valkey://me:secret@a/x/y?what").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
