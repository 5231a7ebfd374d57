//! How the command ends.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

/// Everything completed.
pub const ALL_COMPLETED: u8 = 0;
/// Something failed.
pub const SOME_FAILED: u8 = 1;
/// The arguments or the input are wrong; nothing was run.
pub const BAD_USAGE: u8 = 2;
/// Interrupted before everything was over.
pub const INTERRUPTED: u8 = 130;

/// The command could not do its work.
#[derive(Debug)]
pub struct Failed {
    code: u8,
    message: String,
}

impl Failed {
    /// The arguments or the input are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: BAD_USAGE, message: message.into() }
    }

    /// Something went wrong on the way.
    pub fn runtime(message: impl fmt::Display) -> Self {
        Self { code: SOME_FAILED, message: message.to_string() }
    }

    /// The same, where it means that nothing was looked at.
    pub fn before_anything(self) -> Self {
        Self { code: BAD_USAGE, ..self }
    }

    /// What the user is told.
    #[cfg(test)]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Tells the user, and the code to end with.
    pub fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            warn(&format!("ff: {line}\n"));
        }
        ExitCode::from(self.code)
    }
}

/// Prints on standard error. Whoever does not read it any more does not stop the work.
pub fn warn(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints on standard output. A reader that has gone away, such as `head`, is no failure.
pub fn print(text: &str) -> Result<(), Failed> {
    Out::new().print(text)
}

/// Standard output, for commands that end early when nobody reads it any more.
pub struct Out {
    closed: bool,
}

impl Out {
    /// Standard output.
    pub const fn new() -> Self {
        Self { closed: false }
    }

    /// Prints, as long as somebody reads.
    pub fn print(&mut self, text: &str) -> Result<(), Failed> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => Err(Failed::runtime(format!("standard output: {error}"))),
        }
    }

    /// Whether nobody reads it any more.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}

impl From<ff_sdk::SdkError> for Failed {
    fn from(error: ff_sdk::SdkError) -> Self {
        Self::runtime(error)
    }
}
