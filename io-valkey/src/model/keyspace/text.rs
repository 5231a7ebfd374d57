//! Values that are plain bytes, and their commands.

use super::super::answer::{Answer, CommandError};
use super::value::{Keyspace, Kind, Value};

impl Kind for Vec<u8> {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::Text(text) = value { Some(text) } else { None }
    }

    fn into_value(self) -> Value {
        Value::Text(self)
    }

    fn is_gone(&self) -> bool {
        false
    }
}

impl Keyspace {
    /// GET key
    pub(in super::super) fn get_text(&self, key: &[u8]) -> Result<Answer, CommandError> {
        Ok(Answer::text_or_nil(self.get::<Vec<u8>>(key)?))
    }

    /// GETRANGE key from to, from 0 and with both ends included; negative positions are not
    /// supported.
    pub(in super::super) fn text_range(
        &self,
        key: &[u8],
        from: i64,
        to: i64,
    ) -> Result<Answer, CommandError> {
        let text = self.get::<Vec<u8>>(key)?.map_or(&[][..], Vec::as_slice);
        let clamp = |position: i64| usize::try_from(position).unwrap_or(0).min(text.len());
        let range = text.get(clamp(from)..clamp(to.saturating_add(1)));
        Ok(Answer::Text(range.unwrap_or_default().to_vec()))
    }

    /// MGET key ...: a value of another kind is nil here, never an error.
    pub(in super::super) fn get_texts(&self, keys: &[&[u8]]) -> Answer {
        let text = |key: &&[u8]| Answer::text_or_nil(self.get::<Vec<u8>>(key).unwrap_or(None));
        Answer::List(keys.iter().map(text).collect())
    }

    /// MSET key value ...: replaces values of any kind.
    pub(in super::super) fn set_texts(&mut self, args: &[&[u8]]) -> Result<Answer, CommandError> {
        let (pairs, rest) = args.as_chunks();
        if !rest.is_empty() {
            return Err(CommandError("ERR wrong number of arguments for MSET"));
        }
        for [key, text] in pairs {
            self.put(key, Value::Text(text.to_vec()));
        }
        Ok(Answer::Status("OK"))
    }

    /// STRLEN key
    pub(in super::super) fn text_length(&self, key: &[u8]) -> Result<Answer, CommandError> {
        Ok(Answer::count(self.get::<Vec<u8>>(key)?.map_or(0, Vec::len)))
    }

    /// EXISTS key ...: of any kind; a key that is named twice counts twice.
    pub(in super::super) fn count_present(&self, keys: &[&[u8]]) -> Answer {
        Answer::count(keys.iter().filter(|key| self.value(key).is_some()).count())
    }

    /// UNLINK key ...: of any kind.
    pub(in super::super) fn unlink(&mut self, keys: &[&[u8]]) -> Answer {
        Answer::count(keys.iter().filter(|key| self.remove(key)).count())
    }
}
