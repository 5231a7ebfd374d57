//! The records of the store's configuration: partitions and format, and the secrets of tokens.

mod keyring;
mod meta;
mod record;

pub use keyring::{ListSecrets, RotateSecret};
pub(super) use keyring::{read_ring, read_secrets, write_first_ring};
pub use meta::{ActivateFormat, EnsureMeta, FoundMeta, ReadMeta};
pub(super) use record::Answer;
