//! Classifies the errors of SQLite: whether a call may have been applied.
//!
//! | error | class |
//! | --- | --- |
//! | the write lock was not free in time, or the file cannot be opened again | `NotSent` |
//! | an error inside a transaction, which was rolled back | `Refused` |
//! | no room on the disk, also in `COMMIT`: the transaction has no commit frame | `Refused` |
//! | any other error in `COMMIT`: a recovery may still find it | `MaybeApplied` |
//! | an error of a request that only reads | `Refused` |
//! | a damaged file: all further calls too | `Refused` |

use ff_core::store::Failure;
use rusqlite::{Error, ErrorCode};

/// Where a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the transaction began.
    Begin,
    /// Inside it. It was rolled back.
    Inside,
    /// In `COMMIT`.
    Commit,
}

/// Classifies the error of a transaction.
pub(crate) fn classify(stage: Stage, error: &Error) -> Failure {
    let text = text(error);
    match (stage, error.sqlite_error_code()) {
        (Stage::Begin, Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => {
            Failure::NotSent(format!("another process holds the write lock: {text}"))
        }
        (Stage::Commit, Some(ErrorCode::DiskFull)) | (Stage::Begin | Stage::Inside, _) => {
            Failure::Refused(text)
        }
        (Stage::Commit, _) => Failure::MaybeApplied(text),
    }
}

/// The failure of a request that only reads.
pub(crate) fn refused(error: &Error) -> Failure {
    classify(Stage::Inside, error)
}

/// Whether the error means that the file is damaged.
pub(crate) fn is_damage(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// The error in words.
pub(crate) fn text(error: &Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => format!("the disk is full: {error}"),
        _ => format!("SQLite: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i32) -> Error {
        Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    #[test]
    fn errors_are_classified_by_where_they_happen() {
        use rusqlite::ffi::{SQLITE_BUSY, SQLITE_FULL, SQLITE_IOERR};
        let classes = |code| {
            [Stage::Begin, Stage::Inside, Stage::Commit].map(|stage| {
                match classify(stage, &error(code)) {
                    Failure::NotSent(_) => 'n',
                    Failure::Refused(_) => 'r',
                    Failure::MaybeApplied(_) => 'm',
                }
            })
        };
        assert_eq!(classes(SQLITE_BUSY), ['n', 'r', 'm']);
        assert_eq!(classes(SQLITE_FULL), ['r', 'r', 'r']);
        assert_eq!(classes(SQLITE_IOERR), ['r', 'r', 'm']);
    }

    #[test]
    fn damage_is_recognized() {
        use rusqlite::ffi::{SQLITE_BUSY, SQLITE_CORRUPT, SQLITE_NOTADB};
        let found =
            [SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_BUSY].map(|code| is_damage(&error(code)));
        assert_eq!(found, [true, true, false]);
    }
}
