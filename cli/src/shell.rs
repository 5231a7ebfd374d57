//! Runs the command that handles a task, in a separate process group.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ff_sdk::core::store::Bytes;
use ff_sdk::{ClaimedTask, HandlerError, RawPayload, TaskContext};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The largest result, in bytes.
const MAX_RESULT_BYTES: usize = ff_sdk::core::execution::DEFAULT_PAYLOAD_LIMIT;
/// How much of the end of standard error a failure's reason holds, in bytes.
const MAX_STDERR_BYTES: usize = 2_048;

/// How long the pipes of a command are read after its end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

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

/// Kills the process group when it is dropped: after a timeout or a lost lease, or when the worker
/// is dropped, no process of the command goes on.
struct ProcessGroup(Pid);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // The group may have ended.
        let _ = killpg(self.0, Signal::SIGKILL);
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

/// Runs the command that a task's payload names. Its standard output is the result.
pub async fn run(context: TaskContext, RawPayload(payload): RawPayload) -> CommandResult {
    let invalid = |reason: String| HandlerError::new("invalid_payload", reason).permanent();
    let job = ShellJob::parse(payload.as_deref().unwrap_or_default()).map_err(invalid)?;
    execute(&job, task_env!(context), payload).await
}

/// Runs a command with a payload as its standard input. Its standard output is the result.
pub async fn execute(
    job: &ShellJob,
    TaskEnv(env): TaskEnv,
    payload: Option<Bytes>,
) -> CommandResult {
    let mut command = job.to_command();
    command
        .envs(env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let spawn_error =
        |error: std::io::Error| HandlerError::new("spawn", format!("{}: {error}", job.program()));
    let mut child = command.spawn().map_err(spawn_error)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = pid.map(|pid| ProcessGroup(Pid::from_raw(pid)));
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command need not read its input.
            let _ = stdin.write_all(payload.as_deref().unwrap_or_default()).await;
        }
    };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let pipes = async {
            tokio::join!(
                read(stdout, &mut output, MAX_RESULT_BYTES + 1, false),
                read(stderr, &mut errors, MAX_STDERR_BYTES, true),
                feed,
            );
        };
        tokio::pin!(pipes);
        let mut closed = false;
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status,
                // A command may close its pipes and go on.
                () = &mut pipes, if !closed => closed = true,
            }
        };
        // Kills what the command left running. A process that has also left the group could hold
        // the pipes open forever, so that the wait for them is bounded.
        drop(group);
        if !closed {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut pipes).await;
        }
        status
    };
    finish(status.map_err(spawn_error)?, output, &errors)
}

fn finish(status: ExitStatus, output: Vec<u8>, errors: &[u8]) -> CommandResult {
    use std::os::unix::process::ExitStatusExt;
    let errors = String::from_utf8_lossy(errors);
    let reason = |status: String| match errors.trim() {
        "" => status,
        errors => format!("{status}: {errors}"),
    };
    match (status.code(), status.signal()) {
        (Some(0), _) if output.len() > MAX_RESULT_BYTES => {
            let reason = format!("standard output is over the limit of {MAX_RESULT_BYTES} bytes");
            Err(HandlerError::new("result_too_large", reason).permanent())
        }
        (Some(0), _) => Ok(output),
        (Some(code), _) => Err(HandlerError::new("exit_code", reason(format!("exit code {code}")))),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal)
                .map_or_else(|_| signal.to_string(), |signal| signal.as_str().to_owned());
            Err(HandlerError::new("signal", reason(format!("killed by {name}"))))
        }
        (None, None) => Err(HandlerError::new("signal", reason("no exit code".to_owned()))),
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
