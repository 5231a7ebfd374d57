//! Tokens of waitpoints, and the secrets that sign them (`docs/spec.md`, 5).
//!
//! A token proves that its bearer was told of a waitpoint: `kid:hex`, an HMAC-SHA256 over the
//! waitpoint's id, key and creation time under the secret of that kid. Several secrets are good at
//! a time, so that one can be replaced while tokens are out. Neither tokens nor secrets are ever
//! printed: their `Debug` is blank, and neither has a `Display`.

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

/// The longest kid, in bytes.
const KID_MAX_BYTES: usize = 64;
/// The longest secret, in bytes.
const SECRET_MAX_BYTES: usize = 128;
/// The longest grace of a secret that was replaced: a year.
const MAX_GRACE: DurationMs = DurationMs::from_secs(366 * 24 * 60 * 60);
/// The most secrets that are good at a time.
const MAX_SECRETS: usize = 64;

/// The name of a secret: 1 to 64 printable ASCII bytes without space and colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Kid(Arc<str>);

impl Kid {
    /// Parses the name.
    ///
    /// # Errors
    ///
    /// `InvalidKid`.
    pub fn try_new(text: impl AsRef<str>) -> Result<Self, Rejection> {
        let text = text.as_ref();
        let good = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if text.is_empty() || text.len() > KID_MAX_BYTES || !text.bytes().all(good) {
            return Err(Rejection::InvalidKid);
        }
        Ok(Self(Arc::from(text)))
    }

    /// Its text.
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

/// What signs tokens: 1 to 128 bytes. It is never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// The secret of these hexadecimal digits, in either case.
    ///
    /// # Errors
    ///
    /// `InvalidSecretHex`, which does not repeat the text.
    pub fn from_hex(text: &str) -> Result<Self, Rejection> {
        let bytes = unhex(text).ok_or(Rejection::InvalidSecretHex)?;
        if bytes.is_empty() || bytes.len() > SECRET_MAX_BYTES {
            return Err(Rejection::InvalidSecretHex);
        }
        Ok(Self(bytes.into()))
    }

    /// A random secret of 32 bytes.
    pub fn random(entropy: &mut Entropy) -> Self {
        let bytes: Vec<u8> = (0..4).flat_map(|_| entropy.next_u64().to_be_bytes()).collect();
        Self(bytes.into())
    }

    fn is_same(&self, other: &Self) -> bool {
        // Digests are compared, so that the time that it takes tells nothing of the secrets.
        Sha256::digest(&self.0) == Sha256::digest(&other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The token of a waitpoint, as its bearer holds it. It is never printed: whoever has it can
/// signal.
#[derive(Clone, PartialEq, Eq)]
pub struct WaitpointToken(Arc<str>);

impl WaitpointToken {
    /// The token of a text, whatever it is: whether it is good is checked where it is used.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(Arc::from(text.as_ref()))
    }

    /// The text, to be handed to whoever may signal. Keep it out of logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The kid that it names, if it has the form of a token.
    pub fn kid(&self) -> Option<Kid> {
        let (kid, _) = self.0.split_once(':')?;
        Kid::try_new(kid).ok()
    }

    /// By which a token is told from others in lists: 16 digits of a digest, which do not give it
    /// away.
    pub fn fingerprint(&self) -> Fingerprint {
        let digest = Sha256::digest(self.0.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Fingerprint(first)
    }
}

impl Serialize for WaitpointToken {
    /// As its text: only what travels to its bearer is serialized.
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

/// By which a token is told from others, without giving it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 8]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a token is signed for.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The waitpoint.
    pub id: WaitpointId,
    /// Its name within the execution.
    pub key: &'a WaitpointKey,
    /// When it was created, by the store's clock.
    pub created_at: TimestampMs,
}

/// One secret with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    kid: Kid,
    secret: Secret,
    /// Until when it was promised to be good; it counts once another one has replaced it.
    good_until: TimestampMs,
}

/// A secret as lists show it: its name, and never itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretInfo {
    /// Its name.
    pub kid: Kid,
    /// Whether new tokens are signed with it.
    pub current: bool,
    /// Until when its tokens are good, once it was replaced.
    pub good_until: Option<TimestampMs>,
}

/// The secrets that are good, each under a name of its own; the last one signs new tokens. Cloning
/// is cheap.
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
            return Err("two secrets have one name".to_owned());
        }
        Ok(Self(keys.into()))
    }
}

