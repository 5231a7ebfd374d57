//! A command that works on a task, in a process group of its own.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use ff_sdk::core::store::Bytes;
use ff_sdk::{ClaimedTask, HandlerError, RawPayload, TaskContext};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// The largest result, in bytes.
const MAX_RESULT_BYTES: usize = ff_sdk::core::execution::DEFAULT_PAYLOAD_LIMIT;
/// How much of the end of standard error a failure's reason holds, in bytes.
const MAX_STDERR_BYTES: usize = 2_048;

/// How long the pipes of a command that has ended are read.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Debug)]
pub enum ShellJob {
    /// A text for `sh -c`.
    Command(String),
    /// A program and its arguments.
    Argv(Vec<String>),
}

/// The part of a payload that says what to run; it may hold anything else for the command to read.
#[derive(Deserialize)]
#[serde(expecting = "an object")]
struct Payload {
    command: Option<String>,
    argv: Option<Vec<String>>,
}

impl ShellJob {
    /// Parses a payload.
    pub fn parse(payload: &Value) -> Result<Self, String> {
        let wanted = "payload needs \"command\" (a text for sh) or \"argv\" (a list), not both";
        let payload =
            Payload::deserialize(payload).map_err(|error| format!("{wanted}: {error}"))?;
        match (payload.command, payload.argv) {
            (Some(command), None) => Ok(Self::Command(command)),
            (None, Some(argv)) if !argv.is_empty() => Ok(Self::Argv(argv)),
            _ => Err(wanted.to_owned()),
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

/// Kills the process group when it is dropped: at a timeout, a lost lease, or when the worker is
/// dropped, nothing of the command goes on.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = killpg(self.0, Signal::SIGKILL);
    }
}

/// What a command is told of its task, in its environment.
pub struct Told(Vec<(&'static str, String)>);

/// What a handler's context and a task both know.
macro_rules! told {
    ($task:expr) => {
        Told(vec![
            ("FF_EXECUTION_ID", $task.execution_id().to_string()),
            ("FF_EXECUTION_KIND", $task.execution_kind().to_string()),
            ("FF_LANE", $task.lane_id().to_string()),
            ("FF_ATTEMPT_INDEX", $task.attempt_index().to_string()),
            ("FF_RETRY_COUNT", $task.retry_count().to_string()),
            ("FF_LEASE_EPOCH", $task.lease_epoch().to_string()),
        ])
    };
}

impl From<&ClaimedTask> for Told {
    fn from(task: &ClaimedTask) -> Self {
        told!(task)
    }
}

/// Runs the command that a task's payload names. Its standard output is the result.
pub async fn run(context: TaskContext, RawPayload(payload): RawPayload) -> Ran {
    let invalid = |reason: String| HandlerError::new("invalid_payload", reason).permanent();
    let text = payload.as_deref().unwrap_or_default();
    let value = serde_json::from_slice(text).map_err(|error| invalid(error.to_string()))?;
    let job = ShellJob::parse(&value).map_err(invalid)?;
    execute(&job, told!(context), payload).await
}

/// Runs a command with a payload as its input. Its standard output is the result.
pub async fn execute(job: &ShellJob, Told(told): Told, payload: Option<Bytes>) -> Ran {
    let mut command = job.to_command();
    command
        .envs(told)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    let spawn =
        |error: std::io::Error| HandlerError::new("spawn", format!("{}: {error}", job.program()));
    let mut child = command.spawn().map_err(spawn)?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    let group = pid.map(|pid| Group(Pid::from_raw(pid)));
    let stdin = child.stdin.take();
    let feed = async move {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is as good as one that does.
            let _ = stdin.write_all(payload.as_deref().unwrap_or_default()).await;
        }
    };
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let status = {
        let said = async {
            tokio::join!(
                read(stdout, &mut output, MAX_RESULT_BYTES + 1, false),
                read(stderr, &mut errors, MAX_STDERR_BYTES, true),
                feed,
            );
        };
        tokio::pin!(said);
        let mut silent = false;
        let status = loop {
            tokio::select! {
                biased;
                status = child.wait() => break status,
                // A command may close its pipes and go on.
                () = &mut said, if !silent => silent = true,
            }
        };
        // What the command left running goes too. What has left its group as well could hold the
        // pipes open for ever: it is not waited for.
        drop(group);
        if !silent {
            let _ = tokio::time::timeout(LAST_WORDS, &mut said).await;
        }
        status
    };
    let status = status.map_err(spawn)?;
    finish(status, output, &errors)
}

/// What a command came to: its result, or why it failed.
pub type Ran = Result<Vec<u8>, HandlerError>;

fn finish(status: ExitStatus, output: Vec<u8>, errors: &[u8]) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let said = String::from_utf8_lossy(errors);
    let said = said.trim();
    let with = |what: String| if said.is_empty() { what } else { format!("{what}: {said}") };
    match (status.code(), status.signal()) {
        (Some(0), _) if output.len() > MAX_RESULT_BYTES => {
            let reason = format!("standard output is over the limit of {MAX_RESULT_BYTES} bytes");
            Err(HandlerError::new("result_too_large", reason).permanent())
        }
        (Some(0), _) => Ok(output),
        (Some(code), _) => Err(HandlerError::new("exit_code", with(format!("exit code {code}")))),
        (None, Some(signal)) => {
            let name = Signal::try_from(signal)
                .map_or_else(|_| signal.to_string(), |signal| signal.as_str().to_owned());
            Err(HandlerError::new("signal", with(format!("killed by {name}"))))
        }
        (None, None) => Err(HandlerError::new("signal", with("it did not exit".to_owned()))),
    }
}

/// Reads to the end and keeps the first or the last bytes.
async fn read(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>, keep: usize, last: bool) {
    let Some(mut from) = from else { return };
    let mut chunk = vec![0; 16 * 1_024];
    while let Ok(count) = from.read(&mut chunk).await {
        if count == 0 {
            break;
        }
        let room = if last { count } else { count.min(keep - kept.len()) };
        kept.extend_from_slice(&chunk[..room]);
        if last && kept.len() > keep {
            kept.drain(..kept.len() - keep);
        }
    }
}
