//! Running other programs from the root of the checkout.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// Why a task failed, for people.
#[derive(Debug)]
pub struct Failed(pub String);

/// The result of a task.
pub type Outcome<T = ()> = Result<T, Failed>;

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a workspace")
}

/// Where the workspace's builds go.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the root of the checkout.
pub fn command(program: impl AsRef<OsStr>, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root());
    command
}

/// A cargo command in the root of the checkout.
pub fn cargo(args: &[&str]) -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args);
    // `cargo run` describes this program in its environment; builds of other packages would see it.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end and gives its status.
///
/// # Errors
///
/// When the program cannot be started.
pub fn status(command: &mut Command) -> Outcome<ExitStatus> {
    command.status().map_err(|error| Failed(format!("cannot run {}: {error}", named(command))))
}

/// Runs a command to its end.
///
/// # Errors
///
/// When the program cannot be started or fails.
pub fn run(mut command: Command) -> Outcome {
    let status = status(&mut command)?;
    if status.success() {
        return Ok(());
    }
    Err(Failed(format!("{} failed with {status}", named(&command))))
}

/// Runs a command that must print nothing to standard error.
///
/// # Errors
///
/// When the program cannot be started, fails or prints something, which is shown.
pub fn silent(mut command: Command) -> Outcome {
    let output = command.stdin(Stdio::null()).stdout(Stdio::inherit()).output();
    let output =
        output.map_err(|error| Failed(format!("cannot run {}: {error}", named(&command))))?;
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Failed(format!("{} has warnings or failed with {}", named(&command), output.status)))
}

/// Returns the standard output of a command, trimmed.
///
/// # Errors
///
/// When the program cannot be started or fails.
pub fn output(mut command: Command) -> Outcome<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failed(format!("cannot run {}: {error}", named(&command))))?;
    if !output.status.success() {
        return Err(Failed(format!("{} failed with {}", named(&command), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A command as a person would type it.
fn named(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    format!("`{}`", words.join(" "))
}
