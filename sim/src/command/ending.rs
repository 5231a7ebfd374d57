//! The results of the command, and how it prints.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// The result of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Success.
    Clean,
    /// A rule was broken.
    Broken,
    /// Work did not come to an end.
    Stuck,
    /// Coverage or known counts were missed.
    Missed,
    /// A seed gave two different runs.
    Different,
    /// Interrupted before the end.
    Interrupted,
}

/// The arguments, or the files that they name, cannot be used.
#[derive(Debug)]
pub struct Unusable(String);

impl Unusable {
    /// Creates the error with its reason.
    pub fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }

    /// Prints the error.
    pub fn report(&self) -> ExitCode {
        warn(&format!("ff-sim: {}\n", self.0));
        ExitCode::from(USAGE)
    }
}

/// The code for arguments that cannot be used.
pub const USAGE: u8 = 64;

impl Ending {
    /// The result of a run that broke a rule.
    pub fn of(tag: &str) -> Self {
        match tag {
            "LIVENESS" => Self::Stuck,
            "DETERMINISM" => Self::Different,
            _ => Self::Broken,
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(match ending {
            Ending::Clean => 0,
            Ending::Broken => 1,
            Ending::Stuck => 2,
            Ending::Missed => 3,
            Ending::Different => 4,
            Ending::Interrupted => 130,
        })
    }
}

/// Prints to standard error. A closed pipe does not stop the work.
pub fn warn(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints to standard output. A closed pipe, such as `head` leaves, is not an error.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
