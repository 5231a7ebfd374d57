//! The output of an attempt: the first frames, and those that follow as they come.

use ff_sdk::{
    AttemptIndex, Cursor, EngineError, ExecutionId, ExecutionSnapshot, FramePage, SdkError,
    StoredFrame,
};
use maud::{Markup, html};

use super::layout::iso;
use super::link::Link;
use super::visitor::{Shown, Visitor};
use crate::view::text_or_hex;

/// The frames of the page itself. The script follows the output from there on.
const FRAMES: u32 = 200;

/// The output of an attempt.
pub(super) async fn section(
    visitor: &Visitor,
    id: &ExecutionId,
    attempt: AttemptIndex,
    execution: &ExecutionSnapshot,
) -> Shown<Markup> {
    let read = visitor.client.read_stream(id, attempt, Cursor::Start, FRAMES, None).await;
    let page = match read {
        Ok(page) => page,
        Err(SdkError::Engine(EngineError::NotFound { .. })) => return Ok(html! {}),
        Err(error) => return Err(error.into()),
    };
    let FramePage { frames, gap, closed, next, .. } = page;
    let is_empty = frames.is_empty();
    if is_empty && execution.outcome.is_some() {
        return Ok(html! {});
    }
    let has_all = closed.is_some() && frames.len() < FRAMES as usize;
    let path = format!("/v1/executions/{}/attempts/{attempt}/stream/tail", id.url_safe());
    let source = Link::to(path).with("namespace", visitor.client.namespace().as_str());
    Ok(html! {
        section aria-labelledby="output" {
            h2 #output { "Output of attempt " (attempt) }
            @if gap { p.hint { "Earlier frames were dropped." } }
            ol.output #frames tabindex="0" aria-label="Frames"
                data-follow=[(!has_all).then(|| source.to_string())] data-cursor=(next)
            {
                @for frame in &frames { (shown(frame)) }
            }
            p.hint #following role="status" {
                @if has_all { "The output is closed." }
                @else if is_empty { "There is no output yet." }
                @else { "Reload the page for newer output." }
            }
        }
    })
}

/// A frame, with the same parts as those that the script adds.
fn shown(stored: &StoredFrame) -> Markup {
    let frame = &stored.frame;
    let (text, hex) = text_or_hex(Some(&frame.payload));
    let at = iso(stored.at);
    html! {
        li {
            time datetime=(at) { (at) } " "
            span.tag { (frame.frame_type) } " "
            span.payload { (text.or(hex).unwrap_or_default()) }
        }
    }
}
