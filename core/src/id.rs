//! Identifiers: text ids that users choose, uuids, and the execution id with its partition
//! (`docs/spec.md`, 2).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

use crate::entropy::Entropy;
use crate::partition::{Partition, PartitionConfig, PartitionFamily};

/// The maximum length of a text id, in bytes.
pub const TEXT_ID_MAX_BYTES: usize = 64;

/// The reason a text is not a valid id. Each variant names the kind of id in `what`: `lane`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextIdError {
    /// The text is empty.
    #[error("invalid {what}: it is empty; expected 1 to 64 printable ASCII bytes without spaces")]
    Empty {
        /// The kind of id.
        what: &'static str,
    },
    /// The text is longer than [`TEXT_ID_MAX_BYTES`].
    #[error("invalid {what}: it has {bytes} bytes; at most 64 are allowed")]
    TooLong {
        /// The kind of id.
        what: &'static str,
        /// The length of the text, in bytes.
        bytes: usize,
    },
    /// The text has a byte that is not printable ASCII, or is a space.
    #[error(
        "invalid {what} {text:?}: byte {position} is not allowed; expected printable ASCII \
         without spaces"
    )]
    InvalidByte {
        /// The kind of id.
        what: &'static str,
        /// The text.
        text: String,
        /// The position of the first invalid byte, from 0.
        position: usize,
    },
}

fn check_text(what: &'static str, text: &str) -> Result<(), TextIdError> {
    if text.is_empty() {
        return Err(TextIdError::Empty { what });
    }
    if text.len() > TEXT_ID_MAX_BYTES {
        return Err(TextIdError::TooLong { what, bytes: text.len() });
    }
    match text.bytes().position(|byte| !byte.is_ascii_graphic()) {
        Some(position) => Err(TextIdError::InvalidByte { what, text: text.to_owned(), position }),
        None => Ok(()),
    }
}

struct TextVisitor(&'static str);

impl de::Visitor<'_> for TextVisitor {
    type Value = Arc<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Arc<str>, E> {
        check_text(self.0, text).map_err(E::custom)?;
        Ok(Arc::from(text))
    }
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident, $what:literal;)+) => {$(
        $(#[$doc])*
        ///
        /// 1 to 64 printable ASCII bytes without space. Cloning is cheap.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Creates the id from a literal.
            ///
            /// # Panics
            ///
            /// If the text is not valid. For a text that comes from outside of the program use
            /// [`try_new`](Self::try_new).
            #[track_caller]
            pub fn new(text: impl AsRef<str>) -> Self {
                Self::try_new(text).unwrap_or_else(|error| panic!("{error}"))
            }

            /// Parses the text.
            ///
            /// # Errors
            ///
            /// [`TextIdError::Empty`], [`TextIdError::TooLong`] above [`TEXT_ID_MAX_BYTES`], or
            /// [`TextIdError::InvalidByte`].
            pub fn try_new(text: impl AsRef<str>) -> Result<Self, TextIdError> {
                check_text($what, text.as_ref())?;
                Ok(Self(Arc::from(text.as_ref())))
            }

            /// Returns the text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl FromStr for $name {
            type Err = TextIdError;

            fn from_str(text: &str) -> Result<Self, TextIdError> {
                Self::try_new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = TextIdError;

            fn try_from(text: &str) -> Result<Self, TextIdError> {
                Self::try_new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextIdError;

            fn try_from(text: String) -> Result<Self, TextIdError> {
                Self::try_new(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(TextVisitor($what)).map(Self)
            }
        }
    )+};
}

text_ids! {
    /// A lane: a named queue of executions within a namespace.
    LaneId, "lane";
    /// A namespace (a tenant): workers see only executions of the same namespace.
    Namespace, "namespace";
    /// A worker. Several instances of it may run. Grants are bound to the worker.
    WorkerId, "worker id";
    /// One process of a worker.
    WorkerInstanceId, "worker instance id";
    /// A budget: what a namespace may spend, by dimension.
    BudgetId, "budget id";
    /// The unit that a budget counts, such as `tokens` or `cents`.
    Dimension, "dimension";
    /// A quota: how many executions may start or run.
    QuotaId, "quota id";
    /// The name of a part that a quota counts separately, such as a customer.
    QuotaKey, "quota key";
    /// The kind of work of an execution. It selects the handler.
    ExecutionKind, "execution kind";
    /// The category of a failure. A retry policy decides by it.
    FailureCategory, "failure category";
    /// The id of one call of an operator, so that a repeated call is recognised.
    RequestId, "request id";
    /// The name of a waitpoint within its execution. Conditions refer to it.
    WaitpointKey, "waitpoint key";
    /// The name of a signal, such as `approved` or `done`.
    SignalName, "signal name";
    /// The sender of a signal, as stated by the sender. A condition may count distinct sources.
    SignalSource, "signal source";
    /// The kind of source that sent a signal, such as `user`, `webhook` or `scheduler`.
    SignalSourceType, "signal source type";
    /// The category of a signal, such as `approval` or `callback`.
    SignalCategory, "signal category";
    /// The id under which the sender, and other systems, know the conversation that a signal
    /// belongs to.
    CorrelationId, "correlation id";
    /// The kind of output in a frame, such as `progress`, `token` or `log`.
    FrameType, "frame type";
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a uuid.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// Draws a random id.
            pub fn random(entropy: &mut Entropy) -> Self {
                Self(entropy.uuid())
            }

            /// Returns the uuid.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map(Self)
            }
        }
    )+};
}

