//! Waitpoint tokens, and the secrets that sign them (`docs/spec.md`, 5).
//!
//! A token allows its bearer to signal one waitpoint. Its text is `kid:hex`: the key ID (kid) of a
//! secret, and an HMAC-SHA256 under that secret over the waitpoint's id, key and creation time.
//! Several secrets are valid at a time, so that a secret can be replaced while tokens are in use.
//! Tokens and secrets are never printed: their `Debug` shows no content, and they have no
//! `Display`.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::entropy::Entropy;
use crate::error::{Missing, Rejection};
use crate::id::{WaitpointId, WaitpointKey};
use crate::planted::planted;
use crate::time::{DurationMs, TimestampMs, Window};

/// The maximum length of a key ID, in bytes.
const KID_MAX_BYTES: usize = 64;
/// The maximum length of a secret, in bytes.
const SECRET_MAX_BYTES: usize = 128;
/// The maximum grace of a replaced secret: a year.
const MAX_GRACE: DurationMs = DurationMs::from_secs(366 * 24 * 60 * 60);
/// The maximum number of secrets that are valid at a time.
const MAX_SECRETS: usize = 64;

/// The key ID (kid) of a secret: 1 to 64 printable ASCII bytes without space and colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kid(Arc<str>);

impl Kid {
    /// Parses the key ID.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidKid`].
    pub fn try_new(text: impl AsRef<str>) -> Result<Self, Rejection> {
        let text = text.as_ref();
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if text.is_empty() || text.len() > KID_MAX_BYTES || !text.bytes().all(is_allowed) {
            return Err(Rejection::InvalidKid);
        }
        Ok(Self(Arc::from(text)))
    }

    /// Returns the text of the key ID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for Kid {
    type Error = Rejection;

    fn try_from(text: String) -> Result<Self, Rejection> {
        Self::try_new(text)
    }
}

impl From<Kid> for String {
    fn from(kid: Kid) -> Self {
        kid.0.as_ref().to_owned()
    }
}

/// A secret that signs tokens: 1 to 128 bytes. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// Parses a secret from hexadecimal digits in either case.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidSecretHex`], which does not repeat the text.
    pub fn from_hex(text: &str) -> Result<Self, Rejection> {
        let bytes = unhex(text).ok_or(Rejection::InvalidSecretHex)?;
        if bytes.is_empty() || bytes.len() > SECRET_MAX_BYTES {
            return Err(Rejection::InvalidSecretHex);
        }
        Ok(Self(bytes.into()))
    }

    /// Draws a random secret of 32 bytes.
    pub fn random(entropy: &mut Entropy) -> Self {
        let bytes: Vec<u8> = (0..4).flat_map(|_| entropy.next_u64().to_be_bytes()).collect();
        Self(bytes.into())
    }

    fn is_same(&self, other: &Self) -> bool {
        // Compares digests, so that the duration reveals nothing about the secrets.
        Sha256::digest(&self.0) == Sha256::digest(&other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The token of a waitpoint. It is never printed: anyone who has it can signal the waitpoint.
#[derive(Clone, PartialEq, Eq)]
pub struct WaitpointToken(Arc<str>);

impl WaitpointToken {
    /// Wraps a text without checking it; [`Keyring::verify`] checks it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref()))
    }

    /// Returns the text, for the system that may signal the waitpoint. Keep it out of logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the key ID in the token, if the text has the form of a token.
    pub fn kid(&self) -> Option<Kid> {
        let (kid, _) = self.0.split_once(':')?;
        Kid::try_new(kid).ok()
    }

    /// Returns the fingerprint of the token, which identifies it in lists without revealing it.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.0.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(first)
    }
}

impl Serialize for WaitpointToken {
    /// Serializes the text. Only messages to the bearer of a token are serialized.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for WaitpointToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for WaitpointToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WaitpointToken(..)")
    }
}

/// The fingerprint of a token: the first 8 bytes of its SHA-256, printed as 16 hexadecimal digits.
/// It identifies a token without revealing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The waitpoint data that a token signs.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The id of the waitpoint.
    pub id: WaitpointId,
    /// The name of the waitpoint within its execution.
    pub key: &'a WaitpointKey,
    /// The creation time of the waitpoint, by the store's clock.
    pub created_at: TimestampMs,
}

/// A secret with its key ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    kid: Kid,
    secret: Secret,
    /// The end of the longest grace that was promised for the secret. It applies once another
    /// secret has replaced this one.
    good_until: TimestampMs,
}

/// The description of a secret in lists. It never contains the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// The key ID.
    pub kid: Kid,
    /// Whether new tokens are signed with the secret.
    pub current: bool,
    /// The end of the grace in which its tokens are still valid; `None` for the current secret.
    pub good_until: Option<TimestampMs>,
}

