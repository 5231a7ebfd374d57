//! Where a store is and how durable it is: parses store URLs.

use std::path::{Path, PathBuf};

use crate::clock::Clock;

/// A parsed store URL: the file, and how to use it.
#[derive(Clone, Debug)]
pub struct Location {
    pub(crate) path: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) clock: Clock,
}

/// The losses that an answered call survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A loss of power, as far as the disk keeps its word: each commit waits until the disk has it.
    #[default]
    Full,
    /// The end of the process. A machine that crashes or loses power may lose the last calls, but
    /// the file stays whole. The next program then starts a new history, so that readers of streams
    /// find a gap.
    Relaxed,
}

/// The reason why a store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL is invalid.
    #[error("invalid store URL `{url}`: {problem}")]
    Url {
        /// The URL.
        url: String,
        /// The problem with it, and what is valid.
        problem: String,
    },
    /// Another process keeps the file busy, or the system refused a file or a thread. The same call
    /// may succeed later.
    #[error("cannot open {file}: {problem}")]
    Busy {
        /// The file.
        file: String,
        /// The problem.
        problem: String,
    },
    /// The file cannot be a store: it is something else, damaged, of a newer program, or out of
    /// reach.
    #[error("cannot use {file}: {problem}")]
    Unfit {
        /// The file.
        file: String,
        /// The problem, and how to fix it.
        problem: String,
    },
}

impl OpenError {
    /// Returns whether opening may succeed later without a change to the URL or the file.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Busy { .. })
    }
}

const FORM: &str = "expected sqlite:PATH[?durability=full|relaxed][&max_bytes=N]";

impl Location {
    /// The file at this path, with full durability and without a limit of its size.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let (durability, max_bytes, clock) = (Durability::default(), None, Clock::system());
        Self { path: path.into(), durability, max_bytes, clock }
    }

    /// Parses a store URL: `sqlite:PATH`, followed by `?OPTION=VALUE[&OPTION=VALUE]`. The path is
    /// relative to the working directory of the process, or absolute; it cannot contain a `?`.
    ///
    /// `durability` is `full` (the default) or `relaxed` ([`Durability`]). `max_bytes` is the size
    /// of the file from which new work is refused; work in the store goes on.
    ///
    /// # Errors
    ///
    /// [`OpenError::Url`].
    pub fn parse(url: &str) -> Result<Self, OpenError> {
        Self::parsed(url).map_err(|problem| OpenError::Url { url: url.to_owned(), problem })
    }

    fn parsed(url: &str) -> Result<Self, String> {
        let rest = url.strip_prefix("sqlite:").ok_or_else(|| FORM.to_owned())?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = match path.strip_prefix("//") {
            // As in a file URL, whose host is empty.
            Some(absolute) if absolute.starts_with('/') => absolute,
            Some(relative) => {
                return Err(format!(
                    "write sqlite:{relative} for a file below the working directory, or \
                     sqlite:/{relative} for one below the root"
                ));
            }
            None => path,
        };
        if path.is_empty() || path.ends_with('/') {
            return Err(format!("it names no file: {FORM}"));
        }
        let mut location = Self::new(path);
        for option in query.split('&').filter(|option| !option.is_empty()) {
            location.set(option)?;
        }
        Ok(location)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        match option.split_once('=') {
            Some(("durability", "full")) => self.durability = Durability::Full,
            Some(("durability", "relaxed")) => self.durability = Durability::Relaxed,
            Some(("max_bytes", value)) => match value.parse() {
                Ok(bytes) if bytes > 0 => self.max_bytes = Some(bytes),
                _ => return Err(format!("max_bytes is `{value}`: expected a number of bytes")),
            },
            _ => return Err(format!("unknown option `{option}`: {FORM}")),
        }
        Ok(())
    }

    /// Sets what an answered call survives.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the file, for messages.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The path of a file beside the store.
    pub(crate) fn beside(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    pub(crate) fn unfit(&self, problem: impl Into<String>) -> OpenError {
        OpenError::Unfit { file: self.name(), problem: problem.into() }
    }

    pub(crate) fn busy(&self, problem: impl Into<String>) -> OpenError {
        OpenError::Busy { file: self.name(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_parsed() {
        for (url, path, durability, max_bytes) in [
            ("sqlite:work.db", "work.db", Durability::Full, None),
            ("sqlite:a b/w@rk.db", "a b/w@rk.db", Durability::Full, None),
            ("sqlite:/srv/work.db?durability=full", "/srv/work.db", Durability::Full, None),
            ("sqlite:///srv/work.db", "/srv/work.db", Durability::Full, None),
            ("sqlite:w?max_bytes=7&durability=relaxed", "w", Durability::Relaxed, Some(7)),
        ] {
            let location = Location::parse(url).unwrap();
            assert_eq!(location.path(), Path::new(path), "{url}");
            assert_eq!((location.durability, location.max_bytes), (durability, max_bytes), "{url}");
        }
    }

    #[test]
    fn invalid_urls_are_refused_with_the_valid_form() {
        for (url, problem) in [
            ("sqlite:", "names no file"),
            ("sqlite:folder/", "names no file"),
            ("sqlite:?durability=full", "names no file"),
            ("sqlite://work.db", "write sqlite:work.db"),
            ("sqlite:w?durability=none", "unknown option `durability=none`"),
            ("sqlite:w?max_bytes=1G", "max_bytes is `1G`"),
            ("sqlite:w?max_bytes=0", "max_bytes is `0`"),
            ("memory:", "expected sqlite:PATH"),
        ] {
            let text = Location::parse(url).unwrap_err().to_string();
            assert!(text.contains(problem) && text.contains(url), "{text}");
        }
    }
}
