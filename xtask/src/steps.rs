//! Steps of a task: each is announced, the first that fails ends the task, and in the end a table
//! says how long each took.

use std::time::{Duration, Instant};

use crate::shell::Outcome;

/// The steps of a task.
#[derive(Debug)]
pub struct Steps {
    task: &'static str,
    took: Vec<(String, Duration)>,
}

impl Steps {
    /// No step yet.
    pub const fn new(task: &'static str) -> Self {
        Self { task, took: Vec::new() }
    }

    /// Runs one step.
    ///
    /// # Errors
    ///
    /// The step's.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        println!("\n== {name}");
        let started = Instant::now();
        let result = work();
        self.took.push((name.to_owned(), started.elapsed()));
        if result.is_err() {
            self.table();
        }
        result
    }

    /// Prints how long each step took.
    pub fn passed(self) {
        println!("\n== {}: every step passed", self.task);
        self.table();
    }

    fn table(&self) {
        let total: Duration = self.took.iter().map(|(_, took)| *took).sum();
        for (name, took) in &self.took {
            println!("{:>8.1} s  {name}", took.as_secs_f64());
        }
        println!("{:>8.1} s  in all", total.as_secs_f64());
    }
}
