//! Byte strings in JSON: any JSON as it was written, or base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::value::RawValue;

use crate::answer::{Answer, Refusal};

/// The bytes of a field, from its JSON or from its base64.
pub(crate) fn given(
    field: &str,
    json: Option<Box<RawValue>>,
    base64: Option<String>,
) -> Answer<Option<Vec<u8>>> {
    match (json, base64) {
        (None, None) => Ok(None),
        (Some(json), None) => Ok(Some(json.get().as_bytes().to_vec())),
        (None, Some(encoded)) => match BASE64_STANDARD.decode(encoded) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) => Err(Refusal::invalid(format!("{field}_base64: {error}"))),
        },
        (Some(_), Some(_)) => {
            Err(Refusal::invalid(format!("{field}_base64: remove this field or {field}")))
        }
    }
}

/// Bytes as two fields: JSON if they are JSON, otherwise base64.
pub(crate) fn shown(bytes: Option<&[u8]>) -> (Option<Box<RawValue>>, Option<String>) {
    let Some(bytes) = bytes else { return (None, None) };
    match serde_json::from_slice::<Box<RawValue>>(bytes) {
        Ok(json) => (Some(json), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_as_json_or_base64() {
        for bytes in [&b"{\"a\": 1}"[..], b"7", b"", b"text", b"\xff\x00", b"\"\xff\"", b"null"] {
            let (json, base64) = shown(Some(bytes));
            assert!(json.is_some() != base64.is_some());
            assert_eq!(given("payload", json, base64).expect("valid").as_deref(), Some(bytes));
        }
        assert_eq!(given("payload", None, None).expect("nothing"), None);
        let error = given("payload", None, Some("%".to_owned())).expect_err("no base64");
        assert!(error.message().starts_with("payload_base64: "), "{error:?}");
    }
}
