//! The encoding of records: a format number, a postcard body and, from format 2 on, a checksum
//! (`docs/architecture.md`, Encoding).

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::Bytes;

/// The highest format that this build reads and writes.
pub const FORMAT: u8 = 2;

/// The first format, which every program reads. The configuration record of the store keeps it, so
/// that every program can read which format is active.
pub const FIRST_FORMAT: u8 = 1;

/// The reason bytes are not a readable record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A newer program wrote the record. It is left as it is, and never put into quarantine.
    #[error("the record has format {found}, but this program reads formats up to {known}")]
    NewerFormat {
        /// The format of the bytes.
        found: u8,
        /// The highest format that this program reads.
        known: u8,
    },
    /// The bytes do not decode although their format is known.
    #[error("cannot decode the record: {detail}")]
    Corrupt {
        /// The decoder's message.
        detail: String,
    },
}

/// Encodes a record in the given format.
///
/// # Panics
///
/// If the format is not in 1..=[`FORMAT`].
pub fn encode<T: Serialize>(record: &T, format: u8) -> Bytes {
    assert!((FIRST_FORMAT..=FORMAT).contains(&format), "cannot write format {format}");
    let mut start = Vec::with_capacity(512);
    start.push(format);
    let bytes = postcard::to_extend(record, start).expect("a record always serializes");
    Bytes::from(if format == FIRST_FORMAT { bytes } else { checksummed(bytes) })
}

/// Decodes a record in any format up to `known`. It never panics, whatever the bytes are.
///
/// A record of a higher format ends with a checksum too. So a damaged format number is not taken
/// for a newer format.
///
/// # Errors
///
/// [`DecodeError::NewerFormat`] above `known`, otherwise [`DecodeError::Corrupt`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8], known: u8) -> Result<T, DecodeError> {
    let corrupt = |detail: String| DecodeError::Corrupt { detail };
    let body = match bytes.split_first() {
        None => return Err(corrupt("it is empty".to_owned())),
        Some((0, _)) => return Err(corrupt("format 0 was never written".to_owned())),
        Some((1, body)) => body,
        Some((&found, _)) => {
            let body =
                checked_body(bytes).ok_or_else(|| corrupt("its checksum is wrong".to_owned()))?;
            if found > known {
                return Err(DecodeError::NewerFormat { found, known });
            }
            body
        }
    };
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(corrupt(format!("it has {} bytes too many", rest.len()))),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

/// Appends the checksum (CRC-32, big endian) with which every record from format 2 on ends.
pub fn checksummed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

/// Returns the body between the format number and the checksum, if the checksum is right.
fn checked_body(bytes: &[u8]) -> Option<&[u8]> {
    let (summed, checksum) = bytes.split_last_chunk::<4>()?;
    if crc32fast::hash(summed).to_be_bytes() == *checksum { summed.get(1..) } else { None }
}

/// The codec of one program. It writes the active format, and reads every format up to the highest
/// one that the program knows. Clones share what they find in the store; each program has its own
/// codec.
#[derive(Clone, Debug)]
pub struct Codec {
    known: u8,
    /// The highest format that the program has found in its store.
    found: Arc<AtomicU8>,
}

impl Default for Codec {
    /// Creates the codec of a program that knows every format of this build.
    fn default() -> Self {
        Self::knowing(FORMAT)
    }
}

impl Codec {
    /// Creates the codec of a program that knows the formats up to `known`, at most [`FORMAT`]. It
    /// writes the first format until it learns which one is active.
    pub fn knowing(known: u8) -> Self {
        let found = Arc::new(AtomicU8::new(FIRST_FORMAT));
        Self { known: known.clamp(FIRST_FORMAT, FORMAT), found }
    }

    /// Returns the highest format that the program reads.
    pub const fn known(&self) -> u8 {
        self.known
    }

    /// Returns the format that the program writes.
    pub fn active(&self) -> u8 {
        self.found.load(Ordering::Relaxed).min(self.known)
    }

    /// Checks that the program knows every format that it has found in its store.
    ///
    /// # Errors
    ///
    /// [`DecodeError::NewerFormat`].
    pub fn check(&self) -> Result<(), DecodeError> {
        let (found, known) = (self.found.load(Ordering::Relaxed), self.known);
        if found > known { Err(DecodeError::NewerFormat { found, known }) } else { Ok(()) }
    }

    /// Notes a format that was found in the store: of a record, or the active one.
    pub fn note(&self, format: u8) {
        self.found.fetch_max(format, Ordering::Relaxed);
    }

    /// Encodes a record in the active format. A record is never written in a lower format than it
    /// was read in, since reading it has made its format the active one.
    pub fn encode<T: Serialize>(&self, record: &T) -> Bytes {
        encode(record, self.active())
    }

    /// Decodes a record, and notes its format. If that is higher than the active one, it was
    /// activated in the meantime.
    ///
    /// # Errors
    ///
    /// As for [`decode`](fn@decode).
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let decoded = decode(bytes, self.known);
        match (&decoded, bytes.first()) {
            (Ok(_), Some(&format)) => self.note(format),
            (Err(DecodeError::NewerFormat { found, .. }), _) => self.note(*found),
            _ => {}
        }
        decoded
    }
}
