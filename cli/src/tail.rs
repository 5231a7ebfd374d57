//! `ff tail`: the output of an attempt as it comes.

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::core::id::AttemptIndex;
use ff_sdk::core::store::Cursor;
use ff_sdk::{Client, CloseReason, EngineError, SdkError, StoredFrame, Tail, TailItem};
use serde_json::{Value, json};

use crate::args::TailArgs;
use crate::backend;
use crate::outcome::{ALL_COMPLETED, Failed, Out, warn};
use crate::report::{printable, time, word};
use crate::results::readable;
use crate::signals::{self, Wish};

/// How many frames are read at a time where nobody waits for more.
const PAGE: u32 = 500;
/// How long to wait before a store that did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs the command.
pub async fn tail(args: TailArgs) -> Result<ExitCode, Failed> {
    let client = backend::client(&args.store).await?;
    let mut wishes = signals::follow()?;
    let mut shown = Shown { out: Out::new(), json: args.json };
    let work = async {
        match args.no_follow {
            true => read(&client, &args, &mut shown).await,
            false => follow(&client, &args, &mut shown).await,
        }
    };
    tokio::select! {
        biased;
        () = signals::asked(&mut wishes, Wish::Drain) => {}
        ended = work => ended.map_err(|ended| match ended {
            Ended::Failed(failed) => failed,
            Ended::Sdk(SdkError::Engine(EngineError::NotFound { .. })) => {
                backend::not_found(&client)
            }
            Ended::Sdk(error) => error.into(),
        })?,
    }
    Ok(ExitCode::from(ALL_COMPLETED))
}

/// Why it ended early.
enum Ended {
    Failed(Failed),
    Sdk(SdkError),
}

impl From<Failed> for Ended {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<SdkError> for Ended {
    fn from(error: SdkError) -> Self {
        Self::Sdk(error)
    }
}

/// Prints what comes until the output is closed. A store that goes away is asked again.
async fn follow(client: &Client, args: &TailArgs, shown: &mut Shown) -> Result<(), Ended> {
    let attempt = args.attempt.map(AttemptIndex);
    let mut tail = client.tail(&args.id, attempt, args.from, args.frame_type.clone()).await?;
    let mut away = false;
    while let Some(item) = next(&mut tail, &mut away).await? {
        let cursor = tail.cursor();
        match item {
            TailItem::Frame(frame) => shown.frame(tail.attempt(), &frame)?,
            TailItem::Gap => shown.gap(cursor)?,
            TailItem::Closed(reason) => shown.closed(reason, cursor)?,
            other => {
                let problem = format!("this program does not know the item {other:?}");
                return Err(Failed::runtime(problem).into());
            }
        }
        if shown.out.is_closed() {
            break;
        }
    }
    Ok(())
}

/// The next item, however long the store is away.
async fn next(tail: &mut Tail, away: &mut bool) -> Result<Option<TailItem>, SdkError> {
    loop {
        match tail.next().await {
            Some(Err(error)) if error.is_retryable() => {
                if !*away {
                    let problem = printable(&error.to_string());
                    warn(&format!("ff: the store: {problem}; trying again\n"));
                }
                *away = true;
                tokio::time::sleep(PAUSE).await;
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(item)) => {
                if std::mem::take(away) {
                    warn("ff: the store answers again\n");
                }
                return Ok(Some(item));
            }
            None => return Ok(None),
        }
    }
}

/// Prints what there is now.
async fn read(client: &Client, args: &TailArgs, shown: &mut Shown) -> Result<(), Ended> {
    let attempt = match args.attempt {
        Some(attempt) => AttemptIndex(attempt),
        None => {
            let seen = client.describe(&args.id).await?;
            let seen = seen.ok_or_else(|| backend::not_found(client))?;
            seen.latest_attempt().unwrap_or_default()
        }
    };
    let mut from = args.from;
    loop {
        let only = args.frame_type.clone();
        let page = client.read_stream(&args.id, attempt, from, PAGE, only).await?;
        if page.gap {
            shown.gap(page.begins())?;
        }
        for frame in &page.frames {
            shown.frame(attempt, frame)?;
        }
        from = page.next;
        if let Some(reason) = page.closed {
            return Ok(shown.closed(reason, from)?);
        }
        if page.frames.is_empty() {
            return Ok(shown.open(from)?);
        }
        if shown.out.is_closed() {
            return Ok(());
        }
    }
}

/// Items as they are printed.
struct Shown {
    out: Out,
    json: bool,
}

impl Shown {
    fn frame(&mut self, attempt: AttemptIndex, stored: &StoredFrame) -> Result<(), Failed> {
        let text = match self.json {
            true => format!("{}\n", object(attempt, stored)),
            false => lines(stored),
        };
        self.out.print(&text)
    }

