//! The thread that keeps the file in order: checkpoints of the write-ahead log, and the return of
//! free pages to the disk.
//!
//! While calls are written, a log of more than 16 MiB is copied into the file beside them. Frames
//! that were added meanwhile would keep SQLite from starting the log again, so the writer copies
//! these few between two transactions. After a second without commits the log is emptied.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::{Connection, Result};

use crate::location::{Location, OpenError};
use crate::{failure, schema};

/// The time between two looks at the log while calls are written.
const LOOK: Duration = Duration::from_millis(250);
/// The looks without a commit after which the file is idle.
const QUIET_LOOKS: u32 = 4;
/// The frames of the log that are copied into the file together: 16 MiB.
const MAX_FRAMES: i64 = 4_096;
/// The free pages that stay in the file, and those that return to the disk in one step.
const FREE_PAGES: u64 = 1_024;

/// The handle of the thread. Dropping it waits for the thread.
pub(crate) struct Keeper {
    stop: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The messages between a writer and its keeper.
#[derive(Clone)]
pub(crate) struct Desk {
    committed: SyncSender<()>,
    wants_checkpoint: Arc<AtomicBool>,
}

impl Desk {
    /// Reports a commit, and copies the rest of the log into the file if the keeper wants it.
    pub(crate) fn committed(&self, db: &Connection) {
        // A full queue has the same report.
        let _ = self.committed.try_send(());
        if self.wants_checkpoint.swap(false, Ordering::AcqRel)
            && let Err(error) = checkpoint(db, "PASSIVE")
        {
            tracing::debug!(%error, "the log was not copied");
        }
    }
}

/// Copies the log into the file as far as the mode says. Returns the frames of the log, and how
/// many of them are copied.
fn checkpoint(db: &Connection, mode: &str) -> Result<(i64, i64)> {
    let pragma = format!("PRAGMA wal_checkpoint({mode})");
    db.query_row(&pragma, [], |row| Ok((row.get(1)?, row.get(2)?)))
}

impl Keeper {
    /// Starts the thread.
    pub(crate) fn start(location: &Location) -> std::result::Result<(Self, Desk), OpenError> {
        let db = schema::connect(location).and_then(|db| {
            db.pragma_update_and_check(None, "busy_timeout", 0, |_| Ok(()))?;
            db.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(db)
        });
        let db = db.map_err(|error| location.busy(failure::text(&error)))?;
        let (committed, commits) = sync_channel(1);
        let (stop, stopped) = sync_channel(0);
        let wants_checkpoint = Arc::new(AtomicBool::new(false));
        let desk = Desk { committed, wants_checkpoint: wants_checkpoint.clone() };
        let task = Task { db, commits, stopped, wants_checkpoint };
        let builder = std::thread::Builder::new().name("ff-sqlite-keeper".to_owned());
        let thread = builder.spawn(move || task.run());
        let thread = thread.map_err(|_| location.busy("cannot start a thread"))?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, desk))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has reported it.
            let _ = thread.join();
        }
    }
}

struct Task {
    db: Connection,
    commits: Receiver<()>,
    stopped: Receiver<()>,
    wants_checkpoint: Arc<AtomicBool>,
}

impl Task {
    /// Runs until the writer and the handle are gone.
    fn run(self) {
        while self.commits.recv().is_ok() {
            let mut quiet = 0;
            while quiet < QUIET_LOOKS {
                if self.stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                quiet = if self.commits.try_recv().is_ok() { 0 } else { quiet + 1 };
                self.report(self.keep_log_short());
            }
            self.report(self.tidy_up());
        }
    }

    /// Another process may be busy, and the next look comes soon.
    fn report(&self, kept: Result<()>) {
        if let Err(error) = kept {
            tracing::debug!(%error, "the file was not tidied up");
        }
    }

    fn keep_log_short(&self) -> Result<()> {
        let waiting = |mode| {
            let (frames, copied) = checkpoint(&self.db, mode)?;
            Ok::<_, rusqlite::Error>(frames - copied)
        };
        if waiting("NOOP")? > MAX_FRAMES {
            waiting("PASSIVE")?;
            self.wants_checkpoint.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Returns free pages to the disk, and empties the log.
    fn tidy_up(&self) -> Result<()> {
        let free =
            || self.db.pragma_query_value(None, "freelist_count", |row| row.get::<_, u64>(0));
        if free()? > 2 * FREE_PAGES {
            // Each step of the statement returns one page.
            let mut vacuum =
                self.db.prepare(&format!("PRAGMA incremental_vacuum({FREE_PAGES})"))?;
            let mut pages = vacuum.query([])?;
            while pages.next()?.is_some() {}
        }
        checkpoint(&self.db, "TRUNCATE").map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task() -> (tempfile::TempDir, Task) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("work.db"));
        let db = schema::set_up(&location).unwrap();
        let (_, commits) = sync_channel(1);
        let (_, stopped) = sync_channel(0);
        (folder, Task { db, commits, stopped, wants_checkpoint: Arc::default() })
    }

    fn fill(db: &Connection, values: u32) {
        let insert = "INSERT INTO ff_value (p, key, body) VALUES (?1, x'70', zeroblob(32768))";
        for p in 0..values {
            db.execute(insert, [p]).unwrap();
        }
    }

    fn frames(db: &Connection) -> (i64, i64) {
        checkpoint(db, "NOOP").unwrap()
    }

    #[test]
    fn a_long_log_is_copied_and_started_again() {
        let (_folder, task) = task();
        task.db.execute_batch("BEGIN").unwrap();
        fill(&task.db, 100);
        task.db.execute_batch("COMMIT").unwrap();
        task.keep_log_short().unwrap();
        assert_eq!(frames(&task.db).1, 0, "a short log waits");
        task.db.execute_batch("BEGIN; DELETE FROM ff_value").unwrap();
        fill(&task.db, 600);
        task.db.execute_batch("COMMIT").unwrap();
        assert!(frames(&task.db).0 > MAX_FRAMES);
        task.keep_log_short().unwrap();
        let (all, copied) = frames(&task.db);
        assert_eq!(all, copied);
        assert!(task.wants_checkpoint.load(Ordering::Acquire));
        task.db.execute_batch("DELETE FROM ff_value WHERE p = 0").unwrap();
        assert!(frames(&task.db).0 < 100, "the log begins again");
    }

    #[test]
    fn an_idle_file_gives_free_pages_back_and_has_an_empty_log() {
        let (_folder, task) = task();
        fill(&task.db, 600);
        task.db.execute_batch("DELETE FROM ff_value").unwrap();
        let pages = |name| task.db.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
        let before = pages("freelist_count").unwrap();
        assert!(before > 2 * FREE_PAGES);
        task.tidy_up().unwrap();
        assert_eq!(pages("freelist_count").unwrap(), before - FREE_PAGES);
        assert_eq!(frames(&task.db), (0, 0));
    }
}
