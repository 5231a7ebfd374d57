//! Runs the command that handles a task, in a separate process group.

mod children;
mod group;
mod guard;

use std::convert::Infallible;
use std::future::{Pending, pending};
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::time::Duration;

use ff_sdk::core::store::Bytes;
use ff_sdk::{ClaimedTask, HandlerError, RawPayload, TaskContext};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};

use self::children::Exit;
use self::group::ProcessGroup;

pub use self::group::all_ended;

/// The largest result, in bytes.
const MAX_RESULT_BYTES: usize = ff_sdk::core::execution::DEFAULT_PAYLOAD_LIMIT;
/// How much of the end of standard error a failure's reason holds, in bytes.
const MAX_STDERR_BYTES: usize = 2_048;

/// The time between SIGTERM and SIGKILL for a command that is ended, unless it is configured.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);
/// How long the pipes of a command are read after its end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The advice if a program is not found; a shell ends with exit code 127 then.
const NOT_FOUND: &str = "check its spelling and PATH";
/// The advice if a file is not a program; a shell ends with exit code 126 then.
const NOT_EXECUTABLE: &str = "check the file's mode and first line";

/// The command of a job.
#[derive(Debug)]
pub enum ShellJob {
    /// A command for `sh -c`.
    Command(String),
    /// A program and its arguments.
    Argv(Vec<String>),
}

/// The fields of a payload that name the command. It may have others for the command to read.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Payload {
    command: Option<String>,
    argv: Option<Vec<String>>,
}

impl ShellJob {
    /// Parses a payload: a JSON object.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        let expected = "the payload must have either \"command\" (a string) or \"argv\" (a list)";
        // Serde takes a list as the fields of an object in their order.
        if !payload.trim_ascii_start().starts_with(b"{") {
            return Err(expected.to_owned());
        }
        let payload: Payload =
            serde_json::from_slice(payload).map_err(|error| format!("{expected}: {error}"))?;
        match (payload.command, payload.argv) {
            (Some(command), None) => Ok(Self::Command(command)),
            (None, Some(argv)) if !argv.is_empty() => Ok(Self::Argv(argv)),
            _ => Err(expected.to_owned()),
        }
    }

    fn program(&self) -> &str {
        match self {
            Self::Command(_) => "sh",
            Self::Argv(argv) => &argv[0],
        }
    }

    fn to_command(&self) -> Command {
        match self {
            Self::Command(text) => {
                let mut command = Command::new("sh");
                command.arg("-c").arg(text);
                command
            }
            Self::Argv(argv) => {
                let mut command = Command::new(&argv[0]);
                command.args(&argv[1..]);
                command
            }
        }
    }
}

