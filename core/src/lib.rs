//! FlowFabric's core: every rule of durable execution as pure functions, without I/O.
//!
//! An _execution_ is a unit of work that must not be lost, run twice at once, or finished by a
//! worker that no longer owns it. This crate decides everything about it and knows no runtime,
//! socket, clock or source of entropy, so that the same code runs under a simulator and in
//! production. `docs/architecture.md` says how the rooms fit together, `docs/spec.md` what each
//! operation means.
//!
//! From the ground up:
//!
//! - words: [`id`], [`partition`], [`time`], [`score`], [`policy`], [`capability`], [`tags`],
//!   [`condition`], [`token`], [`state`], [`grant`], [`error`], [`entropy`], [`bounded`];
//! - records and rules: [`execution`];
//! - the store contract and its reference implementation: [`store`];
//! - sans-I/O operations, which read, decide, commit and decide again: [`op`];
//! - sans-I/O agents, which say when to do what: [`agent`];
//! - the traits that a shell implements: [`backend`].

pub mod bounded;
pub mod capability;
mod cause;
pub mod condition;
pub mod entropy;
pub mod error;
pub mod grant;
pub mod id;
pub mod partition;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod policy;
pub mod score;
pub mod state;
pub mod tags;
pub mod time;
pub mod token;

pub mod execution;

pub mod store;

pub mod op;

pub mod agent;

pub mod backend;