/// The secrets in use, each with a distinct key ID. The last one, the current secret, signs new
/// tokens. Cloning is cheap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<SigningKey>")]
pub struct Keyring(Arc<[SigningKey]>);

impl TryFrom<Vec<SigningKey>> for Keyring {
    type Error = String;

    fn try_from(keys: Vec<SigningKey>) -> Result<Self, String> {
        let repeated = |(at, key): (usize, &SigningKey)| {
            keys[..at].iter().any(|earlier| earlier.kid == key.kid)
        };
        if keys.iter().enumerate().any(repeated) {
            return Err("invalid keyring: two secrets have the same key ID".to_owned());
        }
        Ok(Self(keys.into()))
    }
}

/// The result of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// The secret signs new tokens from now on.
    Rotated,
    /// The secret already signed new tokens: same key ID, same secret.
    Noop,
}

impl Keyring {
    /// Creates a keyring with one secret.
    pub fn new(kid: Kid, secret: Secret) -> Self {
        Self(Arc::from([SigningKey { kid, secret, good_until: TimestampMs::ZERO }]))
    }

    /// Whether the keyring has no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the keyring has a secret with this key ID, valid or not.
    pub fn knows(&self, kid: &Kid) -> bool {
        self.0.iter().any(|key| key.kid == *kid)
    }

    /// Describes the secrets, oldest first.
    pub fn list(&self) -> Vec<SecretInfo> {
        let last = self.0.len().saturating_sub(1);
        let info = |(position, key): (usize, &SigningKey)| SecretInfo {
            kid: key.kid.clone(),
            current: position == last,
            good_until: (position != last).then_some(key.good_until),
        };
        self.0.iter().enumerate().map(info).collect()
    }

    /// Signs the token of a waitpoint with the current secret.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unread`] if the keyring is empty.
    pub fn sign(&self, subject: Subject<'_>) -> Result<(Kid, WaitpointToken), Rejection> {
        let key = self.0.last().ok_or(UNREAD)?;
        let digest = mac(&key.secret, &message(subject)).finalize().into_bytes();
        let mut text = format!("{}:", key.kid);
        for byte in digest {
            text.push_str(&format!("{byte:02x}"));
        }
        Ok((key.kid.clone(), WaitpointToken::new(text)))
    }

