//! Encodes requests of the store contract as calls of functions.

use std::borrow::Cow;

use ff_core::partition::Partition;
use ff_core::store::bounds::MAX_PAGE;
use ff_core::store::keys::{list_of_counts, list_of_queues};
use ff_core::store::{
    Bytes, Commit, Cursor, IndexName, IndexWrite, PollOf, Request, ScanOrder, TakeUntil, Topic,
    Unit, Version,
};

use super::library::Function;

/// A function call: the function, its keys and its arguments. All keys share one hash tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    /// The function.
    pub function: Function,
    /// Its keys, in the order in which the function reads them.
    pub keys: Vec<Vec<u8>>,
    /// Its arguments, in the order in which the function reads them.
    pub args: Vec<Cow<'a, [u8]>>,
}

/// A section of a unit. Each of its items has a key and a fixed number of arguments.
#[derive(Clone, Copy)]
pub struct Section {
    /// Its name in the library.
    pub name: &'static str,
    /// The number of arguments of an item.
    pub arguments: usize,
    count: fn(&Unit) -> usize,
    write: fn(&mut Writer<'_, '_>),
}

/// The sections of a unit, in their order.
pub const SECTIONS: [Section; 8] = [
    section("records", 2, |unit| unit.expect.len(), |to| to.records()),
    section("values", 2, |unit| unit.values.len() + unit.drop_streams.len(), |to| to.values()),
    section("indexes", 3, |unit| indexes(unit, false).count(), |to| to.indexes()),
    section("queues", 4, |unit| indexes(unit, true).count(), |to| to.queues()),
    section("counts", 2, |unit| unit.counts.len(), |to| to.counts()),
    section("streams", 4, |unit| unit.append.len(), |to| to.streams()),
    section("rings", 1, |unit| unit.ring.len(), |to| to.rings()),
    section("fetches", 0, |unit| unit.fetch.len(), |to| to.fetches()),
];

/// The index entries of a unit: those of queues, or the others.
fn indexes(unit: &Unit, of_queues: bool) -> impl Iterator<Item = &IndexWrite> {
    unit.index.iter().filter(move |write| write.index.listed_in().is_some() == of_queues)
}

const fn section(
    name: &'static str,
    arguments: usize,
    count: fn(&Unit) -> usize,
    write: fn(&mut Writer<'_, '_>),
) -> Section {
    Section { name, arguments, count, write }
}

/// Encodes a request that is within its bounds. `None` for a `Poll`, which plain commands answer.
pub fn encode(request: &Request) -> Option<Call<'_>> {
    let function = Function::of(request)?;
    let (mut keys, mut args) = (Vec::new(), Vec::new());
    match request {
        Request::Commit(commit) => encode_commit(commit, &mut keys, &mut args),
        Request::Take(take) => {
            let partition = take.partition;
            keys.push(IndexName::Due.text(partition));
            for index in take.from.iter().filter(|index| **index != IndexName::Due) {
                // `retention` is in no list: its key stands twice, and it has no name.
                let list = |namespace| list_of_queues(namespace, partition);
                let list = index.listed_in().map_or_else(|| index.text(partition), list);
                keys.extend([index.text(partition), list]);
            }
            let prefix = Cow::Owned(IndexName::Due.record_prefix(partition));
            args.extend([text(partition), prefix, text(take.count), text(take.bytes)]);
            args.push(match take.until {
                TakeUntil::End => Cow::Borrowed(b"+inf"),
                TakeUntil::Now => Cow::Borrowed(b"now"),
                TakeUntil::Score(score) => text(score.get()),
            });
            args.push(text(take.hold.get()));
            let topic = take.from.first().and_then(IndexName::topic);
            let rings = topic.filter(|_| take.ring_rest).map(|topic| topic.channel());
            args.push(Cow::Owned(rings.unwrap_or_default()));
            let listed = take.from.iter().filter(|index| index.listed_in().is_some());
            args.extend(listed.map(|index| Cow::Owned(index.listed_name())));
        }
        Request::Read(read) => {
            keys.extend(read.records.iter().map(|key| key.text(read.partition)));
            keys.extend(read.values.iter().map(|key| key.text(read.partition)));
            args.push(text(read.records.len()));
            if keys.is_empty() {
                // A cluster routes a call by its keys: any key of the partition will do.
                keys.push(Vec::from(&*text(read.partition)));
            }
        }
        Request::Scan(scan) => {
            keys.push(scan.index.text(scan.partition));
            let prefix = Cow::Owned(scan.index.record_prefix(scan.partition));
            args.extend([prefix, text(scan.limit), text(scan.bytes)]);
            args.push(Cow::Borrowed(match scan.order {
                ScanOrder::Ascending => b"up",
                ScanOrder::Descending => b"down",
            }));
            match scan.after {
                Some(position) => {
                    args.push(text(position.score.get()));
                    args.push(Cow::Owned(position.member.as_bytes().to_vec()));
                }
                None => args.extend([Cow::Borrowed(b"".as_slice()), Cow::Borrowed(b"".as_slice())]),
            }
        }
        Request::Stream(page) => {
            keys.push(page.stream.text(page.partition));
            args.push(text(page.limit));
            match page.from {
                Cursor::Start => args.push(Cow::Borrowed(b"start")),
                Cursor::End => args.push(Cow::Borrowed(b"end")),
                Cursor::After { history, id } => {
                    args.push(Cow::Borrowed(b"after"));
                    args.push(Cow::Owned(format!("{history:016x}").into_bytes()));
                    args.extend([text(id.at.get()), text(id.sequence)]);
                }
            }
        }
        Request::Poll(_) => return None,
    }
    Some(Call { function, keys, args })
}

