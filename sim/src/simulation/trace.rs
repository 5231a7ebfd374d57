//! The events of a simulation, as text and as a hash.

use std::collections::BTreeMap;

use ff_core::bounded::truncated;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::store::codec::{FORMAT, decode};
use ff_core::store::{Commit, JournalEntry, Request};

use crate::determinism::hash::Fnv;

/// The lines of a run, if they are kept, and its hash.
#[derive(Debug, Default)]
pub struct Trace {
    wanted: bool,
    lines: Vec<String>,
    hash: Fnv,
    /// Short names of executions, in the order of their appearance.
    names: BTreeMap<ExecutionId, String>,
}

impl Trace {
    /// Creates an empty trace.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Adds a line: the time, the subject, and the text.
    pub fn line(&mut self, at: u64, who: &str, what: impl FnOnce() -> String) {
        self.hash.number(at);
        self.hash.bytes(who.as_bytes());
        if self.wanted {
            self.lines.push(format!("{at:>7} ms  {who:<12} {}", what()));
        }
    }

    /// Adds a number to the hash alone.
    pub fn number(&mut self, number: u64) {
        self.hash.number(number);
    }

    /// The hash of all events so far, combined with another one.
    pub fn hash(&self, other: Fnv) -> u64 {
        let mut hash = self.hash;
        hash.number(other.get());
        hash.get()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// Adds the changes of a commit.
    pub fn changes(&mut self, at: u64, who: &str, entries: &[JournalEntry]) {
        for entry in entries {
            let known = self.names.len();
            let id = entry.execution;
            let name = self.names.entry(id).or_insert_with(|| format!("#{}", known + 1)).clone();
            for event in &entry.events {
                if let Some(text) = describe_event(event) {
                    let text = match event {
                        Event::Created { .. } => format!("{text} as {id}"),
                        _ => text,
                    };
                    self.line(at, who, || format!("{name} {text}"));
                }
            }
        }
    }
}

/// The journal entries of each unit of a commit.
pub fn journal_entries(commit: &Commit) -> Vec<Vec<JournalEntry>> {
    let unit = |unit: &ff_core::store::Unit| {
        let entries = unit.append.iter();
        entries.filter_map(|append| decode(&append.entry, FORMAT).ok()).collect()
    };
    commit.units.iter().map(unit).collect()
}

/// Describes a request briefly.
pub fn describe_request(request: &Request) -> String {
    match request {
        Request::Commit(commit) => {
            let events: Vec<String> = journal_entries(commit)
                .iter()
                .flatten()
                .flat_map(|entry| &entry.events)
                .map(|event| format!("{:?}", event.kind()))
                .collect();
            if events.is_empty() { "a commit".to_owned() } else { events.join(" and ") }
        }
        Request::Take(_) => "a draw".to_owned(),
        Request::Poll(_) => "a poll".to_owned(),
        Request::Read(_) => "a read".to_owned(),
        Request::Scan(_) | Request::Stream(_) => "a scan".to_owned(),
    }
}

/// Describes an event; `None` for events that are not shown.
fn describe_event(event: &Event) -> Option<String> {
    let failed = |failure: &ff_core::execution::WorkFailure| {
        format!("{}: {}", failure.category, truncated(&failure.reason, 200))
    };
    Some(match event {
        Event::Created { .. } => "is submitted".to_owned(),
        Event::Claimed { instance, attempt, epoch, .. } => {
            format!("is claimed by {instance}: attempt {attempt}, epoch {epoch}")
        }
        Event::LeaseExpired { epoch } => format!("loses its lease of epoch {epoch}, which expired"),
        Event::RetryScheduled { failure, .. } => {
            format!("fails and is retried: {}", failed(failure))
        }
        Event::Ended { outcome, failure, .. } => {
            let why = failure.as_ref().map(failed);
            format!("ends: {outcome:?} {}", why.unwrap_or_default()).trim_end().to_owned()
        }
        Event::DelayOver => "may start again after its delay".to_owned(),
        Event::GrantIssued { .. } | Event::GrantExpired | Event::GrantReleased => return None,
        other => format!("{other:?}"),
    })
}