    /// Checks a token in constant time, and returns the end of its secret's validity. For a missing
    /// waitpoint (`None`) it does the same work, so that the duration reveals nothing.
    /// \[INV-TOKEN-1\]
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`], for every kind of problem.
    pub fn verify(
        &self,
        token: &WaitpointToken,
        subject: Option<Subject<'_>>,
        now: TimestampMs,
    ) -> Result<TimestampMs, Rejection> {
        let (kid, hex) = token.0.split_once(':').ok_or(Rejection::InvalidToken)?;
        let position = self.0.iter().position(|key| key.kid.as_str() == kid);
        let key = position.map(|position| &self.0[position]).or(self.0.last());
        let key = key.ok_or(Rejection::InvalidToken)?;
        let tag = unhex(hex).unwrap_or_default();
        let text = subject.map(message).unwrap_or_else(|| vec![0; 64]);
        let fits = mac(&key.secret, &text).verify_slice(&tag).is_ok();
        let good_until = match position {
            Some(position) if position + 1 == self.0.len() => TimestampMs::MAX,
            Some(_) if planted!(TokenGoodAfterGrace) => TimestampMs::MAX,
            Some(position) => self.0[position].good_until,
            None => TimestampMs::ZERO,
        };
        let fits = fits || (planted!(SignatureNotChecked) && tag.len() == 32);
        if fits && subject.is_some() && now < good_until {
            return Ok(good_until);
        }
        Err(Rejection::InvalidToken)
    }

    /// Makes `secret` the current one and returns the new keyring. The replaced secret stays valid
    /// for `grace`. Later rotations never shorten a grace that was promised to a secret.
    ///
    /// # Errors
    ///
    /// [`Rejection::RotationConflict`] if the key ID belongs to another secret,
    /// [`Rejection::InvalidGraceMs`] above 366 days, [`Rejection::InvalidInput`] if 64 secrets are
    /// valid already.
    pub fn rotate(
        &self,
        kid: &Kid,
        secret: &Secret,
        grace: DurationMs,
        now: TimestampMs,
    ) -> Result<(Self, Rotation), Rejection> {
        if grace > MAX_GRACE {
            return Err(Rejection::InvalidGraceMs { grace, max: MAX_GRACE });
        }
        let known = self.0.iter().find(|key| key.kid == *kid);
        if known.is_some_and(|key| !key.secret.is_same(secret)) {
            return Err(Rejection::RotationConflict { kid: kid.as_str().to_owned() });
        }
        if self.0.last().is_some_and(|current| current.kid == *kid) {
            return Ok((self.clone(), Rotation::Noop));
        }
        let promised = known.map_or(TimestampMs::ZERO, |key| key.good_until);
        let mut keys: Vec<SigningKey> = self.0.to_vec();
        if let Some(current) = keys.last_mut() {
            let until = now.plus(grace);
            let kept = if planted!(GraceCutShort) { until } else { current.good_until.max(until) };
            current.good_until = kept;
        }
        keys.retain(|key| key.kid != *kid && key.good_until > now);
        if keys.len() >= MAX_SECRETS {
            let problem = "cannot be added: 64 secrets are valid already; wait for the end of a \
                           grace"
                .to_owned();
            return Err(Rejection::InvalidInput { field: "kid", problem });
        }
        keys.push(SigningKey { kid: kid.clone(), secret: secret.clone(), good_until: promised });
        Ok((Self(keys.into()), Rotation::Rotated))
    }
}

/// The time for which a process uses the secrets that it has read: 1 s. A rotation reaches every
/// process within this time, plus the same time for calls in progress.
pub const KEYRING_FOR: DurationMs = DurationMs::from_secs(1);

const UNREAD: Rejection = Rejection::Unread { what: Missing::Secrets };

/// The secrets as an operation has read them, with the time of the read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeyring {
    ring: Keyring,
    read_at: TimestampMs,
}

impl KnownKeyring {
    /// Creates the value from a keyring and the time of its read, by the store's clock.
    pub const fn new(ring: Keyring, read_at: TimestampMs) -> Self {
        Self { ring, read_at }
    }

    /// Whether the keyring has a secret with this key ID, valid or not.
    pub fn knows(&self, kid: &Kid) -> bool {
        self.ring.knows(kid)
    }

    /// Whether the secret with this key ID signs new tokens.
    pub fn is_current(&self, kid: &Kid) -> bool {
        self.ring.0.last().is_some_and(|key| key.kid == *kid)
    }

    /// Returns the keyring if it was read less than [`KEYRING_FOR`] from `now`.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unread`] if the keyring is empty or must be read again.
    pub fn ring(&self, now: TimestampMs) -> Result<&Keyring, Rejection> {
        let earliest = self.read_at.minus(KEYRING_FOR);
        let latest = self.read_at.plus(KEYRING_FOR);
        if self.ring.is_empty() || now < earliest || now >= latest {
            return Err(UNREAD);
        }
        Ok(&self.ring)
    }

    /// Returns the window in which a decision that uses this keyring holds.
    pub fn window(&self) -> Window {
        Window::until(self.read_at.plus(KEYRING_FOR))
    }
}

fn mac(secret: &Secret, message: &[u8]) -> Hmac<Sha256> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&secret.0).expect("a key of any length makes an HMAC");
    mac.update(message);
    mac
}