/// The environment variables that describe a task to its command.
pub struct TaskEnv(Vec<(&'static str, String)>);

/// `TaskContext` and `ClaimedTask` have the same methods, but share no trait.
macro_rules! task_env {
    ($task:expr) => {
        TaskEnv(vec![
            ("FF_EXECUTION_ID", $task.execution_id().to_string()),
            ("FF_EXECUTION_KIND", $task.execution_kind().to_string()),
            ("FF_LANE", $task.lane_id().to_string()),
            ("FF_ATTEMPT_INDEX", $task.attempt_index().to_string()),
            ("FF_RETRY_COUNT", $task.retry_count().to_string()),
            ("FF_LEASE_EPOCH", $task.lease_epoch().to_string()),
        ])
    };
}

impl From<&ClaimedTask> for TaskEnv {
    fn from(task: &ClaimedTask) -> Self {
        task_env!(task)
    }
}

/// The result of a command, or why its attempt fails.
pub type CommandResult = Result<Vec<u8>, HandlerError>;

/// Runs the command that a task's payload names. Its standard output is the result. Dropping the
/// future ends the command in the background.
pub async fn run(context: TaskContext, RawPayload(payload): RawPayload) -> CommandResult {
    let invalid = |reason: String| HandlerError::permanent(reason).with_category("invalid_payload");
    let job = ShellJob::parse(payload.as_deref().unwrap_or_default()).map_err(invalid)?;
    let ended = execute(&job, task_env!(context), payload, Ending::never()).await;
    ended.unwrap_or_else(|never| match never {})
}

/// When a command is ended, and how.
pub struct Ending<W, K> {
    /// When it gets SIGTERM.
    pub when: W,
    /// How long its processes have until they get SIGKILL.
    pub grace: Duration,
    /// Ends the grace early.
    pub kill: K,
}

impl Ending<Pending<Infallible>, Pending<()>> {
    fn never() -> Self {
        Self { when: pending(), grace: DEFAULT_GRACE, kill: pending() }
    }
}

/// Runs a command with a payload as its standard input. Its standard output is the result. If it
/// was ended before, `Err` has the value of `ending.when`.
pub async fn execute<E>(
    job: &ShellJob,
    TaskEnv(env): TaskEnv,
    payload: Option<Bytes>,
    ending: Ending<impl Future<Output = E>, impl Future<Output = ()>>,
) -> Result<CommandResult, E> {
    let mut command = job.to_command();
    command.envs(env);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (group, started) = match ProcessGroup::start(&mut command, ending.grace) {
        Ok(started) => started,
        Err(error) => return Ok(Err(spawn_error(job, &error))),
    };
    let (mut exit, child) = (started.exit, started.child);
    let stdin = child.stdin.and_then(|pipe| ChildStdin::from_std(pipe).ok());
    let stdout = child.stdout.and_then(|pipe| ChildStdout::from_std(pipe).ok());
    let stderr = child.stderr.and_then(|pipe| ChildStderr::from_std(pipe).ok());
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command need not read its input.
            let _ = stdin.write_all(payload.as_deref().unwrap_or_default()).await;
        }
    };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let exit = {
        let pipes = async {
            tokio::join!(
                read(stdout, &mut output, MAX_RESULT_BYTES + 1, false),
                read(stderr, &mut errors, MAX_STDERR_BYTES, true),
                feed,
            );
        };
        let when = ending.when;
        tokio::pin!(pipes, when);
        let mut closed = false;
        let exit = loop {
            tokio::select! {
                biased;
                exit = &mut exit => break exit,
                why = &mut when => {
                    // The command may write to its pipes until its end.
                    tokio::select! {
                        biased;
                        () = group.end(ending.kill) => {}
                        () = async { if !closed { pipes.await }; pending().await } => {}
                    }
                    return Err(why);
                }
                // A command may close its pipes and go on.
                () = &mut pipes, if !closed => closed = true,
            }
        };
        // Kills what the command left running. A process that has also left the group could hold
        // the pipes open forever, so that the wait for them is bounded.
        group.kill();
        if !closed {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut pipes).await;
        }
        exit
    };
    // The sender is dropped only with the process.
    let in_shell = matches!(job, ShellJob::Command(_));
    Ok(finish(exit.unwrap_or(Exit::Signal(None)), in_shell, output, &errors))
}

fn spawn_error(job: &ShellJob, error: &std::io::Error) -> HandlerError {
    let reason = match error.kind() {
        ErrorKind::NotFound => format!("{error}; {NOT_FOUND}"),
        ErrorKind::PermissionDenied => format!("{error}; {NOT_EXECUTABLE}"),
        _ => error.to_string(),
    };
    HandlerError::new("spawn", format!("{}: {reason}", job.program()))
}

fn finish(exit: Exit, in_shell: bool, output: Vec<u8>, errors: &[u8]) -> CommandResult {
    let errors = String::from_utf8_lossy(errors);
    let reason = |status: String| match errors.trim() {
        "" => status,
        errors => format!("{status}: {errors}"),
    };
    match exit {
        Exit::Code(0) if output.len() > MAX_RESULT_BYTES => {
            let reason = format!("standard output is over the limit of {MAX_RESULT_BYTES} bytes");
            Err(HandlerError::permanent(reason).with_category("result_too_large"))
        }
        Exit::Code(0) => Ok(output),
        Exit::Code(code) => {
            let hint = match code {
                127 if in_shell => format!(" (command not found? {NOT_FOUND})"),
                126 if in_shell => format!(" (command not executable? {NOT_EXECUTABLE})"),
                _ => String::new(),
            };
            Err(HandlerError::new("exit_code", reason(format!("exit code {code}{hint}"))))
        }
        Exit::Signal(signal) => {
            let name = signal.map_or("a signal", |signal| signal.as_str());
            Err(HandlerError::new("signal", reason(format!("killed by {name}"))))
        }
    }
}

/// Reads to the end, and keeps the first or the last bytes.
async fn read(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, most: usize, last: bool) {
    let Some(mut pipe) = pipe else { return };
    let mut chunk = vec![0; 16 * 1_024];
    while let Ok(count) = pipe.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        let count = if last { count } else { count.min(most - kept.len()) };
        kept.extend_from_slice(&chunk[..count]);
        if last && kept.len() > most {
            kept.drain(..kept.len() - most);
        }
    }
}
