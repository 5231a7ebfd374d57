//! The thread that writes: it gathers the requests that wait into one transaction.
//!
//! No timer holds a request back: a transaction has what arrived while the disk wrote the one
//! before. The clock is read once the transaction holds the write lock, so that the times of
//! commits follow their order in all processes. Reads by key hold the lock too: a record and the
//! time of its reply belong together, and a commit of another process that is not visible yet has
//! an earlier time.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use ff_core::execution::Purpose;
use ff_core::store::{Commit, Failure, Read, Reply, ReplyBody, Request, Values, Wake};
use ff_core::time::TimestampMs;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::failure::{self, Stage, classify};
use crate::keeper::Desk;
use crate::location::{Durability, Location, OpenError};
use crate::turn::Turn;
use crate::wake::{self, Hub, Rung};
use crate::{commit, disk, reader, rows, schema, take};

/// The most requests in one transaction.
const MAX_REQUESTS: usize = 256;
/// The bytes of requests after which a transaction gathers no more.
const MAX_BYTES: usize = 8 << 20;

/// The reply to a request, or why there is none.
type Answer = Result<Reply, Failure>;

/// A request and where its reply goes.
struct Job {
    request: Request,
    reply: oneshot::Sender<Answer>,
}

/// The damage of the file, once it was found.
pub(crate) type Damage = Arc<OnceLock<String>>;

