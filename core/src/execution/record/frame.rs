//! Frames: the output of an attempt, piece by piece (`docs/spec.md`, 6).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::id::FrameType;
use crate::null::or_default;

/// The largest payload of a frame: 64 KiB.
pub const MAX_FRAME_PAYLOAD: usize = 64 << 10;
/// The most bytes of a frame's metadata, keys and values together.
pub const MAX_FRAME_METADATA: usize = 4 << 10;

/// One piece of an attempt's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Its number in its attempt, from 1 without gaps.
    pub sequence: u64,
    /// The kind of output.
    pub frame_type: FrameType,
    /// The output, at most 64 KiB.
    pub payload: Arc<[u8]>,
    /// Labels, at most 4 KiB.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: BTreeMap<String, String>,
}
