//! The processes of the world: loops around the agents of core, as in the SDK.

pub mod budgets;
pub mod client;
pub mod context;
pub mod gather;
pub mod job;
pub mod mistaken;
pub mod operator;
pub mod operator_calls;
pub mod quotas;
pub mod reader;
pub mod registry;
pub mod sent_commands;
pub mod signaller;
pub mod submissions;
pub mod suspensions;
pub mod task;
pub mod timekeeper;
pub mod worker;
