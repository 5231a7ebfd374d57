//! A file that keeps a place in the completions from one run of a command to the next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ff_sdk::core::backend::CompletionCursor;

use crate::outcome::Failed;

/// A place that a file keeps.
pub struct CursorFile {
    path: PathBuf,
    /// What is written before it takes the place of the file.
    partial: PathBuf,
    kept: Option<CompletionCursor>,
}

impl CursorFile {
    /// Reads it, if there is one.
    pub fn open(path: &Path) -> Result<Self, Failed> {
        let wrong =
            |problem: String| Failed::usage(format!("--cursor-file {}: {problem}", path.display()));
        let kept = match std::fs::read_to_string(path) {
            Ok(text) => Some(text.trim_end().parse().map_err(|error| wrong(format!("{error}")))?),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(wrong(error.to_string())),
        };
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        Ok(Self { path: path.to_owned(), partial: PathBuf::from(partial), kept })
    }

    /// The place that it keeps.
    pub const fn kept(&self) -> Option<&CompletionCursor> {
        self.kept.as_ref()
    }

    /// Keeps this place from now on. Whenever this process ends, the file has either place as a
    /// whole; after a loss of power it may have an earlier one.
    pub fn keep(&mut self, cursor: CompletionCursor) -> Result<(), Failed> {
        if self.kept.as_ref() == Some(&cursor) {
            return Ok(());
        }
        std::fs::write(&self.partial, format!("{cursor}\n"))
            .and_then(|()| std::fs::rename(&self.partial, &self.path))
            .map_err(|error| {
                Failed::runtime(format!("--cursor-file {}: {error}", self.path.display()))
            })?;
        self.kept = Some(cursor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use ff_sdk::core::backend::CompletionPlace;

    #[test]
    fn a_place_is_kept_as_a_whole_and_other_files_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("cursor");
        let mut file = CursorFile::open(&path).expect("there need be none");
        assert_eq!(file.kept(), None);
        for count in [4, 2, 3] {
            let cursor = CompletionCursor::of(vec![CompletionPlace::Start; count]);
            file.keep(cursor.clone()).expect("it is written");
            let kept = CursorFile::open(&path).expect("it is a place").kept().cloned();
            assert_eq!(kept, Some(cursor));
        }
        let names = std::fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(names, 1, "nothing is left beside it");

        std::fs::write(&path, "").expect("it is written");
        for path in [path.as_path(), directory.path()] {
            let refused = CursorFile::open(path).err().expect("it is no place");
            let wanted = format!("--cursor-file {}: ", path.display());
            assert!(refused.message().contains(&wanted), "{}", refused.message());
        }
    }
}
