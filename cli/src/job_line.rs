//! A line of the input: an execution as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use ff_sdk::Submission;
use ff_sdk::core::policy::{ExecutionPolicy, RetryPolicy};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An execution as a line of the input describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(
    deny_unknown_fields,
    expecting = "an object like {\"kind\": \"shell\", \"payload\": {...}}"
)]
pub struct JobLine {
    /// The kind, which selects the handler.
    pub kind: String,
    /// The input of the handler.
    #[serde(default)]
    pub payload: Option<Payload>,
    /// The lane, if it is not the default of the command.
    #[serde(default)]
    pub lane: Option<String>,
    /// The capabilities that a worker needs.
    #[serde(default, deserialize_with = "or_default")]
    pub requires: Vec<String>,
    /// The idempotency key, which identifies this content.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    #[serde(default)]
    priority: Option<i64>,
    #[serde(default)]
    delay_ms: Option<u64>,
    #[serde(default)]
    retry: Option<RetryPolicy>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default, deserialize_with = "or_default")]
    tags: BTreeMap<String, String>,
}

impl JobLine {
    /// Parses a line.
    pub fn parse(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| {
            let position = format!(" at line 1 column {}", error.column());
            format!("column {}: {}", error.column(), error.to_string().replace(&position, ""))
        })
    }

    /// The submission for this line. The lane and the retry policy of the line take precedence over
    /// the arguments.
    pub fn submission(&self, lane: &str, policy: ExecutionPolicy) -> Submission {
        let policy = ExecutionPolicy { retry: self.retry.clone().unwrap_or_default(), ..policy };
        let mut submission = Submission::new(&self.kind)
            .lane(self.lane.as_deref().unwrap_or(lane))
            .priority(self.priority.unwrap_or_default())
            .requires(self.requires.iter().map(String::as_str))
            .policy(policy);
        if let Some(payload) = &self.payload {
            submission = submission.payload(payload.text());
        }
        if let Some(delay) = self.delay_ms {
            submission = submission.delay(Duration::from_millis(delay));
        }
        if let Some(timeout) = self.timeout_ms {
            submission = submission.attempt_timeout(Duration::from_millis(timeout));
        }
        if let Some(key) = &self.idempotency_key {
            submission = submission.idempotency_key(key);
        }
        for (key, value) in &self.tags {
            submission = submission.tag(key, value);
        }
        submission
    }
}

/// A payload: JSON that the worker gets byte for byte as it was written.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(transparent)]
pub struct Payload(Box<RawValue>);

impl Payload {
    /// The JSON as it was written.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// Reads a field whose null means the default of its type.
fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_payload_is_kept_as_it_was_written() {
        for payload in [
            r#"{"wei":100000000000000000000000000000000000001,"price":12345678901234567.89}"#,
            r#"{ "b": 1, "a": 2,  "b": 3 }"#,
            "1e400",
            "-0.0",
            r#""\u0041\/""#,
        ] {
            let line = format!(r#"{{"payload": {payload} , "kind": "k"}}"#);
            let line = JobLine::parse(&line).expect("a line");
            assert_eq!(line.payload.as_ref().map(Payload::text), Some(payload));
        }
    }

    #[test]
    fn null_behaves_as_absent_for_every_optional_field() {
        let whole = json!({
            "kind": "shell", "payload": { "command": "true" }, "lane": "l", "requires": ["gpu"],
            "idempotency_key": "k", "priority": 5, "delay_ms": 5, "retry": RetryPolicy::never(),
            "timeout_ms": 5, "tags": { "a.b": "c" },
        });
        let line = JobLine::parse(&whole.to_string()).expect("a line");
        assert_eq!(json!(line), whole, "the test does not give every field");
        for field in whole.as_object().expect("an object").keys().filter(|name| *name != "kind") {
            let (mut null, mut absent) = (whole.clone(), whole.clone());
            null[field] = Value::Null;
            absent.as_object_mut().expect("an object").remove(field);
            let parsed = |line: Value| JobLine::parse(&line.to_string());
            assert_eq!(parsed(null), parsed(absent), "{field}");
        }
    }
}
