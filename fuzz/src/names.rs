//! Parses texts from users as ids, partition keys, capabilities, tags, states and list cursors. A
//! parsed value prints in its canonical form and parses back to the same value. No two names have
//! the same key.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use arbitrary::{Result, Unstructured};
use ff_core::capability::{Capabilities, MAX_CAPABILITIES, MAX_CAPABILITIES_BYTES};
use ff_core::id::{
    AttemptId, AttemptIndex, ExecutionId, ExecutionKind, FailureCategory, FlowId, GrantId, LaneId,
    LeaseId, Namespace, RequestId, TEXT_ID_MAX_BYTES, WorkerId, WorkerInstanceId,
};
use ff_core::partition::{Partition, PartitionConfig, PartitionKey};
use ff_core::resource::ResourceKind;
use ff_core::state::{
    AttemptState, BlockingReason, EligibilityState, LifecyclePhase, OwnershipState, PublicState,
    TerminalOutcome,
};
use ff_core::store::{IndexName, RecordKey, StreamName, Topic, ValueKey};
use ff_core::tags::{MAX_TAG_BYTES, MAX_TAGS, Tags};
use ff_server::PageCursor;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// Parses the bytes as a name. The first byte selects the kind.
pub fn check(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    if kind % 8 == 7 {
        let _ = keys(&mut Unstructured::new(bytes));
        return;
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match kind % 8 {
        0 => text_ids(text),
        1 => execution_id(text),
        2 => partition_key(text),
        3 => uuid_ids(text),
        4 => capabilities(text),
        5 => tags(text),
        _ => states(text),
    }
}

/// Checks that every type of text id accepts the same texts, by their bytes alone.
fn text_ids(text: &str) {
    let valid = (1..=TEXT_ID_MAX_BYTES).contains(&text.len())
        && text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    macro_rules! each {
        ($($name:ident)+) => {$(
            let parsed = $name::try_new(text);
            assert_eq!(parsed.is_ok(), valid, "as a {}", stringify!($name));
            assert_eq!(text.parse::<$name>(), parsed);
            if let Ok(id) = parsed {
                assert_eq!((id.as_str(), id.to_string().as_str()), (text, text));
                reads_back(&id);
            } else {
                let json = serde_json::to_string(text).expect("a text is JSON");
                assert!(serde_json::from_str::<$name>(&json).is_err(), "{json}");
            }
        )+};
    }
    each!(LaneId Namespace WorkerId WorkerInstanceId ExecutionKind FailureCategory RequestId);
    let namespace = Namespace::try_new("tenant").expect("a valid id");
    let config = PartitionConfig::default();
    let id = ExecutionId::for_idempotency_key(&config, &namespace, text);
    assert_eq!(ExecutionId::solo(&config, id.uuid()), id, "the partition follows from the uuid");
    assert_eq!(id.to_string().parse(), Ok(id));
}

/// Checks that an execution id has one text form.
fn execution_id(text: &str) {
    let Ok(id) = text.parse::<ExecutionId>() else { return };
    assert_eq!(id.to_string(), text);
    reads_back(&id);
    let key = PartitionKey::from(id.partition());
    assert_eq!(key.parse(), Ok(id.partition()));
    assert!(text.starts_with(key.as_str()));
}

/// Checks that a partition has one key.
fn partition_key(text: &str) {
    let key = PartitionKey::new(text);
    let parsed = key.parse();
    assert_eq!(text.parse::<PartitionKey>().is_ok(), parsed.is_ok());
    if let Ok(partition) = parsed {
        assert_eq!(PartitionKey::from(partition), key);
        assert_eq!(partition.to_string(), text);
    }
}

/// Checks that a uuid, which may have several text forms, prints in one.
fn uuid_ids(text: &str) {
    macro_rules! each {
        ($($name:ident)+) => {$(
            if let Ok(id) = text.parse::<$name>() {
                assert!(prints_back(&id).len() == 36);
                reads_back(&id);
            }
        )+};
    }
    each!(LeaseId AttemptId GrantId FlowId);
}

/// Checks capability tokens, one on each line.
fn capabilities(text: &str) {
    let tokens = || text.split('\n');
    let Ok(set) = Capabilities::try_new(tokens()) else { return };
    let kept: Vec<&str> = set.iter().collect();
    assert!(kept.is_sorted_by(|one, other| one < other), "{kept:?}");
    assert!(tokens().all(|token| kept.contains(&token)));
    assert!(kept.iter().all(|token| !token.is_empty() && !token.contains(',')));
    assert!(kept.len() <= MAX_CAPABILITIES);
    let joined = set.to_string();
    assert!(joined.len() <= MAX_CAPABILITIES_BYTES);
    assert_eq!(Capabilities::try_new(joined.split(',')).as_ref(), Ok(&set));
    reads_back(&set);
    let fewer =
        Capabilities::try_new(kept.iter().skip(1)).expect("a subset of a valid set is valid");
    assert!(fewer.satisfied_by(&set) && fewer.missing_in(&set).is_empty());
    assert!(!set.satisfied_by(&fewer) && set.missing_in(&fewer).len() == 1);
}

/// Checks tags, one `key=value` on each line.
fn tags(text: &str) {
    let pairs = || text.split('\n').filter_map(|line| line.split_once('='));
    let Ok(tags) = Tags::try_new(pairs()) else { return };
    assert!(tags.iter().count() <= MAX_TAGS);
    for (key, value) in tags.iter() {
        assert!(key.len() <= MAX_TAG_BYTES && value.len() <= MAX_TAG_BYTES);
        assert!(key.split('.').count() >= 2 && key.split('.').all(|part| !part.is_empty()));
        assert!(pairs().any(|pair| pair == (key, value)));
        assert_eq!(tags.get(key), Some(value));
    }
    reads_back(&tags);
}

/// Checks names of states, and cursors of lists.
fn states(text: &str) {
    macro_rules! each {
        ($($name:ident)+) => {$(
            if let Ok(state) = text.parse::<$name>() {
                assert_eq!(state.as_str(), text);
                reads_back(&state);
            }
        )+};
    }
    each!(LifecyclePhase OwnershipState EligibilityState BlockingReason);
    each!(TerminalOutcome AttemptState PublicState);
    if let Ok(cursor) = text.parse::<PageCursor>() {
        prints_back(&cursor);
    }
}

/// Checks that different names have different keys, and that each key contains its partition.
fn keys(bytes: &mut Unstructured<'_>) -> Result<()> {
    let (one, one_at, one_text) = key(bytes)?;
    let (other, other_at, other_text) = key(bytes)?;
    assert_eq!(one == other && one_at == other_at, one_text == other_text, "{one} and {other}");
    for (partition, text) in [(one_at, one_text), (other_at, other_text)] {
        let end =
            text.iter().position(|byte| *byte == b'}').expect("a key has a partition tag") + 1;
        let tag = std::str::from_utf8(&text[..end]).expect("a partition tag is text");
        assert_eq!(tag.parse::<PartitionKey>().expect("a partition key").parse(), Ok(partition));
    }
    Ok(())
}

fn key(bytes: &mut Unstructured<'_>) -> Result<(String, Partition, Vec<u8>)> {
    let texts = ["a", "1:a", "a1:b", ":", "{fp:1}", "x", "}"];
    let mut text = || -> Result<String> {
        if bytes.ratio(1, 2)? {
            return Ok((*bytes.choose(&texts)?).to_owned());
        }
        let text: String = bytes.arbitrary()?;
        Ok(if Namespace::try_new(&text).is_ok() { text } else { "a".to_owned() })
    };
    let namespace = Namespace::try_new(text()?).expect("text() returns valid ids");
    let lane = LaneId::try_new(text()?).expect("text() returns valid ids");
    let execution_kind = ExecutionKind::try_new(text()?).expect("text() returns valid ids");
    let uuid = Uuid::from_bytes(bytes.arbitrary()?);
    let at = [Partition::META, Partition::flow(u16::from(bytes.arbitrary::<u8>()?))];
    let at = *bytes.choose(&at)?;
    macro_rules! named {
        ($name:expr) => {{
            let name = $name;
            // The record and the value of a signal print the same text.
            let kind = std::any::type_name_of_val(&name);
            (format!("{kind} {name:?}"), name.text(at))
        }};
    }
    let signal = Uuid::from_bytes(bytes.arbitrary()?);
    let attempt = AttemptIndex(bytes.arbitrary()?);
    let resource = *bytes.choose(&ResourceKind::ALL)?;
    let (name, text) = match bytes.int_in_range(0..=17)? {
        0 => named!(RecordKey::Execution(uuid)),
        1 => named!(RecordKey::Meta),
        2 => named!(ValueKey::Payload(uuid)),
        3 => named!(ValueKey::Result(uuid)),
        4 => named!(IndexName::Eligible { namespace, lane, kind: execution_kind }),
        5 => named!(IndexName::Due),
        6 => named!(IndexName::BlockedRoute { namespace }),
        7 => named!(IndexName::All { namespace }),
        8 => named!(IndexName::Quarantine),
        9 => named!(RecordKey::Signal { execution: uuid, signal }),
        10 => named!(RecordKey::Secrets),
        11 => named!(ValueKey::Signal { execution: uuid, signal }),
        12 => named!(IndexName::Signals { execution: uuid }),
        13 => named!(RecordKey::Resource(resource, uuid)),
        14 => named!(IndexName::Resources { kind: resource, namespace }),
        15 => named!(IndexName::Expiry(resource)),
        16 => named!(StreamName::Frames { execution: uuid, attempt }),
        _ => named!(StreamName::Journal),
    };
    let frames = Topic::Frames { execution: uuid, attempt };
    for topic in [Topic::Journal(at), frames, Topic::Due] {
        assert!(topic.channel().starts_with(b"ff:"));
    }
    Ok((name, at, text))
}

/// Checks that the printed text parses to the same value, and returns the text.
fn prints_back<T: Display + FromStr + PartialEq + Debug>(value: &T) -> String {
    let text = value.to_string();
    let Ok(again) = text.parse::<T>() else { panic!("{text} does not parse") };
    assert_eq!(again, *value);
    text
}

/// Checks that the value is unchanged after both serialised forms.
fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    let json = serde_json::to_string(value).expect("the value has a JSON form");
    assert_eq!(serde_json::from_str::<T>(&json).expect("the JSON form is read"), *value);
    let bytes = postcard::to_allocvec(value).expect("the value has a binary form");
    assert_eq!(postcard::from_bytes::<T>(&bytes).expect("the binary form is read"), *value);
}
