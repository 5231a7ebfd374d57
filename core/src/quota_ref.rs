//! The name by which an execution refers to a quota.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{Namespace, QuotaId, QuotaKey};

/// A quota that an execution counts towards, with the key that it counts under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QuotaRef {
    /// The quota.
    pub quota: QuotaId,
    /// The key; executions without a key count together.
    pub key: Option<QuotaKey>,
}

impl QuotaRef {
    /// Returns the names that make up the uuid of the quota's use under this key.
    pub fn names<'a>(&'a self, namespace: &'a Namespace) -> Vec<&'a str> {
        let key = self.key.as_ref().map(QuotaKey::as_str);
        [namespace.as_str(), self.quota.as_str()].into_iter().chain(key).collect()
    }
}

impl fmt::Display for QuotaRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{} (key {key})", self.quota),
            None => write!(f, "{}", self.quota),
        }
    }
}
