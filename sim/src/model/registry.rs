//! The simulator's copy of the registry of workers, and the operations on it.

use std::collections::BTreeMap;

use ff_core::agent::KeepRegistered;
use ff_core::id::Nonce;
use ff_core::registry::Worker;
use ff_core::store::Member;

/// An operation on the registry, as the checks know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegistryCall {
    /// A process registers.
    Register {
        /// The number that it drew when it started.
        nonce: Nonce,
        /// Whether it replaces another live process.
        take_over: bool,
    },
    /// A process sends a heartbeat.
    Heartbeat(Nonce),
    /// A process shuts down.
    Deregister(Nonce),
    /// An operator lets a worker drain.
    Drain,
    /// An operator marks a worker as dead.
    MarkDead,
    /// A timekeeper removes what has expired.
    Sweep,
}

impl From<&KeepRegistered> for RegistryCall {
    fn from(call: &KeepRegistered) -> Self {
        match call {
            KeepRegistered::Register(register) => {
                let register = register.change();
                Self::Register { nonce: register.nonce, take_over: register.take_over }
            }
            KeepRegistered::Heartbeat(heartbeat) => Self::Heartbeat(heartbeat.change().nonce),
        }
    }
}

/// The registered workers as they were committed last.
pub type Workers = BTreeMap<Member, Worker>;
