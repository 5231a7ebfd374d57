//! A simulated process: its own runtime on a paused clock, which runs until a given time.
//!
//! A crash drops the runtime, and with it every task at the point where it waits. A paused process
//! is not run while the others are.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::outbox::{Letter, Outbox, Start, Starter, Turn};

/// The reason why a process stopped running.
#[derive(Debug)]
pub enum Stopped {
    /// It has reached the given time.
    Reached,
    /// It has sent messages.
    Sent,
    /// Its main task has ended.
    Ended(Result<(), Ending>),
}

/// How a main task failed.
#[derive(Debug)]
pub enum Ending {
    /// With an error.
    Error(String),
    /// With a panic.
    Panic(String),
}

/// One start of a process, until it ends.
#[derive(Debug)]
pub struct Process {
    runtime: Runtime,
    main: JoinHandle<Result<(), String>>,
    outbox: Arc<Outbox>,
    turn: Turn,
    /// The time of its start, by simulated time and by its clock.
    started: (u64, Instant),
    /// By how many parts in a million its clock is too fast.
    drift: i64,
    /// The simulated time until which it has run.
    pub clock: u64,
    /// Whether it has stood still since then.
    stood: bool,
}

impl Process {
    /// Starts it at a simulated time.
    pub fn start(starter: &Starter, start: Start, turn: Turn, now: u64, drift: i64) -> Self {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without I/O needs nothing of the system");
        let outbox = start.outbox.clone();
        turn.give(Some(outbox.clone()));
        let (main, origin) = {
            let _entered = runtime.enter();
            (runtime.spawn(starter(start)), Instant::now())
        };
        turn.give(None);
        let started = (now, origin);
        Self { runtime, main, outbox, turn, started, drift, clock: now, stood: false }
    }

    /// Makes it stand still until a simulated time.
    pub const fn pause(&mut self, until: u64) {
        if until > self.clock {
            self.clock = until;
            self.stood = true;
        }
    }

    /// Runs it until a simulated time, or until it sends a message.
    pub fn run(&mut self, until: u64) -> Stopped {
        self.turn.give(Some(self.outbox.clone()));
        if std::mem::take(&mut self.stood) {
            let jump = self.instant(self.clock);
            self.runtime.block_on(async {
                tokio::time::advance(jump.saturating_duration_since(Instant::now())).await;
            });
        }
        let deadline = self.instant(until);
        let (main, outbox) = (&mut self.main, &self.outbox);
        let stopped = self.runtime.block_on(async {
            let mut sleep = pin!(sleep_until(deadline));
            poll_fn(|cx| {
                if outbox.has_letters(cx.waker()) {
                    return Poll::Ready(Stopped::Sent);
                }
                if let Poll::Ready(ended) = Pin::new(&mut *main).poll(cx) {
                    return Poll::Ready(Stopped::Ended(match ended {
                        Ok(returned) => returned.map_err(Ending::Error),
                        Err(error) => Err(Ending::Panic(message(error))),
                    }));
                }
                sleep.as_mut().poll(cx).map(|()| Stopped::Reached)
            })
            .await
        });
        self.turn.give(None);
        if matches!(stopped, Stopped::Reached) {
            self.clock = until;
        }
        stopped
    }

    /// Its messages, each with its simulated time.
    pub fn letters(&mut self, until: u64) -> Vec<(u64, Letter)> {
        let letters = self.outbox.take();
        letters
            .into_iter()
            .map(|letter| {
                self.clock = self.simulated(letter.at).clamp(self.clock, until);
                (self.clock, letter)
            })
            .collect()
    }

    /// The instant of its clock at a simulated time.
    fn instant(&self, simulated: u64) -> Instant {
        let (since, origin) = self.started;
        let elapsed = simulated.saturating_sub(since);
        let drifted = elapsed as i64 + elapsed as i64 * self.drift / MILLION;
        origin + Duration::from_millis(drifted.max(0) as u64)
    }

    /// The simulated time at an instant of its clock.
    fn simulated(&self, instant: Instant) -> u64 {
        let (since, origin) = self.started;
        let elapsed = instant.saturating_duration_since(origin).as_millis() as i64;
        since + (elapsed * MILLION / (MILLION + self.drift)).max(0) as u64
    }
}

const MILLION: i64 = 1_000_000;

fn message(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => panic_text(&*panic),
        Err(error) => error.to_string(),
    }
}

/// The message of a panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}
