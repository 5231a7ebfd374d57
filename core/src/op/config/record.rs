//! A record of the store's configuration: how it is read, how it is replaced, and what the store
//! answers.

use serde::Serialize;

use crate::op::loaded::other_reply;
use crate::partition::Partition;
use crate::purpose::Purpose;
use crate::store::codec::{FIRST_FORMAT, encode};
use crate::store::{
    Commit, Failure, Read, RecordKey, Reply, ReplyBody, Request, Stored, Unit, UnitReply, Version,
};
use crate::time::Window;

/// The store's answer to a request about one record of its configuration.
pub(in crate::op) enum Answer {
    /// The record that was read.
    Found(Option<Stored>),
    /// The record is written.
    Written,
    /// It has another version than expected: this is the present record.
    Conflict(Option<Stored>),
    /// It was not written for another reason.
    Refused,
}

impl Answer {
    /// Understands a reply.
    ///
    /// # Errors
    ///
    /// The failure of a call that received the reply to another request.
    pub(in crate::op) fn of(op: &'static str, body: ReplyBody) -> Result<Self, Failure> {
        match body {
            ReplyBody::Read(mut read) => Ok(Self::Found(read.records.pop().flatten())),
            ReplyBody::Commit(mut units) => Ok(match units.pop() {
                Some(UnitReply::Committed { .. }) => Self::Written,
                Some(UnitReply::Conflict { mut current }) => {
                    Self::Conflict(current.pop().flatten())
                }
                Some(UnitReply::OutsideWindow) | None => Self::Refused,
            }),
            _ => Err(other_reply(op)),
        }
    }
}

/// Reads a record of the configuration.
pub(super) fn read_record(key: RecordKey) -> Read {
    Read { partition: Partition::META, records: vec![key], values: Vec::new() }
}

/// Replaces the version `expected` of a record of the configuration. It keeps the first format, so
/// that programs of any age can read it.
pub(super) fn write_record<T: Serialize>(
    key: RecordKey,
    content: &T,
    expected: Version,
    window: Window,
    nonce: u64,
) -> Request {
    let unit = Unit {
        expect: vec![(key.clone(), expected)],
        put: vec![(key, encode(content, FIRST_FORMAT))],
        window,
        ..Unit::new(Purpose::Admit, nonce)
    };
    Request::Commit(Commit { partition: Partition::META, units: vec![unit] })
}

/// The record in the reply to a query for one record.
pub(super) fn one_record(reply: Reply) -> Option<Option<Stored>> {
    match reply.body {
        ReplyBody::Read(mut read) => Some(read.records.pop().flatten()),
        _ => None,
    }
}
