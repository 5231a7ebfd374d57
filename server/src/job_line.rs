//! An execution as JSON, as a line of a file or the body of a request describes it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ff_sdk::{ExecutionPolicy, Priority, RetryPolicy, Submission};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An execution to submit. Null behaves as an absent field.
#[derive(Clone, Debug, PartialEq, Deserialize, ToSchema)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub struct JobLine {
    /// The kind, which selects the handler.
    pub kind: String,
    /// The input of the handler: any JSON, which it gets byte for byte.
    #[serde(default)]
    #[schema(value_type = Option<Value>)]
    pub payload: Option<JobPayload>,
    /// The input of the handler in base64, instead of `payload`.
    #[serde(default)]
    pub payload_base64: Option<String>,
    /// The lane, if it is not the default of the command.
    #[serde(default)]
    pub lane: Option<String>,
    /// The capabilities that a worker needs.
    #[serde(default, deserialize_with = "or_default")]
    pub requires: Vec<String>,
    /// The quotas that it counts towards.
    #[serde(default, deserialize_with = "or_default")]
    pub quotas: Vec<LineQuota>,
    /// The budgets that it counts towards.
    #[serde(default, deserialize_with = "or_default")]
    pub budgets: Vec<String>,
    /// The idempotency key, which identifies this content.
    #[serde(default)]
    pub idempotency_key: Option<String>,
    /// Higher is served first: 0 to 9000.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 9000)]
    priority: Option<i64>,
    /// How long it waits before it may start, in milliseconds.
    #[serde(default)]
    delay_ms: Option<u64>,
    /// The same with a unit, such as `5m`.
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing))]
    #[schema(value_type = Option<String>)]
    delay: Option<LineDuration>,
    /// When a failed attempt is retried: `{"max_retries": 3, "backoff": ...}`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    retry: Option<RetryPolicy>,
    /// How long an attempt may take, in milliseconds.
    #[serde(default)]
    timeout_ms: Option<u64>,
    /// The same with a unit, such as `5m`.
    #[serde(default)]
    #[cfg_attr(test, serde(skip_serializing))]
    #[schema(value_type = Option<String>)]
    timeout: Option<LineDuration>,
    /// Labels: keys with a dot, and their values.
    #[serde(default, deserialize_with = "or_default")]
    tags: BTreeMap<String, String>,
}

impl JobLine {
    /// A line with these fields, and a payload that is JSON.
    ///
    /// # Errors
    ///
    /// A text that names the invalid field.
    pub fn new(fields: &Value, payload: Option<&str>) -> Result<Self, String> {
        let mut line = Self::parse(&fields.to_string())?;
        if let Some(payload) = payload {
            let parsed = serde_json::from_str(payload).map_err(|error| {
                format!("payload: this is not JSON, in which text has quotes ('\"text\"'): {error}")
            })?;
            line.payload = Some(JobPayload(parsed));
        }
        Ok(line)
    }

    /// Parses a line.
    ///
    /// # Errors
    ///
    /// A text that names the invalid field and the column.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Serde takes a list as the fields of an object in their order.
        if !text.trim_start().starts_with('{') {
            return Err(
                "expected an object like {\"kind\": \"shell\", \"payload\": {...}}".to_owned()
            );
        }
        let mut json = serde_json::Deserializer::from_str(text);
        let line: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let path = error.path().to_string();
            described(Some(path).filter(|path| !path.contains(['?']) && path != "."), error.inner())
        })?;
        json.end().map_err(|error| described(None, &error))?;
        line.check(text)?;
        Ok(line)
    }

    /// Checks what the types of the fields do not.
    fn check(&self, text: &str) -> Result<(), String> {
        let highest = i64::from(Priority::MAX.get());
        if let Some(priority) = self.priority.filter(|value| !(0..=highest).contains(value)) {
            return Err(format!("priority: {priority} is out of range: 0 to {highest}"));
        }
        if let Some(encoded) = &self.payload_base64 {
            if self.payload.is_some() {
                return Err("payload_base64: remove this field or payload".to_owned());
            }
            let decoded = BASE64_STANDARD.decode(encoded);
            decoded.map_err(|error| format!("payload_base64: {error}"))?;
        }
        for (name, both) in [
            ("delay", self.delay.is_some() && self.delay_ms.is_some()),
            ("timeout", self.timeout.is_some() && self.timeout_ms.is_some()),
        ] {
            if both {
                return Err(format!("{name}: remove this field or {name}_ms"));
            }
        }
        match self.retry {
            Some(_) => check_retry(text),
            None => Ok(()),
        }
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
        // It was checked.
        if let Some(Ok(payload)) =
            self.payload_base64.as_ref().map(|text| BASE64_STANDARD.decode(text))
        {
            submission = submission.payload(payload);
        }
        let either = |text: &Option<LineDuration>, milliseconds: Option<u64>| {
            text.as_ref().map(|text| text.0).or(milliseconds.map(Duration::from_millis))
        };
        if let Some(delay) = either(&self.delay, self.delay_ms) {
            submission = submission.delay(delay);
        }
        if let Some(timeout) = either(&self.timeout, self.timeout_ms) {
            submission = submission.attempt_timeout(timeout);
        }
        if let Some(key) = &self.idempotency_key {
            submission = submission.idempotency_key(key);
        }
        for (key, value) in &self.tags {
            submission = submission.tag(key, value);
        }
        for LineQuota { quota, key } in &self.quotas {
            submission = match key {
                Some(key) => submission.quota_key(quota, key),
                None => submission.quota(quota),
            };
        }
        for budget in &self.budgets {
            submission = submission.budget(budget);
        }
        submission
    }
}