/// What came of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// New tokens are signed with the secret from now on.
    Rotated,
    /// They were already: same kid, same secret.
    Noop,
}

impl Keyring {
    /// A ring with one secret.
    pub fn new(kid: Kid, secret: Secret) -> Self {
        Self(Arc::from([SigningKey { kid, secret, good_until: TimestampMs::ZERO }]))
    }

    /// Whether there is no secret.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has a secret of this name, good or not.
    pub fn knows(&self, kid: &Kid) -> bool {
        self.0.iter().any(|key| key.kid == *kid)
    }

    /// The secrets, oldest first, without themselves.
    pub fn list(&self) -> Vec<SecretInfo> {
        let last = self.0.len().saturating_sub(1);
        let info = |(place, key): (usize, &SigningKey)| SecretInfo {
            kid: key.kid.clone(),
            current: place == last,
            good_until: (place != last).then_some(key.good_until),
        };
        self.0.iter().enumerate().map(info).collect()
    }

    /// The token of a waitpoint, signed with the current secret.
    ///
    /// # Errors
    ///
    /// `Unread` when there is none.
    pub fn sign(&self, subject: Subject<'_>) -> Result<(Kid, WaitpointToken), Rejection> {
        let key = self.0.last().ok_or(UNREAD)?;
        let digest = mac(&key.secret, &message(subject)).finalize().into_bytes();
        let mut text = format!("{}:", key.kid);
        for byte in digest {
            text.push_str(&format!("{byte:02x}"));
        }
        Ok((key.kid.clone(), WaitpointToken::new(text)))
    }

    /// Checks a token in constant time, and tells until when its secret is good. A waitpoint that
    /// is not there is checked all the same, so that time tells nothing. \[INV-TOKEN-1\]
    ///
    /// # Errors
    ///
    /// `InvalidToken`, whatever is wrong.
    pub fn verify(
        &self,
        token: &WaitpointToken,
        subject: Option<Subject<'_>>,
        now: TimestampMs,
    ) -> Result<TimestampMs, Rejection> {
        let (kid, hex) = token.0.split_once(':').ok_or(Rejection::InvalidToken)?;
        let place = self.0.iter().position(|key| key.kid.as_str() == kid);
        let key = place.map(|place| &self.0[place]).or(self.0.last());
        let key = key.ok_or(Rejection::InvalidToken)?;
        let tag = unhex(hex).unwrap_or_default();
        let text = subject.map(message).unwrap_or_else(|| vec![0; 64]);
        let fits = mac(&key.secret, &text).verify_slice(&tag).is_ok();
        let good_until = match place {
            Some(place) if place + 1 == self.0.len() => TimestampMs::MAX,
            Some(_) if planted!(TokenGoodAfterGrace) => TimestampMs::MAX,
            Some(place) => self.0[place].good_until,
            None => TimestampMs::ZERO,
        };
        let fits = fits || (planted!(SignatureNotChecked) && tag.len() == 32);
        if fits && subject.is_some() && now < good_until {
            return Ok(good_until);
        }
        Err(Rejection::InvalidToken)
    }

    /// The ring in which this secret signs new tokens; the one that did so before stays good for
    /// `grace`. A secret that was promised to be good until a time is, whatever is rotated
    /// meanwhile.
    ///
    /// # Errors
    ///
    /// `RotationConflict` when the kid stands for another secret, `InvalidGraceMs` above a year,
    /// `InvalidInput` when 64 secrets are good already.
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
            let problem = "cannot be added: 64 secrets are good already".to_owned();
            return Err(Rejection::InvalidInput { field: "kid", problem });
        }
        let (kid, secret) = (kid.clone(), secret.clone());
        keys.push(SigningKey { kid, secret, good_until: promised });
        Ok((Self(keys.into()), Rotation::Rotated))
    }
}

