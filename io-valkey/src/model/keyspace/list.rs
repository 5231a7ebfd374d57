//! Values that are lists, and their commands.

use std::collections::VecDeque;

use super::super::answer::{Answer, CommandError, span};
use super::value::{Keyspace, Kind, Value};

type List = VecDeque<Vec<u8>>;

impl Kind for List {
    fn of(value: &Value) -> Option<&Self> {
        if let Value::List(list) = value { Some(list) } else { None }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        if let Value::List(list) = value { Some(list) } else { None }
    }

    fn into_value(self) -> Value {
        Value::List(self)
    }

    fn is_gone(&self) -> bool {
        self.is_empty()
    }
}

/// The position of an index that may count from the end.
fn position(list: &List, index: i64) -> Option<usize> {
    let length = i64::try_from(list.len()).expect("a list fits into memory");
    let position = if index < 0 { index.saturating_add(length) } else { index };
    usize::try_from(position).ok().filter(|position| *position < list.len())
}

impl Keyspace {
    /// RPUSH key element ...
    pub(in super::super) fn push(
        &mut self,
        key: &[u8],
        elements: &[&[u8]],
    ) -> Result<Answer, CommandError> {
        self.edit(key, |list: &mut List| {
            list.extend(elements.iter().map(|element| element.to_vec()));
            Answer::count(list.len())
        })
    }

    /// LTRIM key from -1: removes the elements before `from`. Another end is not supported.
    pub(in super::super) fn trim(&mut self, key: &[u8], from: i64) -> Result<Answer, CommandError> {
        let from = usize::try_from(from).unwrap_or(0);
        self.edit(key, |list: &mut List| list.drain(..from.min(list.len())).count())?;
        Ok(Answer::Status("OK"))
    }

    /// LINDEX key index
    pub(in super::super) fn element(&self, key: &[u8], index: i64) -> Result<Answer, CommandError> {
        let list = self.get::<List>(key)?;
        let element = list.and_then(|list| position(list, index).map(|position| &list[position]));
        Ok(Answer::text_or_nil(element))
    }

    /// LLEN key
    pub(in super::super) fn list_length(&self, key: &[u8]) -> Result<Answer, CommandError> {
        Ok(Answer::count(self.get::<List>(key)?.map_or(0, List::len)))
    }

    /// LRANGE key start stop
    pub(in super::super) fn elements(
        &self,
        key: &[u8],
        start: i64,
        stop: i64,
    ) -> Result<Answer, CommandError> {
        let Some(list) = self.get::<List>(key)? else {
            return Ok(Answer::List(Vec::new()));
        };
        let elements = list.range(span(list.len(), start, stop));
        Ok(Answer::List(elements.cloned().map(Answer::Text).collect()))
    }
}