/// A quota, and the key that the execution counts under.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(deny_unknown_fields)]
pub struct LineQuota {
    /// The quota.
    quota: String,
    /// The key; none for executions without one.
    #[serde(default)]
    key: Option<String>,
}

/// A payload: JSON that the worker gets byte for byte as it was written.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(transparent)]
pub struct JobPayload(Box<RawValue>);

impl JobPayload {
    /// The JSON as it was written.
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for JobPayload {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

/// A duration such as `30s`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct LineDuration(Duration);

impl TryFrom<String> for LineDuration {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = humantime::parse_duration(&text);
        parsed.map(Self).map_err(|_| format!("`{text}` is not a time such as 500ms, 30s, 5m or 7d"))
    }
}

/// The error at a field, without the position of a text that has one line.
fn described(path: Option<String>, error: &serde_json::Error) -> String {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string().replace(&position, "");
    let text = text.replace("expected u64", "expected a whole number, 0 or more");
    let text = text.replace("expected u32", "expected a whole number, 0 or more");
    let text = text.replace("expected i64", "expected a whole number");
    let path = path.map_or_else(String::new, |path| format!("{path}: "));
    format!("column {}: {path}{text}", error.column())
}

/// Refuses lists in place of the objects of a retry policy, which was parsed.
fn check_retry(text: &str) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Shape {
        retry: Option<Value>,
    }
    let shape: Shape = serde_json::from_str(text).map_err(|error| described(None, &error))?;
    let Some(retry) = shape.retry else { return Ok(()) };
    let backoff = retry.get("backoff").filter(|backoff| !backoff.is_null());
    let inner = backoff.and_then(Value::as_object).into_iter().flatten();
    for (name, value) in [("retry", Some(&retry)), ("retry.backoff", backoff)]
        .into_iter()
        .chain(inner.map(|(_, value)| ("the content of retry.backoff", Some(value))))
    {
        if value.is_some_and(|value| !value.is_object()) {
            return Err(format!("{name}: expected an object"));
        }
    }
    Ok(())
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
    use serde_json::json;

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
            assert_eq!(line.payload.as_ref().map(JobPayload::text), Some(payload));
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (fields, wanted) in [
            (r#""delay_ms": -5"#, "delay_ms: invalid value: integer `-5`"),
            (r#""delay": "soon""#, "delay: `soon` is not a time"),
            (r#""delay": 5"#, "delay: invalid type: integer `5`, expected a string"),
            (r#""timeout": "5s", "timeout_ms": 5"#, "timeout: remove"),
            (r#""priority": 9001"#, "priority: 9001 is out of range: 0 to 9000"),
            (r#""priority": -1"#, "priority: -1 is out of range"),
            (r#""priority": "high""#, "priority: invalid type: string"),
            (r#""lane": 7"#, "lane: invalid type: integer `7`"),
            (r#""requires": ["gpu", 7]"#, "requires[1]: invalid type: integer `7`"),
            (r#""quotas": ["q"]"#, "quotas[0]: "),
            (r#""budgets": [7]"#, "budgets[0]: invalid type: integer `7`"),
            (r#""tags": {"a.b": 7}"#, "tags.a.b: invalid type: integer `7`"),
            (r#""retry": {"max_retries": -1}"#, "retry.max_retries: invalid value"),
            (r#""retry": {"backoff": {"fixed": {"delay_ms": -1}}}"#, "backoff.fixed.delay_ms: "),
            (r#""retry": [3]"#, "retry: expected an object"),
            (r#""retry": {"backoff": {"fixed": [7]}}"#, "retry.backoff: expected an object"),
            (r#""payload": {"a": }"#, "payload: expected value"),
            (r#""color": 1"#, "color: unknown field `color`"),
        ] {
            let error = JobLine::parse(&format!(r#"{{"kind": "k", {fields}}}"#)).unwrap_err();
            assert!(error.contains(wanted), "{fields}: {error}");
        }
        for line in [r#"["k", {"command": "true"}]"#, "7", "null", r#""k""#] {
            let error = JobLine::parse(line).unwrap_err();
            assert!(error.starts_with("expected an object like"), "{line}: {error}");
        }
        assert!(JobLine::parse(r#"{"kind": "k"} {}"#).unwrap_err().contains("trailing"));
    }

    #[test]
    fn a_line_takes_durations_with_units() {
        let line = JobLine::parse(r#"{"kind": "k", "delay": "5m", "timeout": "1h"}"#);
        let line = line.expect("a line");
        assert_eq!(line.delay, Some(LineDuration(Duration::from_secs(300))));
        assert_eq!(line.timeout, Some(LineDuration(Duration::from_secs(3_600))));
        let submission = format!("{:?}", line.submission("l", ExecutionPolicy::default()));
        assert!(submission.contains("300000") && submission.contains("3600000"), "{submission}");
    }

    #[test]
    fn null_behaves_as_absent_for_every_optional_field() {
        let whole = json!({
            "kind": "shell", "payload": { "command": "true" }, "lane": "l", "payload_base64": null,
            "requires": ["gpu"],
            "idempotency_key": "k", "priority": 5, "delay_ms": 5, "retry": RetryPolicy::never(),
            "timeout_ms": 5, "tags": { "a.b": "c" }, "budgets": ["llm"],
            "quotas": [{ "quota": "q", "key": "k" }],
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
