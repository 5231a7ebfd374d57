//! The SDK over the embedded backend: workers, tasks, clients, the runtime and the completion
//! stream, on paused time (`docs/spec.md`, 11).

mod audit;
mod claiming;
mod client;
mod completions;
mod errors;
mod keeping;
mod many_signals;
mod names;
mod output;
mod runtime;
mod shutdown;
mod suspending;
mod unreachable;
