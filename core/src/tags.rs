//! Labels that a user puts on an execution (`docs/spec.md`, 2).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The most tags of one execution.
pub const MAX_TAGS: usize = 64;
/// The most bytes of one tag's key or value.
pub const MAX_TAG_BYTES: usize = 1_024;

/// Tags by key, in the order of the keys.
///
/// Keys match `^[a-z][a-z0-9_]*(\.[a-z0-9_]+)+$`: a dot separates the owner's name from the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>", into = "BTreeMap<String, String>")]
pub struct Tags(BTreeMap<String, String>);

/// Why a batch of tags is refused; nothing of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagError {
    /// A key is not of the form `owner.name`.
    #[error("a tag key looks like owner.name, in lower case, digits and underscores: {key:?}")]
    InvalidTagKey {
        /// The key.
        key: String,
    },
    /// More than [`MAX_TAGS`] tags, or a key or value over [`MAX_TAG_BYTES`].
    #[error("an execution has at most 64 tags of at most 1024 bytes each")]
    TooLarge,
}

impl Tags {
    /// Parses a batch of tags.
    ///
    /// # Errors
    ///
    /// [`TagError`] when one key is wrong or the batch is too large; then none is taken.
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

    /// The value of a tag.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Keys and values in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there is no tag.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_tag_key(key: &str) -> bool {
    let word = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.contains('.')
        && key.split('.').all(word)
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
    fn one_bad_key_refuses_the_batch() {
        assert!(Tags::try_new([("team.name", "x"), ("a1.b_2.c", "y")]).is_ok());
        for key in ["team", "Team.name", "1a.b", "a.", ".a", "a..b", "a.B", "a b.c", ""] {
            let error = Tags::try_new([("team.name", "x"), (key, "y")]).unwrap_err();
            assert_eq!(error, TagError::InvalidTagKey { key: key.to_owned() });
        }
    }
}
