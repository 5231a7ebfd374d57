//! Help for the tests of programs that submit jobs.
//!
//! For the tests of handlers see [`TaskContext::for_test`](crate::TaskContext::for_test) and
//! [`WorkerRuntime::run_until_idle`](crate::WorkerRuntime::run_until_idle).

use ff_core::execution::{ExecutionSnapshot, ValueKind};
use ff_core::id::{ExecutionId, ExecutionKind};
use ff_core::op::ListFilter;
use ff_core::store::Bytes;
use serde_json::Value;

use crate::client::Client;
use crate::error::SdkError;
use crate::job::Job;

/// An execution of a namespace, with its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Submitted {
    /// The execution.
    pub execution: ExecutionSnapshot,
    /// Its payload.
    pub payload: Option<Bytes>,
}

/// The number of executions that are read in one call.
const PAGE: usize = 256;

/// Returns the executions of this kind in the client's namespace, in any state, oldest first.
///
/// # Errors
///
/// [`SdkError::Engine`] with `Validation` for an invalid kind, and when the store does not answer.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn submitted(client: &Client, kind: &str) -> Result<Vec<Submitted>, SdkError> {
    let filter = ListFilter { kind: Some(ExecutionKind::try_new(kind)?), ..ListFilter::default() };
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let page = client.list(filter.clone(), from, PAGE).await?;
        for execution in page.executions {
            let payload = client.value(&execution.execution_id, ValueKind::Payload).await?;
            found.push(Submitted { execution, payload });
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    found.sort_by_key(|submitted| submitted.execution.created_at);
    Ok(found)
}

/// Checks that a job was submitted, and returns its execution: the latest one of its kind with an
/// equal payload. Payloads are compared as JSON values.
///
/// ```
/// use ff_sdk::{BoxError, FlowFabric, Job};
/// use ff_sdk::testing::assert_submitted;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Job)]
/// #[job(kind = "email")]
/// struct Email {
///     to: String,
/// }
///
/// async fn sign_up(jobs: &ff_sdk::Client, to: &str) -> Result<(), ff_sdk::SdkError> {
///     jobs.submit(Email { to: to.to_owned() }).await?;
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let ff = FlowFabric::connect("memory:").await?;
/// sign_up(ff.client(), "ada@example.org").await?;
/// assert_submitted(ff.client(), &Email { to: "ada@example.org".to_owned() }).await;
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If no such job was submitted, with the payloads of the kind; if the job cannot be serialized or
/// the store does not answer.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn assert_submitted<J: Job>(client: &Client, job: &J) -> ExecutionId {
    let expected = serde_json::to_value(job).expect("the job can be serialized as JSON");
    let found = submitted(client, J::KIND).await.expect("the store answers");
    let parsed = |submitted: &Submitted| {
        let payload = submitted.payload.as_deref().unwrap_or_default();
        serde_json::from_slice::<Value>(payload).ok()
    };
    match found.iter().rev().find(|submitted| parsed(submitted).as_ref() == Some(&expected)) {
        Some(submitted) => submitted.execution.execution_id,
        None => panic!(
            "no job `{}` was submitted with {expected}; submitted with this kind: {}",
            J::KIND,
            payloads(&found)
        ),
    }
}

/// Checks that no job of this type was submitted.
///
/// # Panics
///
/// If one was submitted, with the payloads of the kind; if the store does not answer.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn assert_not_submitted<J: Job>(client: &Client) {
    let found = submitted(client, J::KIND).await.expect("the store answers");
    assert!(found.is_empty(), "jobs `{}` were submitted: {}", J::KIND, payloads(&found));
}

/// The payloads as text, for the message of a failed check.
fn payloads(found: &[Submitted]) -> String {
    let text = |submitted: &Submitted| {
        String::from_utf8_lossy(submitted.payload.as_deref().unwrap_or_default()).into_owned()
    };
    match found {
        [] => "none".to_owned(),
        found => found.iter().map(text).collect::<Vec<_>>().join(", "),
    }
}
