//! Capabilities: the tokens that a worker offers and an execution requires (`docs/spec.md`, 2).

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The maximum number of tokens in one set.
pub const MAX_CAPABILITIES: usize = 256;
/// The maximum size of one set, in bytes of its tokens joined by commas.
pub const MAX_CAPABILITIES_BYTES: usize = 4_096;

/// A set of capability tokens, ordered by their bytes.
///
/// At most [`MAX_CAPABILITIES`] tokens and [`MAX_CAPABILITIES_BYTES`] bytes. A token is not empty
/// and has no comma, whitespace or control character.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Vec<Arc<str>>", into = "Vec<Arc<str>>")]
pub struct Capabilities(BTreeSet<Arc<str>>);

/// The reason a set of tokens is not a valid capability set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CapabilityError {
    /// A token is empty, or has a comma, whitespace or a control character.
    #[error(
        "invalid capability token {token:?}: it must not be empty or contain a comma, whitespace \
         or a control character"
    )]
    InvalidToken {
        /// The token.
        token: String,
    },
    /// More than [`MAX_CAPABILITIES`] tokens.
    #[error("too many capability tokens: {count}; at most 256 are allowed")]
    TooMany {
        /// The number of distinct tokens.
        count: usize,
    },
    /// More than [`MAX_CAPABILITIES_BYTES`] bytes when joined by commas.
    #[error("capability tokens have {bytes} bytes joined by commas; at most 4096 are allowed")]
    TooLong {
        /// The size of the tokens, in bytes.
        bytes: usize,
    },
}

impl Capabilities {
    /// Parses the tokens. A token that occurs twice counts once.
    ///
    /// # Errors
    ///
    /// [`CapabilityError::InvalidToken`] with the first invalid token,
    /// [`CapabilityError::TooMany`] or [`CapabilityError::TooLong`].
    pub fn try_new<T: AsRef<str>>(
        tokens: impl IntoIterator<Item = T>,
    ) -> Result<Self, CapabilityError> {
        let mut set = BTreeSet::new();
        for token in tokens {
            let token = token.as_ref();
            let is_forbidden = |c: char| c == ',' || c.is_whitespace() || c.is_control();
            if token.is_empty() || token.contains(is_forbidden) {
                return Err(CapabilityError::InvalidToken { token: token.to_owned() });
            }
            set.insert(Arc::from(token));
        }
        if set.len() > MAX_CAPABILITIES {
            return Err(CapabilityError::TooMany { count: set.len() });
        }
        let joined: usize = set.iter().map(|token: &Arc<str>| token.len() + 1).sum();
        match joined.saturating_sub(1) {
            bytes if bytes > MAX_CAPABILITIES_BYTES => Err(CapabilityError::TooLong { bytes }),
            _ => Ok(Self(set)),
        }
    }

    /// Returns the tokens of this set that `offered` lacks.
    pub fn missing_in(&self, offered: &Self) -> Vec<Arc<str>> {
        self.0.difference(&offered.0).cloned().collect()
    }

    /// Whether `offered` has every token of this set.
    pub fn satisfied_by(&self, offered: &Self) -> bool {
        self.0.is_subset(&offered.0)
    }

    /// Iterates over the tokens in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|token| &**token)
    }

    /// Whether the set has no tokens.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, token) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            f.write_str(token)?;
        }
        Ok(())
    }
}

impl TryFrom<Vec<Arc<str>>> for Capabilities {
    type Error = CapabilityError;

    fn try_from(tokens: Vec<Arc<str>>) -> Result<Self, CapabilityError> {
        Self::try_new(tokens)
    }
}

impl From<Capabilities> for Vec<Arc<str>> {
    fn from(capabilities: Capabilities) -> Self {
        capabilities.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_tokens_and_oversized_sets_are_refused() {
        for token in ["", "a,b", "a b", "a\u{0}", "a\u{a0}"] {
            let error = Capabilities::try_new([token]).unwrap_err();
            assert!(matches!(error, CapabilityError::InvalidToken { .. }), "{token:?}");
        }
        let many: Vec<String> = (0..257).map(|number| format!("c{number}")).collect();
        assert!(Capabilities::try_new(&many[..256]).is_ok());
        assert_eq!(Capabilities::try_new(&many), Err(CapabilityError::TooMany { count: 257 }));
        assert!(Capabilities::try_new(["x".repeat(4_096)]).is_ok());
        let long = Capabilities::try_new(["x".repeat(4_097)]);
        assert_eq!(long, Err(CapabilityError::TooLong { bytes: 4_097 }));
    }

    #[test]
    fn a_worker_must_offer_every_required_token() {
        let needs = Capabilities::try_new(["gpu", "eu"]).unwrap();
        let offers = Capabilities::try_new(["gpu", "us"]).unwrap();
        assert_eq!(needs.missing_in(&offers), [Arc::from("eu")]);
        assert!(!needs.satisfied_by(&offers));
        assert!(Capabilities::default().satisfied_by(&offers));
    }
}
