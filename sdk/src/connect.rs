//! Opens a store by its URL, and waits for a server that cannot be reached yet.

use std::sync::Arc;
use std::time::Duration;

use ff_core::backend::EngineBackend;
#[cfg(feature = "sqlite")]
use ff_io_sqlite::{Location, SqliteBackend};
#[cfg(feature = "valkey")]
use ff_io_valkey::{Target, ValkeyBackend};

use crate::error::SdkError;
use crate::memory::MemoryBackend;

/// Opens a store by its URL (`docs/spec.md`, Stores).
///
/// | URL | store |
/// | --- | --- |
/// | `memory:` | a new store in this process, dropped with its last handle |
/// | `sqlite:PATH` | a file, which is created if it is missing; processes of one machine share it |
/// | `valkey://HOST:PORT` | a Valkey or Redis server |
/// | `valkeys://HOST:PORT` | the same over TLS |
/// | `valkey-cluster://HOST:PORT,HOST:PORT` | a cluster, by one or more of its nodes |
/// | `valkeys-cluster://HOST:PORT,HOST:PORT` | the same over TLS |
/// | `valkey-sentinel://HOST:PORT,HOST:PORT/SERVICE` | the primary that sentinels name |
/// | `valkeys-sentinel://HOST:PORT,HOST:PORT/SERVICE` | the same over TLS |
/// | `valkey+unix:///PATH` | a server by its unix socket |
///
/// `redis` (with TLS `rediss`) may stand for `valkey`. User and password go before an `@`, options
/// after a `?` (`docs/sqlite.md` and `docs/valkey.md`, URLs).
///
/// All clones of the returned handle share its connections: open a store once and pass the handle
/// to all workers and clients of the process. A tokio runtime with I/O and time enabled is needed.
/// [`StoreOptions`] has more options.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let backend = ff_sdk::open("memory:").await?;
/// let client = ff_sdk::Client::connect_with(backend, "demo").await?;
/// # drop(client);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// As for [`StoreOptions::parse`] and [`StoreOptions::open`].
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn open(address: &str) -> Result<Arc<dyn EngineBackend>, SdkError> {
    StoreOptions::parse(address)?.open().await
}

/// How to open a store: its URL, credentials from elsewhere, and how long to wait for its server.
///
/// ```no_run
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use ff_sdk::StoreOptions;
///
/// let backend = StoreOptions::parse("valkeys://db.example:6379")?
///     .credentials(Some("app"), &std::env::var("DB_PASSWORD")?)
///     .open_timeout(Duration::from_secs(60))
///     .on_failure(|error| eprintln!("{error}; trying again"))
///     .open()
///     .await?;
/// # drop(backend);
/// # Ok(())
/// # }
/// ```
pub struct StoreOptions {
    store: Store,
    open_timeout: Duration,
    even_if_refused: bool,
    on_failure: Option<OnFailure>,
}

type OnFailure = Box<dyn FnMut(&SdkError) + Send>;

enum Store {
    Memory,
    #[cfg(feature = "sqlite")]
    File(Box<Location>),
    #[cfg(feature = "valkey")]
    Server(Box<Target>),
}

