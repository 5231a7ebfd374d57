//! Every fault, defined once: its effect, its trigger, and how often it happens.

use serde::{Deserialize, Serialize};

/// The trigger of a kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// A step that a process takes: a call, a reply, a start, a wake-up.
    Step,
    /// An instant that the seed plans for a process.
    PlannedForProcess,
    /// An instant that the seed plans for the store, or a call that the store is serving.
    Store,
    /// Nothing in a seeded world: the fault happens in users' simulations only.
    UsersOnly,
}

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $kind:ident: $trigger:ident $weights:tt
        $(, users $users:tt)?;)+) => {
        /// A kind of fault that a run injects on purpose.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FaultKind {
            /// All kinds, in order.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its trigger.
            pub(crate) const fn trigger(self) -> Trigger {
                match self { $(Self::$kind => Trigger::$trigger,)+ }
            }

            /// The weights of which a seeded world draws one when it switches the fault on: how
            /// often it happens in a thousand steps; for planned faults, how many there are; for
            /// clock drift, the percentage of what is allowed.
            pub(crate) const fn weights(self) -> &'static [u64] {
                match self { $(Self::$kind => &$weights,)+ }
            }

            /// The weights of which a seed draws one in users' simulations: how often it happens in
            /// a thousand calls or wake-ups; for planned faults, how many there are; for clock
            /// drift, the percentage of what is allowed. Empty where it does not happen there.
            pub(crate) const fn weights_in_simulations(self) -> &'static [u64] {
                match self {
                    $($(Self::$kind => &$users,)?)+
                    _ => &[],
                }
            }
        }
    };
}

faults! {
    /// A call never reaches the store, and its sender may or may not know.
    RequestLost: Step [5, 20, 60, 150], users [0, 0, 10, 30, 100];
    /// A call is carried out and its reply never arrives. The caller learns only that the call may
    /// be applied, and has to find out whether it was.
    ReplyLost: Step [5, 20, 60, 150], users [0, 0, 10, 30, 100];
    /// A process ends without notice and is started again later, mostly under another instance id.
    /// It forgets its operations and its leases; the requests that it sent still arrive.
    Crash: PlannedForProcess [1, 2, 3, 4, 5, 6], users [0, 0, 1, 2, 5];
    /// A process takes a wrong wall clock for the store's, from its start until the first reply and
    /// whenever it forgets the store's time. This costs a rejection and a second try.
    ClockOffset: PlannedForProcess [3, 20, 80], users [0, 1];
    /// A call is carried out after its caller gave it up, perhaps sent it again, and perhaps was
    /// refused. Its time window and its expected versions must stop what is no longer wanted.
    LateExecution: Step [5, 20, 60, 150], users [0, 0, 10, 30, 100];
    /// The store's clock steps forwards or back, as when a replica with another clock takes over.
    StoreClockStep: Store [1, 2, 3];
    /// A replica takes over that has not received the last commits. Acknowledged commits are lost,
    /// connections break, and the store has another history.
    Failover: Store [1, 2, 3];
    /// A server takes over that has all data but not the function library. The sender of the first
    /// call loads the library and sends the call again, once.
    LibraryMissing: Store [1, 2, 3];
    /// The store is a read-only replica that callers take for the primary.
    ReadOnly: Store [1, 2, 3];
    /// The store's memory is full: it refuses units that do not free memory.
    OutOfMemory: Store [1, 2, 3];
    /// The store is busy with another script and refuses everything.
    Busy: Store [1, 2, 3];
    /// The store was restarted and still reads its data: it refuses everything until then. It has
    /// lost nothing but its connections.
    Loading: Store [1, 2, 3];
    /// A function raises an error in its middle: nothing is rolled back, and the caller learns that
    /// the call may be applied.
    ErrorInside: Store [5, 20, 80];
    /// The store is slow: requests wait there, and are carried out when their senders may have
    /// given up.
    SlowStore: Store [1, 2, 3], users [0, 0, 1, 2];
    /// A call or its reply takes long, perhaps longer than its caller waits.
    Delay: Step [5, 20, 60, 150], users [0, 0, 10, 30, 100];
    /// A call takes another connection than the others of its process, and may overtake them or be
    /// overtaken.
    Reordering: Step [20, 200, 1_000];
    /// The client library loses its connection during a call and sends the request again by itself,
    /// so that the store receives it twice.
    Resend: Step [5, 20, 60, 150], users [0, 0, 10, 30, 100];
    /// A process and the store receive nothing from each other for a while.
    Partition: PlannedForProcess [1, 2, 3, 4, 5, 6], users [0, 0, 1, 3];
    /// Nothing that a process sends reaches the store for a while.
    PartitionRequests: PlannedForProcess [1, 2, 3, 4, 5, 6];
    /// Nothing that the store sends reaches a process for a while.
    PartitionReplies: PlannedForProcess [1, 2, 3, 4, 5, 6];
    /// Connections break: every one in a seeded world, those of one process in a simulation.
    /// Callers get an error instead of their replies; some requests are carried out all the same.
    ConnectionsDropped: PlannedForProcess [1, 2, 3, 4, 5, 6], users [0, 1, 4];
    /// A wake-up never arrives. It is a hint, and nothing may depend on it.
    WakeUpLost: Step [50, 500, 1_000], users [0, 100, 500, 1_000];
    /// A process crashes right after it has sent a request.
    CrashAfterSend: Step [1, 4, 15];
    /// A process crashes right before it handles a reply.
    CrashBeforeReply: Step [1, 4, 15];
    /// A process crashes between two actions of one step.
    CrashBetweenSteps: Step [1, 4, 15];
    /// A process comes back under the instance id that it had, and knows nothing of what it did
    /// under that id.
    SameInstance: Step [300, 1_000];
    /// A process stands still, often for longer than its leases, and goes on with what it knew: a
    /// stop signal, a suspended machine, a long garbage collection. Its local clock counts the
    /// pause (`CLOCK_BOOTTIME`); messages that arrive meanwhile wait for it, in order.
    Pause: PlannedForProcess [1, 2, 3, 4, 5, 6], users [0, 0, 1, 2];
    /// A process stands still right before it handles a reply.
    PauseBeforeReply: Step [1, 4, 15];
    /// A process's local clock runs too fast or too slow, within the limits of a worker's margin.
    ClockDrift: Step [1, 10, 100], users [0, 1, 10];
    /// A process's estimate of the store's time jumps, until the store's next reply.
    ClockStep: PlannedForProcess [2, 8, 30];
    /// A process's estimate of the store's time stands still for a while, despite replies. Its
    /// local clock goes on, so a worker never trusts a lease for longer because of it.
    ClockFreeze: PlannedForProcess [2, 8, 30];
    /// A process that is not needed to finish the work never comes back after the last fault.
    StaysDown: Step [300, 1_000];
    /// A wake-up arrives twice.
    WakeUpRepeated: UsersOnly [], users [0, 100, 500];
    /// A reply has the records of other executions in place of those that were requested. It says
    /// nothing about its request, like a lost reply.
    OtherRecord: Step [5, 20, 60];
    /// The store loses everything: an operator empties it, or a server without persistence is
    /// started again. The programs go on, as they do until they read its configuration again.
    StoreEmptied: Store [1, 2];
    /// A call or its reply is held until just before or just after something ends that its
    /// execution has: its deadline, or a lease, a grant, a waitpoint, a suspension, a delay or a
    /// block. A decision that was made in time must not be committed too late.
    HeldToBorder: Step [20, 60, 200];
}