uuid_ids! {
    /// The id of a lease, chosen by the claimer.
    LeaseId;
    /// The id of an attempt. It stays the same when the attempt is resumed.
    AttemptId;
    /// The id of a grant, chosen by the caller that requests it.
    GrantId;
    /// The slots that an execution has in its quotas, drawn by the operation that takes them.
    SlotId;
    /// The id of a flow.
    FlowId;
    /// The id of a suspension, chosen by the worker that suspends.
    SuspensionId;
    /// The id of a waitpoint, chosen by the worker that creates it.
    WaitpointId;
    /// The id of a signal, chosen by its sender or derived from an idempotency key.
    SignalId;
}

const SIGNAL_KEY_SPACE: Uuid = Uuid::from_bytes([
    0x9a, 0x3d, 0x51, 0x07, 0x2c, 0x44, 0x5b, 0x1e, 0xa2, 0x0f, 0x73, 0x69, 0x67, 0x6e, 0x61, 0x6c,
]);

impl SignalId {
    /// Derives the id of a signal from an idempotency key within a waitpoint, by uuid v5.
    pub fn for_idempotency_key(waitpoint: WaitpointId, key: &str) -> Self {
        let space = Uuid::new_v5(&SIGNAL_KEY_SPACE, waitpoint.uuid().as_bytes());
        Self(Uuid::new_v5(&space, key.as_bytes()))
    }
}

const GRANT_KEY_SPACE: Uuid = Uuid::from_bytes([
    0x27, 0x64, 0x1b, 0xd0, 0x4c, 0x9f, 0x5e, 0x62, 0xb1, 0x13, 0x00, 0x67, 0x72, 0x61, 0x6e, 0x74,
]);

impl GrantId {
    /// Derives the id of the grant that a call asks for, by uuid v5: a repeat of the call asks for
    /// the same grant.
    pub fn for_request(execution: &ExecutionId, request: &RequestId) -> Self {
        let space = Uuid::new_v5(&GRANT_KEY_SPACE, execution.uuid().as_bytes());
        Self(Uuid::new_v5(&space, request.as_str().as_bytes()))
    }
}

/// The fencing epoch of a lease: 0 before the first lease, the creation time in milliseconds plus
/// one at the first, and one more at each later claim, resumed claim and reclaim. Renewal, expiry
/// and revocation do not change it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct LeaseEpoch(pub u64);

impl LeaseEpoch {
    /// Returns the epoch of the next lease.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for LeaseEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of an attempt, counted from 0 without gaps.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct AttemptIndex(pub u32);

impl fmt::Display for AttemptIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A random number that distinguishes creators or committers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(pub u64);

/// The id of an execution: its partition and a uuid. The text has one canonical form,
/// `{fp:N}:<uuid>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId {
    index: u16,
    uuid: Uuid,
}

/// The reason a text is not a valid execution id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutionIdError {
    /// The text does not begin with `{fp:`, or the tag is not closed.
    #[error(
        "invalid execution id {text:?}: expected {{fp:N}}:<uuid>, such as {{fp:7}}:<uuid>, or \
         N.<uuid> as in URLs"
    )]
    MissingTag {
        /// The text.
        text: String,
    },
    /// The partition's number has a sign or a leading zero, or does not fit 16 bits.
    #[error(
        "invalid partition index {index:?}: expected 0 to 65535 in digits, without sign or \
         leading zero"
    )]
    InvalidPartitionIndex {
        /// The text between the colon and the brace.
        index: String,
    },
    /// The uuid is not in its canonical form.
    #[error("invalid uuid {uuid:?}: expected 36 characters, in lower case and with hyphens")]
    InvalidUuid {
        /// The text after the tag.
        uuid: String,
    },
}

