//! Optional fields of JSON: null behaves as absent (`docs/spec.md`, 4).
//!
//! The functions are for `#[serde(default, deserialize_with = "..")]`. A type that is read from
//! JSON may be part of a record too, and the codec of records has no null: it writes the value
//! alone.

use serde::{Deserialize, Deserializer};

/// Reads a field whose null means `default`.
pub(crate) fn null_or<'de, D, T>(deserializer: D, default: T) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    if deserializer.is_human_readable() {
        Ok(Option::<T>::deserialize(deserializer)?.unwrap_or(default))
    } else {
        T::deserialize(deserializer)
    }
}

/// Reads a field whose null means the default of its type.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    null_or(deserializer, T::default())
}

/// Reads a field whose null means true.
pub(crate) fn or_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    null_or(deserializer, true)
}