/// How long a process goes by the secrets that it has read: 1 s. So long at most, and as long again
/// for a call that is under way, a rotation takes to reach everybody.
pub const KEYRING_FOR: DurationMs = DurationMs::from_secs(1);

const UNREAD: Rejection = Rejection::Unread { what: Missing::Secrets };

/// The secrets as an operation has read them, and when.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownKeyring {
    ring: Keyring,
    read_at: TimestampMs,
}

impl KnownKeyring {
    /// A ring that was read at that time of the store's clock.
    pub const fn new(ring: Keyring, read_at: TimestampMs) -> Self {
        Self { ring, read_at }
    }

    /// Whether it has a secret of this name, good or not.
    pub fn knows(&self, kid: &Kid) -> bool {
        self.ring.knows(kid)
    }

    /// Whether new tokens are signed with the secret of this name.
    pub fn is_current(&self, kid: &Kid) -> bool {
        self.ring.0.last().is_some_and(|key| key.kid == *kid)
    }

    /// The ring, while it may be gone by.
    ///
    /// # Errors
    ///
    /// `Unread` when it has to be read again.
    pub fn ring(&self, now: TimestampMs) -> Result<&Keyring, Rejection> {
        let (earliest, latest) = (self.read_at.minus(KEYRING_FOR), self.read_at.plus(KEYRING_FOR));
        if self.ring.is_empty() || now < earliest || now >= latest {
            return Err(UNREAD);
        }
        Ok(&self.ring)
    }

    /// How long a decision by it holds.
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

/// The signed bytes; each field of variable length is preceded by its length.
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
        let (kid, secret) = (Kid::try_new(kid).unwrap(), Secret::from_hex(secret).unwrap());
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

    /// A ring that nobody has made is no ring: a name would stand for two secrets.
    #[test]
    fn each_secret_of_a_record_has_a_name_of_its_own() {
        let two = rotated(&ring(), "k2", "00ff", 60_000, 5);
        let bytes = encode(&two, FIRST_FORMAT);
        assert_eq!(decode::<Keyring>(&bytes, FIRST_FORMAT).as_ref(), Ok(&two));
        let twice = bytes.iter().map(|byte| if *byte == b'2' { b'1' } else { *byte });
        let decoded = decode::<Keyring>(&twice.collect::<Vec<_>>(), FIRST_FORMAT);
        assert!(decoded.is_err(), "{decoded:?}");
    }

    /// A known answer, so that the signed form never changes by accident.
    #[test]
    fn a_token_is_an_hmac_over_id_key_and_creation_time() {
        let text = token(&ring()).expose().to_owned();
        assert_eq!(text.len(), "k1:".len() + 64);
        let again = token(&ring());
        assert_eq!(again.expose(), text);
        assert!(good(&ring(), &again, 10));
    }

    #[test]
    fn a_token_is_refused_when_any_part_of_it_is_wrong() {
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
    fn a_kid_in_its_grace_stays_good_whatever_is_rotated_after_it() {
        let first = token(&ring());
        let two = rotated(&ring(), "k2", "01", 100, 10);
        let three = rotated(&two, "k3", "02", 5, 20);
        assert!(good(&three, &first, 109));
        assert!(!good(&three, &first, 110));
        let second = token(&two);
        assert!(good(&three, &second, 24) && !good(&three, &second, 25));
        // There and back: what was promised first still holds.
        let back = rotated(&two, "k1", "00FF", 100, 20);
        assert!(good(&back, &first, 1_000));
        let on = rotated(&back, "k3", "02", 0, 30);
        assert!(good(&on, &first, 109) && !good(&on, &first, 110));
    }

    #[test]
    fn a_rotation_is_recognised_and_a_conflict_refused() {
        let ring = ring();
        let rotate = |kid: &str, hex: &str, grace: u64| {
            let (kid, secret) = (Kid::try_new(kid)?, Secret::from_hex(hex)?);
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
