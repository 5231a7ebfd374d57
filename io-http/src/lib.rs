//! FlowFabric over HTTP: the items that a server and its clients share (`docs/spec.md`, 9).
//!
//! - [`ErrorBody`] is the body of every error; [`ApiError`] is what a client reads from it.
//! - [`ClaimForWorkerRequest`], [`IssueReclaimGrantRequest`], [`RotateWaitpointSecretRequest`] and
//!   their responses are the bodies of the administrative calls.
//! - [`LaneView`], [`QuotaView`], [`BudgetView`], [`WorkerView`] and [`WhyView`] are the bodies of
//!   answers about lanes, quotas, budgets, workers and waiting executions.
//! - `HttpTransport` makes the calls of a client, with the feature `client`.
//! - [`IDEMPOTENCY_KEY`] is the header that identifies a call, so that a repeat is recognised.
//!
//! Requests refuse unknown fields, and take null in an optional field as if it were absent.
//! Responses may get further fields in later versions, and a client ignores those that it does not
//! know.

#[cfg(feature = "client")]
mod backoff;
mod claim;
#[cfg(feature = "client")]
mod client;
mod error;
mod grant;
mod kinds;
mod reclaim;
mod secret;
mod view;

pub use claim::{ClaimForWorkerRequest, ClaimForWorkerResponse, MAX_WAIT_MS};
#[cfg(feature = "client")]
pub use client::{CallError, HttpTransport, TransportError};
pub use error::{ApiError, ErrorBody, ErrorDetail};
pub use reclaim::{IssueReclaimGrantRequest, IssueReclaimGrantResponse};
pub use secret::{RotateWaitpointSecretRequest, RotateWaitpointSecretResponse, SecretHex};
pub use view::{
    BudgetView, CandidateView, HolderView, LaneChangeView, LaneView, QuotaLimitsView, QuotaUseView,
    QuotaView, TurnView, WhyView, WorkerView,
};

/// The header with the ID of a call, which is the same in each repeat of it.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
