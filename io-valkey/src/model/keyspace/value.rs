//! Values by key, each of one kind.

use std::collections::{BTreeMap, VecDeque};

use super::super::answer::CommandError;
use super::sorted::Sorted;

/// The value of a key. Empty lists and sorted sets do not exist; their keys are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes.
    Text(Vec<u8>),
    /// Bytes by position.
    List(VecDeque<Vec<u8>>),
    /// Members by score.
    Sorted(Sorted),
}

/// All keys of a server and their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyspace {
    values: BTreeMap<Vec<u8>, Value>,
}

/// One kind of value.
pub(super) trait Kind: Default {
    /// The content of a value of this kind.
    fn of(value: &Value) -> Option<&Self>;
    /// The content of a value of this kind, to be changed.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// Wraps the content into a value.
    fn into_value(self) -> Value;
    /// Returns whether the content is empty, so that its key is removed.
    fn is_gone(&self) -> bool;
}

impl Keyspace {
    /// The keys with their values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Value)> {
        self.values.iter().map(|(key, value)| (key.as_slice(), value))
    }

    /// The value of a key.
    pub fn value(&self, key: &[u8]) -> Option<&Value> {
        self.values.get(key)
    }

    /// Sets the value of a key, and replaces a value of any kind.
    pub fn put(&mut self, key: &[u8], value: Value) {
        self.values.insert(key.to_vec(), value);
    }

    /// Removes a key; returns whether it existed.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.values.remove(key).is_some()
    }

    /// The value of a key, which has to be of this kind.
    pub(super) fn get<K: Kind>(&self, key: &[u8]) -> Result<Option<&K>, CommandError> {
        match self.values.get(key) {
            None => Ok(None),
            Some(value) => K::of(value).map(Some).ok_or(CommandError::WRONG_TYPE),
        }
    }

    /// Changes the value of a key, which has to be of this kind. An absent value starts empty; a
    /// value that is empty afterwards is removed.
    pub(super) fn edit<K: Kind, R>(
        &mut self,
        key: &[u8],
        change: impl FnOnce(&mut K) -> R,
    ) -> Result<R, CommandError> {
        let value = self.values.entry(key.to_vec()).or_insert_with(|| K::default().into_value());
        let content = K::of_mut(value).ok_or(CommandError::WRONG_TYPE)?;
        let result = change(content);
        if content.is_gone() {
            self.values.remove(key);
        }
        Ok(result)
    }
}
