//! Records beside executions as operations hold them, and the writes that change one.

use uuid::Uuid;

use crate::error::EngineError;
use crate::op::loaded::unreadable;
use crate::resource::{Kept, Resource, ResourceId};
use crate::score::Score;
use crate::store::codec::Codec;
use crate::store::{IndexName, IndexWrite, RecordKey, Stored, Topic, Unit, Version};

/// A record beside executions that was read, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedResource<R> {
    /// The version that was read.
    pub version: Version,
    /// The record.
    pub(super) kept: Kept<R>,
}

impl<R: Resource> LoadedResource<R> {
    /// Decodes a record.
    ///
    /// # Errors
    ///
    /// `Bug` with `NewerFormat` or `CorruptRecord`.
    pub(super) fn of(stored: &Stored, codec: &Codec) -> Result<Self, EngineError> {
        let kept = codec.decode(&stored.bytes).map_err(unreadable)?;
        Ok(Self { version: stored.version, kept })
    }

    /// A record from its version and its body.
    pub(super) const fn from_parts(version: Version, kept: Kept<R>) -> Self {
        Self { version, kept }
    }

    /// Takes the version and the body out.
    pub(super) fn into_parts(self) -> (Version, Kept<R>) {
        (self.version, self.kept)
    }

    /// Returns the record.
    pub const fn record(&self) -> &R {
        &self.kept.record
    }

    /// Takes the record out.
    pub fn into_record(self) -> R {
        self.kept.record
    }
}

/// The key of a record.
pub(super) const fn key_of(id: &ResourceId) -> RecordKey {
    RecordKey::Resource(id.kind, id.uuid)
}

/// Adds the index entries and wake-ups of a change to a unit.
pub(super) fn write_entries<R: Resource>(
    unit: &mut Unit,
    uuid: Uuid,
    before: Option<&R>,
    after: Option<&R>,
) {
    let list = |record: &R| {
        let (namespace, at) = record.listed()?;
        let index = IndexName::Resources { kind: R::KIND, namespace: namespace.clone() };
        Some((index, Score::at(at)))
    };
    let expiry = |record: &R| Some((IndexName::Expiry(R::KIND), Score::at(record.expires_at()?)));
    move_entry(unit, uuid, before.and_then(list), after.and_then(list));
    move_entry(unit, uuid, before.and_then(expiry), after.and_then(expiry));
    if let Some(namespace) = after.or(before).and_then(Resource::wakes) {
        unit.ring.push(Topic::Resources { kind: R::KIND, namespace: namespace.clone() });
    }
}

fn move_entry(
    unit: &mut Unit,
    member: Uuid,
    before: Option<(IndexName, Score)>,
    after: Option<(IndexName, Score)>,
) {
    if before == after {
        return;
    }
    if let Some((index, _)) = before
        && after.as_ref().is_none_or(|(other, _)| *other != index)
    {
        unit.index.push(IndexWrite { index, member, score: None });
    }
    if let Some((index, score)) = after {
        unit.index.push(IndexWrite { index, member, score: Some(score) });
    }
}
