//! The arguments of the command.

mod operate;
mod secret;
mod show;
pub mod store;
mod submit;
mod tail;
mod waiting;
mod watch;
mod work;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use ff_sdk::Namespace;

use crate::bench::BenchArgs;
use crate::doctor::DoctorArgs;
use crate::pool::NAMESPACE;

pub use operate::{CancelArgs, OperateArgs};
pub use secret::{ListSecretsArgs, RotateArgs, SecretArgs, SecretFrom, SecretTask, WholeStoreArgs};
pub use show::{DescribeArgs, HistoryArgs, ListArgs};
pub use submit::SubmitArgs;
pub use tail::TailArgs;
pub use waiting::{SignalArgs, WaitpointRef, WaitpointsArgs};
pub use watch::WatchArgs;
pub use work::WorkArgs;

const EXAMPLES: &str = "\
Examples:
  ff run jobs.jsonl                        all in this process, which takes its state along
  ff run jobs.jsonl --backend valkey:      the same on a private server, started for it
  export FF_BACKEND=valkey://127.0.0.1:6379
  ff submit jobs.jsonl                     hand work to others, through a server
  ff work --exec ./resize.sh               work on it, here or on another machine
  ff list
  ff tail ID                               what its worker says, as it comes
  ff signal ID approval approved           let an execution go on that waits for it
  ff doctor                                is all well with the store?";