const IDEMPOTENCY_SPACE: Uuid = Uuid::from_bytes([
    0x5c, 0x1f, 0x4e, 0x0b, 0x0d, 0x8b, 0x5a, 0x53, 0x9d, 0x7e, 0x66, 0x66, 0x69, 0x64, 0x65, 0x6d,
]);

impl ExecutionId {
    /// Creates an id from its parts. It does not check whether the partition exists: the SDK does,
    /// before each call.
    pub const fn from_parts(partition_index: u16, uuid: Uuid) -> Self {
        Self { index: partition_index, uuid }
    }

    /// Creates the id of an execution outside of a flow. The uuid selects the partition, so that a
    /// lane spreads over all partitions.
    pub fn solo(config: &PartitionConfig, uuid: Uuid) -> Self {
        Self { index: config.spread(uuid), uuid }
    }

    /// Creates the id of a member of a flow, in the flow's partition.
    pub fn for_flow(config: &PartitionConfig, flow: FlowId, uuid: Uuid) -> Self {
        Self { index: config.spread(flow.uuid()), uuid }
    }

    /// Derives the id from an idempotency key by uuid v5: every process derives the same id.
    pub fn for_idempotency_key(config: &PartitionConfig, namespace: &Namespace, key: &str) -> Self {
        // A namespace has no byte below 0x21, so the separator keeps the pair unambiguous.
        let name = [namespace.as_str().as_bytes(), b"\n", key.as_bytes()].concat();
        Self::solo(config, Uuid::new_v5(&IDEMPOTENCY_SPACE, &name))
    }

    /// Returns the partition that holds the execution.
    pub const fn partition(&self) -> Partition {
        Partition { family: PartitionFamily::Flow, index: self.index }
    }

    /// Returns the uuid.
    pub const fn uuid(&self) -> Uuid {
        self.uuid
    }

    /// Returns the id in a form for URLs and file names, `N.<uuid>`, without the braces and the
    /// colon of its text. [`ExecutionId::from_any`] reads it.
    pub fn url_safe(&self) -> String {
        format!("{}.{}", self.index, self.uuid)
    }

    /// Parses the text of an id, or its [form for URLs](ExecutionId::url_safe).
    ///
    /// # Errors
    ///
    /// [`ExecutionIdError`], as for the text.
    pub fn from_any(text: &str) -> Result<Self, ExecutionIdError> {
        match text.split_once('.') {
            Some((index, uuid)) => format!("{{fp:{index}}}:{uuid}").parse(),
            None => text.parse(),
        }
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{fp:{}}}:{}", self.index, self.uuid)
    }
}

impl fmt::Debug for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ExecutionId {
    type Err = ExecutionIdError;

    fn from_str(text: &str) -> Result<Self, ExecutionIdError> {
        let (index, uuid_text) =
            text.strip_prefix("{fp:")
                .and_then(|rest| rest.split_once("}:"))
                .ok_or_else(|| ExecutionIdError::MissingTag { text: text.to_owned() })?;
        let index = crate::partition::parse_index(index)
            .ok_or_else(|| ExecutionIdError::InvalidPartitionIndex { index: index.to_owned() })?;
        let invalid = || ExecutionIdError::InvalidUuid { uuid: uuid_text.to_owned() };
        let uuid = Uuid::parse_str(uuid_text).map_err(|_| invalid())?;
        let mut canonical = Uuid::encode_buffer();
        if uuid.hyphenated().encode_lower(&mut canonical) != uuid_text {
            return Err(invalid());
        }
        Ok(Self { index, uuid })
    }
}