    fn gap(&mut self, cursor: Cursor) -> Result<(), Failed> {
        let told = "gap: frames are missing here: they are not kept any more, or the store has \
                    another history";
        self.tell(told.to_owned(), json!({"gap": true, "cursor": cursor.to_string()}))
    }

    fn closed(&mut self, reason: CloseReason, cursor: Cursor) -> Result<(), Failed> {
        let reason = word(reason);
        let object = json!({"closed": reason, "cursor": cursor.to_string()});
        self.tell(format!("closed: {reason}"), object)
    }

    fn open(&mut self, cursor: Cursor) -> Result<(), Failed> {
        let told = format!("more may come: --from {cursor}");
        self.tell(told, json!({"next": cursor.to_string()}))
    }

    fn tell(&mut self, told: String, object: Value) -> Result<(), Failed> {
        self.out.print(&if self.json { format!("{object}\n") } else { format!("{told}\n") })
    }
}

fn object(attempt: AttemptIndex, stored: &StoredFrame) -> Value {
    let frame = &stored.frame;
    let (text, hex) = readable(Some(&frame.payload));
    let mut object = json!({
        "attempt": attempt,
        "sequence": frame.sequence,
        "type": frame.frame_type,
        "metadata": frame.metadata,
        "payload": text,
        "at": stored.at,
        "cursor": stored.cursor.to_string(),
    });
    if let Some(hex) = hex {
        object["payload_hex"] = json!(hex);
    }
    object
}

/// A frame for people. Only its first line begins at the margin, so that no payload looks like
/// another frame, a gap or an end.
fn lines(stored: &StoredFrame) -> String {
    let frame = &stored.frame;
    let payload = match std::str::from_utf8(&frame.payload) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes that are no text)", frame.payload.len()),
    };
    let labels: Vec<String> =
        frame.metadata.iter().map(|(key, value)| format!(" {key}={value}")).collect();
    let labels = printable(&labels.concat());
    let mut text = format!("{}  {} {}{labels}", time(stored.at), frame.sequence, frame.frame_type);
    let mut payload = payload.lines();
    if let Some(first) = payload.next() {
        text.push_str(&format!("  {}", printable(first)));
    }
    for line in payload {
        text.push_str(&format!("\n    {}", printable(line)));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::BTreeMap;

    use ff_sdk::TimestampMs;
    use ff_sdk::core::execution::Frame;
    use ff_sdk::core::store::Bytes;

    fn stored(payload: &[u8]) -> StoredFrame {
        StoredFrame {
            at: TimestampMs::new(1_000),
            cursor: Cursor::Start,
            frame: Frame {
                sequence: 3,
                frame_type: "log".parse().expect("a type"),
                payload: Bytes::from(payload),
                metadata: BTreeMap::from([("level".to_owned(), "a\nb".to_owned())]),
            },
        }
    }

    #[test]
    fn no_payload_looks_like_another_line_and_none_reaches_the_terminal() {
        let said = lines(&stored(b"one\nclosed: success\n\x1b[2J"));
        let wanted =
            "1970-01-01T00:00:01.000Z  3 log level=a b  one\n    closed: success\n     [2J\n";
        assert_eq!(said, wanted);
        assert!(lines(&stored(b"\xff\xfe")).contains("(2 bytes that are no text)"));
        assert!(lines(&stored(b"")).ends_with("a b\n"));
    }

    #[test]
    fn what_is_no_text_is_hexadecimal_in_json() {
        let seen = object(AttemptIndex(1), &stored(b"\xff\x01"));
        assert_eq!((&seen["payload"], &seen["payload_hex"]), (&Value::Null, &json!("ff01")));
        let seen = object(AttemptIndex(1), &stored(b"text"));
        assert_eq!((&seen["payload"], seen.get("payload_hex")), (&json!("text"), None));
    }
}
