//! The backend: passes the requests of the store contract to the threads that have the file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ff_core::backend::{BackendReport, BoxFuture, EngineBackend, Finding, WakeUps};
use ff_core::store::{Failure, Reply, ReplyBody, Request, Topic};

use crate::keeper::Keeper;
use crate::location::{Location, OpenError};
use crate::reader::{self, Readers};
use crate::wake::{Hub, Listener};
use crate::writer::{Bell, Damage, Writer};
use crate::{disk, examine, failure, rows, schema};

/// A store in a SQLite file. Clones share its threads and connections; the last one to be dropped
/// closes the file, after the calls that were sent.
#[derive(Clone)]
pub struct SqliteBackend(Arc<Inner>);

struct Inner {
    location: Location,
    hub: Arc<Hub>,
    damage: Damage,
    calls: AtomicU64,
    // In this order they end: the keeper's last work is that of the last commits.
    _listener: Listener,
    writer: Writer,
    readers: Readers,
    _keeper: Keeper,
}

impl SqliteBackend {
    /// Opens the store at a URL ([`Location::parse`]), and creates the file if there is none. Its
    /// folder must exist. Starts the threads that have the connections.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`] when the URL is invalid, [`OpenError::Unfit`] when the file is not a
    /// store, damaged, of a newer program or out of reach, and [`OpenError::Busy`] when the same
    /// call may succeed later.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn connect(url: &str) -> Result<Self, OpenError> {
        Self::open(Location::parse(url)?).await
    }

    /// Opens a store like [`SqliteBackend::connect`], by a parsed URL. Cancel safe.
    ///
    /// # Errors
    ///
    /// As for [`SqliteBackend::connect`].
    pub async fn open(location: Location) -> Result<Self, OpenError> {
        let busy = location.busy("cannot start a thread");
        let (sender, opened) = tokio::sync::oneshot::channel();
        let builder = std::thread::Builder::new().name("ff-sqlite-open".to_owned());
        let open = move || drop(sender.send(Self::open_blocking(location)));
        builder.spawn(open).map_err(|_| busy.clone())?;
        opened.await.unwrap_or(Err(busy))
    }

    /// Opens a store like [`SqliteBackend::open`], and blocks the thread meanwhile.
    ///
    /// # Errors
    ///
    /// As for [`SqliteBackend::connect`].
    pub fn open_blocking(mut location: Location) -> Result<Self, OpenError> {
        // The working directory may change.
        let absolute = std::path::absolute(&location.path);
        location.path = absolute.map_err(|error| location.unfit(error.to_string()))?;
        if disk::is_remote(&location.path) {
            let file = location.name();
            tracing::warn!(
                file,
                "the store is on a network file system: only this machine may use it"
            );
        }
        let (hub, damage) = (Arc::new(Hub::default()), Damage::default());
        let db = schema::set_up(&location)?;
        let teller = rows::bits(schema::draw());
        let listener = Listener::start(&location, hub.clone(), teller)?;
        let readers = Readers::start(&location)?;
        let (keeper, desk) = Keeper::start(&location)?;
        let bell = Bell { hub: hub.clone(), teller };
        let writer = Writer::start(&location, db, bell, desk, damage.clone())?;
        let calls = AtomicU64::new(0);
        let (_listener, _keeper) = (listener, keeper);
        Ok(Self(Arc::new(Inner {
            location,
            hub,
            damage,
            calls,
            _listener,
            writer,
            readers,
            _keeper,
        })))
    }
}

impl std::fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SqliteBackend").field(&self.0.location.path).finish()
    }
}

impl Inner {
    async fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(over) = request.check() {
            return Ok(Reply { at: self.location.clock.now(), body: ReplyBody::OverBound(over) });
        }
        if let Some(damage) = self.damage.get() {
            let file = self.location.name();
            return Err(Failure::Refused(format!("{file} is damaged: {damage}")));
        }
        match request {
            Request::Commit(_) | Request::Take(_) | Request::Read(_) => {
                self.writer.call(request).await
            }
            Request::Poll(_) | Request::Scan(_) | Request::Stream(_) => self.look(request).await,
        }
    }

    /// Answers a request that decides nothing. Its time is that before its snapshot.
    async fn look(&self, request: Request) -> Result<Reply, Failure> {
        let listeners = match &request {
            Request::Poll(poll) => poll.listeners.clone(),
            _ => None,
        };
        let clock = self.location.clock.clone();
        let looked = self.readers.run(move |db| {
            let at = clock.now();
            let snapshot = db.transaction()?;
            let body = reader::look(&snapshot, &request, at)?;
            Ok(Reply { at, body })
        });
        let mut reply = looked.await?.map_err(|error| self.failed(&error))?;
        if let (Some(topic), ReplyBody::Poll(polled)) = (listeners, &mut reply.body) {
            polled.listeners = self.hub.listeners(&topic);
        }
        Ok(reply)
    }

    /// The failure of a request that only reads.
    fn failed(&self, error: &rusqlite::Error) -> Failure {
        if failure::is_damage(error) {
            let _ = self.damage.set(failure::text(error));
        }
        failure::refused(error)
    }

    async fn report(&self) -> Result<BackendReport, Failure> {
        let calls = self.calls.load(Ordering::Relaxed);
        let report = self.readers.run(move |db| examine::report(db, calls)).await?;
        report.map_err(|error| self.failed(&error))
    }

    async fn examine(&self) -> Result<Vec<Finding>, Failure> {
        let (location, damage) = (self.location.clone(), self.damage.get().cloned());
        let found = self.readers.run(move |db| examine::examine(db, &location, damage)).await?;
        found.map_err(|error| self.failed(&error))
    }
}

impl EngineBackend for SqliteBackend {
    fn name(&self) -> &'static str {
        "sqlite"
    }

    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.0.call(request))
    }

    fn subscribe(&self, topics: Vec<Topic>) -> Option<Box<dyn WakeUps>> {
        Some(self.0.hub.subscribe(topics))
    }

    fn report(&self) -> BoxFuture<'_, Result<BackendReport, Failure>> {
        Box::pin(self.0.report())
    }

    fn examine(&self) -> BoxFuture<'_, Result<Vec<Finding>, Failure>> {
        Box::pin(self.0.examine())
    }
}
