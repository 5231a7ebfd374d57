//! FlowFabric's core: every rule of durable execution as pure functions, without I/O.
//!
//! An _execution_ (a job) is a unit of work that must not be lost, run by two workers at the same
//! time, or finished by a worker that no longer owns it. This crate makes every decision about
//! executions. It uses no runtime, socket, clock or source of entropy, so the same code runs in a
//! simulator and in production. `docs/architecture.md` describes how the modules fit together,
//! `docs/spec.md` defines what each operation does.
//!
//! The layers, lowest first:
//!
//! - basic types: [`id`], [`partition`], [`time`], [`score`], [`policy`], [`capability`], [`tags`],
//!   [`condition`], [`token`], [`state`], [`store_id`], [`grant`], [`error`], [`entropy`],
//!   [`bounded`], [`quota_ref`];
//! - records and rules: [`execution`], [`resource`], [`lane`], [`budget`], [`quota`], [`limits`];
//! - the store contract and its reference implementation: [`store`];
//! - sans-I/O operations, which read, decide, commit and decide again: [`op`];
//! - sans-I/O agents, which choose the operations and when to start them: [`agent`];
//! - the traits that a host program implements: [`backend`].

pub mod bounded;
pub mod capability;
mod cause;
pub mod condition;
pub mod entropy;
pub mod error;
pub mod grant;
pub mod id;
pub mod kinds;
pub mod null;
pub mod partition;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod policy;
pub mod purpose;
pub mod quota_ref;
pub mod score;
pub mod state;
pub mod store_id;
pub mod tags;
pub mod time;
pub mod token;

pub mod execution;

pub mod budget;
pub mod lane;
pub mod limits;
pub mod quota;
pub mod registry;
pub mod resource;

pub mod store;

pub mod op;

pub mod agent;

pub mod backend;
