//! The submitter: `ff submit`, repeated until all executions are acknowledged.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use ff_sdk::ExecutionId;
use serde_json::Value;

use crate::server::Process;

/// Executions to submit.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The program.
    pub ff: PathBuf,
    /// The store URL.
    pub url: String,
    /// The namespace.
    pub namespace: String,
    /// The folder of the program's input and output.
    pub folder: PathBuf,
    /// The number of the first execution.
    pub first: usize,
    /// The number of executions.
    pub count: usize,
}

/// The result of a submission.
#[derive(Clone, Debug, Default)]
pub struct Submitted {
    /// The acknowledged executions.
    pub acknowledged: BTreeSet<ExecutionId>,
    /// How often the program was run again.
    pub repeats: usize,
}

impl Batch {
    /// Submits until all executions are acknowledged. Each line has an idempotency key, so that
    /// repeating one is harmless.
    ///
    /// # Errors
    ///
    /// The program's message, when it refuses the input or does not succeed in time.
    pub fn submit(&self, deadline: Instant) -> Result<Submitted, String> {
        let mut lines = String::new();
        for number in self.first..self.first + self.count {
            let _ = writeln!(
                lines,
                r#"{{"kind":"crash","payload":{number},"idempotency_key":"key-{number}"}}"#
            );
        }
        let input = self.folder.join(format!("submit-{}.jsonl", self.first));
        fs::write(&input, lines).map_err(|error| error.to_string())?;
        let mut submitted = Submitted::default();
        loop {
            let (code, output, log) = self.run(&input, submitted.repeats, deadline)?;
            submitted.acknowledged.extend(output.lines().filter_map(acknowledged));
            match code {
                Some(0) => return Ok(submitted),
                Some(1) => submitted.repeats += 1,
                other => return Err(format!("ff submit ended with {other:?}: {log}")),
            }
        }
    }

    fn run(
        &self,
        input: &PathBuf,
        turn: usize,
        deadline: Instant,
    ) -> Result<(Option<i32>, String, String), String> {
        let path = |kind: &str| self.folder.join(format!("submit-{}-{turn}.{kind}", self.first));
        let file = |kind: &str| File::create(path(kind)).map_err(|error| error.to_string());
        let mut command = Command::new(&self.ff);
        command
            .arg("submit")
            .arg(input)
            .args(["--backend", &self.url, "--namespace", &self.namespace, "--json"])
            .stdin(Stdio::null())
            .stdout(file("out")?)
            .stderr(file("log")?);
        let mut process = Process::start(&mut command).map_err(|error| error.to_string())?;
        let ended = process.ended_by(deadline);
        let status = ended.ok_or_else(|| "ff submit is not acknowledged in time".to_owned())?;
        let read = |kind: &str| fs::read_to_string(path(kind)).unwrap_or_default();
        Ok((status.code(), read("out"), read("log")))
    }
}

/// The id of a line that acknowledges an execution.
fn acknowledged(line: &str) -> Option<ExecutionId> {
    let line: Value = serde_json::from_str(line).ok()?;
    let outcome = line.get("outcome")?.as_str()?;
    let exists = ["created", "duplicate"].contains(&outcome);
    line.get("execution_id")?.as_str()?.parse().ok().filter(|_| exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_existing_executions_are_acknowledged() {
        let id = "{fp:7}:00000000-0000-4000-8000-000000000001";
        let line = |outcome| format!(r#"{{"line":1,"outcome":"{outcome}","execution_id":"{id}"}}"#);
        assert_eq!(acknowledged(&line("created")).unwrap().to_string(), id);
        assert_eq!(acknowledged(&line("duplicate")).unwrap().to_string(), id);
        assert_eq!(acknowledged(&line("refused")), None);
        assert_eq!(acknowledged("not JSON"), None);
        assert_eq!(acknowledged(r#"{"line":1,"outcome":"refused","error":"full"}"#), None);
    }
}
