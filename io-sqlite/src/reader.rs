//! The requests that decide nothing, `Poll`, `Scan` and `Stream`: threads with a connection each
//! that only reads, in a snapshot.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ff_core::partition::Partition;
use ff_core::score::Score;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::{
    CountName, CountOf, Failure, FirstOf, Firsts, IndexName, Poll, PollOf, Polled, ReplyBody,
    Request, Scan, ScanEntry, ScanOrder, ScanPosition, Scanned, Stored,
};
use ff_core::time::TimestampMs;
use rusqlite::{Connection, Result, Row, params};
use tokio::sync::oneshot;

use crate::location::{Location, OpenError};
use crate::{failure, rows, schema, stream};

/// The number of threads.
const THREADS: usize = 2;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The handle of the threads. Dropping it waits for them.
pub(crate) struct Readers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts the threads.
    pub(crate) fn start(location: &Location) -> Result<Self, OpenError> {
        let (jobs, waiting) = channel::<Job>();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut readers = Self { jobs: Some(jobs), threads: Vec::with_capacity(THREADS) };
        for _ in 0..THREADS {
            let db = schema::connect_reader(location);
            let mut db = db.map_err(|error| location.busy(failure::text(&error)))?;
            let waiting = waiting.clone();
            let run = move || {
                while next(&waiting).is_some_and(|job| {
                    job(&mut db);
                    true
                }) {}
            };
            let builder = std::thread::Builder::new().name("ff-sqlite-reader".to_owned());
            let thread = builder.spawn(run).map_err(|_| location.busy("cannot start a thread"))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Runs a function in one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        look: impl FnOnce(&mut Connection) -> Result<T> + Send + 'static,
    ) -> Result<Result<T>, Failure> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let _ = reply.send(look(db));
        });
        let ended = || Failure::NotSent("the readers of the store have ended".to_owned());
        self.jobs.as_ref().ok_or_else(ended)?.send(job).map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

fn next(waiting: &Mutex<Receiver<Job>>) -> Option<Job> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Processes a request that only reads, in one snapshot.
pub(crate) fn look(db: &Connection, request: &Request, now: TimestampMs) -> Result<ReplyBody> {
    Ok(match request {
        Request::Poll(poll) => ReplyBody::Poll(self::poll(db, poll, now)?),
        Request::Scan(scan) => ReplyBody::Scan(self::scan(db, scan)?),
        Request::Stream(page) => ReplyBody::Stream(stream::page(db, page)?),
        Request::Commit(_) | Request::Take(_) | Request::Read(_) => {
            return Err(rusqlite::Error::InvalidQuery);
        }
    })
}

fn poll(db: &Connection, poll: &Poll, now: TimestampMs) -> Result<Polled> {
    let firsts = |partition: &Partition| {
        let mut firsts = Firsts::none(now);
        match &poll.of {
            PollOf::Index(index) => {
                let score = rows::first_score(db, *partition, &index.column())?;
                firsts.found.extend(score.map(|score| FirstOf { index: index.clone(), score }));
            }
            PollOf::Queues { namespace, skip } => {
                let listed = listed(db, "ff_list", *partition, namespace.as_str(), *skip)?;
                firsts.found.extend(listed.into_iter().filter_map(|(name, score)| {
                    let index = IndexName::from_listed(namespace, &name)?;
                    Some(FirstOf { index, score: Score::new(score) })
                }));
            }
            PollOf::Counts { namespace, skip } => {
                let listed = listed(db, "ff_count", *partition, namespace.as_str(), *skip)?;
                firsts.counts.extend(listed.into_iter().filter_map(|(name, number)| {
                    let name = CountName::from_listed(namespace, &name)?;
                    Some(CountOf { name, number })
                }));
            }
        }
        Ok(Ok(firsts))
    };
    let firsts = poll.partitions.iter().map(firsts).collect::<Result<_>>()?;
    Ok(Polled { firsts, listeners: 0 })
}

/// Returns a page of a list of a namespace, in the order of its numbers and names.
fn listed(
    db: &Connection,
    table: &'static str,
    partition: Partition,
    namespace: &str,
    skip: u32,
) -> Result<Vec<(Vec<u8>, i64)>> {
    let mut select = db.prepare_cached(match table {
        "ff_list" => {
            "SELECT name, score FROM ff_list WHERE p = ?1 AND namespace = ?2
             ORDER BY score, name LIMIT ?3 OFFSET ?4"
        }
        _ => {
            "SELECT name, number FROM ff_count WHERE p = ?1 AND namespace = ?2
             ORDER BY number, name LIMIT ?3 OFFSET ?4"
        }
    })?;
    let page = params![partition.column(), namespace, MAX_PAGE as u32, skip];
    let rows = select.query_map(page, |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn scan(db: &Connection, scan: &Scan) -> Result<Scanned> {
    // One more than the page, which shows whether another page follows.
    let mut positions = positions(db, scan, scan.limit + 1)?.into_iter().peekable();
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while entries.len() < scan.limit as usize && (entries.is_empty() || bytes < scan.bytes as usize)
    {
        let Some(position) = positions.next() else { break };
        let record = rows::record(db, scan.partition, &scan.index.record_of(position.member))?;
        bytes += record.as_ref().map_or(0, Stored::size);
        entries.push(ScanEntry { position, record });
    }
    let last = entries.last().map(|entry| entry.position);
    let next = positions.peek().and(last);
    Ok(Scanned { entries, next })
}

/// Returns the positions after that of the request.
fn positions(db: &Connection, scan: &Scan, limit: u32) -> Result<Vec<ScanPosition>> {
    let mut select = db.prepare_cached(match scan.order {
        ScanOrder::Ascending => {
            "SELECT score, member FROM ff_index
             WHERE p = ?1 AND name = ?2 AND (score, member) > (?3, ?4)
             ORDER BY score, member LIMIT ?5"
        }
        ScanOrder::Descending => {
            "SELECT score, member FROM ff_index
             WHERE p = ?1 AND name = ?2 AND (score, member) < (?3, ?4)
             ORDER BY score DESC, member DESC LIMIT ?5"
        }
    })?;
    let (score, member) = match (scan.after, scan.order) {
        (Some(after), _) => (after.score.get(), after.member.as_bytes().to_vec()),
        // Beyond every score.
        (None, ScanOrder::Ascending) => (i64::MIN, Vec::new()),
        (None, ScanOrder::Descending) => (i64::MAX, Vec::new()),
    };
    let page = params![scan.partition.column(), scan.index.column(), score, member, limit];
    let position = |row: &Row<'_>| rows::position(row);
    select.query_map(page, position)?.collect()
}