impl Serialize for ExecutionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            (self.index, self.uuid).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ExecutionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
        } else {
            let (index, uuid) = <(u16, Uuid)>::deserialize(deserializer)?;
            Ok(Self { index, uuid })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const UUID: &str = "0190f3a1-7b5c-4d2e-8f00-112233445566";

    fn parse(text: &str) -> Result<ExecutionId, ExecutionIdError> {
        text.parse()
    }

    #[test]
    fn only_the_canonical_text_of_an_execution_id_parses() {
        assert_eq!(
            parse(&format!("{{fp:7}}:{UUID}")).unwrap().to_string(),
            format!("{{fp:7}}:{UUID}")
        );
        for index in ["+7", "007", "65536", "-1", "", "7 ", " 7"] {
            let error = ExecutionIdError::InvalidPartitionIndex { index: index.to_owned() };
            assert_eq!(parse(&format!("{{fp:{index}}}:{UUID}")), Err(error));
        }
        let (upper, simple) = (UUID.to_uppercase(), UUID.replace('-', ""));
        for uuid in [upper, simple, format!("{UUID}0"), format!("{{{UUID}}}")] {
            let error = parse(&format!("{{fp:7}}:{uuid}"));
            assert_eq!(error, Err(ExecutionIdError::InvalidUuid { uuid }));
        }
        for text in [UUID, "", "{b:7}:x", "{fp:7"] {
            assert_eq!(parse(text), Err(ExecutionIdError::MissingTag { text: text.to_owned() }));
        }
    }

    #[test]
    fn the_form_for_urls_names_the_same_execution() {
        let id = parse(&format!("{{fp:7}}:{UUID}")).unwrap();
        assert_eq!(id.url_safe(), format!("7.{UUID}"));
        for text in [id.url_safe(), id.to_string()] {
            assert_eq!(ExecutionId::from_any(&text), Ok(id));
        }
        for text in ["7.x", "07.0190f3a1-7b5c-4d2e-8f00-112233445566", ".", "7", ""] {
            assert!(ExecutionId::from_any(text).is_err(), "{text}");
        }
    }

    #[test]
    #[should_panic(expected = "invalid lane \"a b\": byte 1 is not allowed")]
    fn a_literal_that_is_not_an_id_panics_with_the_reason() {
        let _ = LaneId::new("a b");
    }

    #[test]
    fn text_ids_accept_only_printable_ascii() {
        assert!(LaneId::try_new("default").is_ok());
        assert!(LaneId::try_new("x".repeat(64)).is_ok());
        assert_eq!(LaneId::try_new(""), Err(TextIdError::Empty { what: "lane" }));
        let long = LaneId::try_new("x".repeat(65));
        assert_eq!(long, Err(TextIdError::TooLong { what: "lane", bytes: 65 }));
        for text in ["a b", "a\n", "ä", "\u{7f}"] {
            let error = LaneId::try_new(text).unwrap_err();
            assert!(matches!(error, TextIdError::InvalidByte { .. }), "{text:?}");
        }
    }

    #[test]
    fn an_idempotency_key_names_one_execution_in_each_namespace() {
        let config = PartitionConfig::default();
        let id = |namespace: &str, key| {
            let namespace = Namespace::try_new(namespace).unwrap();
            ExecutionId::for_idempotency_key(&config, &namespace, key)
        };
        assert_eq!(id("a", "k"), id("a", "k"));
        assert_ne!(id("a", "k"), id("b", "k"));
        assert_ne!(id("a", "k"), id("a", "l"));
    }

    proptest! {
        #[test]
        fn any_execution_id_round_trips(index: u16, bytes: [u8; 16]) {
            let id = ExecutionId::from_parts(index, Uuid::from_bytes(bytes));
            prop_assert_eq!(parse(&id.to_string()), Ok(id));
            prop_assert_eq!(ExecutionId::from_any(&id.url_safe()), Ok(id));
            prop_assert_eq!(ExecutionId::from_any(&id.to_string()), Ok(id));
            let unreserved = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            prop_assert!(id.url_safe().chars().all(unreserved));
        }

        /// A text in one of the two forms is exactly that form of the id that it names.
        #[test]
        fn no_other_text_names_an_execution(
            open in "(\\{fp:)?", index in "[0-9+]{1,6}", between in "(\\}:|\\.|:|)",
            uuid in "[0-9a-fA-F]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}",
        ) {
            let text = format!("{open}{index}{between}{uuid}");
            if let Ok(id) = ExecutionId::from_any(&text) {
                prop_assert!(text == id.url_safe() || text == id.to_string(), "{}", text);
            }
        }

        #[test]
        fn parsing_never_panics(text in ".{0,60}") {
            let _ = parse(&text);
            let _ = ExecutionId::from_any(&text);
            let _ = LaneId::try_new(&text);
        }
    }
}
