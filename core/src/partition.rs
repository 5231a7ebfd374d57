//! Partitions, their families, and the partition configuration of a store, which never changes
//! (`docs/spec.md`, 2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The number of partitions of each family. The first process to start writes the configuration to
/// the store. It never changes afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionConfig {
    /// The number of partitions of flows and executions, at least 1; 256 by default.
    pub num_flow_partitions: u16,
    /// The number of partitions of budgets, at least 1; 32 by default.
    pub num_budget_partitions: u16,
    /// The number of partitions of quota policies, at least 1; 32 by default.
    pub num_quota_partitions: u16,
}

impl Default for PartitionConfig {
    fn default() -> Self {
        Self { num_flow_partitions: 256, num_budget_partitions: 32, num_quota_partitions: 32 }
    }
}

/// The number of partitions of registered workers. It is the same in every store.
pub const WORKER_PARTITIONS: u16 = 16;

/// The reason a partition configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionConfigError {
    /// A family would have no partition.
    #[error("invalid partition configuration: {field} is 0; it must be at least 1")]
    Zero {
        /// The field that is zero.
        field: &'static str,
    },
}

impl PartitionConfig {
    /// Checks that every family has at least one partition.
    ///
    /// # Errors
    ///
    /// [`PartitionConfigError::Zero`] with the first field that is zero.
    pub fn check(&self) -> Result<(), PartitionConfigError> {
        let fields = [
            ("num_flow_partitions", self.num_flow_partitions),
            ("num_budget_partitions", self.num_budget_partitions),
            ("num_quota_partitions", self.num_quota_partitions),
        ];
        match fields.iter().find(|(_, count)| *count == 0) {
            Some((field, _)) => Err(PartitionConfigError::Zero { field }),
            None => Ok(()),
        }
    }

    /// Returns the flow partition of a uuid: a hash of its bytes modulo the count.
    pub(crate) fn spread(&self, uuid: Uuid) -> u16 {
        self.of_uuid(PartitionFamily::Flow, uuid).index
    }

    /// Returns the partition of a family that holds the record with this uuid.
    pub(crate) fn of_uuid(&self, family: PartitionFamily, uuid: Uuid) -> Partition {
        let (high, low) = uuid.as_u64_pair();
        let count = u64::from(self.count(family).max(1));
        // Uuids of version 7 share their first bytes, and those of version 4 have fixed bits.
        // Mixing both halves spreads every version evenly.
        let hash = (high ^ low).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(32);
        Partition { family, index: (hash % count) as u16 }
    }

    /// Returns the number of partitions of a family.
    pub const fn count(&self, family: PartitionFamily) -> u16 {
        match family {
            PartitionFamily::Flow => self.num_flow_partitions,
            PartitionFamily::Budget => self.num_budget_partitions,
            PartitionFamily::Quota => self.num_quota_partitions,
            PartitionFamily::Worker => WORKER_PARTITIONS,
            PartitionFamily::Meta => 1,
        }
    }

    /// Iterates over the partitions of a family.
    pub fn partitions(&self, family: PartitionFamily) -> impl Iterator<Item = Partition> + use<> {
        (0..self.count(family)).map(move |index| Partition { family, index })
    }

    /// Iterates over the partitions of flows and executions.
    pub fn flow_partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        self.partitions(PartitionFamily::Flow)
    }
}

/// The family of a partition: the kind of records that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PartitionFamily {
    /// Flows and executions, tag `{fp:N}`.
    Flow,
    /// Budgets, tag `{b:N}`.
    Budget,
    /// Quota policies, tag `{q:N}`.
    Quota,
    /// Workers, tag `{w:N}`.
    Worker,
    /// Configuration and format, tag `{meta}`. This family has one partition.
    Meta,
}

/// A partition. Records of one partition can be read and written atomically.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The family.
    pub family: PartitionFamily,
    /// The number within the family, from 0.
    pub index: u16,
}

impl Partition {
    /// The partition that holds the configuration.
    pub const META: Self = Self { family: PartitionFamily::Meta, index: 0 };

    /// Returns the partition of flows and executions with this number.
    pub const fn flow(index: u16) -> Self {
        Self { family: PartitionFamily::Flow, index }
    }

    /// Returns the number of the partition in a column of a database. It never changes.
    pub fn column(self) -> i64 {
        let family = PartitionFamily::IN_COLUMNS.iter().position(|it| *it == self.family);
        family.map_or(0, |family| family as i64) << 16 | i64::from(self.index)
    }

    /// Returns the partition with this number in a column of a database; the inverse of
    /// [`Partition::column`].
    pub fn from_column(column: i64) -> Option<Self> {
        let family = *PartitionFamily::IN_COLUMNS.get(usize::try_from(column >> 16).ok()?)?;
        Some(Self { family, index: (column & 0xffff) as u16 })
    }
}