impl FaultKind {
    /// The kinds that happen in seeded worlds.
    pub fn of_worlds() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| kind.trigger() != Trigger::UsersOnly)
    }

    /// The kinds that happen in users' simulations.
    pub fn of_simulations() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|kind| !kind.weights_in_simulations().is_empty())
    }
}

/// How often each fault happens in a run.
#[derive(Clone, Debug)]
pub struct FaultWeights([u64; FaultKind::ALL.len()]);

impl FaultWeights {
    /// No fault ever happens.
    pub const NONE: Self = Self([0; FaultKind::ALL.len()]);

    /// Sets the weight of a fault; zero switches it off.
    pub const fn set(&mut self, kind: FaultKind, weight: u64) {
        self.0[kind as usize] = weight;
    }

    /// How often a fault happens, if it is switched on.
    pub const fn on(&self, kind: FaultKind) -> Option<u64> {
        match self.0[kind as usize] {
            0 => None,
            weight => Some(weight),
        }
    }
}

/// One fault of a run: its kind, and the step at which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FaultId {
    /// The kind of fault.
    pub kind: FaultKind,
    /// The step: a call by `call_key`, or the number of a planned fault among those of its kind.
    pub key: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kind without weights could never happen.
    #[test]
    fn each_kind_happens_in_worlds_or_in_simulations() {
        for kind in FaultKind::ALL {
            let in_worlds = kind.trigger() != Trigger::UsersOnly;
            assert_eq!(in_worlds, !kind.weights().is_empty(), "{kind:?}");
            assert!(in_worlds || !kind.weights_in_simulations().is_empty(), "{kind:?}");
        }
    }
}
