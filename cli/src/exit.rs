//! How a command ends: exit codes, errors, and printing to the standard streams.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

use ff_sdk::redacted_url;

/// The command or one of its executions failed.
pub const FAILED: u8 = 1;
/// The arguments or the input are wrong, and nothing was run.
pub const BAD_USAGE: u8 = 2;
/// The command was ended by a signal before everything had ended: 128 and the signal's number, 130
/// for SIGINT, 143 for SIGTERM and 129 for SIGHUP.
pub const SIGNAL_BASE: u8 = 128;

/// An error that ends the command.
#[derive(Debug)]
pub struct CliError {
    code: u8,
    message: String,
}

impl CliError {
    /// The arguments or the input are wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { code: BAD_USAGE, message: message.into() }
    }

    /// Something failed while the command ran.
    pub fn runtime(message: impl fmt::Display) -> Self {
        Self { code: FAILED, message: message.to_string() }
    }

    /// Whether the arguments or the input are wrong.
    pub const fn is_usage(&self) -> bool {
        self.code == BAD_USAGE
    }

    /// The message for the user.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Prints the message and returns the exit code.
    pub fn report(&self) -> ExitCode {
        for line in self.message.lines() {
            warn(&format!("ff: {line}\n"));
        }
        ExitCode::from(self.code)
    }
}

impl From<ff_sdk::SdkError> for CliError {
    fn from(error: ff_sdk::SdkError) -> Self {
        Self::runtime(error)
    }
}

/// Prints a help text, or an error about the arguments, and returns the exit code. A store URL
/// among them is shown without its password.
pub fn report_usage(error: &clap::Error) -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .filter_map(|argument| argument.into_string().ok())
        .filter(|argument| argument.contains('@') && argument.contains(':'))
        .collect();
    if arguments.is_empty() || !error.use_stderr() {
        // A closed stream does not matter.
        let _ = error.print();
    } else {
        let text = error.render().to_string();
        warn(&arguments.iter().fold(text, |text, url| text.replace(url, &redacted_url(url))));
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::from(BAD_USAGE), ExitCode::from)
}

/// Prints to standard error. A closed standard error does not stop the work.
pub fn warn(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Prints to standard output. A reader that has gone away, such as `head`, is not an error.
pub fn print(text: &str) -> Result<(), CliError> {
    Stdout::new().print(text)
}

/// Prints a line to standard output, like [`print()`].
pub fn print_line(line: impl fmt::Display) -> Result<(), CliError> {
    print(&format!("{line}\n"))
}

/// Standard output, for commands that end when its reader has gone away.
pub struct Stdout {
    closed: bool,
}

impl Stdout {
    /// Standard output, taken to be open.
    pub const fn new() -> Self {
        Self { closed: false }
    }

    /// Prints, unless the reader has gone away.
    pub fn print(&mut self, text: &str) -> Result<(), CliError> {
        self.print_bytes(text.as_bytes())
    }

    /// Prints bytes, unless the reader has gone away.
    pub fn print_bytes(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            Err(error) => {
                Err(CliError::runtime(format!("cannot write to standard output: {error}")))
            }
        }
    }

    /// Whether the reader has gone away.
    pub const fn is_closed(&self) -> bool {
        self.closed
    }
}
