//! Polls of several nodes at the same time, of which a late one does not hold up the others.
//!
//! A poll ends when all nodes have answered, or a short grace after the first one has. A late poll
//! goes on in its task, and its answer is that of the next poll of the same keys: so a node that is
//! always slow is heard too, one poll later, and has one poll in flight. A node that was late
//! before gets no further grace. So a hung node costs one grace for each response timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ff_core::store::{Failure, Firsts, IndexName, Poll, PollOf};
use ff_core::time::TimestampMs;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::Instant;

use super::failure::classify;
use super::node::{Node, answer};
use crate::wire::{self, Tag};

/// The result of a poll of one node.
pub(super) struct NodeFirsts {
    /// The node's time.
    pub(super) at: TimestampMs,
    /// The first scores in its partitions.
    pub(super) firsts: Vec<Result<Firsts, String>>,
    /// How many programs listen to the topic at this node.
    pub(super) listeners: u64,
}

type Polled = Result<NodeFirsts, Failure>;

/// The age of an answer after which it is not used any more.
const USABLE_FOR: Duration = Duration::from_secs(10);

/// A poll of one node.
#[derive(Clone)]
pub(super) struct NodePoll {
    pub(super) node: Arc<Node>,
    pub(super) poll: Poll,
    pub(super) tag: Tag,
}

/// The polls of a backend.
pub(super) struct Polls {
    grace: Duration,
    /// The polls that were not answered in time.
    late: Mutex<Vec<SentPoll>>,
}

/// A poll in flight.
struct SentPoll {
    poll: NodePoll,
    sent: Instant,
    /// Whether an earlier caller has waited for it in vain.
    was_late: bool,
    answer: BoxFuture<'static, Polled>,
}

impl SentPoll {
    /// Sends a poll in a task, which ends with the answer or the response timeout.
    fn new(poll: NodePoll) -> Self {
        let asked = poll.clone();
        let polling =
            tokio::spawn(async move { poll_node(&asked.node, &asked.poll, asked.tag).await });
        let ended = |_| Err(Failure::MaybeApplied("the runtime of the backend has ended".into()));
        let answer = polling.map(move |polled| polled.unwrap_or_else(ended)).boxed();
        Self { poll, sent: Instant::now(), was_late: false, answer }
    }

    fn is_for(&self, poll: &NodePoll) -> bool {
        Arc::ptr_eq(&self.poll.node, &poll.node) && self.poll.poll == poll.poll
    }
}

impl Polls {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, late: Mutex::default() }
    }

    fn late(&self) -> MutexGuard<'_, Vec<SentPoll>> {
        self.late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Polls some nodes; returns the answer of each. The poll of a late node fails.
    pub(super) async fn poll(&self, polls: Vec<NodePoll>) -> Vec<Polled> {
        if let [poll] = &*polls {
            // No other node waits for this one.
            return vec![poll_node(&poll.node, &poll.poll, poll.tag).await];
        }
        let mut sent: Vec<SentPoll> = polls.into_iter().map(|poll| self.send(poll)).collect();
        let mut punctual = sent.iter().filter(|sent| !sent.was_late).count();
        let mut answers: Vec<Option<Polled>> = sent.iter().map(|_| None).collect();
        let mut waiting: FuturesUnordered<_> = (sent.iter_mut().enumerate())
            .map(|(number, sent)| async move { (number, sent.was_late, (&mut sent.answer).await) })
            .collect();
        let mut until: Option<Instant> = None;
        while until.is_none() || punctual > 0 {
            let end = until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                answer = waiting.next() => {
                    let Some((number, was_late, answer)) = answer else { break };
                    if answer.is_ok() {
                        until.get_or_insert_with(|| Instant::now() + self.grace);
                    }
                    punctual -= usize::from(!was_late);
                    answers[number] = Some(answer);
                }
                () = tokio::time::sleep_until(end), if until.is_some() => break,
            }
        }
        drop(waiting);
        sent.into_iter().zip(answers).map(|(sent, answer)| self.end(sent, answer)).collect()
    }

    /// Sends a poll, or continues with the late one of the same keys.
    fn send(&self, poll: NodePoll) -> SentPoll {
        let mut late = self.late();
        late.retain(|late| late.sent.elapsed() < USABLE_FOR);
        let Some(number) = late.iter().position(|late| late.is_for(&poll)) else {
            return SentPoll::new(poll);
        };
        let mut found = late.swap_remove(number);
        match (&mut found.answer).now_or_never() {
            // The node may answer again.
            Some(Err(_)) => return SentPoll::new(poll),
            Some(answer) => found.answer = std::future::ready(answer).boxed(),
            None => {}
        }
        found
    }

    /// The answer to a poll. A late one is kept for the next poll of the same keys.
    fn end(&self, mut sent: SentPoll, answer: Option<Polled>) -> Polled {
        if let Some(answer) = answer.or_else(|| (&mut sent.answer).now_or_never()) {
            return answer;
        }
        let late_node = format!("{} has not answered yet", sent.poll.node.name);
        sent.was_late = true;
        let mut late = self.late();
        if !late.iter().any(|late| late.is_for(&sent.poll)) {
            late.push(sent);
        }
        Err(Failure::MaybeApplied(late_node))
    }
}

