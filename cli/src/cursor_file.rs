//! The file of `ff watch` that stores the completion cursor between runs.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ff_sdk::core::backend::CompletionCursor;

use crate::exit::CliError;

/// A file with a completion cursor.
pub struct CursorFile {
    path: PathBuf,
    /// The new content is written here and then renamed to `path`.
    partial: PathBuf,
    stored: Option<CompletionCursor>,
}

impl CursorFile {
    /// Reads the file, if it exists.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let error = |problem: &dyn std::fmt::Display| {
            CliError::usage(format!("--cursor-file {}: {problem}", path.display()))
        };
        let stored = match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end().parse().map_err(|problem| error(&problem))?),
            Err(problem) if problem.kind() == ErrorKind::NotFound => None,
            Err(problem) => return Err(error(&problem)),
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        Ok(Self { path: path.to_owned(), partial: PathBuf::from(partial), stored })
    }

    /// The cursor in the file.
    pub const fn stored(&self) -> Option<&CompletionCursor> {
        self.stored.as_ref()
    }

    /// Replaces the cursor in the file. If this process is killed, the file has the old or the new
    /// cursor as a whole; after a power loss it may have an earlier one.
    pub fn store(&mut self, cursor: CompletionCursor) -> Result<(), CliError> {
        if self.stored.as_ref() == Some(&cursor) {
            return Ok(());
        }
        std::fs::write(&self.partial, format!("{cursor}\n"))
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| {
                CliError::runtime(format!("--cursor-file {}: {error}", self.path.display()))
            })?;
        self.stored = Some(cursor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::backend::CompletionPosition;

    #[test]
    fn a_cursor_is_replaced_as_a_whole_and_other_files_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        let mut file = CursorFile::open(&path).expect("the file may be missing");
        assert_eq!(file.stored(), None);
        for count in [4, 2, 3] {
            let cursor = CompletionCursor::of(vec![CompletionPosition::Start; count]);
            file.store(cursor.clone()).expect("the file can be written");
            let stored = CursorFile::open(&path).expect("a cursor").stored().cloned();
            assert_eq!(stored, Some(cursor));
        }
        let names = std::fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 1, "no other file is left in the directory");

        std::fs::write(&path, "").expect("the file can be written");
        for path in [path.as_path(), directory.path()] {
            let error = CursorFile::open(path).err().expect("not a cursor");
            let wanted = format!("--cursor-file {}: ", path.display());
            assert!(error.message().contains(&wanted), "{}", error.message());
        }
    }
}
