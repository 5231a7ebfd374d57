//! The SDK over the memory backend: workers, tasks, clients, the runtime and the completion stream,
//! in paused time (`docs/spec.md`, 11); the admin client also over HTTP, in real time.

mod admin;
mod audit;
mod claiming;
mod client;
mod completions;
mod errors;
mod fleet;
mod handlers;
mod leases;
mod logs;
mod many_signals;
mod metrics;
mod names;
mod output;
mod recorded;
mod results;
mod runtime;
mod shutdown;
mod suspending;
mod testing;
mod traces;
mod unreachable;
mod upkeep;
mod waiting;