/// Reads a node's time.
pub(super) async fn time_of(node: &Node, tag: Tag) -> Result<TimestampMs, Failure> {
    let (of, partitions) = (PollOf::Index(IndexName::Due), Vec::new());
    let nothing = Poll { of, partitions, listeners: None };
    poll_node(node, &nothing, tag).await.map(|polled| polled.at)
}

/// Reads a node's time, and the first scores in partitions that it holds.
async fn poll_node(node: &Node, poll: &Poll, tag: Tag) -> Polled {
    let mut pipeline = Pipeline::with_capacity(poll.partitions.len() + 3);
    pipeline.add_command(cmd("TIME"));
    for partition in &poll.partitions {
        pipeline.add_command(command(wire::poll(&poll.of, *partition)));
    }
    if let Some(topic) = &poll.listeners {
        pipeline.add_command(command(wire::count_listeners(topic)));
    }
    pipeline.cmd("ECHO").arg(tag.as_bytes());
    let mut replies = node.send_all(&pipeline).await?;
    match replies.pop() {
        Some(Value::BulkString(echo)) if echo == tag.as_bytes() => {}
        Some(Value::ServerError(error)) => return Err(classify(&error, &node.name, true).0),
        _ => return Err(node.close("a poll does not end with its echo")),
    }
    // A server that does not count, or lets this user not, has an unknown number.
    let counted = poll.listeners.as_ref().and_then(|_| replies.pop());
    let counted = counted.and_then(|counted| redis::from_redis_value(counted).ok());
    let listeners = counted.map_or(0, |(_, listeners): (Vec<u8>, u64)| listeners);
    let mut replies = replies.into_iter();
    let at = match replies.next() {
        Some(Value::ServerError(error)) => {
            node.replied(Some(&error), true);
            return Err(classify(&error, &node.name, true).0);
        }
        Some(time) => redis::from_redis_value::<(u64, u64)>(time).ok(),
        None => None,
    };
    let (seconds, microseconds) =
        at.ok_or_else(|| node.close("a poll does not begin with the time"))?;
    let at = TimestampMs::new(seconds * 1_000 + microseconds / 1_000);
    let firsts = |value: Value| match value {
        Value::ServerError(error) => Err(classify(&error, &node.name, true).0.to_string()),
        value => wire::firsts(&poll.of, at, answer(value))
            .map_err(|error| format!("{}: {error}", node.name)),
    };
    node.replied(None, true);
    Ok(NodeFirsts { at, firsts: replies.map(firsts).collect(), listeners })
}

fn command(parts: Vec<Vec<u8>>) -> Cmd {
    let mut command = Cmd::new();
    command.arg(parts);
    command
}
