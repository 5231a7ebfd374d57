//! Worker processes: `ff work`, replaced when they are killed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use nix::sys::signal::Signal;

use crate::server::Process;

/// The time limit of a worker's shutdown.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(20);
/// The number of workers that may end unexpectedly before the run is stopped.
const MAX_PROBLEMS: usize = 10;
/// The ttl of leases.
const LEASE_TTL: &str = "1s";

/// The setup of workers.
#[derive(Clone, Debug)]
pub struct WorkerSetup {
    /// The program.
    pub ff: PathBuf,
    /// The store URL.
    pub url: String,
    /// The namespace.
    pub namespace: String,
    /// The command of each execution.
    pub command: String,
    /// The slots of a worker.
    pub slots: usize,
    /// The folder of their logs.
    pub logs: PathBuf,
}

/// A number of running workers.
#[derive(Debug)]
pub struct Fleet {
    setup: WorkerSetup,
    members: Vec<Member>,
    started: usize,
    problems: Vec<String>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    name: String,
    /// The end of its pause, if it is stopped.
    stopped: Option<Instant>,
}

impl Fleet {
    /// Starts this number of workers.
    pub fn start(setup: WorkerSetup, count: usize) -> Self {
        let mut fleet = Self { setup, members: Vec::new(), started: 0, problems: Vec::new() };
        for _ in 0..count {
            let member = fleet.start_worker();
            fleet.members.push(member);
        }
        fleet
    }

    /// The names of the workers.
    pub fn names(&self) -> Vec<String> {
        self.members.iter().map(|member| member.name.clone()).collect()
    }

    /// Kills a worker, and starts another.
    pub fn kill_one(&mut self, entropy: &mut Entropy) {
        let index = entropy.below(self.members.len() as u64) as usize;
        self.members[index].process.kill();
        self.members[index] = self.start_worker();
    }

    /// Stops a worker for this time, if another one runs meanwhile.
    pub fn stop_one(&mut self, entropy: &mut Entropy, pause: Duration) -> bool {
        let running: Vec<usize> =
            (0..self.members.len()).filter(|one| self.members[*one].stopped.is_none()).collect();
        if running.len() < 2 {
            return false;
        }
        let member = &mut self.members[running[entropy.below(running.len() as u64) as usize]];
        member.process.signal(Signal::SIGSTOP);
        member.stopped = Some(Instant::now() + pause);
        true
    }

    /// Continues workers whose pause has ended, and replaces those that ended unexpectedly.
    pub fn maintain(&mut self) {
        for index in 0..self.members.len() {
            let member = &mut self.members[index];
            if member.stopped.is_some_and(|until| until <= Instant::now()) {
                member.process.signal(Signal::SIGCONT);
                member.stopped = None;
            }
            if let Some(status) = member.process.ended() {
                let problem = format!("worker {} ended unexpectedly: {status}", member.name);
                self.problems.push(problem);
                self.members[index] = self.start_worker();
            }
        }
    }

    /// Whether so many workers ended unexpectedly that the run should be stopped.
    pub const fn has_too_many_problems(&self) -> bool {
        self.problems.len() > MAX_PROBLEMS
    }

    /// Continues all stopped workers.
    pub fn wake_all(&mut self) {
        for member in &mut self.members {
            member.process.signal(Signal::SIGCONT);
            member.stopped = None;
        }
    }

    /// Shuts all workers down with SIGTERM; returns the problems of the run.
    pub fn end(mut self) -> Vec<String> {
        self.wake_all();
        for member in &self.members {
            member.process.signal(Signal::SIGTERM);
        }
        let deadline = Instant::now() + SHUTDOWN_LIMIT;
        for member in &mut self.members {
            let status = member.process.ended_by(deadline);
            // A worker that has just started does not handle the signal yet.
            let is_normal = |status: ExitStatus| {
                status.success() || status.signal() == Some(Signal::SIGTERM as i32)
            };
            if !status.is_some_and(is_normal) {
                let how = status.map_or("does not end".to_owned(), |status| status.to_string());
                self.problems.push(format!("worker {} at shutdown: {how}", member.name));
            }
        }
        self.problems
    }

    fn start_worker(&mut self) -> Member {
        self.started += 1;
        let WorkerSetup { ff, url, namespace, command, slots, logs } = &self.setup;
        let name = format!("w-{}", self.started);
        let log = File::create(logs.join(format!("{name}.log"))).expect("logs can be written");
        let mut work = Command::new(ff);
        work.args(["work", "--backend", url, "--namespace", namespace, "--exec", command])
            .args(["--slots", &slots.to_string(), "--lease-ttl", LEASE_TTL])
            .args(["--worker", "w", "--instance", &name])
            .env("CRASH_WORKER", &name)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::start(&mut work).expect("the program runs");
        Member { process, name, stopped: None }
    }
}
