//! The report and the health check of a store.

use ff_core::backend::{BackendReport, Finding, FindingLevel};
use rusqlite::{Connection, Result};

use crate::disk;
use crate::location::{Durability, Location};

/// The size of a file whose content a health check reads; a larger one would take too long.
const MAX_CHECKED_BYTES: u64 = 64 << 20;
/// The size of the write-ahead log from which there is a warning: a program with an open snapshot
/// holds it up.
const LARGE_LOG_BYTES: u64 = 1 << 30;

fn number(db: &Connection, sql: &str) -> Result<u64> {
    db.query_row(sql, [], |row| row.get(0))
}

/// Reports the size of a store.
pub(crate) fn report(db: &Connection, calls: u64) -> Result<BackendReport> {
    let streams = number(db, "SELECT coalesce(sum(bytes), 0) FROM ff_tail")?;
    let used = disk::used_bytes(db)?.saturating_sub(streams);
    Ok(BackendReport::new(format!("sqlite {}", rusqlite::version()), used, streams, calls))
}

/// Checks the health of a store.
pub(crate) fn examine(
    db: &Connection,
    location: &Location,
    damage: Option<String>,
) -> Result<Vec<Finding>> {
    let used = disk::used_bytes(db)?;
    let detail = format!("{}, {used} bytes in use", location.name());
    let mut findings = vec![
        Finding::new(FindingLevel::Good, "file", detail),
        Finding::new(FindingLevel::Good, "SQLite", rusqlite::version()),
        durability(db, location)?,
    ];
    findings.push(match damage {
        Some(damage) => damaged(&damage),
        None if used > MAX_CHECKED_BYTES => {
            let detail = "not checked: the file is large, and a check would take long";
            let finding = Finding::new(FindingLevel::Good, "content", detail);
            let check = format!("sqlite3 {} 'PRAGMA integrity_check'", location.name());
            finding.advise(format!("to check it: {check}"))
        }
        None => match check(db)? {
            found if found == "ok" => Finding::new(FindingLevel::Good, "content", "is whole"),
            found => damaged(&found),
        },
    });
    findings.extend(room(location));
    if disk::is_remote(location.path()) {
        let detail = "the file is on a network file system";
        let finding = Finding::new(FindingLevel::Warning, "file system", detail);
        let advice = "move it to a disk of this machine: programs of several machines damage it";
        findings.push(finding.advise(advice));
    }
    let log = std::fs::metadata(location.beside("-wal")).map_or(0, |log| log.len());
    if log > LARGE_LOG_BYTES {
        let detail = format!("the write-ahead log has {log} bytes");
        let finding = Finding::new(FindingLevel::Warning, "log", detail);
        findings.push(finding.advise("end programs that keep a transaction of the file open"));
    }
    Ok(findings)
}

/// Checks all pages and indexes; `ok` if the file is whole.
fn check(db: &Connection) -> Result<String> {
    db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
}

fn damaged(problem: &str) -> Finding {
    let finding = Finding::new(FindingLevel::Problem, "content", format!("is damaged: {problem}"));
    finding.advise("stop all programs, and restore the file from a backup (docs/sqlite.md)")
}

fn durability(db: &Connection, location: &Location) -> Result<Finding> {
    let noted: bool = db.query_row("SELECT relaxed FROM ff_store", [], |row| row.get(0))?;
    if location.durability == Durability::Full && !noted {
        let detail = "full: an answered call survives a loss of power";
        return Ok(Finding::new(FindingLevel::Good, "durability", detail));
    }
    let detail = "relaxed: a machine that loses power can lose the last calls";
    let finding = Finding::new(FindingLevel::Warning, "durability", detail);
    Ok(finding.advise("open the store without durability=relaxed if it must not"))
}

/// The findings about the space on the disk.
fn room(location: &Location) -> Option<Finding> {
    let free = disk::free_bytes(location.path())?;
    let detail = format!("{free} bytes are free");
    if free >= disk::RESERVE_BYTES {
        return Some(Finding::new(FindingLevel::Good, "disk", detail));
    }
    let finding = Finding::new(FindingLevel::Problem, "disk", detail);
    let advice = "make room: new work is refused, and work in the store goes on until it is full";
    Some(finding.advise(advice))
}
