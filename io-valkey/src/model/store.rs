//! The model as a store: answers the requests of the store contract.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ff_core::store::{
    Failure, Firsts, Poll, PollOf, Polled, Reply, ReplyBody, Request, Topic, Wake,
};
use ff_core::time::TimestampMs;

use super::answer::{Answer, CommandError};
use super::keyspace::Keyspace;
use super::library::{self, LoadError};
use super::server::Server;
use crate::wire::{self, Library, Tag};

/// A store in process that runs the function library over the model of a server.
#[derive(Debug)]
pub struct ModelStore {
    names: Library,
    library: library::Library,
    wakes: Vec<Wake>,
    calls: u64,
}

impl ModelStore {
    /// Creates an empty store with this replication history, and the library of this program.
    pub fn new(history: u64) -> Self {
        Self::with_library(history, Library::default()).expect("the library of this program loads")
    }

    /// Creates an empty store with another library.
    ///
    /// # Errors
    ///
    /// [`LoadError`] when a server would refuse the text.
    pub fn with_library(history: u64, names: Library) -> Result<Self, LoadError> {
        let library = library::Library::load(names.text(), Server::new(history))?;
        Ok(Self { names, library, wakes: Vec::new(), calls: 0 })
    }

    /// Answers a request at a time of the store's clock.
    ///
    /// # Errors
    ///
    /// [`Failure::MaybeApplied`] when a function raised an error; its writes before that remain.
    pub fn handle(&mut self, request: Request, now: TimestampMs) -> Result<Reply, Failure> {
        if let Err(over) = request.check() {
            return Ok(Reply { at: now, body: ReplyBody::OverBound(over) });
        }
        if let Request::Poll(poll) = &request {
            let listeners = u64::from(poll.listeners.is_some());
            let body = ReplyBody::Poll(Polled { firsts: self.poll(poll, now), listeners });
            return Ok(Reply { at: now, body });
        }
        let mut call = wire::encode(&request).expect("every other request has a function");
        let name = self.names.function(call.function);
        self.calls += 1;
        let tag = Tag::new(self.calls);
        call.args.push(Cow::Borrowed(tag.as_bytes()));
        let answer = self.library.call(&name, &call.keys, &call.args, now);
        self.collect_wakes(&request);
        let answer = answer.map_err(Failure::MaybeApplied)?;
        let reply = tag.remove_from(answer).and_then(|answer| wire::decode(&request, answer));
        reply.map_err(|error| Failure::MaybeApplied(error.to_string()))
    }

    /// Removes all keys, as FLUSHALL does, and the pending wake-ups.
    pub fn clear(&mut self) {
        self.wakes.clear();
        self.with_keyspace(|keyspace| *keyspace = Keyspace::default());
    }

    /// Takes the wake-ups that requests have rung since the last call.
    pub fn take_wakes(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.wakes)
    }

    /// Starts another replication history, so that readers of streams find a gap.
    pub fn set_history(&mut self, history: u64) {
        self.library.server().history = history;
    }

    /// Runs a function on the keys of the server, for checks and changes that requests cannot make.
    pub fn with_keyspace<R>(&mut self, access: impl FnOnce(&mut Keyspace) -> R) -> R {
        access(&mut self.library.server().keyspace)
    }

    fn poll(&self, poll: &Poll, now: TimestampMs) -> Vec<Result<Firsts, String>> {
        let mut server = self.library.server();
        let commands = poll.partitions.iter().map(|partition| wire::poll(&poll.of, *partition));
        let firsts = |command: Vec<Vec<u8>>| firsts(&mut server, &poll.of, now, &command);
        commands.map(firsts).collect()
    }

    /// Converts the published messages to wake-ups. Their topics are among those of the request.
    fn collect_wakes(&mut self, request: &Request) {
        let published = std::mem::take(&mut self.library.server().published);
        if published.is_empty() {
            return;
        }
        let topics: BTreeMap<Vec<u8>, Topic> =
            request.topics().into_iter().map(|topic| (topic.channel(), topic)).collect();
        for (channel, message) in published {
            let topic = topics.get(&channel).expect("functions ring topics of their request");
            self.wakes.push(wire::wake(topic, &message).expect("a wake-up names its partition"));
        }
    }
}

/// Reads first scores or counts with a plain command, as on a server.
fn firsts(
    server: &mut Server,
    of: &PollOf,
    now: TimestampMs,
    command: &[Vec<u8>],
) -> Result<Firsts, String> {
    server.begin(true);
    let command: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
    let answer = server.call(&command).map_err(|error: CommandError| error.to_string())?;
    let Answer::List(items) = answer else { return Err("not a list".to_owned()) };
    let item = |item| match item {
        Answer::Text(text) => wire::Answer::Data(text),
        _ => wire::Answer::Nil,
    };
    let items = wire::Answer::List(items.into_iter().map(item).collect());
    wire::firsts(of, now, items).map_err(|error| error.to_string())
}
