//! The target of a connection: parses store URLs with credentials and options.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};

use crate::redaction::{Form, OPTIONS, form, is_scheme, redacted_url, shown};

/// A parsed store URL.
#[derive(Clone)]
pub struct Target {
    /// The URL without its password, for messages.
    pub(super) url: String,
    /// The servers of the URL with its credentials, of which there is one at least. The addresses
    /// of a store with sentinels are those of the sentinels.
    pub(super) seeds: Vec<ConnectionInfo>,
    pub(super) form: Form,
    /// Whether the connections use TLS, also those to sentinels.
    pub(super) tls: bool,
    pub(super) sentinels: Sentinels,
    pub(super) allow_eviction: bool,
    pub(super) connect_timeout: Duration,
    pub(super) response_timeout: Duration,
    pub(super) poll_grace: Duration,
    pub(super) open_timeout: Duration,
    pub(super) library: crate::wire::Library,
    /// Set once the store was opened.
    pub(super) is_open: Arc<AtomicBool>,
}

/// The options of a URL about sentinels.
#[derive(Clone, Default)]
pub(super) struct Sentinels {
    /// The name under which they watch the primary.
    pub(super) service: String,
    user: Option<String>,
    password: Option<String>,
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

const FORMS: &str = "expected memory:, sqlite:PATH, valkey://HOST:PORT, \
                     valkey-cluster://HOST:PORT,HOST:PORT, \
                     valkey-sentinel://HOST:PORT,HOST:PORT/SERVICE (with TLS valkeys://, \
                     valkeys-cluster:// and valkeys-sentinel://) or valkey+unix:///PATH; user and \
                     password go before an @";

/// The port of sentinels.
const SENTINEL_PORT: u16 = 26_379;

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
    /// `-cluster` means a cluster, by one or more of its nodes. Appended `-sentinel` means the
    /// primary that sentinels name: the hosts are sentinels, by default at port 26,379, and
    /// `/SERVICE[/DATABASE]` follows. `valkey+unix:///PATH` is a server by its unix socket, whose
    /// database is the option `db`.
    ///
    /// `sentinel_user` and `sentinel_password` are the credentials for sentinels; those before the
    /// `@` are always those of the servers. `allow_eviction=true` accepts a
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
        Self::parsed(url).map_err(|problem| ConnectError::Url { url: redacted_url(url), problem })
    }

    fn parsed(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| FORMS.to_owned())?;
        let Some((form, tls)) = form(scheme) else {
            // Text that cannot be a scheme may be a part of a password.
            let unknown = if is_scheme(scheme) { scheme } else { "***" };
            return Err(format!("unknown scheme {unknown}://; {FORMS}"));
        };
        let (location, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may contain commas and slashes, but only percent-encoded.
        let (user, place) = location.split_at(location.rfind('@').map_or(0, |at| at + 1));
        if user.contains(['/', '#']) || place.contains('#') || query.contains('@') {
            return Err(ENCODE.to_owned());
        }
        let mut target = Self {
            url: redacted_url(url),
            seeds: Vec::new(),
            form,
            tls,
            sentinels: Sentinels::default(),
            allow_eviction: false,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            poll_grace: POLL_GRACE,
            open_timeout: OPEN_TIMEOUT,
            library: crate::wire::Library::default(),
            is_open: Arc::default(),
        };
        target.add_seeds(scheme, user, place)?;
        for option in query.split('&').filter(|option| !option.is_empty()) {
            target.set(option)?;
        }
        Ok(target)
    }

    /// Adds the servers, or the sentinels, of the text between user and options.
    fn add_seeds(&mut self, scheme: &str, user: &str, place: &str) -> Result<(), String> {
        let (hosts, path) = place.split_once('/').unwrap_or((place, ""));
        match self.form {
            Form::Unix if !hosts.is_empty() || path.is_empty() => {
                return Err(format!("it has no absolute path; {FORMS}"));
            }
            Form::Unix => {
                let address = ConnectionAddr::Unix(format!("/{path}").into());
                self.seeds.push(info(user, "localhost", "")?.set_addr(address));
            }
            _ if hosts.is_empty() => return Err(format!("it has no host; {FORMS}")),
            Form::Server if hosts.contains(',') => {
                let problem = format!(
                    "several hosts are a cluster or sentinels: use {scheme}-cluster://{hosts} or \
                     {scheme}-sentinel://{hosts}/SERVICE"
                );
                return Err(problem);
            }
            Form::Sentinel => {
                let (service, database) = path.split_once('/').unwrap_or((path, ""));
                if service.is_empty() {
                    return Err(format!("it has no name of a service; {FORMS}"));
                }
                service.clone_into(&mut self.sentinels.service);
                for host in hosts.split(',') {
                    // The colons of an IPv6 address are in brackets.
                    let has_port =
                        host.rsplit_once(':').is_some_and(|(_, end)| !end.ends_with(']'));
                    let port = if has_port { String::new() } else { format!(":{SENTINEL_PORT}") };
                    self.seeds.push(info(user, &format!("{host}{port}"), database)?);
                }
            }
            Form::Server | Form::Cluster => {
                for host in hosts.split(',') {
                    self.seeds.push(info(user, host, path)?);
                }
            }
        }
        Ok(())
    }

    /// Returns the URL without its user and password.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns how long a program tries to open the store again while it cannot be reached.
    pub const fn open_timeout(&self) -> Duration {
        self.open_timeout
    }

    /// Sets the user and password for all servers; without a user, those of the default user. The
    /// credentials for sentinels are options of the URL.
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
            "sentinel_user" | "sentinel_password" if self.form != Form::Sentinel => {
                return Err(format!("{name} is for the URLs of sentinels; {FORMS}"));
            }
            "sentinel_user" => self.sentinels.user = Some(decoded(value)?),
            "sentinel_password" => self.sentinels.password = Some(decoded(value)?),
            "db" if self.form != Form::Unix => {
                return Err("db is for the URLs of unix sockets: write /DATABASE".to_owned());
            }
            "db" => {
                let Ok(database) = value.parse() else {
                    return Err(format!("db is `{}`: it must be a number", shown(value)));
                };
                let settings = self.seeds[0].redis_settings().clone().set_db(database);
                self.seeds[0] = self.seeds[0].clone().set_redis_settings(settings);
            }
            _ => {
                let options = OPTIONS.join(", ");
                return Err(format!(
                    "unknown option {name}; the options are {options}, sentinel_password"
                ));
            }
        }
        Ok(())
    }

    /// The connection settings of another server: those of the first one.
    pub(super) fn node(&self, host: &str, port: u16) -> ConnectionInfo {
        self.seeds[0].clone().set_addr(ConnectionAddr::Tcp(host.to_owned(), port))
    }

    /// The connection settings of the sentinels; empty for a store without them.
    pub(super) fn sentinels(&self) -> Vec<ConnectionInfo> {
        let mut settings = RedisConnectionInfo::default();
        if let Some(user) = &self.sentinels.user {
            settings = settings.set_username(user);
        }
        if let Some(password) = &self.sentinels.password {
            settings = settings.set_password(password);
        }
        let sentinels = self.seeds.iter().filter(|_| self.form == Form::Sentinel);
        sentinels.map(|seed| seed.clone().set_redis_settings(settings.clone())).collect()
    }
}

