//! Canonical hashes: two states have the same hash if they differ only in ways that have no effect
//! on their future.
//!
//! A part of the state is read through its `Debug` text, which shows every field that core has now
//! or will have. Ids (uuids, nonces, names of processes, fingerprints of tokens) and instants are
//! separated from the text, in the order of their appearance; the rest is hashed once and kept with
//! the part. The hash of a whole state then numbers ids in the order of their first appearance, and
//! takes instants relative to the present one.

use std::fmt::{Debug, Write};

/// A hash of 128 bits by a fixed algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash128(pub u128);

/// Computes a hash: two lanes that are mixed differently.
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    low: u64,
    high: u64,
}

impl Hasher {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { low: 0x9e37_79b9_7f4a_7c15, high: 0xc2b2_ae3d_27d4_eb4f }
    }

    /// Adds a number.
    pub const fn number(&mut self, number: u64) {
        self.low = (self.low ^ number).wrapping_mul(0xff51_afd7_ed55_8ccd);
        self.low ^= self.low >> 32;
        self.high = (self.high.rotate_left(23) ^ number).wrapping_mul(0x9fb2_1c65_1e98_df25);
        self.high ^= self.high >> 29;
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
        self.number(bytes.len() as u64);
    }

    /// The hash so far.
    pub const fn get(mut self) -> Hash128 {
        self.number(0x5851_f42d_4c95_7f2d);
        self.number(self.high);
        Hash128((self.high as u128) << 64 | self.low as u128)
    }
}

/// A value that is separated from the text of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atom {
    /// An id, whose only meaning is where else it appears.
    Id(u128),
    /// An instant, taken relative to the present.
    Instant(u64),
    /// An instant that is only compared with the present: once it is past, its distance is
    /// irrelevant.
    Limit(u64),
}

/// A part of a state, after reading.
#[derive(Clone, Debug)]
pub struct Sketch {
    text: Hash128,
    atoms: Vec<Atom>,
}

/// Instants this far ahead are never reached, in milliseconds.
pub const FAR_MS: u64 = 1_800_000;

/// The fields that hold limits.
const LIMITS: [&str; 7] =
    ["expires_at", "until", "not_before", "not_after", "recheck_at", "healthy_until", "renew_at"];

/// The fields of records that no rule reads in these worlds: there is no attempt timeout, retention
/// is never reached, and lanes are ordered by the executions' positions.
const TOLD_ONLY: [&str; 5] = ["created_at", "updated_at", "started_at", "ended_at", "acquired_at"];

/// Reads a part of a state.
#[derive(Debug)]
pub struct Reader {
    hasher: Hasher,
    atoms: Vec<Atom>,
    text: String,
}

impl Reader {
    /// Nothing yet.
    pub fn new() -> Self {
        Self { hasher: Hasher::new(), atoms: Vec::new(), text: String::with_capacity(4_096) }
    }

    /// Returns the sketch.
    pub fn finish(self) -> Sketch {
        Sketch { text: self.hasher.get(), atoms: self.atoms }
    }

    /// Adds a number as it is.
    pub const fn number(&mut self, number: u64) {
        self.hasher.number(number);
    }

    /// Adds an id.
    pub fn id(&mut self, id: u128) {
        self.hasher.number(1);
        self.atoms.push(Atom::Id(id));
    }

    /// Adds an instant.
    pub fn instant(&mut self, at: u64) {
        self.hasher.number(2);
        self.atoms.push(Atom::Instant(at));
    }

    /// Adds an instant that is only compared with the present.
    pub fn limit(&mut self, at: u64) {
        self.hasher.number(3);
        self.atoms.push(Atom::Limit(at));
    }

    /// Adds a value by its text, without the instants of these fields.
    pub fn value(&mut self, value: &impl Debug, without: &[&str]) {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        write!(text, "{value:?}").expect("a text has room");
        self.read(text.as_bytes(), without);
        self.text = text;
    }

    fn read(&mut self, text: &[u8], without: &[&str]) {
        let (mut from, mut at) = (0, 0);
        // The patience of the operation that is read: a limit that is never reached is left out.
        let mut allowed = 0;
        while at < text.len() {
            let rest = &text[at..];
            let end = match text[at] {
                b'0'..=b'9' | b'a'..=b'f' if starts_word(text, at) && is_uuid(rest) => {
                    self.flush(&text[from..at]);
                    self.id(parse_hex(&rest[..36]));
                    at + 36
                }
                b'0'..=b'9' if starts_word(text, at) => {
                    let digits = digits(rest);
                    // Nonces are the only numbers that are this large.
                    if digits < 17 {
                        at += digits;
                        continue;
                    }
                    self.flush(&text[from..at]);
                    self.id(u128::from(parse(&rest[..digits])));
                    at + digits
                }
                b'T' if rest.starts_with(b"TimestampMs(") => {
                    let start = at + b"TimestampMs(".len();
                    let end = start + digits(&text[start..]);
                    self.flush(&text[from..at]);
                    let field = field_before(&text[..at]);
                    self.time(field, parse(&text[start..end]), without, allowed);
                    end
                }
                b'D' if rest.starts_with(b"DurationMs(") => {
                    let start = at + b"DurationMs(".len();
                    let end = start + digits(&text[start..]);
                    if field_before(&text[..at]) == b"allowed" {
                        allowed = parse(&text[start..end]);
                    }
                    at = end;
                    continue;
                }
                b'F' if rest.starts_with(b"Fingerprint([") => {
                    let length = rest.iter().position(|byte| *byte == b']').unwrap_or(0);
                    self.flush(&text[from..at]);
                    self.id(name(&rest[..length]));
                    at + length
                }
                b'"' if rest.starts_with(b"\"process-") || rest.starts_with(b"\"worker-") => {
                    let length = rest[1..].iter().position(|byte| *byte == b'"').unwrap_or(0);
                    self.flush(&text[from..at]);
                    self.id(name(&rest[1..=length]));
                    at + length + 2
                }
                _ => {
                    at += 1;
                    continue;
                }
            };
            (from, at) = (end, end);
        }
        self.flush(&text[from..]);
    }

