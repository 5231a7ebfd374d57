//! The tables, and how a connection to them is opened.

use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::disk;
use crate::failure;
use crate::location::{Durability, Location, OpenError};
use crate::rows::bits;
use crate::turn::Turn;

/// Marks the file as a store, in its header: `FlFa`.
const APPLICATION_ID: i64 = 0x466c_4661;
/// The layout of the tables that this program knows. A newer one is refused.
const LAYOUT: i64 = 1;
/// The first version of SQLite without the WAL-reset bug, which can damage a file that two
/// connections write (<https://sqlite.org/wal.html#walresetbug>).
const OLDEST_SQLITE: i32 = 3_051_003;
/// How long a connection waits for a lock of SQLite, in milliseconds.
const BUSY_TIMEOUT_MS: u32 = 5_000;
/// The statements that each connection keeps prepared.
const STATEMENTS: usize = 64;

/// `p` is the number of a partition, `key` and `name` are the texts of keys without the partition.
/// `ff_list` has the queues of each namespace with entries, and `ff_wake` the last wake-ups, for
/// other processes.
const TABLES: &str = "
CREATE TABLE ff_record (
    p INTEGER NOT NULL, key BLOB NOT NULL, count INTEGER NOT NULL, nonce INTEGER NOT NULL,
    body BLOB NOT NULL, PRIMARY KEY (p, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE ff_index (
    p INTEGER NOT NULL, name BLOB NOT NULL, score INTEGER NOT NULL, member BLOB NOT NULL,
    PRIMARY KEY (p, name, score, member)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX ff_index_member ON ff_index (p, name, member);
CREATE TABLE ff_list (
    p INTEGER NOT NULL, namespace TEXT NOT NULL, name BLOB NOT NULL, score INTEGER NOT NULL,
    PRIMARY KEY (p, namespace, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE ff_count (
    p INTEGER NOT NULL, namespace TEXT NOT NULL, name BLOB NOT NULL, number INTEGER NOT NULL,
    PRIMARY KEY (p, namespace, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE ff_value (p INTEGER NOT NULL, key BLOB NOT NULL, body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX ff_value_key ON ff_value (p, key);
CREATE TABLE ff_stream (
    p INTEGER NOT NULL, name BLOB NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL,
    entry BLOB NOT NULL, PRIMARY KEY (p, name, at, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE ff_tail (
    p INTEGER NOT NULL, name BLOB NOT NULL, at INTEGER NOT NULL, seq INTEGER NOT NULL,
    bytes INTEGER NOT NULL, entries INTEGER NOT NULL, dropped_at INTEGER, dropped_seq INTEGER,
    PRIMARY KEY (p, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE ff_wake (
    id INTEGER PRIMARY KEY, teller INTEGER NOT NULL, topic BLOB NOT NULL, p INTEGER NOT NULL,
    score INTEGER, queue BLOB
) STRICT;
CREATE TABLE ff_store (
    one INTEGER PRIMARY KEY CHECK (one = 1), layout INTEGER NOT NULL, history INTEGER NOT NULL,
    boot TEXT NOT NULL, relaxed INTEGER NOT NULL
) STRICT;
";

/// Opens the file of a store, and creates it if there is none. A file that was used with relaxed
/// durability before the machine was started again gets a new history.
pub(crate) fn set_up(location: &Location) -> Result<Connection, OpenError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let version = rusqlite::version();
        return Err(location.unfit(format!(
            "this program was built with SQLite {version}, which can damage the file: build it \
             with 3.51.3 or newer"
        )));
    }
    // Programs that start at the same time set the file up one after the other.
    let mut turn = Turn::open(location)?;
    turn.take().map_err(|error| location.busy(format!("waiting for other programs: {error}")))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let opened = open(location.path(), flags);
    let mut db = opened.map_err(|error| open_error(location, &error))?;
    check(location, &db)?;
    let set_up = write_header(location, &mut db);
    set_up.map_err(|error| open_error(location, &error))?;
    Ok(db)
}

/// Opens another connection to a file that was set up.
pub(crate) fn connect(location: &Location) -> rusqlite::Result<Connection> {
    open(location.path(), OpenFlags::SQLITE_OPEN_READ_WRITE)
}

/// Opens a connection that only reads.
pub(crate) fn connect_reader(location: &Location) -> rusqlite::Result<Connection> {
    let db = connect(location)?;
    db.pragma_update(None, "query_only", true)?;
    Ok(db)
}

/// Opens a connection with the settings that each one needs.
fn open(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update_and_check(None, "busy_timeout", BUSY_TIMEOUT_MS, |_| Ok(()))?;
    db.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).or_else(no_row)?;
    // On macOS only this reaches the disk.
    db.pragma_update(None, "fullfsync", true)?;
    db.pragma_update(None, "checkpoint_fullfsync", true)?;
    db.pragma_update(None, "synchronous", "FULL")?;
    // The keeper copies the log into the file, so that no call waits for it.
    db.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(db)
}

/// A pragma that returns no row when it changes nothing.
fn no_row(error: rusqlite::Error) -> rusqlite::Result<()> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}

/// Checks that the file is a store that this program knows, or empty.
fn check(location: &Location, db: &Connection) -> Result<(), OpenError> {
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let failed = |error| open_error(location, &error);
    if db.is_readonly("main").map_err(failed)? {
        return Err(location.unfit("this program may not write to it: change its rights"));
    }
    let application = number("PRAGMA application_id").map_err(failed)?;
    if application != APPLICATION_ID {
        let tables = number("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
        if application != 0 || tables != 0 {
            return Err(location.unfit(
                "it is a SQLite database of another program: give the path of a FlowFabric store, \
                 or of a new file",
            ));
        }
        return Ok(());
    }
    let layout = number("SELECT layout FROM ff_store").map_err(failed)?;
    if layout > LAYOUT {
        return Err(location.unfit(format!(
            "it has layout {layout}, and this program knows {LAYOUT}: use a newer program"
        )));
    }
    Ok(())
}

/// Creates the tables of a new file, and notes the boot and the durability.
fn write_header(location: &Location, db: &mut Connection) -> rusqlite::Result<()> {
    let id: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        // Both are fixed with the first page.
        db.pragma_update(None, "page_size", 4_096)?;
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    let change = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if id != APPLICATION_ID {
        change.execute_batch(TABLES)?;
        change.pragma_update(None, "application_id", APPLICATION_ID)?;
        change.execute(
            "INSERT INTO ff_store (one, layout, history, boot, relaxed)
             VALUES (1, ?1, ?2, '', FALSE)",
            (LAYOUT, bits(draw())),
        )?;
    }
    note_boot(location, &change)?;
    change.commit()
}

/// Draws a new history if the last calls may be lost: the file was used with relaxed durability,
/// and the machine was started again since then. Without the ID of the boot each start counts as
/// one.
fn note_boot(location: &Location, change: &Transaction<'_>) -> rusqlite::Result<()> {
    let (boot, was_relaxed): (String, bool) =
        change.query_row("SELECT boot, relaxed FROM ff_store", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let now = disk::boot();
    let is_same = now.as_ref() == Some(&boot);
    if was_relaxed && !is_same {
        change.execute("UPDATE ff_store SET history = ?1", [bits(draw())])?;
    }
    let is_relaxed = location.durability == Durability::Relaxed || (was_relaxed && is_same);
    if !is_same || is_relaxed != was_relaxed {
        let boot = now.unwrap_or_default();
        change.execute("UPDATE ff_store SET boot = ?1, relaxed = ?2", (boot, is_relaxed))?;
    }
    Ok(())
}

/// Gives a file that was copied back a new history, so that readers of streams find a gap and read
/// again what they wait for. Blocks the thread; programs may use the file meanwhile. Returns the
/// new history.
///
/// # Errors
///
/// As for [`SqliteBackend::connect`](crate::SqliteBackend::connect).
pub fn new_history(location: &Location) -> Result<u64, OpenError> {
    let db = set_up(location)?;
    let history = draw();
    let changed = db.execute("UPDATE ff_store SET history = ?1", [bits(history)]);
    changed.map_err(|error| open_error(location, &error))?;
    Ok(history)
}

/// Draws a number that no other store or process has.
pub(crate) fn draw() -> u64 {
    getrandom::u64().unwrap_or_else(|_| {
        // A system without entropy: the time and the process make it different enough.
        let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        since.unwrap_or_default().as_nanos() as u64 ^ u64::from(std::process::id()) << 32
    })
}

fn open_error(location: &Location, error: &rusqlite::Error) -> OpenError {
    let text = failure::text(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => location.unfit(
            "it is not a SQLite database: give the path of a FlowFabric store, or of a new file",
        ),
        Some(ErrorCode::DatabaseCorrupt) => {
            location.unfit(format!("it is damaged ({error}): restore it from a backup"))
        }
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            location.unfit(format!("{text}; a store needs a file and a folder it can write to"))
        }
        _ => location.busy(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(location: &Location) -> i64 {
        let db = set_up(location).unwrap();
        db.query_row("SELECT history FROM ff_store", [], |row| row.get(0)).unwrap()
    }

    fn problem(location: &Location) -> String {
        match set_up(location).unwrap_err() {
            OpenError::Unfit { problem, .. } => problem,
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_new_file_gets_the_tables_and_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("work.db"));
        let first = history(&location);
        assert_eq!(history(&location), first);
        let db = set_up(&location).unwrap();
        let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!((pragma("page_size"), pragma("auto_vacuum")), (4_096, 2));
        assert_eq!((pragma("synchronous"), pragma("mmap_size")), (2, 0));
    }

    #[test]
    fn files_of_others_and_of_newer_programs_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("work.db"));
        std::fs::write(location.path(), "a text of more than a hundred bytes ".repeat(40)).unwrap();
        assert!(problem(&location).contains("not a SQLite database"));
        std::fs::remove_file(location.path()).unwrap();
        let other = Connection::open(location.path()).unwrap();
        other.execute_batch("CREATE TABLE mine (x)").unwrap();
        drop(other);
        assert!(problem(&location).contains("of another program"));
        std::fs::remove_file(location.path()).unwrap();
        let newer = set_up(&location).unwrap();
        newer.execute("UPDATE ff_store SET layout = 2", []).unwrap();
        drop(newer);
        assert!(problem(&location).contains("layout 2, and this program knows 1"));
    }

    #[test]
    fn a_file_out_of_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::new(folder.path().join("missing/work.db"));
        assert!(problem(&location).contains("missing does not exist: create it"));
        let location = Location::new(folder.path().to_owned());
        assert!(problem(&location).contains("can write to"));
    }

    /// Only a start of the machine can lose calls, and only with relaxed durability.
    #[test]
    fn relaxed_durability_and_another_boot_make_a_new_history() {
        let folder = tempfile::tempdir().unwrap();
        let full = Location::new(folder.path().join("work.db"));
        let relaxed = full.clone().durability(Durability::Relaxed);
        let reboot = |location| {
            let db = set_up(location).unwrap();
            db.execute("UPDATE ff_store SET boot = 'another'", []).unwrap();
        };
        let first = history(&full);
        reboot(&full);
        assert_eq!(history(&full), first, "full durability loses nothing");
        assert_eq!(history(&relaxed), first);
        assert_eq!(history(&full), first, "the same boot");
        reboot(&full);
        let second = history(&full);
        assert_ne!(second, first, "a relaxed program ran before the boot");
        reboot(&full);
        assert_eq!(history(&full), second);
        let third = new_history(&full).unwrap();
        assert_eq!((history(&full), bits(third) == second), (bits(third), false));
    }
}