/// Runs work that must not be lost, run twice at once, or finished by a worker that no longer owns
/// it.
///
/// Set FF_LOG (for example FF_LOG=debug) to see what the engine does, on standard error.
#[derive(Debug, Parser)]
#[command(name = "ff", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub task: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Submit executions from a file, work them off in this process, and report
    ///
    /// Each line of the file is a JSON object, for example
    ///
    ///     {"kind": "shell", "payload": {"command": "wc -w README.md"}}
    ///
    /// with these optional fields:
    ///
    ///     priority         0 to 9000, higher is served first
    ///     delay_ms         not before this time from now
    ///     timeout_ms       how long an attempt may take; up to a tenth of it earlier, at most
    ///                      250 ms, its command is killed
    ///     retry            {"max_retries": 3, "backoff": B, "retryable_categories": [...]}, where
    ///                      B is {"fixed": {"delay_ms": 100}} or {"exponential":
    ///                      {"initial_ms": 1000, "multiplier": 2, "max_ms": 60000}}; jitter takes
    ///                      up to a quarter of each delay away
    ///     idempotency_key  the same key and content are one execution
    ///     tags             {"team.name": "x"}
    ///
    /// Kind shell runs payload.command with sh, or the list payload.argv as it is, with the payload
    /// on its standard input and FF_EXECUTION_ID, FF_EXECUTION_KIND, FF_LANE, FF_ATTEMPT_INDEX,
    /// FF_RETRY_COUNT and FF_LEASE_EPOCH in its environment. Its standard output, at most 1 MiB, is
    /// the result. Exit code 0 completes it; any other fails the attempt with category exit_code, a
    /// signal with category signal. What it leaves running is killed.
    ///
    /// Ctrl-C lets running commands end and starts no more; a second one stops at once.
    ///
    /// Exit code: 0 when all completed, 1 when some did not, 2 for bad usage or input (then nothing
    /// was run), 130 when interrupted.
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Submit executions from a file to a store, for workers elsewhere
    ///
    /// Each line of the file is a JSON object as for ff run, of any kind, for example
    ///
    ///     {"kind": "resize", "payload": {"image": 17}, "lane": "media", "requires": ["gpu"]}
    ///
    /// The payload may be any JSON, which the worker gets as text, or be left out. Beside the
    /// fields of ff run (see ff run --help) a line may have
    ///
    ///     lane             the queue; that of --lane unless set
    ///     requires         what a worker must be able to do, a list of capability tokens
    ///
    /// All lines are checked before the first is sent. Then the id of each is printed, in the order
    /// of the input; with --json {"line": 1, "outcome": "created", "id": "..."}, where outcome is
    /// created, duplicate (the idempotency_key was known) or refused, with the error.
    ///
    /// Submitting a file again creates its executions anew, except for lines with an
    /// idempotency_key: those are there already.
    ///
    /// Exit code: 0 when all were submitted, 1 when one was refused or the store did not answer
    /// within 10 s, 2 for bad usage or input (then nothing was sent).
    #[command(verbatim_doc_comment)]
    Submit(SubmitArgs),
    /// Work on executions with a command in any language
    ///
    ///     ff work --exec ./resize.sh --lane media --capability gpu --slots 4
    ///
    /// The command gets the payload on its standard input, and FF_EXECUTION_ID, FF_EXECUTION_KIND,
    /// FF_LANE, FF_ATTEMPT_INDEX, FF_RETRY_COUNT and FF_LEASE_EPOCH in its environment. Its
    /// standard output, at most 1 MiB, is the result. Exit code 0 completes the execution; any
    /// other fails the attempt with category exit_code, a signal with category signal, and the end
    /// of what it said on standard error as the reason. When the lease is lost, or the attempt's
    /// time is over, the command is killed, and what it leaves running too.
    ///
    /// A store that goes away is tried again until it is back.
    ///
    /// Ctrl-C and SIGTERM let running commands end and claim no more; a second one stops at once:
    /// commands are killed and their executions given back for others.
    ///
    /// Exit code: 0 when it ended as it was told, whatever became of the executions, 1 when the
    /// store refuses to work, 2 for bad usage, 130 when it was stopped at once.
    #[command(verbatim_doc_comment)]
    Work(WorkArgs),
    /// Show what there is to know of an execution
    ///
    /// Times are of the store's clock: UTC, with --json in milliseconds since 1970.
    ///
    /// Exit code: 0, 1 when there is none or the store does not answer within 10 s, 2 for bad
    /// usage.
    #[command(verbatim_doc_comment)]
    Describe(DescribeArgs),
    /// List executions, page by page
    ///
    /// A list goes through the store's partitions, and by time of creation within each. Where there
    /// is more it ends with the place to go on, for --after; with --json as a last line
    /// {"next": "CURSOR"}.
    ///
    /// Exit code: 0, 1 when the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    List(ListArgs),
    /// Show what happened to an execution
    ///
    /// The attempts that are over come from its record, which keeps the latest 8; the events from
    /// the journal of its partition, which keeps 24 h and 1 MiB. Times are as for ff describe.
    ///
    /// Exit code: 0, 1 when there is none or the store does not answer within 10 s, 2 for bad
    /// usage.
    #[command(verbatim_doc_comment)]
    History(HistoryArgs),
    /// Print completions as they happen
    ///
    ///     ff watch --lane media --tag team.name=pictures --cursor-file media.cursor
    ///
    /// Prints a line for each execution that completed, failed, expired or was cancelled: when, its
    /// id and lane, how and why, and its tags; with --json {"item": "completed", "execution_id":
    /// ..., "namespace": ..., "lane": ..., "tags": {...}, "outcome": "success", "failure": ...,
    /// "at": ...}. Times are as for ff describe.
    ///
    /// Completions come from the journals of the partitions, each of which keeps 24 h and 1 MiB.
    /// Where some were not kept, or the store has another history after a failover, that is a line
    /// too, with --json {"item": "gap", "partition": 7}: look again at what you wait for. After it
    /// some lines may come again.
    ///
    /// With --cursor-file every completion is printed once, however often the command is ended and
    /// started; the last line again where it was killed between the line and the file.
    ///
    /// A store that goes away is tried again until it is back. Ctrl-C and SIGTERM end it.
    ///
    /// Exit code: 0 when it ended as it was told, 1 when the store does not answer within 10 s at
    /// the beginning or the file cannot be written, 2 for bad usage, 130 when it was ended before
    /// the lines of --count were printed.
    #[command(verbatim_doc_comment)]
    Watch(WatchArgs),
    /// Print the output of an attempt as it comes
    ///
    ///     ff tail ID --type log
    ///
    /// Prints the frames that a worker has appended, and waits for more until the output is closed:
    /// when, its sequence from 1, type and labels, and the payload where it is text; with --json
    /// {"attempt": 0, "sequence": 1, "type": "log", "metadata": {...}, "payload": "...", "at": ...,
    /// "cursor": "..."}, and payload_hex in place of a payload that is no text. Times are as for ff
    /// describe. An attempt keeps its latest 10,000 frames and 8 MiB, and its output stays open
    /// while it is delayed or suspended.
    ///
    /// Where frames are missing, because they are not kept any more or the store has another
    /// history after a failover, that is a line too, with --json {"gap": true, "cursor": "..."}.
    /// The last line says why no more will come, with --json {"closed": "success", "cursor":
    /// "..."}: success, failure, cancelled, expired, suspension_timeout, reclaimed, lease_expired
    /// or superseded. With --no-follow it ends where nothing follows now, and with the place to go
    /// on, for --from; with --json {"next": "CURSOR"}.
    ///
    /// A store that goes away is tried again until it is back. Ctrl-C and SIGTERM end it.
    ///
    /// Exit code: 0 when the output is closed or it ended as it was told, 1 when there is no such
    /// execution or the store does not answer within 10 s at the beginning, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Tail(TailArgs),
    /// Show what an execution waits for: its suspension and its open waitpoints
    ///
    /// Of a token it shows the kid, which is the name of the secret that signed it, and a
    /// fingerprint; the token itself is known only to whoever it was handed out to. Times are as
    /// for ff describe.
    ///
    /// Exit code: 0, 1 when there is none or the store does not answer within 10 s, 2 for bad
    /// usage.
    #[command(verbatim_doc_comment)]
    Waitpoints(WaitpointsArgs),
    /// Send a signal to a waitpoint of an execution
    ///
    ///     ff signal ID approval approved --source alice --token-file ./token
    ///     pass show approval | ff signal ID approval approved --token-stdin
    ///
    /// The token proves that you may. It is read from --token-file, from standard input with
    /// --token-stdin, or from FF_WAITPOINT_TOKEN, and cannot be an argument: others see those in
    /// the list of processes.
    ///
    /// Prints accepted when the signal was taken, with what it did (buffered, counted or recorded),
    /// resumed when it was the last one needed, and duplicate when the waitpoint had taken it
    /// before; with --json {"id": ..., "waitpoint_id": ..., "outcome": "accepted", "effect":
    /// "counted", "signal_id": ..., "idempotency_key": ...}.
    ///
    /// Exit code: 0, 1 when it was refused (the token is not good, the waitpoint is closed) or the
    /// store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Signal(SignalArgs),
    /// Resume a suspended execution without its signals
    ///
    /// Exit code: 0, 1 when it was refused (the execution is not suspended, or there is none) or
    /// the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Resume(OperateArgs),
    /// Replace or list the secrets that sign the tokens of waitpoints
    Secret(SecretArgs),
    /// Cancel an execution, in whatever state it is
    ///
    /// Its command is killed at the worker's next renewal, at the latest when its lease ends.
    ///
    /// Exit code: 0, 1 when it was refused (the execution is over, or there is none) or the store
    /// does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Cancel(CancelArgs),
    /// Start a new life of an execution that is over
    ///
    /// Exit code: 0, 1 when it was refused (the execution is not over, was replayed too often, or
    /// there is none) or the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Replay(OperateArgs),
    /// Take an execution away from its worker; another takes over at once
    ///
    /// Exit code: 0, 1 when it was refused (no worker has it, or there is none) or the store does
    /// not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Revoke(OperateArgs),
    /// Measure the engine and print figures
    ///
    ///     ff bench --backend valkey: --scenario all --payload 4096
    ///
    /// Each scenario runs on a fresh store where the store is this command's own, and in a
    /// namespace of its own on a server that runs; what it leaves there stays for 24 h, and the
    /// number of partitions for good. Scenario all runs
    /// all of them, and shows each figure as the scenario that is about it has measured it.
    ///
    /// All scenarios:
    ///     tasks, workers, slots, partitions, payload_bytes   what was asked for
    /// Scenario drain submits everything, then starts the workers and the clock:
    ///     submit_per_s               executions submitted in a second, many in one call
    ///     drain_per_s                executions claimed and completed in a second
    ///     end_to_end_per_s           executions in a second, over both
    ///     latency_ms                 from the submit call of an execution to its completion
    ///     pending_bytes_per_task     what the store holds for an execution once all are submitted:
    ///                                keys, records, values and index entries, without the journals
    ///     completed_bytes_per_task   the same, once all are completed
    ///     store_cpu_us_per_task      processor time of the server, user and system, for submitting
    ///                                and completing an execution; none where there is no server
    ///     store_calls_per_task       calls of the store for the same; one can carry many
    /// Scenario submit submits everything, with no worker:
    ///     submit_per_s               as above
    /// Scenario dispatch submits up to 500, one at a time, to one worker that waits:
    ///     dispatch_ms                from the beginning of a submit call to that of the handler
    /// Scenario resume suspends up to 5,000, four calls at a time, and then signals each, one at a
    /// time, to one worker that waits:
    ///     suspend_ms                 the call that gives an execution back until its signal comes
    ///     resume_ms                  from the beginning of the call that delivers the signal to
    ///                                that of the resumed handler
    ///     resume_busy_ms             the same for the second half, four at a time
    /// Scenario frames appends frames of 256 bytes from 16 tasks at once, each frame when the one
    /// before it is kept, five times with a reader for each task and five times without, in turn.
    /// Every figure is the median of the five:
    ///     frames                     how many frames each time
    ///     frames_per_s               frames in a second until all are kept and read
    ///     frames_without_tails_per_s    the same without readers
    ///     append_ms                  the call that appends a frame, with readers
    ///     append_without_tails_ms    the same without readers
    ///     append_p99_ratio           p99 of that call with readers by p99 without
    /// Scenario idle watches one worker without work:
    ///     idle_calls_per_s           calls of the store in a second
    ///     idle_commands_per_s        commands that the server has processed in a second, those
    ///                                within a call and those of others included
    /// Scenario memory submits and completes executions without payload:
    ///     pending_bytes_per_task, completed_bytes_per_task    as above
    ///     completed_added_bytes_per_task   what completing adds to a pending execution
    ///     journal_bytes_per_task           what the journals hold of an execution; they are capped
    ///
    /// Exit code: 0, 1 when something failed, 2 for bad usage or a server that is in use.
    #[command(verbatim_doc_comment)]
    Bench(BenchArgs),
    /// Examine a store: what is wrong with it, and how to mend it
    ///
    /// It looks at the server (version, eviction policy, function library, clocks), at the store's
    /// format and partitions, and audits the executions of a namespace: it compares the indexes of
    /// each partition with the records. What looks wrong is looked at again after 6 s, since work
    /// goes on meanwhile. It changes nothing, and reads page by page.
    ///
    /// A record that stands in no index, because somebody has removed its entries, is not found.
    ///
    /// Exit code: 0 when nothing is wrong, be there warnings, 1 when a problem was found, or the
    /// store cannot be reached or used, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Doctor(DoctorArgs),
}