/// Returns the signed bytes. The length of a field precedes each field of variable length.
fn message(subject: Subject<'_>) -> Vec<u8> {
    let key = subject.key.as_str().as_bytes();
    let mut message = Vec::with_capacity(32 + key.len());
    message.extend_from_slice(subject.id.uuid().as_bytes());
    message.extend_from_slice(&(key.len() as u64).to_be_bytes());
    message.extend_from_slice(key);
    message.extend_from_slice(&subject.created_at.get().to_be_bytes());
    message
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::codec::{FIRST_FORMAT, decode, encode};
    use uuid::Uuid;

    fn ring() -> Keyring {
        Keyring::new(Kid::try_new("k1").unwrap(), Secret::from_hex("00ff").unwrap())
    }

    fn at(ms: u64) -> TimestampMs {
        TimestampMs::new(ms)
    }

    fn rotated(ring: &Keyring, kid: &str, secret: &str, grace: u64, now: u64) -> Keyring {
        let kid = Kid::try_new(kid).unwrap();
        let secret = Secret::from_hex(secret).unwrap();
        ring.rotate(&kid, &secret, DurationMs::new(grace), at(now)).unwrap().0
    }

    fn good(ring: &Keyring, token: &WaitpointToken, now: u64) -> bool {
        let key = WaitpointKey::try_new("a").unwrap();
        let subject = Subject {
            id: WaitpointId::from_uuid(Uuid::from_u128(1)),
            key: &key,
            created_at: at(5),
        };
        ring.verify(token, Some(subject), at(now)).is_ok()
    }

    fn token(ring: &Keyring) -> WaitpointToken {
        let key = WaitpointKey::try_new("a").unwrap();
        let id = WaitpointId::from_uuid(Uuid::from_u128(1));
        ring.sign(Subject { id, key: &key, created_at: at(5) }).unwrap().1
    }

    /// No program writes a keyring in which a key ID belongs to two secrets, so such a record is
    /// corrupt.
    #[test]
    fn a_record_with_the_same_key_id_twice_does_not_decode() {
        let two = rotated(&ring(), "k2", "00ff", 60_000, 5);
        let bytes = encode(&two, FIRST_FORMAT);
        assert_eq!(decode::<Keyring>(&bytes, FIRST_FORMAT).as_ref(), Ok(&two));
        let twice = bytes.iter().map(|byte| if *byte == b'2' { b'1' } else { *byte });
        let decoded = decode::<Keyring>(&twice.collect::<Vec<_>>(), FIRST_FORMAT);
        assert!(decoded.is_err(), "{decoded:?}");
    }

    #[test]
    fn a_token_is_deterministic_and_has_the_form_kid_colon_hex() {
        let text = token(&ring()).expose().to_owned();
        assert_eq!(text.len(), "k1:".len() + 64);
        let again = token(&ring());
        assert_eq!(again.expose(), text);
        assert!(good(&ring(), &again, 10));
    }

    #[test]
    fn a_token_is_refused_if_any_part_of_it_is_wrong() {
        let ring = ring();
        let good_text = token(&ring).expose().to_owned();
        let key = WaitpointKey::try_new("a").unwrap();
        let other = WaitpointKey::try_new("b").unwrap();
        let id = WaitpointId::from_uuid(Uuid::from_u128(1));
        let subject = |key| Some(Subject { id, key, created_at: at(5) });
        let check = |text: &str, subject| ring.verify(&WaitpointToken::new(text), subject, at(10));
        assert!(check(&good_text, subject(&key)).is_ok());
        assert_eq!(check(&good_text, subject(&other)), Err(Rejection::InvalidToken));
        assert_eq!(check(&good_text, None), Err(Rejection::InvalidToken));
        assert_eq!(
            check(&good_text.replace("k1", "k2"), subject(&key)),
            Err(Rejection::InvalidToken)
        );
        for text in ["", "k1", "k1:", "k1:00", &good_text[..good_text.len() - 2]] {
            assert_eq!(check(text, subject(&key)), Err(Rejection::InvalidToken), "{text}");
        }
        let later = Some(Subject { id, key: &key, created_at: at(6) });
        assert_eq!(check(&good_text, later), Err(Rejection::InvalidToken));
    }

    #[test]
    fn later_rotations_never_shorten_a_grace() {
        let first = token(&ring());
        let two = rotated(&ring(), "k2", "01", 100, 10);
        let three = rotated(&two, "k3", "02", 5, 20);
        assert!(good(&three, &first, 109));
        assert!(!good(&three, &first, 110));
        let second = token(&two);
        assert!(good(&three, &second, 24) && !good(&three, &second, 25));
        // Rotated to k2 and back to k1: the first promise still holds.
        let back = rotated(&two, "k1", "00FF", 100, 20);
        assert!(good(&back, &first, 1_000));
        let on = rotated(&back, "k3", "02", 0, 30);
        assert!(good(&on, &first, 109) && !good(&on, &first, 110));
    }

    #[test]
    fn a_rotation_is_recognised_and_a_conflict_refused() {
        let ring = ring();
        let rotate = |kid: &str, hex: &str, grace: u64| {
            let kid = Kid::try_new(kid)?;
            let secret = Secret::from_hex(hex)?;
            ring.rotate(&kid, &secret, DurationMs::new(grace), at(10)).map(|(_, what)| what)
        };
        assert_eq!(rotate("k1", "00FF", 0), Ok(Rotation::Noop));
        assert_eq!(rotate("k2", "0a", 0), Ok(Rotation::Rotated));
        let conflict = Rejection::RotationConflict { kid: "k1".to_owned() };
        assert_eq!(rotate("k1", "00fe", 0), Err(conflict));
        assert_eq!(rotate("", "00", 0), Err(Rejection::InvalidKid));
        assert_eq!(rotate("a:b", "00", 0), Err(Rejection::InvalidKid));
        for hex in ["", "0", "zz", "00 "] {
            assert_eq!(rotate("k9", hex, 0), Err(Rejection::InvalidSecretHex), "{hex}");
        }
        assert!(matches!(rotate("k9", "00", u64::MAX), Err(Rejection::InvalidGraceMs { .. })));
    }

    #[test]
    fn neither_secrets_nor_tokens_are_printed() {
        let secret = Secret::from_hex("c0ffee").unwrap();
        let ring = Keyring::new(Kid::try_new("k").unwrap(), secret.clone());
        let token = token(&ring);
        let printed = format!("{secret:?} {ring:?} {token:?} {:?}", ring.list());
        assert!(!printed.contains("c0ffee") && !printed.contains("192"), "{printed}");
        assert!(!printed.contains(&token.expose()[4..]), "{printed}");
    }
}
