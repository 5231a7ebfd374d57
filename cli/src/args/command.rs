//! The subcommands, and their help texts.

use clap::Subcommand;

use super::{
    BudgetsArgs, CancelArgs, CompletionsArgs, ConfigArgs, ExecutionArgs, LanesArgs, ListArgs,
    ManArgs, ManyArgs, OperateArgs, QuotasArgs, ResultArgs, RunArgs, SecretArgs, ServeArgs,
    SignalArgs, StatsArgs, SubmitArgs, TailArgs, TokenArgs, WatchArgs, WorkArgs, WorkersArgs,
};
use crate::bench::BenchArgs;
use crate::doctor::DoctorArgs;

/// The subcommands of `ff`.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the executions of a file in this process and print a summary
    ///
    /// Each line of the file is a JSON object, for example
    ///
    ///     {"kind": "shell", "payload": {"command": "wc -w README.md"}}
    ///
    /// with these optional fields:
    ///
    ///     priority         0 to 9000, default 0. A worker claims the highest priority that it
    ///                      knows of first, and of those the oldest. It may learn of an execution
    ///                      up to a second after that is ready. Lanes take turns
    ///     delay            how long to wait before the first attempt, for example "30s" or "7d";
    ///                      or delay_ms, a number of milliseconds
    ///     timeout          the time limit of an attempt; or timeout_ms. The command is ended a
    ///                      little earlier: a tenth of the limit, at most 250 ms
    ///     retry            {"max_retries": 3, "backoff": B, "retryable_categories": [...]}, where
    ///                      B is {"fixed": {"delay_ms": 100}} or {"exponential":
    ///                      {"initial_ms": 1000, "multiplier": 2, "max_ms": 60000}}. Jitter
    ///                      shortens each delay by up to a quarter
    ///     idempotency_key  lines with the same key and content are one execution
    ///     tags             {"team.name": "x"}
    ///
    /// The kind must be shell. It runs payload.command with sh -c, or the program and arguments in
    /// payload.argv without a shell. The command reads the payload from standard input. Its
    /// environment has FF_EXECUTION_ID, FF_EXECUTION_KIND, FF_LANE, FF_ATTEMPT_INDEX,
    /// FF_RETRY_COUNT and FF_LEASE_EPOCH. Its standard output, at most 1 MiB, is the result.
    ///
    /// If this command is killed, run it again: it goes on where it was. A line that has ended does
    /// not run again until a day later. Lines are recognised by idempotency key or content.
    ///
    /// Exit code 0 of the command completes the execution. Any other exit code fails the attempt
    /// with category exit_code, and a signal fails it with category signal. Processes that the
    /// command leaves running are killed.
    ///
    /// Ctrl-C waits for the running commands and starts no more. A second Ctrl-C, SIGTERM or SIGHUP
    /// ends the running commands. A command that is ended, also because its lease is lost or its
    /// attempt times out, gets SIGTERM, and SIGKILL after 5 s. Both go to its process group. If ff
    /// itself is killed, its commands are killed. A process that has left the group, for example
    /// with setsid, gets no signal.
    ///
    /// Exit code: 0 if every execution completed, 1 if one did not or the store failed, 2 for bad
    /// usage or input (nothing was run), 130 after SIGINT (Ctrl-C), 143 after SIGTERM, 129 after
    /// SIGHUP. A signal that is ignored at the start, as with nohup, stays ignored.
    #[command(verbatim_doc_comment)]
    Run(RunArgs),
    /// Submit the executions of a file to a store, for workers in other processes
    ///
    /// Each line of the file is a JSON object as for ff run, but of any kind, for example
    ///
    ///     {"kind": "resize", "payload": {"image": 17}, "lane": "media", "requires": ["gpu"]}
    ///
    /// The payload is any JSON value, or absent. The worker gets it byte for byte as it is written
    /// in the line. A line can have the fields of ff run (see ff run --help) and
    ///
    ///     lane             the lane (a named queue) of this execution, instead of --lane
    ///     requires         the capabilities that a worker needs, a list of tokens
    ///     quotas           [{"quota": "per-customer", "key": "customer-17"}, ...], at most 4
    ///     budgets          ["llm", ...], at most 8
    ///
    /// Without a file, --kind submits one execution:
    ///
    ///     ff submit --kind resize --payload 17 --wait
    ///
    /// Its options have the names and the meaning of the fields of a line, except that
    /// --max-retries is the field max_retries of retry, and --attempt-timeout is timeout. If no
    /// worker claims the execution, --wait says after 10 s how to start one.
    ///
    /// All lines are checked before the first one is submitted. The command then prints the ID of
    /// each execution in the order of the input, or - for a line without one. With --json it prints
    /// one object per line: {"line": 1, "outcome": "created", "execution_id": "..."}. Each line has
    /// one of these outcomes; the last three have an "error" instead of an "execution_id":
    ///
    ///     created      a new execution
    ///     duplicate    the idempotency_key is known, with the same content
    ///     refused      the engine refused the line, for example because the key has other content
    ///     not_sent     the store did not accept the line, because it is full or away
    ///     unknown      the store did not answer, and may have created the execution
    ///
    /// If the store does not accept a line within 10 s, for example because its memory is full, the
    /// command sends no more lines, waits up to 10 s for those that were sent, and prints how many
    /// lines had each outcome. --timeout changes this time.
    ///
    /// Submitting a file twice creates its executions twice, except for lines with an
    /// idempotency_key. With --key-prefix every line has one, so that the rest of a file can be
    /// submitted by repeating the command.
    ///
    /// Exit code: 0 if all lines were submitted, 1 if a line was not, 2 for bad usage or input
    /// (nothing was submitted).
    #[command(verbatim_doc_comment)]
    Submit(SubmitArgs),
    /// Run a worker that handles executions with a command in any language
    ///
    ///     ff work --exec ./resize.sh --lane media --capability gpu --slots 4
    ///
    /// The command reads the payload from standard input. Its environment has FF_EXECUTION_ID,
    /// FF_EXECUTION_KIND, FF_LANE, FF_ATTEMPT_INDEX, FF_RETRY_COUNT and FF_LEASE_EPOCH. Its
    /// standard output, at most 1 MiB, is the result.
    ///
    /// Exit code 0 of the command completes the execution. Any other exit code fails the attempt
    /// with category exit_code, and a signal fails it with category signal. The end of standard
    /// error becomes the reason. Processes that the command leaves running are killed.
    ///
    /// When the lease is lost or the attempt times out, the command is ended: it gets SIGTERM, and
    /// SIGKILL after --grace. Both go to its process group. If ff itself is killed, its commands
    /// are killed. A process that has left the group, for example with setsid, gets no signal.
    ///
    /// The log, on standard error, has the failures of executions, the leases that were lost, and
    /// why the store cannot be used. If the store goes away, the worker retries until it is back.
    ///
    /// Ctrl-C, SIGTERM or SIGHUP shuts down: the worker claims no more and waits for the running
    /// commands. A second one ends them and gives their executions back for other workers. Then the
    /// worker waits at most 1 s for the store. A third one kills them.
    ///
    /// Exit code: 0 after a shutdown, --until-idle, --max or --timeout, even if executions failed;
    /// 1 if the store cannot be used or an outcome could not be printed; 2 for bad usage; after a
    /// second signal 130 for SIGINT (Ctrl-C), 143 for SIGTERM, 129 for SIGHUP. A signal that is
    /// ignored at the start, as with nohup, stays ignored.
    #[command(verbatim_doc_comment)]
    Work(WorkArgs),
    /// Show an execution: its state, lease, payload, result and more
    ///
    /// Times are UTC by the store's clock. With --json they are milliseconds since 1970.
    ///
    /// Exit code: 0 on success, 1 if there is no such execution or the store does not answer within
    /// 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment, visible_alias = "get")]
    Describe(ExecutionArgs),
    /// Wait until an execution ends, and print its result
    ///
    /// The result is printed as it is, without a line end. With --json it prints an object:
    ///
    ///     {"execution_id": "...", "kind": "...", "state": "completed", "outcome": "success",
    ///      "attempts": 1, "retries": 0, "reclaims": 0, "created_at": 1764000000000,
    ///      "ended_at": 1764000000100, "result": "..."}
    ///
    /// A result that is not text is in result_hex. An execution that failed has a failure.
    ///
    /// Exit code: 0 if the execution completed, 1 if it failed, expired or was cancelled, if there
    /// is no such execution, it has not ended within --timeout or the store does not answer, 2 for
    /// bad usage.
    #[command(verbatim_doc_comment)]
    Result(ResultArgs),
    /// List executions, one page at a time
    ///
    ///     ff list --state failed --tag team.name=media
    ///     ff list --created-after 1h --state failed,expired
    ///
    /// The newest execution comes first, with --oldest the oldest. If there are more executions,
    /// the page ends with a cursor. Give it to --after to print the next page. With --json the
    /// cursor is in a last line {"next": "CURSOR"}.
    ///
    /// The store has no index of states, lanes, kinds or tags: the command reads executions in the
    /// order of the list and prints those that pass. If few pass, a page ends after 10 s, with
    /// fewer executions and a cursor. --created-after and --created-before bound what is read.
    ///
    /// Exit code: 0 on success, 1 if the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment, visible_alias = "ls")]
    List(ListArgs),
    /// Show the attempts and events of an execution
    ///
    /// The table shows the latest 8 attempts that have ended. The events come from the journal of
    /// the execution's partition, which keeps events for 24 h and at most 1 MiB of them.
    ///
    /// Times are UTC by the store's clock. With --json they are milliseconds since 1970.
    ///
    /// Exit code: 0 on success, 1 if there is no such execution or the store does not answer within
    /// 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    History(ExecutionArgs),
    /// Print executions as they end
    ///
    ///     ff watch --lane media --tag team.name=pictures --cursor-file media.cursor
    ///
    /// Prints a line for each execution that completes, fails, expires or is cancelled: the time,
    /// ID, lane, outcome with the failure, and tags. With --json the line is an object:
    ///
    ///     {"item": "completed", "execution_id": "...", "namespace": "ff", "lane": "media",
    ///      "tags": {...}, "outcome": "success", "failure": null, "at": 1764000000000}
    ///
    /// Times are UTC by the store's clock. With --json they are milliseconds since 1970.
    ///
    /// The lines come from the journals of the store's partitions. Each journal keeps entries for
    /// 24 h and at most 1 MiB of them. If a journal dropped entries, or the store lost its latest
    /// writes in a failover, the command prints a line that begins with gap, with --json {"item":
    /// "gap", "partition": 7}. After a gap, check the executions that you wait for with ff
    /// describe. Lines after a gap can repeat earlier ones.
    ///
    /// With --cursor-file, a restarted command continues after the last printed line. If it was
    /// killed right after it printed a line, it prints that line again.
    ///
    /// If the store goes away, the command retries until it is back. If the store lost its data, it
    /// reports that and continues with the new store. Ctrl-C, SIGTERM or SIGHUP ends it.
    ///
    /// Exit code: 0 when it ends as requested, 1 if the store does not answer within 10 s at the
    /// start or the cursor file cannot be written, 2 for bad usage. If a signal ends it before it
    /// has printed --count lines, 130 for SIGINT (Ctrl-C), 143 for SIGTERM, 129 for SIGHUP.
    #[command(verbatim_doc_comment)]
    Watch(WatchArgs),
    /// Follow the output of an execution
    ///
    ///     ff tail ID --type log
    ///
    /// Prints the frames (pieces of output) that the worker has appended to an attempt, and waits
    /// for more until the output is closed. A frame is printed as the time, the sequence number
    /// from 1, the type, the labels, and the payload if it is text. With --json it is an object:
    ///
    ///     {"attempt": 0, "sequence": 1, "type": "log", "metadata": {...}, "payload": "...",
    ///      "at": 1764000000000, "cursor": "..."}
    ///
    /// If the payload is not text, the object has it as payload_hex. Times are UTC by the store's
    /// clock. With --json they are milliseconds since 1970.
    ///
    /// An attempt keeps its latest 10,000 frames and at most 8 MiB of them. If frames were dropped,
    /// or the store lost its latest writes in a failover, the command prints a line that begins
    /// with gap, with --json {"gap": true, "cursor": "..."}.
    ///
    /// The output stays open while the attempt is delayed or suspended. When it is closed, the last
    /// line gives the reason: success, failure, cancelled, expired, suspension_timeout, reclaimed,
    /// lease_expired or superseded. With --json it is {"closed": "success", "cursor": "..."}.
    ///
    /// With --no-follow the command does not wait. If the output is still open, the last line has a
    /// cursor, with --json {"next": "CURSOR"}. Give it to --from to continue.
    ///
    /// If the store goes away, the command retries until it is back. Ctrl-C, SIGTERM or SIGHUP ends
    /// it.
    ///
    /// Exit code: 0 when the output is closed or the command ends as requested, 1 if there is no
    /// such execution or the store does not answer within 10 s at the start, 2 for bad usage.
    #[command(verbatim_doc_comment, visible_alias = "logs")]
    Tail(TailArgs),
    /// Show what a suspended execution waits for
    ///
    /// Shows the suspension, and the open waitpoints (the named places that signals are sent to).
    /// For the token of a waitpoint it shows a fingerprint and the kid, the name of the secret that
    /// signed it. It never shows the token itself.
    ///
    /// Times are UTC by the store's clock. With --json they are milliseconds since 1970.
    ///
    /// Exit code: 0 on success, 1 if there is no such execution or the store does not answer within
    /// 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Waitpoints(ExecutionArgs),
    /// Send a signal to a waitpoint of an execution
    ///
    ///     ff signal ID approval approved --source alice --token-file ./token
    ///     pass show approval | ff signal ID approval approved --token-stdin
    ///
    /// The waitpoint's token proves that you may send the signal. The command reads it from
    /// --token-file, from standard input with --token-stdin, or from FF_WAITPOINT_TOKEN. It cannot
    /// be an argument, because other users see arguments in the list of processes.
    ///
    /// Prints the outcome:
    ///
    ///     accepted     the waitpoint took the signal
    ///     resumed      the waitpoint took the signal, and the execution resumes
    ///     duplicate    the waitpoint had already taken the signal, and nothing changed
    ///
    /// With --json the outcome is an object. The effect of an accepted signal is buffered (kept for
    /// a later suspension), counted or recorded (kept, but not counted):
    ///
    ///     {"execution_id": "...", "waitpoint_id": "...", "outcome": "accepted",
    ///      "effect": "counted", "signal_id": "...", "idempotency_key": "..."}
    ///
    /// Exit code: 0 on success, 1 if the signal is refused (wrong token, closed waitpoint) or the
    /// store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Signal(SignalArgs),
    /// Resume a suspended execution without waiting for its signals
    ///
    /// Exit code: 0 on success, 1 if the execution does not exist or is not suspended, or the store
    /// does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Resume(OperateArgs),
    /// Rotate or list the secrets that sign waitpoint tokens
    Secret(SecretArgs),
    /// Serve submitters, workers in any language, and operators over HTTP
    ///
    ///     ff serve --backend valkey://127.0.0.1:6379
    ///     curl localhost:8080/v1/executions
    ///
    /// GET /openapi.json describes all routes. /healthz says whether the process runs, and /readyz
    /// whether the store answers. The command also runs a timekeeper, which applies due timers.
    /// Several processes can serve one store; each request can go to any of them.
    ///
    /// Without --tokens every caller may do everything, so the command listens on loopback only.
    /// The log goes to standard error, at info unless FF_LOG or RUST_LOG says otherwise.
    ///
    /// SIGTERM, SIGINT (Ctrl-C) and SIGHUP let requests end, at most for --grace; a second signal
    /// ends the command without waiting.
    ///
    /// Exit code: 2 for bad usage, an address that is in use, or a file that cannot be read; 1 if
    /// the store cannot be used; 143 after SIGTERM, 130 after SIGINT, 129 after SIGHUP.
    #[command(verbatim_doc_comment)]
    Serve(ServeArgs),
    /// Make a token for callers of ff serve
    ///
    ///     ff token shop --role submit --namespace shop --tokens tokens.toml
    ///     ff token resizer --role work --namespace shop --tokens tokens.toml
    ///
    /// The token is printed once. The file has its hash, its role and its namespaces. Remove the
    /// entry from the file to revoke the token; the service follows within a second.
    ///
    ///     role      may
    ///     submit    read, submit executions, send signals
    ///     work      read, claim executions and work on them
    ///     operate   as submit; also cancel, replay, change lanes, quotas, budgets and workers
    ///     admin     everything, also rotate secrets
    ///
    /// Exit code: 0 on success, 2 for bad usage or a file that cannot be changed.
    #[command(verbatim_doc_comment)]
    Token(TokenArgs),
    /// Explain why an execution does not run, and what to do about it
    ///
    /// Prints each reason that holds the execution back, as of one reading of its record and of its
    /// lane, and what ends it. An execution without a reason waits for a worker: then the command
    /// prints how many are before it, which workers serve it, and how many programs listen for work
    /// of its lane. A worker that crashed counts as live until its registration ends; why shows how
    /// old its last heartbeat is.
    ///
    /// With --json it prints an object:
    ///
    ///     {"execution_id": "...", "state": "waiting", "version": 3, "at": 1764000000000,
    ///      "reasons": [{"reason": "lane_held", "lane": "mail", "state": "paused", ...}],
    ///      "limits": [], "turn": {"ahead": 0, "programs": 1}, "interrupted": null,
    ///      "attempt": null, "outcome": null, "workers": [{"instance": "...", ...}]}
    ///
    /// If a budget or quota holds it back, limits has the state of each of its budgets and quotas.
    /// If its lease was lost, interrupted says when, by which worker, and whether it expired or was
    /// revoked.
    ///
    /// Exit code: 0 on success, 1 if the execution does not exist or the store does not answer
    /// within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Why(ExecutionArgs),
    /// List lanes, and pause, resume, drain or disable them
    ///
    ///     ff lanes                                    the lanes that are not active, or have work
    ///     ff lanes pause mail --reason "a deploy"     start no more mail
    ///     ff lanes resume mail
    ///
    ///     state       accepts submissions   starts work
    ///     active      yes                   yes
    ///     paused      yes                   no
    ///     draining    no                    yes
    ///     disabled    no                    no
    ///
    /// All programs follow a change within about a second. Work that runs goes on. A lane is active
    /// until it is changed.
    ///
    /// Exit code: 0 on success, 1 if the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Lanes(LanesArgs),
    /// List the registered workers, let one drain, or mark one as dead
    ///
    ///     ff workers                                  who runs, what it serves, and how busy it is
    ///     ff workers drain host-1-12ab34cd            finish the tasks, claim nothing more
    ///     ff workers dead host-1-12ab34cd             free the instance id of a process that hangs
    ///
    /// A worker registers when it starts, and sends a heartbeat each third of the time for which
    /// its registration is good: twice the ttl of its leases, and at least 10 s. One that ends
    /// without a shutdown is shown as dead when that time is over.
    #[command(verbatim_doc_comment)]
    Workers(WorkersArgs),
    /// Count executions by lane and state
    ///
    ///     lane      oldest waiting   waiting   delayed   active   completed   failed
    ///     default             42 s       317         0       16       90211        3
    ///     mail                   -         0        25        0        1204        0
    ///
    /// The store keeps these numbers, so the command reads no executions. Executions that have
    /// ended count until retention removes them. Oldest waiting is the age of the oldest execution
    /// that is first in a queue. A column appears if one of its numbers is not 0; waiting, active
    /// and completed are always shown. --json prints each state by itself.
    ///
    /// Exit code: 0 on success, 1 if the store does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Stats(StatsArgs),
    /// List budgets, and create, update, reset or delete them
    ///
    ///     ff budgets                                              limits and usage of each budget
    ///     ff budgets create llm --limit tokens=800000:1000000 --every 1day
    ///     ff budgets update llm --limit tokens=2000000    raise the hard limit
    ///     ff budgets reset llm                                    set the usage to zero now
    ///
    /// A charge above the soft limit is reported, and one above the hard limit is refused. A limit
    /// of 0 means none. Workers charge budgets with report_usage. While a budget is at a hard
    /// limit, executions that were submitted with it do not start.
    ///
    /// Exit code: 0 on success, 1 if the budget does not exist or exists already, or the store does
    /// not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Budgets(BudgetsArgs),
    /// List quotas, set or delete them, and show who takes their slots
    ///
    ///     ff quotas set per-customer --concurrency 10 --rate 100/1m
    ///     ff quotas show per-customer --key customer-17
    ///
    /// A quota limits how many executions run at a time and how many start in a window, for each
    /// key by itself. ff submit --quota and --quota-key name the quotas of an execution.
    ///
    /// Exit code: 0 on success, 1 if the quota does not exist or the store does not answer within
    /// 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Quotas(QuotasArgs),
    /// Cancel an execution that has not ended, or all that a filter selects
    ///
    ///     ff cancel ID
    ///     ff cancel --lane mail --state waiting --created-before 1h --dry-run
    ///
    /// If a worker is running the execution, the worker kills the command when it next renews its
    /// lease: after a third of its --lease-ttl at the latest, within 10 s by default.
    ///
    /// With a filter, the command goes through the executions that were created before it began,
    /// the oldest first. On a terminal it asks first, unless --yes is given. An execution whose
    /// state changes meanwhile, so that the filter no longer selects it, is skipped. Ctrl-C ends
    /// the command after the calls in progress, and it prints how to continue. With --json the
    /// summary is an object:
    ///
    ///     {"applied": 12, "skipped": 1, "failed": 0, "bulk_id": "...",
    ///      "created_before": 1764000000000, "next": null}
    ///
    /// With --dry-run it is {"selected": 13, "next": null}.
    ///
    /// Exit code: 0 on success, 1 if the execution does not exist or has ended, if a call failed,
    /// or the store does not answer within 10 s, 2 for bad usage. If a signal ends a command on
    /// many executions: 130 for SIGINT (Ctrl-C), 143 for SIGTERM, 129 for SIGHUP.
    #[command(verbatim_doc_comment)]
    Cancel(CancelArgs),
    /// Run an ended execution again, or all that a filter selects
    ///
    ///     ff replay ID
    ///     ff replay --state failed --kind resize --created-after 2h
    ///
    /// The execution keeps its ID and payload. Its result, failure, deadline, and the counters of
    /// retries and reclaims are cleared.
    ///
    /// A filter needs --state, because completed executions have ended too.
    /// With a filter, the command goes through the executions that were created before it began,
    /// the oldest first. On a terminal it asks first, unless --yes is given. An execution whose
    /// state changes meanwhile, so that the filter no longer selects it, is skipped. Ctrl-C ends
    /// the command after the calls in progress, and it prints how to continue. With --json the
    /// summary is an object:
    ///
    ///     {"applied": 12, "skipped": 1, "failed": 0, "bulk_id": "...",
    ///      "created_before": 1764000000000, "next": null}
    ///
    /// With --dry-run it is {"selected": 13, "next": null}.
    ///
    /// Exit code: 0 on success, 1 if the execution does not exist, has not ended or has reached its
    /// limit of replays, if a call failed, or the store does not answer within 10 s, 2 for bad
    /// usage. If a signal ends a command on many executions: 130 for SIGINT (Ctrl-C), 143 for
    /// SIGTERM, 129 for SIGHUP.
    #[command(verbatim_doc_comment, visible_alias = "retry")]
    Replay(ManyArgs),
    /// Revoke a worker's lease so that another worker takes over immediately
    ///
    /// The worker that had the lease kills its command when it next tries to renew the lease. The
    /// outcome in --json is "revoked", or "already_revoked" with the time `at` if the lease was
    /// revoked before.
    ///
    /// Exit code: 0 on success, 1 if the execution does not exist or has no lease, or the store
    /// does not answer within 10 s, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Revoke(OperateArgs),
    /// Measure the engine and print the figures
    ///
    ///     ff bench --backend valkey: --scenario all --payload 4096
    ///
    /// With memory: or valkey:, each scenario runs on a new store. On a server that is already
    /// running, each scenario runs in a new namespace. The server keeps its executions for 24 h,
    /// and the number of partitions permanently.
    ///
    /// Scenario all runs all the others. If two of them report the same figure, it prints the one
    /// of the more specific scenario.
    ///
    /// A figure that ends with _ms has milliseconds at p50, p95 and p99.
    ///
    /// Every scenario prints its settings:
    ///     scenario, backend, tasks, workers, slots, kinds, partitions, payload_bytes
    /// Scenario drain submits all executions, and then starts the workers and the clock:
    ///     submit_per_s               executions submitted per second, many in one call
    ///     drain_per_s                executions claimed and completed per second
    ///     end_to_end_per_s           executions per second over both phases
    ///     latency_ms                 from the submit call of an execution to its completion
    ///     pending_bytes_per_task     bytes in the store for each execution when all are submitted:
    ///                                keys, records, values and index entries, without the journals
    ///     completed_bytes_per_task   the same when all are completed
    ///     store_cpu_us_per_task      CPU time of the server, user and system, to submit and
    ///                                complete an execution; null without a server
    ///     store_calls_per_task       store calls for the same; one call can carry many executions
    /// Scenario submit submits all executions without a worker:
    ///     submit_per_s               as above
    /// Scenario dispatch submits up to 500 executions, one at a time, to one idle worker:
    ///     dispatch_ms                from the start of the submit call to the start of the handler
    /// Scenario resume suspends up to 5,000 executions, four at a time. One idle worker resumes
    /// them as they are signalled, half of them one at a time and half of them four at a time:
    ///     suspend_ms                 the suspend call
    ///     resume_ms                  one at a time: from the start of the call that delivers the
    ///                                signal to the start of the resumed handler
    ///     resume_busy_ms             the same, four at a time
    /// Scenario frames appends frames of 256 bytes from 16 tasks concurrently. It runs ten times,
    /// alternately with a reader for each task and without. Each figure is the median of five runs:
    ///     frames                     frames in each run
    ///     frames_per_s               frames per second until all are stored and read
    ///     frames_without_tails_per_s    the same without readers
    ///     append_ms                  the call that appends a frame, with readers
    ///     append_without_tails_ms    the same without readers
    ///     append_p99_ratio           the p99 of that call with readers, divided by the p99 without
    /// Scenario idle watches one worker that has nothing to do:
    ///     idle_calls_per_s           store calls per second
    ///     idle_commands_per_s        commands that the server processes per second, with those
    ///                                inside a call and those of other clients
    /// Scenario memory submits and completes executions without payload:
    ///     pending_bytes_per_task, completed_bytes_per_task    as above
    ///     completed_added_bytes_per_task   what completing adds to a pending execution
    ///     journal_bytes_per_task           bytes in the journals for each execution, which are
    ///                                      capped
    ///
    /// Exit code: 0 on success, 1 if something failed, 2 for bad usage or a server that is in use.
    #[command(verbatim_doc_comment)]
    Bench(BenchArgs),
    /// Check the health of a store and suggest fixes
    ///
    /// Checks the server (version, eviction policy, function library, clock, and whether it accepts
    /// writes, with a commit that changes nothing), the format and the partitions of the store.
    /// Then audits the executions of a namespace: it compares the indexes of each partition with
    /// the records. Since work goes on during the audit, it checks each suspicious entry again
    /// after 6 s. The command changes nothing.
    ///
    /// The audit finds records through their index entries. It does not find a record that has
    /// none.
    ///
    /// With --json it prints one object, also if the store cannot be reached.
    ///
    /// Exit code: 0 if there is no problem (warnings do not count), 1 if there is a problem, the
    /// store cannot be reached or the audit fails, 2 for bad usage.
    #[command(verbatim_doc_comment)]
    Doctor(DoctorArgs),
    /// Show the settings in force and where each of them is from
    ///
    /// A config file can have profiles. Each of them may set the options --backend and --namespace
    /// of all commands:
    ///
    ///     default_profile = "local"
    ///
    ///     [profiles.local]
    ///     backend = "valkey://127.0.0.1:6379"
    ///
    ///     [profiles.production]
    ///     backend = "valkeys://app:PASSWORD@db.example:6379"
    ///     namespace = "shop"
    ///
    /// The file is $FF_CONFIG, or else $XDG_CONFIG_HOME/flowfabric/config.toml, or else
    /// ~/.config/flowfabric/config.toml. --profile or FF_PROFILE chooses a profile, otherwise it is
    /// the default_profile. Without either, no profile is used.
    ///
    /// A value is that of the option, or else of the environment variable, or else of the profile,
    /// or else the default. So ff run and ff bench use the store of the profile, too.
    ///
    /// If the file has a password, make it readable only by you: chmod 600. The command prints no
    /// password. With --json the source of a value is option, environment, profile, file (of the
    /// profile) or default:
    ///
    ///     {"file": "...", "exists": true, "profiles": ["local", "production"],
    ///      "profile": {"value": "local", "source": "file"},
    ///      "backend": {"value": "valkey://127.0.0.1:6379", "source": "profile"},
    ///      "namespace": {"value": "ff", "source": "default"}}
    ///
    /// Exit code: 0 on success, 2 for bad usage or an invalid file.
    #[command(verbatim_doc_comment)]
    Config(ConfigArgs),
    /// Print the completions of a shell
    ///
    ///     ff completions bash > ~/.local/share/bash-completion/completions/ff
    ///     ff completions zsh > "${fpath[1]}/_ff"
    ///     ff completions fish > ~/.config/fish/completions/ff.fish
    #[command(verbatim_doc_comment)]
    Completions(CompletionsArgs),
    /// Print the manual page of ff, or write those of all commands to a folder
    ///
    ///     ff man | man -l -
    ///     ff man --dir ~/.local/share/man/man1
    #[command(verbatim_doc_comment)]
    Man(ManArgs),
}