    fn time(&mut self, field: &[u8], at: u64, without: &[&str], allowed: u64) {
        let named = |names: &[&str]| names.iter().any(|name| name.as_bytes() == field);
        if at == 0 || named(&TOLD_ONLY) || named(without) {
            return;
        }
        if field == b"started" && allowed >= FAR_MS {
            return;
        }
        if named(&LIMITS) { self.limit(at) } else { self.instant(at) }
    }

    fn flush(&mut self, text: &[u8]) {
        if !text.is_empty() {
            self.hasher.bytes(text);
        }
    }
}

/// The id of a name.
pub fn name(text: &[u8]) -> u128 {
    let mut hasher = Hasher::new();
    hasher.bytes(text);
    hasher.get().0
}

/// Whether no letter or digit precedes this position.
fn starts_word(text: &[u8], at: usize) -> bool {
    at == 0 || !(text[at - 1].is_ascii_alphanumeric() || text[at - 1] == b'_')
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() >= 36
        && [8, 13, 18, 23].iter().all(|dash| text[*dash] == b'-')
        && text[..36].iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'-')
}

fn parse_hex(text: &[u8]) -> u128 {
    text.iter().filter(|byte| **byte != b'-').fold(0, |number, byte| {
        let digit = char::from(*byte).to_digit(16).unwrap_or(0);
        number << 4 | u128::from(digit)
    })
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn parse(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number: u64, digit| {
        number.wrapping_mul(10).wrapping_add(u64::from(*digit - b'0'))
    })
}

/// The name of the field whose value begins at the end of the text.
fn field_before(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"Some(").unwrap_or(text);
    let Some(text) = text.strip_suffix(b": ") else { return b"" };
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = text.iter().rev().take_while(|byte| word(byte)).count();
    &text[text.len() - length..]
}

/// The ids of a state in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Names(Vec<u128>);

impl Names {
    /// The number of an id, a new one at its first appearance.
    pub fn number(&mut self, id: u128) -> u64 {
        let known = self.0.iter().position(|known| *known == id);
        known.unwrap_or_else(|| {
            self.0.push(id);
            self.0.len() - 1
        }) as u64
    }

    /// The ids.
    pub fn all(&self) -> &[u128] {
        &self.0
    }
}

impl Sketch {
    /// Adds this part to the hash of a state.
    pub fn add(&self, hasher: &mut Hasher, names: &mut Names, now: u64) {
        hasher.number(self.text.0 as u64);
        hasher.number((self.text.0 >> 64) as u64);
        for atom in &self.atoms {
            hasher.number(match *atom {
                Atom::Id(id) => names.number(id),
                Atom::Instant(at) | Atom::Limit(at) if at > now + FAR_MS => u64::MAX,
                Atom::Limit(at) if at <= now => u64::MAX - 1,
                Atom::Instant(at) | Atom::Limit(at) => at.wrapping_sub(now),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use ff_core::id::LeaseId;
    use ff_core::store::Member;
    use ff_core::time::TimestampMs;

    use super::*;

    #[derive(Debug)]
    #[allow(dead_code)] // Read by its text.
    struct Sample {
        lease: LeaseId,
        again: LeaseId,
        expires_at: Option<TimestampMs>,
        sent: TimestampMs,
        nonce: u64,
        worker: &'static str,
    }

    fn hash(sample: &Sample, now: u64) -> Hash128 {
        let mut reader = Reader::new();
        reader.value(sample, &[]);
        let mut hasher = Hasher::new();
        reader.finish().add(&mut hasher, &mut Names::default(), now);
        hasher.get()
    }

    fn sample(lease: u128, again: u128, sent: u64, nonce: u64) -> Sample {
        let id = |number| LeaseId::from_uuid(Member::from_u128(number));
        let expires_at = Some(TimestampMs::new(5_000));
        let (lease, again, sent) = (id(lease), id(again), TimestampMs::new(sent));
        Sample { lease, again, expires_at, sent, nonce, worker: "worker-1" }
    }

    const NONCE: u64 = 12_345_678_901_234_567_890;

    #[test]
    fn ids_have_no_meaning_but_by_where_they_stand() {
        let first = hash(&sample(7, 7, 6_000, NONCE), 6_000);
        assert_eq!(first, hash(&sample(8, 8, 6_000, NONCE + 1), 6_000));
        assert_ne!(first, hash(&sample(7, 8, 6_000, NONCE), 6_000));
    }

    #[test]
    fn instants_are_relative_and_limits_that_are_past_are_all_one() {
        let first = hash(&sample(7, 7, 6_000, NONCE), 6_000);
        assert_eq!(first, hash(&sample(7, 7, 9_000, NONCE), 9_000));
        assert_ne!(first, hash(&sample(7, 7, 6_001, NONCE), 6_000));
        assert_ne!(first, hash(&sample(7, 7, 4_000, NONCE), 4_000));
    }
}
