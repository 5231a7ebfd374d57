//! Parses the ids, cursors and bodies of HTTP requests. Whatever a caller sends, nothing panics. A
//! parsed value is written and parsed to the same value.

use ff_core::error::Rejection;
use ff_core::id::ExecutionId;
use ff_core::policy::ExecutionPolicy;
use ff_io_http::{
    ClaimForWorkerRequest, ClaimForWorkerResponse, ErrorBody, IssueReclaimGrantRequest,
    IssueReclaimGrantResponse, RotateWaitpointSecretRequest, RotateWaitpointSecretResponse,
};
use ff_server::{JobLine, PageCursor};

use crate::commands::json;

/// Parses the bytes as each part of a request and as each body of an answer.
pub fn check(data: &[u8]) {
    if let Some(request) = json::<ClaimForWorkerRequest>(data) {
        let _: Result<(), Rejection> = request.check();
    }
    if let Some(request) = json::<IssueReclaimGrantRequest>(data) {
        let _: Result<(), Rejection> = request.check();
    }
    if let Some(request) = json::<RotateWaitpointSecretRequest>(data) {
        let secret = serde_json::to_value(&request).expect("a request can be written");
        let secret = secret["new_secret_hex"].as_str().expect("it is a text");
        let is_shown = secret.len() > 16 && format!("{request:?}").contains(secret);
        assert!(!is_shown || request.new_kid.contains(secret), "a secret is printed");
    }
    // Answers may have further fields, which are not written again.
    let _ = serde_json::from_slice::<ClaimForWorkerResponse>(data);
    let _ = serde_json::from_slice::<IssueReclaimGrantResponse>(data);
    let _ = serde_json::from_slice::<RotateWaitpointSecretResponse>(data);
    let _ = serde_json::from_slice::<ErrorBody>(data);
    if let Ok(text) = std::str::from_utf8(data) {
        id(text);
        cursor(text);
        execution(text);
    }
}

/// Checks that an id has two forms, which mean the same.
fn id(text: &str) {
    let Ok(id) = ExecutionId::from_any(text) else { return };
    let forms = [id.to_string(), id.url_safe()];
    assert!(forms.iter().any(|form| form == text), "{text} is another form of {id}");
    assert!(forms.iter().all(|form| ExecutionId::from_any(form) == Ok(id)));
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    assert!(id.url_safe().bytes().all(is_safe), "{}", id.url_safe());
}

/// Checks that a cursor prints in one form.
fn cursor(text: &str) {
    let Ok(cursor) = text.parse::<PageCursor>() else { return };
    assert_eq!(cursor.to_string().parse::<PageCursor>().expect("a printed cursor"), cursor);
}

/// Checks that a payload is kept as it was sent.
fn execution(text: &str) {
    let Ok(line) = JobLine::parse(text) else { return };
    if let Some(payload) = &line.payload {
        assert!(text.contains(payload.text()), "the payload was changed");
    }
    drop(line.submission("default", ExecutionPolicy::default()));
    assert_eq!(JobLine::parse(text).as_ref(), Ok(&line));
}
