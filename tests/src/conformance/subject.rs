//! A store under test, and the comparison of its replies with the reference.

use ff_core::partition::Partition;
use ff_core::store::{
    Cursor, Failure, MemoryStore, Reply, ReplyBody, Request, StreamName, StreamPage, Wake,
};
use ff_core::time::TimestampMs;

/// A store under test.
pub trait Subject {
    /// Removes everything.
    fn clear(&mut self);

    /// The time of its clock, exact or estimated.
    fn now(&self) -> TimestampMs;

    /// Moves its clock, if it can be moved.
    fn pass(&mut self, by_ms: i64);

    /// Answers a request.
    ///
    /// # Errors
    ///
    /// [`Failure`] when there is no reply; the suite never expects one.
    fn call(&mut self, request: Request) -> Result<Reply, Failure>;

    /// Takes the wake-ups since the last call; `None` if they arrive asynchronously.
    fn take_wakes(&mut self) -> Option<Vec<Wake>>;
}

/// Sends a request to the subject, and to the reference at the time of its reply; returns the reply
/// and the wake-ups if they are equal.
pub(super) fn compare(
    subject: &mut impl Subject,
    reference: &mut MemoryStore,
    request: &Request,
) -> Result<(Reply, Vec<Wake>), String> {
    let differs = |what: String| format!("{what} to {request:?}");
    let reply = subject.call(request.clone()).map_err(|failure| differs(failure.to_string()))?;
    let expected = reference.handle(request.clone(), reply.at);
    if reply != expected {
        let (expected, reply) = around_difference(&format!("{expected:?}"), &format!("{reply:?}"));
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

/// Excerpts of two texts around their first difference, since some replies are very long.
fn around_difference(one: &str, other: &str) -> (String, String) {
    let same = one.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
    let excerpt = |text: &str| {
        let bytes = text.as_bytes().get(same.saturating_sub(1_500)..).unwrap_or_default();
        String::from_utf8_lossy(&bytes[..bytes.len().min(3_000)]).into_owned()
    };
    (excerpt(one), excerpt(other))
}

/// Sorts wake-ups, since their order within one request is undefined.
fn in_order(mut wakes: Vec<Wake>) -> Vec<Wake> {
    wakes.sort();
    wakes
}

/// The history of the subject, which each page of a stream names.
pub(super) fn history(subject: &mut impl Subject) -> Result<u64, String> {
    let (partition, stream) = (Partition::META, StreamName::Journal);
    let page = StreamPage { partition, stream, from: Cursor::End, limit: 0 };
    match subject.call(Request::Stream(page)).map(|reply| reply.body) {
        Ok(ReplyBody::Stream(streamed)) => match streamed.next {
            Cursor::After { history, .. } => Ok(history),
            Cursor::Start | Cursor::End => Err("a page has no end".to_owned()),
        },
        other => Err(format!("a page of a stream is answered with {other:?}")),
    }
}
