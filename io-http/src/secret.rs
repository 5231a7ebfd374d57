//! `POST /v1/admin/rotate-waitpoint-secret`: replaces the secret that signs waitpoint tokens.

use std::fmt;

use ff_core::error::Rejection;
use ff_core::token::{Kid, Rotation, Secret};
use serde::{Deserialize, Deserializer, Serialize, de};

/// A secret in hexadecimal digits, as it was sent. It is never printed: `Debug`, and the error of
/// a value that is not a text, do not show it.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SecretHex(String);

impl From<&str> for SecretHex {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl From<String> for SecretHex {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretHex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHex(..)")
    }
}

impl<'de> Deserialize<'de> for SecretHex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The deserializer's own error would repeat a number.
        let text = String::deserialize(deserializer);
        text.map(Self).map_err(|_| de::Error::custom("expected a string of hexadecimal digits"))
    }
}

/// A request to sign waitpoint tokens with a new secret. The answer is
/// [`RotateWaitpointSecretResponse`] with status 200.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateWaitpointSecretRequest {
    /// The key ID of the new secret: 1 to 64 printable ASCII bytes without space and colon.
    pub new_kid: String,
    /// The new secret: 1 to 128 bytes in hexadecimal digits.
    pub new_secret_hex: SecretHex,
    /// How long the previous secret stays valid, in milliseconds; at most a year.
    pub grace_ms: u64,
}

impl RotateWaitpointSecretRequest {
    /// Creates a request.
    pub fn new(
        new_kid: impl Into<String>,
        new_secret_hex: impl Into<SecretHex>,
        grace_ms: u64,
    ) -> Self {
        Self { new_kid: new_kid.into(), new_secret_hex: new_secret_hex.into(), grace_ms }
    }

    /// Parses the key ID and the secret.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidKid`] or [`Rejection::InvalidSecretHex`].
    pub fn parse(&self) -> Result<(Kid, Secret), Rejection> {
        Ok((Kid::try_new(&self.new_kid)?, Secret::from_hex(&self.new_secret_hex.0)?))
    }
}

/// The result of a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateWaitpointSecretResponse {
    /// Whether the call has changed anything: `rotated` or `noop`.
    pub outcome: Rotation,
    /// The key ID of the secret that signs new tokens.
    pub new_kid: Kid,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rotation_is_json_with_stable_names() {
        let text = json!({ "new_kid": "k2", "new_secret_hex": "c0ffee", "grace_ms": 60000 });
        let request = RotateWaitpointSecretRequest::new("k2", "c0ffee", 60_000);
        assert_eq!(serde_json::to_value(&request).unwrap(), text);
        assert_eq!(serde_json::from_value::<RotateWaitpointSecretRequest>(text).unwrap(), request);
        let secret = Secret::from_hex("c0ffee").unwrap();
        assert_eq!(request.parse(), Ok((Kid::try_new("k2").unwrap(), secret)));

        let new_kid = Kid::try_new("k2").unwrap();
        let response = RotateWaitpointSecretResponse { outcome: Rotation::Noop, new_kid };
        let text = json!({ "outcome": "noop", "new_kid": "k2" });
        assert_eq!(serde_json::to_value(&response).unwrap(), text);
    }

    #[test]
    fn an_invalid_rotation_is_refused() {
        let parse = |kid, secret| RotateWaitpointSecretRequest::new(kid, secret, 0).parse();
        assert_eq!(parse("a:b", "00"), Err(Rejection::InvalidKid));
        assert_eq!(parse("k", "0"), Err(Rejection::InvalidSecretHex));
    }

    #[test]
    fn the_secret_is_never_printed() {
        let request = RotateWaitpointSecretRequest::new("k2", "c0ffee", 0);
        assert!(!format!("{request:?}").contains("c0ffee"));
        let text = r#"{ "new_kid": "k2", "new_secret_hex": 9183, "grace_ms": 0 }"#;
        let error = serde_json::from_str::<RotateWaitpointSecretRequest>(text).unwrap_err();
        assert!(!error.to_string().contains("9183"), "{error}");
    }
}
