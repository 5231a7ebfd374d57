//! The text of the function library and the names of its functions.

use std::collections::BTreeSet;

use ff_core::execution::Purpose;
use ff_core::store::{Request, Unit};
use sha2::{Digest, Sha256};

/// The function library that is loaded into a server. All names end in the hash of its text, so
/// that versions coexist during a rolling upgrade, and no version replaces another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    name: String,
    text: String,
    version: String,
}

/// A function of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Commits new work; refused when the server's memory is full.
    Commit,
    /// Commits the end of work; allowed when the server's memory is full.
    CommitFull,
    /// Takes the next entries of an index.
    Take,
    /// Reads records and values.
    Read,
    /// Reads a page of an index.
    Scan,
    /// Reads a page of a stream.
    Stream,
}

const TEXT: &str = include_str!("../../lua/flowfabric.lua");
const NAME: &str = "#!lua name=flowfabric\n";
const VERSION: &str = "local VERSION = ''\n";

impl Library {
    /// Creates a library from another text, for tests of the library itself.
    pub fn of(text: &str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let version: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("flowfabric_{version}");
        let text = text.replacen(NAME, &format!("#!lua name={name}\n"), 1);
        let text = text.replacen(VERSION, &format!("local VERSION = '_{version}'\n"), 1);
        Self { name, text, version }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text to load.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name of a function.
    pub fn function(&self, function: Function) -> String {
        format!("ff_{}_{}", function.name(), self.version)
    }

    /// The name of the function that returns the rights that its caller lacks.
    pub fn rights(&self) -> String {
        format!("ff_rights_{}", self.version)
    }

    /// The commands of the server that the functions call.
    pub fn commands(&self) -> BTreeSet<&str> {
        let calls = self.text.split("call('").skip(1);
        calls.filter_map(|call| call.split_once('\'').map(|(command, _)| command)).collect()
    }
}

impl Default for Library {
    /// The library of this program.
    fn default() -> Self {
        Self::of(TEXT)
    }
}

impl Function {
    /// Every function.
    pub const ALL: [Self; 6] =
        [Self::Commit, Self::CommitFull, Self::Take, Self::Read, Self::Scan, Self::Stream];

    /// The function that answers a request; `None` for a `Poll`, which plain commands answer.
    pub fn of(request: &Request) -> Option<Self> {
        let finishes = |unit: &Unit| unit.purpose == Purpose::Finish;
        Some(match request {
            Request::Commit(commit) if commit.units.iter().all(finishes) => Self::CommitFull,
            Request::Commit(_) => Self::Commit,
            Request::Take(_) => Self::Take,
            Request::Poll(_) => return None,
            Request::Read(_) => Self::Read,
            Request::Scan(_) => Self::Scan,
            Request::Stream(_) => Self::Stream,
        })
    }

    const fn name(self) -> &'static str {
        ["commit", "commit_full", "take", "read", "scan", "stream"][self.number()]
    }

    /// Its position in [`Function::ALL`].
    pub const fn number(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::SECTIONS;
    use ff_core::store::bounds;

    #[test]
    fn the_names_end_in_the_hash_of_the_text() {
        let (ours, other) = (Library::default(), Library::of(&TEXT.replace("now()", "now( )")));
        assert_ne!(ours.name(), other.name());
        assert!(ours.text().starts_with(&format!("#!lua name={}\n", ours.name())));
        let ending = ours.name().trim_start_matches("flowfabric");
        assert!(ours.text().contains(&format!("local VERSION = '{ending}'")));
        for (number, function) in Function::ALL.into_iter().enumerate() {
            assert_eq!(function.number(), number);
            assert!(ours.function(function).ends_with(ending));
            assert!(TEXT.contains(&format!("register('{}', ", function.name())));
        }
    }

    #[test]
    fn the_sections_are_those_of_the_table_in_the_library() {
        let rows = TEXT.lines().skip_while(|line| !line.contains("this many arguments:")).skip(1);
        let rows = rows.take_while(|line| line.starts_with("--")).map(|line| {
            let (name, arguments) = line.trim_start_matches("-- ").split_once(' ')?;
            Some((name.to_owned(), arguments.split(':').next()?.parse().ok()?))
        });
        let rows: Option<Vec<(String, usize)>> = rows.collect();
        let ours = SECTIONS.map(|section| (section.name.to_owned(), section.arguments));
        assert_eq!(rows, Some(ours.to_vec()));
    }

    #[test]
    fn the_bounds_are_those_of_the_contract() {
        let soon = ff_core::store::DUE_SOON.get() as usize;
        let ours = [("MAX_MESSAGE_BYTES", bounds::MAX_MESSAGE_BYTES), ("DUE_SOON_MS", soon)];
        for (name, value) in ours {
            assert!(TEXT.contains(&format!("local {name} = {value}\n")), "{name}");
        }
    }

    /// Every quoted word in capitals is a command of some `call('...')`, or a known option.
    #[test]
    fn the_commands_are_those_that_are_called() {
        let library = Library::default();
        let commands = library.commands();
        assert_eq!(commands.len(), 21);
        assert!(TEXT.contains("register('rights', ") && commands.contains("GETRANGE"));
        let words =
            TEXT.split('\'').skip(1).step_by(2).filter(|word| {
                word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase())
            });
        let options = ["WITHSCORES", "BYSCORE", "LIMIT", "REV"];
        for word in words.filter(|word| !options.contains(word)) {
            assert!(commands.contains(word), "{word}");
        }
    }

    #[test]
    fn the_library_stays_small() {
        assert!(TEXT.lines().count() <= 420);
        assert!(TEXT.lines().all(|line| line.len() <= 100));
    }
}