/// How long a program waits by default for a file that another program sets up.
#[cfg(feature = "sqlite")]
const FILE_OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// The wait after the first failed try; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl StoreOptions {
    /// Parses the URL of a store, as for [`open`](open()). Nothing is sent.
    ///
    /// # Errors
    ///
    /// - [`SdkError::Connect`] when the URL is invalid, and [`SdkError::Open`] for a URL with
    ///   `sqlite:`.
    /// - [`SdkError::Config`] for a store whose feature (`sqlite` or `valkey`) this crate was built
    ///   without.
    pub fn parse(url: &str) -> Result<Self, SdkError> {
        let (store, open_timeout) = match url {
            "memory:" => (Store::Memory, Duration::ZERO),
            url if url.starts_with("sqlite:") => file(url)?,
            url => server(url)?,
        };
        Ok(Self { store, open_timeout, even_if_refused: false, on_failure: None })
    }

    /// Sets the user and the password, instead of those of the URL. Without a user they are those
    /// of the server's default user. A store in memory or in a file has none. The credentials for
    /// sentinels are options of the URL.
    #[must_use]
    #[cfg(feature = "valkey")]
    pub fn credentials(mut self, user: Option<&str>, password: &str) -> Self {
        if let Store::Server(target) = self.store {
            self.store = Store::Server(Box::new(target.with_credentials(user, password)));
        }
        self
    }

    /// Sets how long [`StoreOptions::open`] tries again while the store cannot be reached. Zero
    /// means one try. Default: the URL's option `open_timeout_ms`, or 10 s.
    #[must_use]
    pub const fn open_timeout(mut self, timeout: Duration) -> Self {
        self.open_timeout = timeout;
        self
    }

    /// Also tries again when the server refuses access or is not fit to hold executions, for
    /// programs that wait until an operator corrects it.
    #[must_use]
    pub const fn even_if_refused(mut self) -> Self {
        self.even_if_refused = true;
        self
    }

    /// Calls a function with each new reason why the store cannot be opened yet.
    #[must_use]
    pub fn on_failure(mut self, report: impl FnMut(&SdkError) + Send + 'static) -> Self {
        self.on_failure = Some(Box::new(report));
        self
    }

    /// Opens the store. While it cannot be reached, it tries again after waits that grow from
    /// 100 ms to 30 s, until the [timeout](StoreOptions::open_timeout). The log has a warning with
    /// each new reason.
    ///
    /// # Errors
    ///
    /// [`SdkError::Connect`] when the server cannot be reached in time, or immediately when it
    /// refuses access or its configuration could lose acknowledged work. [`SdkError::Open`] when a
    /// file cannot be used.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn open(mut self) -> Result<Arc<dyn EngineBackend>, SdkError> {
        let began = tokio::time::Instant::now();
        let mut entropy = crate::host::system_entropy();
        let (mut wait, mut reason) = (FIRST_WAIT, String::new());
        loop {
            let error = match self.store.open().await {
                Ok(store) if reason.is_empty() => return Ok(store),
                Ok(store) => {
                    tracing::info!("the store can be reached now");
                    return Ok(store);
                }
                Err(error) => error,
            };
            let left = self.open_timeout.saturating_sub(began.elapsed());
            if left.is_zero() || !(error.is_retryable() || self.even_if_refused) {
                return Err(error);
            }
            let text = error.to_string();
            if text != reason {
                tracing::warn!(%error, "cannot open the store; trying again");
                reason = text;
                if let Some(report) = &mut self.on_failure {
                    report(&error);
                }
            }
            // Between half of the wait and all of it, so that many programs do not come together.
            let half = wait.as_millis() as u64 / 2;
            let jittered = Duration::from_millis(half + entropy.below(half + 1));
            tokio::time::sleep(jittered.min(left)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

impl Store {
    /// Tries once.
    async fn open(&self) -> Result<Arc<dyn EngineBackend>, SdkError> {
        match self {
            Self::Memory => Ok(Arc::new(MemoryBackend::new())),
            #[cfg(feature = "sqlite")]
            Self::File(location) => Ok(Arc::new(SqliteBackend::open(*location.clone()).await?)),
            #[cfg(feature = "valkey")]
            Self::Server(target) => Ok(Arc::new(ValkeyBackend::open(*target.clone()).await?)),
        }
    }
}

impl std::fmt::Debug for StoreOptions {
    /// Shows the store without its password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let store = match &self.store {
            Store::Memory => "memory:",
            #[cfg(feature = "sqlite")]
            Store::File(location) => &format!("sqlite:{}", location.path().display()),
            #[cfg(feature = "valkey")]
            Store::Server(target) => target.url(),
        };
        let mut shown = f.debug_struct("StoreOptions");
        shown.field("store", &store).field("open_timeout", &self.open_timeout);
        shown.field("even_if_refused", &self.even_if_refused).finish_non_exhaustive()
    }
}

#[cfg(feature = "sqlite")]
fn file(url: &str) -> Result<(Store, Duration), SdkError> {
    Ok((Store::File(Box::new(Location::parse(url)?)), FILE_OPEN_TIMEOUT))
}

#[cfg(not(feature = "sqlite"))]
fn file(_: &str) -> Result<(Store, Duration), SdkError> {
    Err(unsupported("sqlite", "sqlite"))
}

#[cfg(feature = "valkey")]
fn server(url: &str) -> Result<(Store, Duration), SdkError> {
    let target = Target::parse(url)?;
    let open_timeout = target.open_timeout();
    Ok((Store::Server(Box::new(target)), open_timeout))
}

#[cfg(not(feature = "valkey"))]
fn server(url: &str) -> Result<(Store, Duration), SdkError> {
    // Without the rest, which may hold a password; a URL without a scheme, too.
    Err(unsupported(url.split_once("://").map_or("this URL", |(scheme, _)| scheme), "valkey"))
}

#[cfg(not(all(feature = "sqlite", feature = "valkey")))]
fn unsupported(scheme: &str, feature: &str) -> SdkError {
    let message = format!(
        "`{scheme}` is not supported: this program was built without the feature `{feature}`"
    );
    SdkError::config("open", "address", message)
}
