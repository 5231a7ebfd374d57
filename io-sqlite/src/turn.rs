//! The turn of the writers of all processes.
//!
//! SQLite waits for its write lock by sleeping, and is unfair. So writers queue on two files beside
//! the store, whose locks wake the next one, and are freed when a process ends. A writer that waits
//! holds the first lock, `-next`, until it has the second one, `-turn`. So a writer that has ended
//! its turn comes after the one that waits. SQLite's own lock remains the authority.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::location::{Location, OpenError};

/// How long a writer waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// The place of one writer in the queue.
pub(crate) struct Turn {
    files: Arc<Files>,
    /// The outcome of a wait that a thread began, and that may take longer than the patience.
    waiting: Option<Receiver<io::Result<()>>>,
}

struct Files {
    next: File,
    turn: File,
}

impl Turn {
    /// Opens the two files, and creates them if they are missing.
    pub(crate) fn open(location: &Location) -> Result<Self, OpenError> {
        let files = Files { next: open(location, "-next")?, turn: open(location, "-turn")? };
        Ok(Self { files: Arc::new(files), waiting: None })
    }

    /// Waits for the turn.
    ///
    /// # Errors
    ///
    /// `TimedOut` if it did not come in time.
    pub(crate) fn take(&mut self) -> io::Result<()> {
        if self.waiting.is_none() && self.files.try_take()? {
            return Ok(());
        }
        let waiting = match self.waiting.take() {
            Some(waiting) => waiting,
            None => self.files.wait()?,
        };
        match waiting.recv_timeout(PATIENCE) {
            Ok(taken) => taken,
            Err(RecvTimeoutError::Timeout) => {
                self.waiting = Some(waiting);
                Err(io::ErrorKind::TimedOut.into())
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Ends the turn.
    pub(crate) fn end(&self) -> io::Result<()> {
        self.files.turn.unlock()
    }
}

impl Files {
    /// Takes the turn if no other writer has it or waits for it.
    fn try_take(&self) -> io::Result<bool> {
        if !is_locked(self.next.try_lock())? {
            return Ok(false);
        }
        let taken = is_locked(self.turn.try_lock());
        self.next.unlock()?;
        taken
    }

    /// Waits for the turn in a thread, since the lock of a file has no time limit. If the writer is
    /// gone when the turn comes, the turn ends with the last handle of the files.
    fn wait(self: &Arc<Self>) -> io::Result<Receiver<io::Result<()>>> {
        let (sender, waiting) = channel();
        let files = self.clone();
        let take = move || {
            files.next.lock()?;
            let taken = files.turn.lock();
            files.next.unlock()?;
            taken
        };
        let builder = std::thread::Builder::new().name("ff-sqlite-turn".to_owned());
        builder.spawn(move || drop(sender.send(take())))?;
        Ok(waiting)
    }
}

fn is_locked(tried: Result<(), TryLockError>) -> io::Result<bool> {
    match tried {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(location: &Location, ending: &str) -> Result<File, OpenError> {
    let path = location.beside(ending);
    let opened = File::options().create(true).truncate(false).write(true).open(&path);
    opened.map_err(|error| match (error.kind(), location.path().parent()) {
        (io::ErrorKind::NotFound, Some(folder)) if !folder.exists() => {
            location.unfit(format!("the folder {} does not exist: create it", folder.display()))
        }
        (kind, _) if is_lasting(kind) => location.unfit(format!(
            "cannot write {}: {error}; a store needs a folder that it can write to",
            path.display()
        )),
        _ => location.busy(format!("{}: {error}", path.display())),
    })
}

fn is_lasting(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        IsADirectory, NotADirectory, NotFound, PermissionDenied, ReadOnlyFilesystem,
    };
    matches!(kind, NotFound | PermissionDenied | ReadOnlyFilesystem | NotADirectory | IsADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns() -> (tempfile::TempDir, [Turn; 3]) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("work.db"));
        let turns = [(); 3].map(|()| Turn::open(&location).unwrap());
        (folder, turns)
    }

    #[test]
    fn one_writer_at_a_time_has_the_turn() {
        let (_folder, [mut one, other, _]) = turns();
        one.take().unwrap();
        assert!(!other.files.try_take().unwrap());
        one.end().unwrap();
        // A writer that waits holds the first lock before the second one is free for it.
        other.files.next.lock().unwrap();
        assert!(!one.files.try_take().unwrap());
        other.files.next.unlock().unwrap();
        assert!(other.files.try_take().unwrap());
        drop(other);
        one.take().unwrap();
    }

    /// A writer that goes on writing does not overtake one that waits.
    #[test]
    fn a_writer_that_waits_comes_next() {
        let (_folder, [mut one, mut two, three]) = turns();
        one.take().unwrap();
        let (waits, waited) = channel();
        let other = std::thread::spawn(move || {
            two.waiting = Some(two.files.wait().unwrap());
            waits.send(()).unwrap();
            two.take().unwrap();
            two
        });
        waited.recv().unwrap();
        // The thread holds the first lock soon.
        while is_locked(three.files.next.try_lock()).unwrap() {
            three.files.next.unlock().unwrap();
            std::thread::yield_now();
        }
        one.end().unwrap();
        let two = other.join().unwrap();
        assert!(!one.files.try_take().unwrap(), "the other one has the turn");
        two.end().unwrap();
        assert!(one.files.try_take().unwrap());
    }
}
