//! The secrets of tokens that the store has had, and the signing of tokens, implemented
//! independently of the code under test (`docs/spec.md`, 5).

use ff_core::execution::Waitpoint;
use ff_core::store::Bytes;
use ff_core::store::codec::{FORMAT, decode};
use ff_core::time::{DurationMs, TimestampMs};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::report::Broken;

/// How late a rotation may reach a program: the start of a grace is uncertain by so much.
const UNCERTAIN: DurationMs = DurationMs::from_secs(1);
/// How long after its grace a token may still be accepted.
const LATE: DurationMs = DurationMs::from_secs(2);

/// A secret as the store's record has it.
#[derive(Debug, Deserialize)]
struct Stored {
    kid: String,
    secret: Vec<u8>,
    good_until: TimestampMs,
}

/// A secret that the store has had.
#[derive(Clone, Debug)]
pub struct Key {
    kid: String,
    secret: Vec<u8>,
    /// Since when the record has had it.
    since: TimestampMs,
    /// Whether new tokens are signed with it.
    current: bool,
    /// Until when its tokens are good, at least.
    promised: TimestampMs,
    /// Until when its tokens may be accepted.
    allowed: TimestampMs,
}

/// All secrets that the store has had, including those of lost histories.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    all: Vec<Key>,
}

impl Keys {
    /// Takes over that the record of the secrets was written, by a rotation with that grace or by
    /// the first program that needed a secret. Returns a promised secret that the record lost.
    pub fn note(
        &mut self,
        bytes: &Bytes,
        grace: Option<DurationMs>,
        now: TimestampMs,
    ) -> Result<Option<String>, Broken> {
        let ring: Vec<Stored> = match decode(bytes, FORMAT) {
            Ok(ring) => ring,
            Err(error) => {
                let detail = format!("the record of the secrets does not decode: {error}");
                return Err(Broken { tag: "BOUNDS", detail });
            }
        };
        let Some(last) = ring.last() else { return Ok(None) };
        let is_last = |key: &Key| key.kid == last.kid && key.secret == last.secret;
        let grace = grace.unwrap_or_default();
        for key in self.all.iter_mut().filter(|key| key.current && !is_last(key)) {
            key.current = false;
            key.promised = key.promised.max(now.plus(grace).minus(UNCERTAIN));
            key.allowed = key.allowed.max(now.plus(grace).plus(LATE));
        }
        match self.all.iter_mut().find(|key| is_last(key)) {
            Some(key) => {
                if !key.current {
                    key.since = now;
                }
                key.current = true;
            }
            None => self.all.push(Key {
                kid: last.kid.clone(),
                secret: last.secret.clone(),
                since: now,
                current: true,
                promised: TimestampMs::ZERO,
                allowed: TimestampMs::ZERO,
            }),
        }
        // The time at which the record was read may be off by a second.
        let still = |key: &&Key| !key.current && key.promised > now.plus(UNCERTAIN);
        let is_kept = |key: &Key| {
            ring.iter().any(|stored| {
                let same = stored.kid == key.kid && stored.secret == key.secret;
                same && stored.good_until >= key.promised
            })
        };
        let lost = self.all.iter().filter(still).find(|key| !is_kept(key));
        let lost = lost.map(|key| format!("kid {} is promised until {}", key.kid, key.promised));
        // A removed secret stays removed when the clock goes back.
        for key in &mut self.all {
            let there = |stored: &Stored| stored.kid == key.kid && stored.secret == key.secret;
            if !ring.iter().any(there) {
                key.promised = TimestampMs::ZERO;
            }
        }
        Ok(lost)
    }

    /// The secrets with which a token was signed for a waitpoint.
    pub fn signers(&self, token: &str, waitpoint: &Waitpoint) -> Vec<&Key> {
        let signs = |key: &&Key| made(&key.kid, &key.secret, waitpoint) == token;
        self.all.iter().filter(signs).collect()
    }

    /// Takes over the secrets of a lost history: their tokens are in circulation.
    pub fn remember(&mut self, lost: &Self) {
        for key in &lost.all {
            let known = |own: &Key| own.kid == key.kid && own.secret == key.secret;
            if !self.all.iter().any(known) {
                self.all.push(Key { current: false, promised: TimestampMs::ZERO, ..key.clone() });
            }
        }
    }
}

impl Key {
    /// Whether its tokens may be accepted at a time.
    pub fn may_be_taken(&self, now: TimestampMs) -> bool {
        self.current || now < self.allowed
    }

    /// Whether its tokens must be accepted at a time by a call that began at another: the call may
    /// have read the secrets at its beginning, and need not know of a later rotation.
    pub fn has_to_be_taken(&self, now: TimestampMs, begun: TimestampMs) -> bool {
        let was_promised = now < self.promised && self.since <= begun;
        (self.current && self.since.plus(LATE) <= now) || was_promised
    }
}

/// The token of a waitpoint.
fn made(kid: &str, secret: &[u8], waitpoint: &Waitpoint) -> String {
    let key = waitpoint.key.as_str().as_bytes();
    let mut message = waitpoint.id.uuid().as_bytes().to_vec();
    message.extend((key.len() as u64).to_be_bytes());
    message.extend(key);
    message.extend(waitpoint.created_at.get().to_be_bytes());
    let digits: String = hmac(secret, &message).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{kid}:{digits}")
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if secret.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(secret));
    } else {
        block[..secret.len()].copy_from_slice(secret);
    }
    let hashed = |pad: u8, text: &[u8]| {
        let mut input: Vec<u8> = block.iter().map(|byte| byte ^ pad).collect();
        input.extend(text);
        Sha256::digest(&input).to_vec()
    };
    hashed(0x5c, &hashed(0x36, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second test case of RFC 4231.
    #[test]
    fn a_known_answer() {
        let tag = hmac(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(tag[..4], [0x5b, 0xdc, 0xc1, 0x46]);
        assert_eq!(tag[28..], [0x64, 0xec, 0x38, 0x43]);
    }
}
