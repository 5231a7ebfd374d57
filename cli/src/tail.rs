//! `ff tail`: follows the output of an attempt.

use std::process::ExitCode;
use std::time::Duration;

use ff_sdk::core::id::AttemptIndex;
use ff_sdk::core::store::Cursor;
use ff_sdk::{Client, CloseReason, SdkError, StoredFrame, Tail, TailItem};
use ff_server::view;
use serde_json::{Value, json};

use crate::args::TailArgs;
use crate::backend;
use crate::exit::{CliError, Stdout, warn};
use crate::report::{printable, time, wire_name};
use crate::shutdown::{self, Shutdown};

/// The number of frames in a page with --no-follow.
const PAGE: u32 = 500;
/// The pause before a call is retried that the store did not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Runs the command.
pub async fn tail(args: TailArgs) -> Result<ExitCode, CliError> {
    let client = backend::client(&args.store).await?;
    let mut shutdown = shutdown::follow()?.shutdown;
    let mut printer = Printer { out: Stdout::new(), json: args.json };
    let work = async {
        match args.no_follow {
            true => read(&client, &args, &mut printer).await,
            false => follow(&client, &args, &mut printer).await,
        }
    };
    tokio::select! {
        biased;
        () = shutdown::requested(&mut shutdown, Shutdown::Drain) => {}
        ended = work => ended?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints frames until the output is closed. Retries if the store goes away.
async fn follow(client: &Client, args: &TailArgs, printer: &mut Printer) -> Result<(), CliError> {
    let error = |error| backend::call_error(client, &args.id, error);
    let attempt = args.attempt.map(AttemptIndex);
    let tail = client.tail(&args.id, attempt, args.from, args.frame_type.clone()).await;
    let mut tail = tail.map_err(error)?;
    let mut unanswered = false;
    while let Some(item) = next(&mut tail, &mut unanswered).await.map_err(error)? {
        let cursor = tail.cursor();
        match item {
            TailItem::Frame(frame) => printer.frame(tail.attempt(), &frame)?,
            TailItem::Gap => printer.gap(cursor)?,
            TailItem::Closed(reason) => printer.closed(reason, cursor)?,
            other => {
                let problem = format!("unknown item, use a newer version of ff: {other:?}");
                return Err(CliError::runtime(problem));
            }
        }
        if printer.out.is_closed() {
            break;
        }
    }
    Ok(())
}

/// The next item. Retries for as long as the store does not answer.
async fn next(tail: &mut Tail, unanswered: &mut bool) -> Result<Option<TailItem>, SdkError> {
    loop {
        match tail.next().await {
            Some(Err(error)) if error.is_retryable() => {
                if !*unanswered {
                    let problem = printable(&error.to_string());
                    warn(&format!("ff: the store does not answer, retrying: {problem}\n"));
                }
                *unanswered = true;
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Some(Err(error)) => return Err(error),
            Some(Ok(item)) => {
                if std::mem::take(unanswered) {
                    warn("ff: the store answers again\n");
                }
                return Ok(Some(item));
            }
            None => return Ok(None),
        }
    }
}

/// Prints the frames that exist now.
async fn read(client: &Client, args: &TailArgs, printer: &mut Printer) -> Result<(), CliError> {
    let attempt = match args.attempt {
        Some(attempt) => AttemptIndex(attempt),
        None => backend::describe(client, &args.id).await?.latest_attempt().unwrap_or_default(),
    };
    let mut from = args.from;
    loop {
        let frame_type = args.frame_type.clone();
        let page = client.read_stream(&args.id, attempt, from, PAGE, frame_type).await;
        let page = page.map_err(|error| backend::call_error(client, &args.id, error))?;
        if page.gap {
            printer.gap(page.begins())?;
        }
        for frame in &page.frames {
            printer.frame(attempt, frame)?;
        }
        from = page.next;
        if let Some(reason) = page.closed {
            return printer.closed(reason, from);
        }
        if page.frames.is_empty() {
            return printer.open(from);
        }
        if printer.out.is_closed() {
            return Ok(());
        }
    }
}

/// Prints items as text or JSON.
struct Printer {
    out: Stdout,
    json: bool,
}

impl Printer {
    fn frame(&mut self, attempt: AttemptIndex, stored: &StoredFrame) -> Result<(), CliError> {
        let text = match self.json {
            true => format!("{}\n", view::frame(attempt, stored)),
            false => lines(stored),
        };
        self.out.print(&text)
    }

    fn gap(&mut self, cursor: Cursor) -> Result<(), CliError> {
        let text = "gap: frames are missing here: they were dropped, or the store lost its latest \
                    writes in a failover";
        self.line(text, &json!({"gap": true, "cursor": cursor.to_string()}))
    }

    fn closed(&mut self, reason: CloseReason, cursor: Cursor) -> Result<(), CliError> {
        let reason = wire_name(reason);
        let object = json!({"closed": reason, "cursor": cursor.to_string()});
        self.line(&format!("closed: {reason}"), &object)
    }

    fn open(&mut self, cursor: Cursor) -> Result<(), CliError> {
        let text = format!("the output is still open: continue with --from {cursor}");
        self.line(&text, &json!({"next": cursor.to_string()}))
    }

    fn line(&mut self, text: &str, object: &Value) -> Result<(), CliError> {
        self.out.print(&if self.json { format!("{object}\n") } else { format!("{text}\n") })
    }
}

/// A frame as text. All lines but the first are indented, so that no payload looks like another
/// frame, a gap or the end of the output.
fn lines(stored: &StoredFrame) -> String {
    let frame = &stored.frame;
    let payload = match std::str::from_utf8(&frame.payload) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} bytes that are not text)", frame.payload.len()),
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
    fn a_payload_cannot_look_like_another_line_or_control_the_terminal() {
        let text = lines(&stored(b"one\nclosed: success\n\x1b[2J"));
        let wanted =
            "1970-01-01T00:00:01.000Z  3 log level=a b  one\n    closed: success\n     [2J\n";
        assert_eq!(text, wanted);
        assert!(lines(&stored(b"\xff\xfe")).contains("(2 bytes that are not text)"));
        assert!(lines(&stored(b"")).ends_with("a b\n"));
    }

    #[test]
    fn a_payload_that_is_not_text_is_hexadecimal_in_json() {
        let line = view::frame(AttemptIndex(1), &stored(b"\xff\x01"));
        assert_eq!((&line["payload"], &line["payload_hex"]), (&Value::Null, &json!("ff01")));
        let line = view::frame(AttemptIndex(1), &stored(b"text"));
        assert_eq!((&line["payload"], line.get("payload_hex")), (&json!("text"), None));
    }
}
