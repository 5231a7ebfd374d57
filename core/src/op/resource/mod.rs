//! Operations on records beside executions (`docs/architecture.md`, Records beside executions).

mod change;
mod change_use;
mod expire;
mod gate;
mod lanes;
mod list;
mod read;
mod stored;
mod sweep;
#[cfg(test)]
mod tests;

pub use change::{ChangeResource, ResourceChanged};
pub(super) use change_use::ChangeUse;
pub use expire::RemoveExpired;
pub(super) use gate::{Gate, Replaced};
pub use lanes::ReadLanes;
pub use list::{ListResources, ResourcePage};
pub use read::ReadResources;
pub use stored::LoadedResource;
pub use sweep::SweepExpired;
