//! How the command ends, and what it prints.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// How the command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All is well.
    Clean,
    /// A rule was broken.
    Broken,
    /// Work did not come to an end.
    Stuck,
    /// Something was never met.
    Missed,
    /// The same seed gave two runs.
    Different,
    /// Somebody pressed Ctrl-C before the end.
    Interrupted,
}

/// The arguments, or what they name, cannot be used.
#[derive(Debug)]
pub struct Unusable(String);

impl Unusable {
    /// Says why.
    pub fn new(why: impl Display) -> Self {
        Self(why.to_string())
    }

    /// Tells the user.
    pub fn report(&self) -> ExitCode {
        warn(&format!("ff-sim: {}\n", self.0));
        ExitCode::from(USAGE)
    }
}

/// The code for arguments that cannot be used.
pub const USAGE: u8 = 64;

impl Ending {
    /// How a run ends in which that rule was broken.
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

/// Prints on standard error; a reader that has gone away does not stop the work.
pub fn warn(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints on standard output. A reader that has gone away, such as `head`, is no failure.
pub fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
