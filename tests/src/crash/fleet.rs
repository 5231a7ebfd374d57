//! Worker processes: `ff work`, replaced when they are killed.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ff_sdk::core::entropy::Entropy;
use nix::sys::signal::Signal;

use crate::server::Process;

/// How long a worker may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(20);
/// How many workers may end by themselves before nothing more is to be learnt from a run.
const MAX_COMPLAINTS: usize = 10;
/// How long a lease is good.
const LEASE_TTL_MS: &str = "1000";

/// How workers are started.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The program.
    pub ff: PathBuf,
    /// The store, as workers see it.
    pub url: String,
    /// The namespace.
    pub namespace: String,
    /// The command of each execution.
    pub command: String,
    /// How many executions a worker has at once.
    pub slots: usize,
    /// Where their logs go.
    pub logs: PathBuf,
}

/// Some workers that run at once.
#[derive(Debug)]
pub struct Fleet {
    orders: Orders,
    members: Vec<Member>,
    started: usize,
    complaints: Vec<String>,
}

#[derive(Debug)]
struct Member {
    process: Process,
    name: String,
    /// Stopped, until then.
    stopped: Option<Instant>,
}

impl Fleet {
    /// Starts so many workers.
    pub fn start(orders: Orders, count: usize) -> Self {
        let mut fleet = Self { orders, members: Vec::new(), started: 0, complaints: Vec::new() };
        for _ in 0..count {
            let member = fleet.recruit();
            fleet.members.push(member);
        }
        fleet
    }

    /// Kills a worker at once, and starts another.
    pub fn kill_one(&mut self, entropy: &mut Entropy) {
        let place = entropy.below(self.members.len() as u64) as usize;
        self.members[place].process.kill();
        self.members[place] = self.recruit();
    }

    /// Stops a worker for so long, if one is left that goes on meanwhile.
    pub fn stop_one(&mut self, entropy: &mut Entropy, pause: Duration) -> bool {
        let running: Vec<usize> =
            (0..self.members.len()).filter(|at| self.members[*at].stopped.is_none()).collect();
        if running.len() < 2 {
            return false;
        }
        let member = &mut self.members[running[entropy.below(running.len() as u64) as usize]];
        member.process.signal(Signal::SIGSTOP);
        member.stopped = Some(Instant::now() + pause);
        true
    }

    /// Lets those go on whose pause is over, and replaces those that ended by themselves.
    pub fn tend(&mut self) {
        for place in 0..self.members.len() {
            let member = &mut self.members[place];
            if member.stopped.is_some_and(|until| until <= Instant::now()) {
                member.process.signal(Signal::SIGCONT);
                member.stopped = None;
            }
            if let Some(status) = member.process.ended() {
                let complaint = format!("worker {} ended by itself: {status}", member.name);
                self.complaints.push(complaint);
                self.members[place] = self.recruit();
            }
        }
    }

    /// Whether so many ended by themselves that more will.
    pub const fn is_hopeless(&self) -> bool {
        self.complaints.len() > MAX_COMPLAINTS
    }

    /// Lets all go on that are stopped.
    pub fn wake_all(&mut self) {
        for member in &mut self.members {
            member.process.signal(Signal::SIGCONT);
            member.stopped = None;
        }
    }

    /// Asks all to end, as Ctrl-C does, and tells what none of them should have done.
    pub fn end(mut self) -> Vec<String> {
        self.wake_all();
        for member in &self.members {
            member.process.signal(Signal::SIGTERM);
        }
        let deadline = Instant::now() + FAREWELL;
        for member in &mut self.members {
            let status = member.process.ended_by(deadline);
            // One that has just started does not listen to the signal yet.
            let is_farewell = |status: ExitStatus| {
                status.success() || status.signal() == Some(Signal::SIGTERM as i32)
            };
            if !status.is_some_and(is_farewell) {
                let how = status.map_or("does not end".to_owned(), |status| status.to_string());
                self.complaints.push(format!("worker {} was asked to end: {how}", member.name));
            }
        }
        self.complaints
    }

    fn recruit(&mut self) -> Member {
        self.started += 1;
        let Orders { ff, url, namespace, command, slots, logs } = &self.orders;
        let name = format!("w-{}", self.started);
        let log = File::create(logs.join(format!("{name}.log"))).expect("logs can be written");
        let mut work = Command::new(ff);
        work.args(["work", "--backend", url, "--namespace", namespace, "--exec", command])
            .args(["--slots", &slots.to_string(), "--lease-ttl-ms", LEASE_TTL_MS])
            .args(["--worker", "w", "--instance", &name])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let process = Process::start(&mut work).expect("the program runs");
        Member { process, name, stopped: None }
    }
}
