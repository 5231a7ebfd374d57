//! The arguments of `ff work`.

use std::net::SocketAddr;

use clap::Args;
use ff_sdk::LaneId;
use ff_sdk::core::id::{ExecutionKind, WorkerId, WorkerInstanceId};

use super::duration::{lease_ttl, milliseconds};
use super::stats::SetUpArgs;
use super::store::StoreArgs;

/// The arguments of `ff work`.
#[derive(Debug, Args)]
pub struct WorkArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub set_up: SetUpArgs,
    /// The command that handles an execution, run with sh -c.
    #[arg(long, value_name = "CMD")]
    pub exec: String,
    /// The kind of executions that the command handles. Repeat --kind for several; the default is
    /// any kind. Executions of other kinds are left to other workers, and do not hold up those of
    /// this kind.
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<ExecutionKind>,
    /// The lane (a named queue) to claim from. Repeat --lane for several, which are served in turn.
    #[arg(long, value_name = "LANE", default_value = "default")]
    pub lane: Vec<LaneId>,
    /// A capability of this worker, which executions can require. Repeat --capability for several.
    #[arg(long, value_name = "TOKEN")]
    pub capability: Vec<String>,
    /// How many commands run concurrently. The default is the number of CPU cores.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub slots: Option<u32>,
    /// How long a lease lasts unless it is renewed. The worker renews it after a third of this
    /// time. If the worker dies, others take over when its leases expire.
    #[arg(long = "lease-ttl", value_name = "TIME", default_value = "30s",
        value_parser = lease_ttl)]
    pub lease_ttl_ms: u64,
    /// How long the processes of a command have to end after SIGTERM. Then they get SIGKILL.
    #[arg(long = "grace", value_name = "TIME", default_value = "5s",
        value_parser = milliseconds)]
    pub grace_ms: u64,
    /// The ID of the worker. The default is the host name.
    #[arg(long, value_name = "ID")]
    pub worker: Option<WorkerId>,
    /// The instance ID of this process, in the history of executions and in ff workers. While
    /// another live process has it, the worker does not start. The default is made from the worker
    /// ID, the process ID and a random number.
    #[arg(long, value_name = "ID")]
    pub instance: Option<WorkerInstanceId>,
    /// Take the instance ID over from another live process, which then claims nothing more.
    #[arg(long, requires = "instance")]
    pub take_over: bool,
    /// End when no execution on the lanes is waiting, running on any worker, or delayed by at most
    /// a minute. To find out, the worker reads all partitions of the store every second.
    #[arg(long)]
    pub until_idle: bool,
    /// End after this number of executions.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max: Option<u64>,
    /// Shut down after this time, for example 5m, as after Ctrl-C.
    #[arg(long = "timeout", value_name = "TIME",
        value_parser = milliseconds)]
    pub timeout_ms: Option<u64>,
    /// Serve GET /healthz over HTTP on this address, for example 127.0.0.1:8080. The status is 200
    /// while the store answers, and 503 otherwise.
    #[arg(long, value_name = "ADDRESS")]
    pub health: Option<SocketAddr>,
    /// Print a line for each finished attempt.
    #[arg(long, short)]
    pub verbose: bool,
    /// Print a JSON object for each finished attempt.
    #[arg(long)]
    pub json: bool,
}
