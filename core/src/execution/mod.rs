//! Executions: the record, what is derived from it, and one pure rule for each command.
//!
//! A rule looks at a record, a command and a time, and answers with a [`Ruling`]: a rejection, a
//! recognised repeat, or a [`Decision`] to commit. Nothing else decides. The rule for a command is
//! the function of its name in the file of its name below `rule/` (`docs/spec.md`, 4).
//!
//! From the lowest layer up: `record/` is what is stored, `retention` how it is removed in the end,
//! `view/` what is derived from a record, `facts` what a rule decides on, `rule/` what is decided.
//! `command` maps commands to their rules, and `wire` is their JSON form.

mod any_command;
mod command;
mod facts;
mod identity;
mod in_state;
mod record;
mod retention;
mod rule;
#[cfg(feature = "planted-bugs")]
mod spoil;
mod view;
mod wire;

pub use crate::purpose::Purpose;
pub use any_command::{AnyCommand, AnyOutcome};
pub use command::{
    CommandSpec, Decide, InNamespace, Needs, TakeGranted, TakeNew, TakeOver, TakeResumed,
};
pub use facts::{Admission, BufferedSignals, Facts, FirstSeen, FoundSignal, Held};
pub use identity::{Fingerprint, IdentityKind, Origin};
pub use in_state::InState;
pub use record::*;
pub use retention::{FORGOTTEN_AT_ONCE, ForgetSignals, Forgotten, forget_signals};
pub use rule::*;
#[cfg(feature = "planted-bugs")]
pub(crate) use spoil::spoil;
#[cfg(feature = "planted-bugs")]
pub use spoil::{Asked, RulingBug, install_ruling_bug};
pub use view::*;
pub use wire::{Command, WireClaim, WireCreate, WireGrantRequest, parse_grant_key};
