//! Tags: labels that a user sets on an execution (`docs/spec.md`, 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The tag with the trace context of the submitter, as the header `traceparent` of W3C Trace
/// Context. It is not part of the content that an idempotency key stands for: a submission that is
/// repeated in another trace is still the same.
pub const TRACE_PARENT: &str = "w3c.traceparent";

/// The maximum number of tags of one execution.
pub const MAX_TAGS: usize = 64;
/// The maximum size of a tag's key or value, in bytes.
pub const MAX_TAG_BYTES: usize = 1_024;

/// The tags of an execution, ordered by key.
///
/// At most [`MAX_TAGS`] tags. A key or value has at most [`MAX_TAG_BYTES`] bytes. Keys match
/// `^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$`: a dot separates the owner's name from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Tags(BTreeMap<String, String>);

/// The reason a set of tags is refused. No tag of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// A key is not of the form `owner.name`.
    #[error(
        "invalid tag key {key:?}: expected owner.name with lower-case letters, digits and \
         underscores"
    )]
    InvalidTagKey {
        /// The key.
        key: String,
    },
    /// More than [`MAX_TAGS`] tags, or a key or value over [`MAX_TAG_BYTES`].
    #[error(
        "too many or too large tags: at most 64 are allowed, each key and value of at most \
             1024 bytes"
    )]
    TooLarge,
}

impl Tags {
    /// Parses a set of tags. The last value of a repeated key wins.
    ///
    /// # Errors
    ///
    /// [`TagError::InvalidTagKey`] with the first invalid key, or [`TagError::TooLarge`].
    pub fn try_new<K: Into<String>, V: Into<String>>(
        tags: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, TagError> {
        let tags: BTreeMap<String, String> =
            tags.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        if let Some(key) = tags.keys().find(|key| !is_tag_key(key)) {
            return Err(TagError::InvalidTagKey { key: key.clone() });
        }
        let too_long = |text: &String| text.len() > MAX_TAG_BYTES;
        if tags.len() > MAX_TAGS || tags.iter().any(|(key, value)| too_long(key) || too_long(value))
        {
            return Err(TagError::TooLarge);
        }
        Ok(Self(tags))
    }

    /// Returns the value of a tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// The tags without one of them.
    pub(crate) fn without(&self, key: &str) -> Self {
        let others = self.0.iter().filter(|(other, _)| *other != key);
        Self(others.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    /// Iterates over keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are no tags.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_tag_key(key: &str) -> bool {
    let is_name = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.contains('.')
        && key.split('.').all(is_name)
}

impl TryFrom<BTreeMap<String, String>> for Tags {
    type Error = TagError;

    fn try_from(tags: BTreeMap<String, String>) -> Result<Self, TagError> {
        Self::try_new(tags)
    }
}

impl From<Tags> for BTreeMap<String, String> {
    fn from(tags: Tags) -> Self {
        tags.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_invalid_key_refuses_the_whole_set() {
        assert!(Tags::try_new([("team.name", "x"), ("a1.b_2.c", "y")]).is_ok());
        for key in ["team", "Team.name", "1a.b", "a.", ".a", "a..b", "a.B", "a b.c", ""] {
            let error = Tags::try_new([("team.name", "x"), (key, "y")]).unwrap_err();
            assert_eq!(error, TagError::InvalidTagKey { key: key.to_owned() });
        }
    }
}
