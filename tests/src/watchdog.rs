//! Ends a test program in which a test hangs, with the name of the test. In paused time, a test
//! that waits for something that never happens would run forever.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// How long a test may take, in real time.
const LIMIT: Duration = Duration::from_secs(50);

/// The tests that run by number, each with its name and its start.
static TESTS: Mutex<BTreeMap<u64, (String, Instant)>> = Mutex::new(BTreeMap::new());

/// A test that runs, until this is dropped.
#[derive(Debug)]
pub struct Watchdog(u64);

impl Watchdog {
    /// Watches the test of the present thread.
    pub fn start() -> Self {
        static THREAD: Once = Once::new();
        THREAD.call_once(|| drop(std::thread::spawn(watch)));
        let name = std::thread::current().name().unwrap_or("without a name").to_owned();
        let mut tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
        let number = tests.last_key_value().map_or(0, |(last, _)| last + 1);
        tests.insert(number, (name, Instant::now()));
        Self(number)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        TESTS.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let tests = TESTS.lock().unwrap_or_else(PoisonError::into_inner);
        let hangs = tests.values().find(|(_, begun)| begun.elapsed() > LIMIT);
        if let Some((name, _)) = hangs {
            let text = format!("test {name} hangs: it still runs after {} s\n", LIMIT.as_secs());
            // The test harness would capture `eprintln`.
            let _ = std::io::stderr().write_all(text.as_bytes());
            std::process::exit(101);
        }
    }
}
