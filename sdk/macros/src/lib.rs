//! The derive macro of `ff_sdk::Job`, which `ff-sdk` re-exports.

use proc_macro::TokenStream;

mod job;

/// Implements `ff_sdk::Job` and `ff_sdk::FromTask` for a type that `serde` can serialize and
/// deserialize, with the options of the attribute `#[job(..)]`:
///
/// | option | default | |
/// | --- | --- | --- |
/// | `kind = "email"` | the type's name, as in `send_email` | the kind of its executions |
/// | `output = Receipt` | `()` | the type of the result |
/// | `lane = "mail"` | `"default"` | the lane (a named queue) |
/// | `priority = 10` | 0 | 0 to 9000; a higher priority is claimed first |
/// | `retries = 5` | 3 | the most retries of a failed attempt, with the default backoff |
/// | `timeout = "30s"` | none | the time limit of an attempt, in `ms`, `s`, `m`, `h` or `d` |
/// | `quota = "smtp"` | none | a quota that its executions count towards, without a key; up to 4 |
/// | `budget = "llm"` | none | a budget that holds its executions back; up to 8 |
#[proc_macro_derive(Job, attributes(job))]
pub fn derive_job(item: TokenStream) -> TokenStream {
    job::derive(item.into()).unwrap_or_else(|error| error.to_compile_error()).into()
}
