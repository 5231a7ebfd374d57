//! How records become bytes: a format number and a postcard body
//! (`docs/architecture.md`, Encoding).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::Bytes;

/// The format that this program writes, and the highest that it reads.
pub const FORMAT: u8 = 1;

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote them: they are left alone, never put into quarantine.
    #[error("the record has format {found}, this program knows up to {known}")]
    NewerFormat {
        /// The format of the bytes.
        found: u8,
        /// The highest format that this program knows.
        known: u8,
    },
    /// They do not decode though their format is known.
    #[error("the record does not decode: {detail}")]
    Corrupt {
        /// What the decoder said.
        detail: String,
    },
}

/// The bytes of a record.
pub fn encode<T: Serialize>(record: &T) -> Bytes {
    let mut start = Vec::with_capacity(256);
    start.push(FORMAT);
    let bytes = postcard::to_extend(record, start).expect("a record always serializes");
    Bytes::from(bytes)
}

/// The record of these bytes.
///
/// # Errors
///
/// [`DecodeError`]; decoding never panics, whatever the bytes are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let corrupt = |detail: String| DecodeError::Corrupt { detail };
    match bytes.split_first() {
        None => Err(corrupt("it is empty".to_owned())),
        Some((0, _)) => Err(corrupt("format 0 was never written".to_owned())),
        Some((&found, _)) if found > FORMAT => {
            Err(DecodeError::NewerFormat { found, known: FORMAT })
        }
        Some((_, body)) => match postcard::take_from_bytes(body) {
            Ok((record, [])) => Ok(record),
            Ok((_, rest)) => Err(corrupt(format!("{} bytes are left over", rest.len()))),
            Err(error) => Err(corrupt(error.to_string())),
        },
    }
}
