//! What happened, for people and for comparing runs.

use std::collections::BTreeMap;

use ff_core::bounded::truncated;
use ff_core::execution::Event;
use ff_core::id::ExecutionId;
use ff_core::store::codec::{FORMAT, decode};
use ff_core::store::{Commit, JournalEntry, Request};

use crate::determinism::hash::Fnv;

/// The lines of a run, if they are wanted, and its hash in any case.
#[derive(Debug, Default)]
pub struct Trace {
    wanted: bool,
    lines: Vec<String>,
    hash: Fnv,
    /// Short names of executions, in the order of their appearance.
    names: BTreeMap<ExecutionId, String>,
}

impl Trace {
    /// A trace without lines yet.
    pub fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Adds a line: when, who, and what.
    pub fn line(&mut self, at: u64, who: &str, what: impl FnOnce() -> String) {
        self.hash.number(at);
        self.hash.bytes(who.as_bytes());
        if self.wanted {
            self.lines.push(format!("{at:>7} ms  {who:<12} {}", what()));
        }
    }

    /// Adds to the hash alone.
    pub fn number(&mut self, number: u64) {
        self.hash.number(number);
    }

    /// The hash of everything so far, together with another one.
    pub fn hash(&self, other: Fnv) -> u64 {
        let mut hash = self.hash;
        hash.number(other.get());
        hash.get()
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.clone()
    }

    /// What a commit that was carried out has changed.
    pub fn changes(&mut self, at: u64, who: &str, told: &[JournalEntry]) {
        for entry in told {
            let known = self.names.len();
            let id = entry.execution;
            let name = self.names.entry(id).or_insert_with(|| format!("#{}", known + 1)).clone();
            for event in &entry.events {
                if let Some(words) = words(event) {
                    let words = match event {
                        Event::Created { .. } => format!("{words} as {id}"),
                        _ => words,
                    };
                    self.line(at, who, || format!("{name} {words}"));
                }
            }
        }
    }
}

/// What each unit of a commit tells the journal.
pub fn told(commit: &Commit) -> Vec<Vec<JournalEntry>> {
    let unit = |unit: &ff_core::store::Unit| {
        let entries = unit.append.iter();
        entries.filter_map(|append| decode(&append.entry, FORMAT).ok()).collect()
    };
    commit.units.iter().map(unit).collect()
}

/// What a request is about, in a word or two.
pub fn request_words(request: &Request) -> String {
    match request {
        Request::Commit(commit) => {
            let events: Vec<String> = told(commit)
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

/// An event in words; `None` for what explains nothing.
fn words(event: &Event) -> Option<String> {
    let failed = |failure: &ff_core::execution::WorkFailure| {
        format!("{}: {}", failure.category, truncated(&failure.reason, 200))
    };
    Some(match event {
        Event::Created { .. } => "is submitted".to_owned(),
        Event::Claimed { instance, attempt, epoch, .. } => {
            format!("is claimed by {instance}: attempt {attempt}, epoch {epoch}")
        }
        Event::LeaseExpired { epoch } => format!("has lost its lease of epoch {epoch}: it ran out"),
        Event::RetryScheduled { failure, .. } => {
            format!("has failed and is tried again: {}", failed(failure))
        }
        Event::Ended { outcome, failure, .. } => {
            let why = failure.as_ref().map(failed);
            format!("is over: {outcome:?} {}", why.unwrap_or_default()).trim_end().to_owned()
        }
        Event::DelayOver => "may start again: its delay is over".to_owned(),
        Event::GrantIssued { .. } | Event::GrantExpired => return None,
        other => format!("{other:?}"),
    })
}