/// The command that polls a partition.
pub fn poll(of: &PollOf, partition: Partition) -> Vec<Vec<u8>> {
    let last_of_page = |skip: u32| skip.saturating_add(MAX_PAGE as u32 - 1);
    let (key, first, last) = match of {
        PollOf::Index(index) => (index.text(partition), 0, 0),
        PollOf::Queues { namespace, skip } => {
            (list_of_queues(namespace, partition), *skip, last_of_page(*skip))
        }
        PollOf::Counts { namespace, skip } => {
            (list_of_counts(namespace, partition), *skip, last_of_page(*skip))
        }
    };
    let number = |number: u32| number.to_string().into_bytes();
    vec![b"ZRANGE".to_vec(), key, number(first), number(last), b"WITHSCORES".to_vec()]
}

/// The command that counts the subscribers of a topic.
pub fn count_listeners(topic: &Topic) -> Vec<Vec<u8>> {
    vec![b"PUBSUB".to_vec(), b"NUMSUB".to_vec(), topic.channel()]
}

type Keys = Vec<Vec<u8>>;
type Args<'a> = Vec<Cow<'a, [u8]>>;

fn text(number: impl ToString) -> Cow<'static, [u8]> {
    Cow::Owned(number.to_string().into_bytes())
}

fn encode_commit<'a>(commit: &'a Commit, keys: &mut Keys, args: &mut Args<'a>) {
    let partition = commit.partition;
    args.push(text(partition));
    for unit in &commit.units {
        // The bounds of the contract keep each count within a byte.
        let counts = SECTIONS.map(|section| (section.count)(unit) as u8);
        args.push(Cow::Owned(counts.to_vec()));
        args.push(text(unit.window.not_before.get()));
        args.push(text(unit.window.not_after.get()));
        args.push(text(unit.conflict_bytes));
        let mut writer = Writer { partition, unit, keys, args };
        for section in SECTIONS {
            (section.write)(&mut writer);
        }
    }
}

/// Writes the sections of one unit.
struct Writer<'a, 'w> {
    partition: Partition,
    unit: &'a Unit,
    keys: &'w mut Keys,
    args: &'w mut Args<'a>,
}

impl<'a> Writer<'a, '_> {
    fn records(&mut self) {
        let unit = self.unit;
        for (key, version) in &unit.expect {
            self.keys.push(key.text(self.partition));
            self.args.push(version_bytes(*version));
            self.args.push(match unit.put.iter().find(|(put, _)| put == key) {
                Some((_, body)) => record(version.next(unit.nonce), body),
                None if unit.remove.contains(key) => Cow::Borrowed(b"-"),
                None => Cow::Borrowed(b""),
            });
        }
    }

    fn values(&mut self) {
        for write in &self.unit.values {
            self.keys.push(write.key.text(self.partition));
            let mode: &[u8] = if write.value.is_some() { b"+" } else { b"-" };
            self.args.push(Cow::Borrowed(mode));
            self.args.push(Cow::Borrowed(write.value.as_deref().unwrap_or_default()));
        }
        for stream in &self.unit.drop_streams {
            self.keys.push(stream.text(self.partition));
            self.args.extend([Cow::Borrowed(b"-".as_slice()), Cow::Borrowed(b"".as_slice())]);
        }
    }

    fn indexes(&mut self) {
        for write in indexes(self.unit, false) {
            self.entry(write);
            self.channel_of(write);
        }
    }

    fn channel_of(&mut self, write: &IndexWrite) {
        let topic = write.index.topic();
        self.args.push(Cow::Owned(topic.map(|topic| topic.channel()).unwrap_or_default()));
    }

    fn entry(&mut self, write: &'a IndexWrite) {
        self.keys.push(write.index.text(self.partition));
        self.args.push(Cow::Borrowed(write.member.as_bytes()));
        self.args.push(write.score.map_or(Cow::Borrowed(b""), |score| text(score.get())));
    }

    fn queues(&mut self) {
        for write in indexes(self.unit, true) {
            self.entry(write);
            let list = |namespace| list_of_queues(namespace, self.partition);
            self.keys.extend(write.index.listed_in().map(list));
            self.args.push(Cow::Owned(write.index.listed_name()));
            self.channel_of(write);
        }
    }

    fn counts(&mut self) {
        for change in &self.unit.counts {
            self.keys.push(list_of_counts(&change.name.namespace, self.partition));
            self.args.extend([Cow::Owned(change.name.listed_name()), text(change.by)]);
        }
    }

    fn streams(&mut self) {
        for append in &self.unit.append {
            self.keys.push(append.stream.text(self.partition));
            let caps = append.caps;
            self.args.push(Cow::Borrowed(&append.entry));
            self.args.extend([text(caps.bytes), text(caps.entries), text(caps.age_ms)]);
        }
    }

    fn rings(&mut self) {
        for topic in &self.unit.ring {
            // Any key of the partition.
            self.keys.push(Vec::from(&*text(self.partition)));
            self.args.push(Cow::Owned(topic.channel()));
        }
    }

    fn fetches(&mut self) {
        for key in &self.unit.fetch {
            self.keys.push(key.text(self.partition));
        }
    }
}

fn version_bytes(version: Version) -> Cow<'static, [u8]> {
    if version == Version::ABSENT {
        return Cow::Borrowed(b"");
    }
    Cow::Owned([version.count.to_be_bytes(), version.nonce.to_be_bytes()].concat())
}

fn record(version: Version, body: &Bytes) -> Cow<'static, [u8]> {
    Cow::Owned([&*version_bytes(version), body].concat())
}
