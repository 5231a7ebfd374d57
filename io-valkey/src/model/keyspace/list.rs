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

    /// LPOP key
    pub(in super::super) fn pop(&mut self, key: &[u8]) -> Result<Answer, CommandError> {
        let first = self.edit(key, List::pop_front)?;
        Ok(first.map_or(Answer::Nil, Answer::Text))
    }

    /// LSET key index element
    pub(in super::super) fn set_element(
        &mut self,
        key: &[u8],
        index: i64,
        element: &[u8],
    ) -> Result<Answer, CommandError> {
        if self.get::<List>(key)?.is_none() {
            return Err(CommandError("ERR no such key"));
        }
        self.edit(key, |list: &mut List| match position(list, index) {
            None => Err(CommandError("ERR index out of range")),
            Some(position) => {
                list[position] = element.to_vec();
                Ok(Answer::Status("OK"))
            }
        })?
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