impl PartitionFamily {
    /// The families by their numbers in columns. New families are added at the end.
    const IN_COLUMNS: [Self; 5] = [Self::Flow, Self::Budget, Self::Quota, Self::Worker, Self::Meta];
}

impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tag = match self.family {
            PartitionFamily::Flow => "fp",
            PartitionFamily::Budget => "b",
            PartitionFamily::Quota => "q",
            PartitionFamily::Worker => "w",
            PartitionFamily::Meta => return f.write_str("{meta}"),
        };
        write!(f, "{{{tag}:{}}}", self.index)
    }
}

/// The wire form of a partition, an opaque text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionKey(String);

/// The error for a partition key that does not name a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid partition key {key:?}: expected {{fp:N}}, {{b:N}}, {{q:N}} or {{w:N}} with N from 0 \
     to 65535, or {{meta}}"
)]
pub struct PartitionKeyParseError {
    /// The text.
    pub key: String,
}

impl PartitionKey {
    /// Wraps a text without checking it; [`PartitionKey::parse`] checks it.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text of the key.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses the key. The partition of an execution belongs to the flow family.
    ///
    /// # Errors
    ///
    /// [`PartitionKeyParseError`] if the text does not name a partition.
    pub fn parse(&self) -> Result<Partition, PartitionKeyParseError> {
        parse_tag(&self.0).ok_or_else(|| PartitionKeyParseError { key: self.0.clone() })
    }
}

impl From<Partition> for PartitionKey {
    fn from(partition: Partition) -> Self {
        Self(partition.to_string())
    }
}

impl FromStr for PartitionKey {
    type Err = PartitionKeyParseError;

    fn from_str(text: &str) -> Result<Self, PartitionKeyParseError> {
        let key = Self(text.to_owned());
        key.parse().map(|_| key)
    }
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn parse_tag(text: &str) -> Option<Partition> {
    if text == "{meta}" {
        return Some(Partition::META);
    }
    let (tag, index) = text.strip_prefix('{')?.strip_suffix('}')?.split_once(':')?;
    let family = match tag {
        "fp" => PartitionFamily::Flow,
        "b" => PartitionFamily::Budget,
        "q" => PartitionFamily::Quota,
        "w" => PartitionFamily::Worker,
        _ => return None,
    };
    Some(Partition { family, index: parse_index(index)? })
}

/// Parses a partition's number in its one canonical form: digits, no sign, no leading zero, 16
/// bits.
pub(crate) fn parse_index(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_partition_is_parsed_back_from_its_column() {
        let families = PartitionFamily::IN_COLUMNS;
        for (number, family) in families.into_iter().enumerate() {
            for index in [0, 255, u16::MAX] {
                let partition = Partition { family, index };
                let column = partition.column();
                assert_eq!(column, number as i64 * 65_536 + i64::from(index));
                assert_eq!(Partition::from_column(column), Some(partition));
            }
        }
        assert_eq!(Partition::from_column(5 << 16), None);
        assert_eq!(Partition::from_column(-1), None);
    }

    #[test]
    fn a_family_without_partitions_is_refused() {
        let config = PartitionConfig { num_quota_partitions: 0, ..Default::default() };
        assert_eq!(
            config.check(),
            Err(PartitionConfigError::Zero { field: "num_quota_partitions" })
        );
        assert_eq!(PartitionConfig::default().check(), Ok(()));
    }

    #[test]
    fn malformed_partition_keys_are_refused() {
        for key in ["", "{fp:}", "{fp:01}", "{fp:+1}", "{x:1}", "fp:1", "{fp:70000}"] {
            assert!(PartitionKey::new(key).parse().is_err(), "{key}");
        }
    }

    #[test]
    fn uuids_of_any_version_spread_over_all_partitions() {
        let config = PartitionConfig::default();
        let mut entropy = crate::entropy::Entropy::from_u64(3);
        let mut counts = [0_u32; 256];
        for number in 0..25_600_u128 {
            let random = entropy.uuid();
            // Like version 7: a shared time in the first half, random bits in the second.
            let timed = Uuid::from_u128((0x0190_f3a1_u128 << 96) | (random.as_u128() >> 64));
            let uuid = if number % 2 == 0 { random } else { timed };
            counts[usize::from(config.spread(uuid))] += 1;
        }
        assert!(counts.iter().all(|count| (40..200).contains(count)), "{counts:?}");
    }

    proptest! {
        #[test]
        fn a_partition_key_round_trips(index: u16, family in 0..4_usize) {
            use PartitionFamily::{Budget, Flow, Quota, Worker};
            let partition = Partition { family: [Flow, Budget, Quota, Worker][family], index };
            prop_assert_eq!(PartitionKey::from(partition).parse(), Ok(partition));
        }
    }
}
