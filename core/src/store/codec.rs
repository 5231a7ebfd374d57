//! How records become bytes: a format number and a postcard body
//! (`docs/architecture.md`, Encoding).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::contract::Bytes;

/// The highest format that this build reads and writes.
pub const FORMAT: u8 = if cfg!(feature = "next-format") { 2 } else { 1 };

/// The first format: what every program reads. The store's own record keeps it, so that a program
/// of any age can tell which format is active.
pub const FIRST_FORMAT: u8 = 1;

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

/// The bytes of a record in a format.
///
/// # Panics
///
/// When the format is not one of 1 to [`FORMAT`].
pub fn encode<T: Serialize>(record: &T, format: u8) -> Bytes {
    assert!((FIRST_FORMAT..=FORMAT).contains(&format), "format {format} can be written");
    let mut start = Vec::with_capacity(256);
    start.push(format);
    let bytes = postcard::to_extend(record, start).expect("a record always serializes");
    #[cfg(feature = "next-format")]
    let bytes = next::finish(bytes);
    Bytes::from(bytes)
}

/// The record of these bytes, in whatever format up to `known`.
///
/// # Errors
///
/// [`DecodeError`]; decoding never panics, whatever the bytes are.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], known: u8) -> Result<T, DecodeError> {
    let corrupt = |detail: String| DecodeError::Corrupt { detail };
    let body = match bytes.split_first() {
        None => return Err(corrupt("it is empty".to_owned())),
        Some((0, _)) => return Err(corrupt("format 0 was never written".to_owned())),
        Some((1, body)) => body,
        #[cfg(feature = "next-format")]
        Some((2, _)) if known >= 2 => {
            next::body(bytes).ok_or_else(|| corrupt("its sum is wrong".to_owned()))?
        }
        Some((&found, _)) => return Err(DecodeError::NewerFormat { found, known }),
    };
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(corrupt(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(corrupt(error.to_string())),
    }
}

/// Format 2, for the suite that proves how a program meets a newer one: the body of format 1 and a
/// sum of all bytes before it, which a reader of format 1 cannot take for part of a record.
#[cfg(feature = "next-format")]
mod next {
    /// Adds what format 2 has after the body.
    pub(super) fn finish(mut bytes: Vec<u8>) -> Vec<u8> {
        if bytes[0] == 2 {
            let sum = sum(&bytes);
            bytes.extend(sum.to_be_bytes());
        }
        bytes
    }

    /// The body of a record of format 2, if its sum is right.
    pub(super) fn body(bytes: &[u8]) -> Option<&[u8]> {
        let (summed, last) = bytes.split_last_chunk::<4>()?;
        (*last == sum(summed).to_be_bytes()).then(|| summed.get(1..)).flatten()
    }

    fn sum(bytes: &[u8]) -> u32 {
        bytes
            .iter()
            .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x100_0193))
    }
}

/// What one program knows of the formats in its store: it writes the active one and reads every
/// number up to its own. Clones share what they learn; two programs never do.
#[derive(Clone, Debug)]
pub struct Codec {
    known: u8,
    met: Arc<Met>,
}

/// What a program has met in its store.
#[derive(Debug)]
struct Met {
    /// The format that it writes; only grows.
    active: AtomicU8,
    /// Whether the store holds, as far as it knows, records beyond what it reads.
    beyond: AtomicBool,
}

impl Default for Codec {
    /// The codec of a program that knows all that this build does.
    fn default() -> Self {
        Self::knowing(FORMAT)
    }
}

impl Codec {
    /// The codec of a program that knows the formats up to a number; this build knows up to
    /// [`FORMAT`]. It writes the first format until it learns which one is active.
    pub fn knowing(known: u8) -> Self {
        let met = Met { active: AtomicU8::new(FIRST_FORMAT), beyond: AtomicBool::new(false) };
        Self { known: known.clamp(FIRST_FORMAT, FORMAT), met: Arc::new(met) }
    }

    /// The highest format that the program reads.
    pub const fn known(&self) -> u8 {
        self.known
    }

    /// The format that the program writes.
    pub fn active(&self) -> u8 {
        self.met.active.load(Ordering::Relaxed)
    }

    /// Whether the store has records that the program cannot read, as far as it knows: it then
    /// leaves entries in their place until it has seen that it can read their records.
    pub fn is_outdated(&self) -> bool {
        self.met.beyond.load(Ordering::Relaxed)
    }

    /// Notes which format the store says is active.
    pub fn confirm(&self, active: u8) {
        self.met.beyond.store(active > self.known, Ordering::Relaxed);
        self.met.active.fetch_max(active.min(self.known), Ordering::Relaxed);
    }

    /// The bytes of a record in the active format. A record is never written in a lower format
    /// than it was read in: reading it has made its format the active one.
    pub fn encode<T: Serialize>(&self, record: &T) -> Bytes {
        encode(record, self.active())
    }

    /// The record of these bytes. A format that is known and higher than the active one must have
    /// been activated since.
    ///
    /// # Errors
    ///
    /// As for [`decode`].
    pub fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, DecodeError> {
        let decoded = decode(bytes, self.known);
        match (&decoded, bytes.first()) {
            (Ok(_), Some(&format)) if format > self.active() => {
                self.met.active.fetch_max(format, Ordering::Relaxed);
            }
            (Err(DecodeError::NewerFormat { .. }), _) => {
                self.met.beyond.store(true, Ordering::Relaxed);
            }
            _ => {}
        }
        decoded
    }
}
