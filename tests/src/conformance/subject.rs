//! A store under test, and what it says beside the reference.

use ff_core::partition::Partition;
use ff_core::store::{
    Cursor, Failure, MemoryStore, Reply, ReplyBody, Request, StreamName, StreamPage, Wake,
};
use ff_core::time::TimestampMs;

/// A store under test.
pub trait Subject {
    /// Makes it empty.
    fn clear(&mut self);

    /// Its clock, as well as one can know.
    fn now(&self) -> TimestampMs;

    /// Moves its clock, where one can.
    fn pass(&mut self, by_ms: i64);

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is no reply; the suite never expects one.
    fn call(&mut self, request: Request) -> Result<Reply, Failure>;

    /// The wake-ups since the last call; `None` where they come by another way, in their own time.
    fn take_wakes(&mut self) -> Option<Vec<Wake>>;
}

/// Asks the subject, then the reference at the same time; what both say.
pub(super) fn compare(
    subject: &mut impl Subject,
    reference: &mut MemoryStore,
    request: &Request,
) -> Result<(Reply, Vec<Wake>), String> {
    let differs = |what: String| format!("{what}, to {request:?}");
    let reply = subject.call(request.clone()).map_err(|failure| differs(failure.to_string()))?;
    let expected = reference.handle(request.clone(), reply.at);
    if reply != expected {
        let (expected, reply) = where_they_part(&format!("{expected:?}"), &format!("{reply:?}"));
        return Err(differs(format!("the reference answers {expected}, the subject {reply}")));
    }
    let expected_wakes = in_order(reference.take_wakes());
    let wakes = subject.take_wakes().map(in_order);
    if wakes.as_ref().is_some_and(|wakes| *wakes != expected_wakes) {
        return Err(differs(format!(
            "the reference rings {expected_wakes:?}, the subject {wakes:?}"
        )));
    }
    Ok((reply, expected_wakes))
}

/// Two texts from shortly before their first difference on, and not to their ends: some replies are
/// very long.
fn where_they_part(one: &str, other: &str) -> (String, String) {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let excerpt = |text: &str| {
        let bytes = text.as_bytes().get(same.saturating_sub(1_500)..).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..bytes.len().min(3_000)]).into_owned()
    };
    (excerpt(one), excerpt(other))
}

/// Within one request the order of wake-ups means nothing.
fn in_order(mut wakes: Vec<Wake>) -> Vec<Wake> {
    wakes.sort_by(|one, other| (&one.topic, one.partition).cmp(&(&other.topic, other.partition)));
    wakes
}

/// The history of the subject, which each page of a stream names.
pub(super) fn history(subject: &mut impl Subject) -> Result<u64, String> {
    let (partition, stream) = (Partition::META, StreamName::Journal);
    let page = StreamPage { partition, stream, from: Cursor::End, limit: 0 };
    match subject.call(Request::Stream(page)).map(|reply| reply.body) {
        Ok(ReplyBody::Stream(streamed)) => match streamed.next {
            Cursor::After { history, .. } => Ok(history),
            Cursor::Start | Cursor::End => Err("a page ends nowhere".to_owned()),
        },
        other => Err(format!("a page of a stream is answered with {other:?}")),
    }
}