/// The arguments of `ff run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The file with one execution in each line; - is standard input.
    pub file: PathBuf,
    /// Where executions live: memory: is this process, valkey: a private server that is started
    /// for it, and a server that runs is named like valkey://127.0.0.1:6379.
    #[arg(
        long,
        value_name = "URL",
        default_value = "memory:",
        env = "FF_BACKEND",
        hide_env_values = true
    )]
    pub backend: String,
    /// Whose executions: 1 to 64 printable ASCII bytes without space. A run works on all that waits
    /// on its lane, default: on a store that others use give it a namespace of its own.
    #[arg(long, value_name = "NS", default_value = NAMESPACE)]
    pub namespace: Namespace,
    /// Workers in this process, each with one execution at a time; as many as there are cores
    /// unless set, at least 2.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub workers: Option<u32>,
    /// Write one JSON line for each execution to this file, in the order of the input.
    #[arg(long, value_name = "FILE")]
    pub results: Option<PathBuf>,
    /// Print the summary as one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// The seed of all randomness: ids, jitter, which worker is killed.
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// How long a lease is good unless it is renewed.
    #[arg(long, value_name = "MS", default_value_t = 2_000,
        value_parser = clap::value_parser!(u64).range(10..=86_400_000))]
    pub lease_ttl_ms: u64,
    /// Every so often, drop a random worker without releasing its lease and kill its command: what
    /// it had is reclaimed by others.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub kill_workers_every: Option<u64>,
    /// Print what happened to every execution that was retried, reclaimed or failed.
    #[arg(long, short)]
    pub verbose: bool,
}