/// The connection settings of a server.
fn info(user: &str, host: &str, database: &str) -> Result<ConnectionInfo, String> {
    let info = format!("redis://{user}{host}/{database}").into_connection_info();
    info.map_err(|error| error.to_string())
}

/// A value in percent form.
fn decoded(value: &str) -> Result<String, String> {
    let info = info(&format!(":{value}@"), "localhost", "")?;
    Ok(info.redis_settings().password().unwrap_or_default().to_owned())
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
        assert_eq!((node.redis_settings().username(), target.tls), (Some("me"), true));
        let url = "redis-cluster://a:1,b:2?allow_eviction=true&response_timeout_ms=50";
        let target = Target::parse(url).unwrap();
        assert_eq!((target.seeds.len(), target.form, target.tls), (2, Form::Cluster, false));
        assert!(target.allow_eviction);
        assert_eq!(target.response_timeout, Duration::from_millis(50));
        assert_eq!(target.seeds[1].addr().to_string(), "b:2");
    }

    #[test]
    fn sentinels_have_their_own_credentials() {
        let url =
            "rediss-sentinel://me:one@a,[::1],b:7/main/3?sentinel_user=s&sentinel_password=t%2Fo";
        let target = Target::parse(url).unwrap();
        assert_eq!((target.form, target.tls), (Form::Sentinel, true));
        assert_eq!(target.sentinels.service, "main");
        let addresses: Vec<String> =
            target.sentinels().iter().map(|info| info.addr().to_string()).collect();
        assert_eq!(addresses, ["a:26379", "::1:26379", "b:7"]);
        let sentinel = target.sentinels()[0].redis_settings().clone();
        assert_eq!((sentinel.username(), sentinel.password()), (Some("s"), Some("t/o")));
        let server = target.node("c", 1).redis_settings().clone();
        assert_eq!((server.username(), server.password()), (Some("me"), Some("one")));
        assert_eq!((sentinel.db(), server.db()), (0, 3));
        assert!(Target::parse("valkey://a").unwrap().sentinels().is_empty());
    }

    #[test]
    fn a_unix_socket_is_a_path() {
        let target = Target::parse("valkey+unix://me:one@/run/a.sock?db=3").unwrap();
        assert_eq!(target.seeds[0].addr().to_string(), "/run/a.sock");
        let settings = target.seeds[0].redis_settings();
        assert_eq!((settings.username(), settings.db()), (Some("me"), 3));
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
            "valkey://a/#insecure",
            "valkey://a?db=1",
            "valkey://a?sentinel_user=me",
            "valkey-sentinel://a",
            "valkey-sentinel:///main",
            "valkey+unix://a/b",
            "valkey+unix://",
            "valkey+unix:///a?db=x",
            "valkeys+unix:///a",
        ] {
            assert!(matches!(Target::parse(url), Err(ConnectError::Url { .. })), "{url}");
        }
        let error = Target::parse("valkey://me:secret@a/x/y?what").unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
