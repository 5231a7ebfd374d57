//! The kinds that a worker serves, in JSON: a list, or null for every kind.

use std::collections::BTreeSet;

use ff_core::id::ExecutionKind;
use ff_core::kinds::Kinds;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub(crate) fn is_all(kinds: &Kinds) -> bool {
    *kinds == Kinds::All
}

pub(crate) fn serialize<S: Serializer>(kinds: &Kinds, serializer: S) -> Result<S::Ok, S::Error> {
    match kinds {
        Kinds::All => serializer.serialize_none(),
        Kinds::Only(kinds) => kinds.serialize(serializer),
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kinds, D::Error> {
    let kinds = Option::<BTreeSet<ExecutionKind>>::deserialize(deserializer)?;
    Ok(kinds.map_or(Kinds::All, Kinds::Only))
}