/// The handle of the thread. Dropping it waits for the thread.
pub(crate) struct Writer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts the thread with a connection to a store.
    pub(crate) fn start(
        location: &Location,
        db: Connection,
        bell: Bell,
        desk: Desk,
        damage: Damage,
    ) -> Result<Self, OpenError> {
        let turn = Turn::open(location)?;
        let (jobs, waiting) = channel();
        let location = location.clone();
        let busy = location.busy("cannot start a thread");
        let room = disk::Room::default();
        let db = Some(db);
        let state = State { location, db, turn, bell, desk, damage, is_synced: true, room };
        let builder = std::thread::Builder::new().name("ff-sqlite-writer".to_owned());
        let thread = builder.spawn(move || state.run(&waiting)).map_err(|_| busy)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Sends a request and waits for its reply. If the future is dropped before the request is in a
    /// transaction, it is not applied.
    pub(crate) async fn call(&self, request: Request) -> Answer {
        let (reply, answer) = oneshot::channel();
        let ended = || "the writer of the store has ended".to_owned();
        let jobs = self.jobs.as_ref().ok_or_else(|| Failure::NotSent(ended()))?;
        jobs.send(Job { request, reply }).map_err(|_| Failure::NotSent(ended()))?;
        answer.await.unwrap_or_else(|_| Err(Failure::MaybeApplied(ended())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

/// How wake-ups reach their subscribers.
pub(crate) struct Bell {
    /// The subscribers of this process.
    pub(crate) hub: Arc<Hub>,
    /// The number of this backend, from which other processes know who told a wake-up.
    pub(crate) teller: i64,
}

/// The state of the thread.
struct State {
    location: Location,
    /// `None` after an error that leaves the state of the connection unknown.
    db: Option<Connection>,
    turn: Turn,
    bell: Bell,
    desk: Desk,
    damage: Damage,
    /// Whether the connection waits for the disk at each commit.
    is_synced: bool,
    room: disk::Room,
}

/// A failed transaction.
struct Failed {
    stage: Stage,
    error: rusqlite::Error,
}

impl State {
    fn run(mut self, waiting: &Receiver<Job>) {
        while let Ok(first) = waiting.recv() {
            let mut bytes = size(&first.request);
            let mut jobs = vec![first];
            while jobs.len() < MAX_REQUESTS
                && bytes < MAX_BYTES
                && let Ok(job) = waiting.try_recv()
            {
                bytes += size(&job.request);
                jobs.push(job);
            }
            // The others are no longer waited for.
            jobs.retain(|job| !job.reply.is_closed());
            if !jobs.is_empty() {
                self.answer(jobs);
            }
        }
    }

    /// Processes requests in one transaction, rings, and answers them.
    fn answer(&mut self, jobs: Vec<Job>) {
        match self.process(&jobs) {
            Ok((replies, rung)) => {
                self.bell.hub.ring(&rung);
                for (job, reply) in jobs.into_iter().zip(replies) {
                    let _ = job.reply.send(reply);
                }
            }
            Err(failure) => {
                for job in jobs {
                    let _ = job.reply.send(Err(failure.clone()));
                }
            }
        }
    }

    fn process(&mut self, jobs: &[Job]) -> Result<(Vec<Answer>, Vec<Rung>), Failure> {
        let db = match self.db.take() {
            Some(db) => db,
            None => {
                let opened = schema::connect(&self.location);
                self.is_synced = true;
                opened.map_err(|error| Failure::NotSent(failure::text(&error)))?
            }
        };
        if let Err(error) = self.turn.take() {
            self.db = Some(db);
            return Err(Failure::NotSent(format!("waiting for other programs to write: {error}")));
        }
        let done = self.transaction(&db, jobs);
        if let Err(error) = self.turn.end() {
            tracing::warn!(%error, "other programs wait until this one ends");
        }
        match done {
            Ok(done) => {
                self.desk.committed(&db);
                self.db = Some(db);
                Ok(done)
            }
            Err(Failed { stage, error }) => {
                if failure::is_damage(&error) {
                    let _ = self.damage.set(failure::text(&error));
                }
                let is_clean = db.is_autocommit() || db.execute_batch("ROLLBACK").is_ok();
                let is_known = stage != Stage::Commit && is_clean;
                self.db = is_known.then_some(db);
                tracing::warn!(%error, "a transaction of the store failed");
                Err(classify(stage, &error))
            }
        }
    }

    fn transaction(
        &mut self,
        db: &Connection,
        jobs: &[Job],
    ) -> Result<(Vec<Answer>, Vec<Rung>), Failed> {
        let at = |stage| move |error| Failed { stage, error };
        // A take that is lost leaves its entries where they were.
        let commits = jobs.iter().any(|job| matches!(job.request, Request::Commit(_)));
        let full = match jobs.iter().any(|job| admits(&job.request)) {
            true => self.refusal(db).map_err(at(Stage::Begin))?,
            false => None,
        };
        self.sync(db, commits).map_err(at(Stage::Begin))?;
        db.execute_batch("BEGIN IMMEDIATE").map_err(at(Stage::Begin))?;
        let now = self.location.clock.now();
        let mut wakes = Vec::new();
        let handle = |job: &Job| match &full {
            Some(full) if admits(&job.request) => Ok(Err(Failure::Refused(full.clone()))),
            _ => handle(db, &job.request, now, &mut wakes).map(Ok),
        };
        let replies: rusqlite::Result<Vec<Answer>> = jobs.iter().map(handle).collect();
        let replies = replies.map_err(at(Stage::Inside))?;
        let rung: Vec<Rung> = wakes.into_iter().map(Rung::from).collect();
        wake::tell(db, self.bell.teller, &rung).map_err(at(Stage::Inside))?;
        db.execute_batch("COMMIT").map_err(at(Stage::Commit))?;
        Ok((replies, rung))
    }

    /// Returns why new work is refused, if it is.
    fn refusal(&mut self, db: &Connection) -> rusqlite::Result<Option<String>> {
        self.room.refusal(db, &self.location.path, self.location.max_bytes)
    }

    /// Sets whether a commit waits for the disk.
    fn sync(&mut self, db: &Connection, commits: bool) -> rusqlite::Result<()> {
        let wanted = commits && self.location.durability == Durability::Full;
        if wanted != self.is_synced {
            db.pragma_update(None, "synchronous", if wanted { "FULL" } else { "NORMAL" })?;
            self.is_synced = wanted;
        }
        Ok(())
    }
}

/// Processes one request inside a transaction.
fn handle(
    db: &Connection,
    request: &Request,
    now: TimestampMs,
    wakes: &mut Vec<Wake>,
) -> rusqlite::Result<Reply> {
    let body = match request {
        Request::Commit(commit) => ReplyBody::Commit(commit::commit(db, commit, now, wakes)?),
        Request::Take(take) => ReplyBody::Take(take::take(db, take, now, wakes)?),
        Request::Read(read) => ReplyBody::Read(self::read(db, read)?),
        Request::Poll(_) | Request::Scan(_) | Request::Stream(_) => reader::look(db, request, now)?,
    };
    Ok(Reply { at: now, body })
}

fn read(db: &Connection, read: &Read) -> rusqlite::Result<Values> {
    let record = |key| rows::record(db, read.partition, key);
    let records = read.records.iter().map(record).collect::<rusqlite::Result<_>>()?;
    Ok(Values { records, values: rows::fetch(db, read.partition, &read.values)? })
}

/// Whether the request adds work.
fn admits(request: &Request) -> bool {
    // All units of a commit have the same purpose.
    let first = match request {
        Request::Commit(Commit { units, .. }) => units.first(),
        _ => None,
    };
    first.is_some_and(|unit| unit.purpose == Purpose::Admit)
}

/// The bytes of records, values and stream entries in a request.
fn size(request: &Request) -> usize {
    let Request::Commit(commit) = request else { return 0 };
    let sizes = commit.units.iter().map(|unit| {
        let records = unit.put.iter().map(|(_, body)| body.len()).sum::<usize>();
        let values = unit.values.iter().flat_map(|write| &write.value);
        let entries = unit.append.iter().map(|append| append.entry.len()).sum::<usize>();
        records + entries + values.map(|value| value.len()).sum::<usize>()
    });
    sizes.sum()
}
