//! Where a store is: URLs, credentials and timeouts.

use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// What a URL says.
#[derive(Clone, Debug)]
pub struct Target {
    /// The first node, which has the credentials and says whether TLS is used.
    pub(super) seeds: Vec<ConnectionInfo>,
    pub(super) cluster: bool,
    pub(super) allow_eviction: bool,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) library: crate::wire::Library,
}

/// Why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL is none.
    #[error("{url:?} is no address of a store: {problem}")]
    Url {
        /// The URL without its password.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server did not answer, or refused the connection.
    #[error("cannot reach {node}: {problem}")]
    Unreachable {
        /// The server.
        node: String,
        /// What happened.
        problem: String,
    },
    /// The server is not fit to hold executions.
    #[error("{node} cannot be used: {problem}")]
    Unfit {
        /// The server.
        node: String,
        /// What is wrong with it, and how to mend it.
        problem: String,
    },
}

const FORMS: &str = "write valkey://HOST:PORT, valkeys:// with TLS, or \
                     valkey-cluster://HOST:PORT,HOST:PORT; user and password go before an @";

const OPTIONS: &str = "there are allow_eviction, connect_timeout_ms and response_timeout_ms";

/// How long to wait for a connection unless `connect_timeout_ms` says otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait for a reply unless `response_timeout_ms` says otherwise.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

impl Target {
    /// Reads a URL: `valkey://`, `redis://`, with TLS `valkeys://` and `rediss://`, and
    /// `valkey-cluster://`, `redis-cluster://`, `valkeys-cluster://`, `rediss-cluster://` with one
    /// or more nodes, comma-separated. Options: `allow_eviction=true`, `connect_timeout_ms`,
    /// `response_timeout_ms`.
    ///
    /// # Errors
    ///
    /// [`ConnectError::Url`].
    pub fn parse(url: &str) -> Result<Self, ConnectError> {
        let wrong = |problem: String| ConnectError::Url { url: hidden(url), problem };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong(FORMS.to_owned()))?;
        let single = scheme.strip_suffix("-cluster").unwrap_or(scheme);
        let cluster = single != scheme;
        if !matches!(single, "valkey" | "valkeys" | "redis" | "rediss") {
            return Err(wrong(format!("{scheme}:// is unknown; {FORMS}")));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold commas and slashes, but only in their percent form.
        let (user, hosts) = place.split_at(place.rfind('@').map_or(0, |at| at + 1));
        let (hosts, database) = hosts.split_once('/').unwrap_or((hosts, ""));
        if hosts.is_empty() {
            return Err(wrong(format!("it names no host; {FORMS}")));
        }
        if !cluster && hosts.contains(',') {
            return Err(wrong(format!("several hosts are a cluster: {single}-cluster://{hosts}")));
        }
        let mut target = Self {
            seeds: Vec::new(),
            cluster,
            allow_eviction: false,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            library: crate::wire::Library::default(),
        };
        for host in hosts.split(',') {
            let info = format!("{single}://{user}{host}/{database}").into_connection_info();
            target.seeds.push(info.map_err(|error| wrong(error.to_string()))?);
        }
        for option in query.split('&').filter(|option| !option.is_empty()) {
            target.set(option).map_err(wrong)?;
        }
        Ok(target)
    }

    /// Loads another text than this program's own, for tests of the library.
    #[must_use]
    pub fn with_library(mut self, library: crate::wire::Library) -> Self {
        self.library = library;
        self
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let duration = || match value.parse::<u64>() {
            Ok(milliseconds) if milliseconds > 0 => Ok(Duration::from_millis(milliseconds)),
            _ => Err(format!("{name} must be a number of milliseconds above 0")),
        };
        match name {
            "allow_eviction" => match value.parse() {
                Ok(allowed) => self.allow_eviction = allowed,
                Err(_) => return Err(format!("{name} must be true or false")),
            },
            "connect_timeout_ms" => self.connect_timeout = duration()?,
            "response_timeout_ms" => self.response_timeout = duration()?,
            _ => return Err(format!("option {name} is unknown; {OPTIONS}")),
        }
        Ok(())
    }

    /// The connection to another node of the cluster, like the first one.
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

/// A URL without its password.
fn hidden(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_every_kind_are_read() {
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
    fn what_is_no_address_is_refused_without_telling_the_password() {
        for url in [
            "localhost:6379",
            "http://x",
            "valkey://",
            "valkey://a,b",
            "valkey://a?evict=1",
            "valkey://a?allow_eviction=maybe",
            "valkey://a?response_timeout_ms=0",
            "valkey://a:port",
        ] {
            assert!(matches!(Target::parse(url), Err(ConnectError::Url { .. })), "{url}");
        }
        let error = Target::parse("valkey://me:secret@a/x/y?what").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
