//! Subscribers that stop and start again, on memory and on a Valkey server: from the text of its
//! cursor, a subscriber gets exactly the completions that it has not got yet, or a gap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ff_sdk::core::backend::{
    CompletionBackend, CompletionCursor, CompletionFilter, CompletionItem, Completions,
    CursorError, EngineBackend,
};
use ff_sdk::core::entropy::Entropy;
use ff_sdk::core::execution::{Event, Purpose};
use ff_sdk::core::id::{ExecutionId, LaneId, LeaseEpoch, Namespace};
use ff_sdk::core::partition::{Partition, PartitionConfig};
use ff_sdk::core::state::TerminalOutcome;
use ff_sdk::core::store::bounds::{MAX_JOURNAL_BYTES, MAX_PAGE};
use ff_sdk::core::store::codec::encode;
use ff_sdk::core::store::{
    Bytes, Commit, JournalEntry, ReplyBody, Request, StreamAppend, StreamName, Unit,
};
use ff_sdk::core::tags::{MAX_TAG_BYTES, MAX_TAGS, Tags};
use ff_sdk::{Client, ClientConfig, JournalBackend, MemoryBackend, Submission, ValkeyBackend};
use ff_tests::fixture::{NAMESPACE, lane, namespace};
use ff_tests::kit::{submit, work};
use ff_tests::server::Server;
use tokio::time::timeout;

/// The time limit for an item.
const DEADLINE: Duration = Duration::from_secs(15);

/// A store that outlives its subscribers.
enum Host {
    Memory(MemoryBackend),
    Valkey(Server),
}

impl Host {
    /// A new handle to the store, like that of another process.
    async fn open(&self) -> Arc<dyn EngineBackend> {
        match self {
            Self::Memory(memory) => Arc::new(memory.clone()),
            Self::Valkey(server) => Arc::new(ValkeyBackend::connect(&server.url()).await.unwrap()),
        }
    }

    async fn client(&self, partitions: u16) -> Client {
        self.client_of(NAMESPACE, partitions).await
    }

    async fn client_of(&self, namespace: &str, partitions: u16) -> Client {
        let mut config = ClientConfig::new(namespace).unwrap();
        let num_flow_partitions = partitions;
        config.partition_config =
            Some(PartitionConfig { num_flow_partitions, ..PartitionConfig::default() });
        Client::connect(config, self.open().await).await.unwrap()
    }

    /// A new subscriber from the text of a cursor.
    async fn subscribe(&self, from: &str) -> Box<dyn Completions> {
        self.subscribe_to(from, CompletionFilter::default()).await
    }

    async fn subscribe_to(&self, from: &str, filter: CompletionFilter) -> Box<dyn Completions> {
        JournalBackend::new(self.open().await).completions(from.parse().unwrap(), filter)
    }

    /// Changes the store's history and keeps its records, as in a failover.
    fn change_history(&mut self) {
        match self {
            Self::Memory(memory) => memory.with_store(|store| store.set_history(4_711)),
            Self::Valkey(server) => server.restart(),
        }
    }
}

/// Defines every test for every store.
macro_rules! on_each_store {
    ($($name:ident),+ $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $name() {
                super::$name(super::Host::Memory(ff_sdk::MemoryBackend::new())).await;
            })+
        }
        mod valkey {
            $(#[tokio::test]
            async fn $name() {
                let options = ["--appendonly", "yes"];
                let server = ff_tests::server::Server::valkey_with(&options);
                super::$name(super::Host::Valkey(server)).await;
            })+
        }
    };
}

on_each_store!(
    a_subscriber_that_missed_ten_thousand_completions_gets_each_once,
    a_subscriber_that_restarts_between_any_two_items_gets_each_once,
    a_subscriber_from_the_end_gets_completions_after_it_is_ready,
    trimmed_completions_are_a_gap_and_kept_ones_are_yielded,
    a_partly_yielded_entry_is_a_gap_only_if_the_rest_is_dropped,
    another_history_is_a_gap_in_each_partition_and_the_stream_continues,
    a_filter_passes_completions_that_match_namespace_lane_and_tags,
    a_filter_that_passes_nothing_does_not_hold_the_cursor_back,
    a_cursor_of_another_store_is_refused,
    the_completion_of_an_execution_with_the_most_tags_is_yielded,
);

/// The next item, which must arrive.
async fn next(stream: &mut Box<dyn Completions>) -> CompletionItem {
    let item = timeout(DEADLINE, stream.next()).await.expect("it arrives before the deadline");
    item.unwrap().expect("the stream does not end")
}

fn id_of(item: &CompletionItem) -> ExecutionId {
    match item {
        CompletionItem::Completed { execution_id, .. } => *execution_id,
        other => panic!("{other:?}"),
    }
}

fn gap_in(partition: u16) -> CompletionItem {
    CompletionItem::Gap { partition: Partition::flow(partition) }
}

/// Submits executions and ends them, many at the same time.
async fn end(client: &Client, submissions: Vec<Submission>) -> Vec<ExecutionId> {
    let outcomes = client.submit_many(submissions).await;
    let ids: Vec<ExecutionId> = outcomes.into_iter().map(|outcome| outcome.unwrap().id()).collect();
    let mut running = tokio::task::JoinSet::new();
    for chunk in ids.chunks(ids.len().div_ceil(64).max(1)) {
        let (client, chunk) = (client.clone(), chunk.to_vec());
        running.spawn(async move {
            for id in chunk {
                client.cancel(&id, "the test ends it").await.unwrap();
            }
        });
    }
    while let Some(done) = running.join_next().await {
        done.unwrap();
    }
    ids
}

/// Ends one more execution in each partition; their completions are the last ones.
async fn sentinels(client: &Client) -> BTreeSet<ExecutionId> {
    sentinels_of(client, &work(), 99).await
}

/// The same, with executions like this one.
async fn sentinels_of(client: &Client, work: &Submission, seed: u64) -> BTreeSet<ExecutionId> {
    let mut entropy = Entropy::from_u64(seed);
    let count = client.partition_config().num_flow_partitions;
    let ids = (0..count).map(|index| ExecutionId::from_parts(index, entropy.uuid()));
    end(client, ids.map(|id| work.clone().id(id)).collect()).await.into_iter().collect()
}

/// The items before the sentinels. The order within a partition proves that none is missing.
async fn up_to(
    stream: &mut Box<dyn Completions>,
    mut sentinels: BTreeSet<ExecutionId>,
) -> Vec<CompletionItem> {
    let mut items = Vec::new();
    while !sentinels.is_empty() {
        let item = next(stream).await;
        let is_sentinel = matches!(&item, CompletionItem::Completed { execution_id, .. }
            if sentinels.remove(execution_id));
        if !is_sentinel {
            items.push(item);
        }
    }
    items
}

/// Groups items by partition, within which they are ordered.
fn by_partition(items: &[CompletionItem]) -> BTreeMap<u16, Vec<CompletionItem>> {
    let mut sorted: BTreeMap<u16, Vec<CompletionItem>> = BTreeMap::new();
    for item in items {
        let partition = match item {
            CompletionItem::Gap { partition } => partition.index,
            item => id_of(item).partition().index,
        };
        sorted.entry(partition).or_default().push(item.clone());
    }
    sorted
}

/// Appends an encoded entry to a journal.
async fn append(backend: &dyn EngineBackend, partition: u16, entry: Bytes) {
    let append = vec![StreamAppend::new(StreamName::Journal, entry)];
    let units = vec![Unit { append, ..Unit::new(Purpose::Finish, 1) }];
    let commit = Commit { partition: Partition::flow(partition), units };
    let reply = backend.call(Request::Commit(commit)).await.unwrap();
    assert!(matches!(reply.body, ReplyBody::Commit(_)), "{reply:?}");
}

/// An entry of several lives, each of which ended with its own tag.
fn lives(execution: ExecutionId, values: &[String]) -> Bytes {
    let events = values.iter().flat_map(|value| {
        let tags = Tags::try_new([("test.life", value)]).unwrap();
        let (namespace, lane, outcome) = (namespace(), lane(), TerminalOutcome::Success);
        let ended = Event::Ended { namespace, lane, tags, outcome, failure: None };
        [Event::Replayed { life: 1 }, ended]
    });
    let (version, epoch, attempt) = (1, LeaseEpoch(0), None);
    encode(&JournalEntry { execution, version, epoch, attempt, events: events.collect() }, 1)
}

async fn a_subscriber_that_missed_ten_thousand_completions_gets_each_once(host: Host) {
    const AWAY: usize = 10_000;
    let client = host.client(256).await;
    let mut stream = host.subscribe("end").await;
    stream.ready().await.unwrap();
    let mut seen: BTreeSet<ExecutionId> = BTreeSet::new();
    let before = end(&client, vec![work(); 7]).await;
    for _ in 0..before.len() {
        seen.insert(id_of(&next(&mut stream).await));
    }
    assert_eq!(seen, before.into_iter().collect());
    let text = stream.cursor().to_string();
    drop(stream);

    let away: BTreeSet<ExecutionId> = end(&client, vec![work(); AWAY]).await.into_iter().collect();
    let sentinels = sentinels(&client).await;
    let started = Instant::now();
    let mut stream = host.subscribe(&text).await;
    let items = up_to(&mut stream, sentinels).await;
    println!("{AWAY} completions and 256 more were read in {:?}", started.elapsed());
    assert_eq!(items.len(), AWAY);
    assert_eq!(items.iter().map(id_of).collect::<BTreeSet<_>>(), away);
}

async fn a_subscriber_that_restarts_between_any_two_items_gets_each_once(host: Host) {
    let client = host.client(2).await;
    let mut entropy = Entropy::from_u64(5);
    for round in 0..4_usize {
        // More than a page, with some entries that hold several completions.
        end(&client, vec![work(); MAX_PAGE / 3]).await;
        for partition in 0..2 {
            let id = ExecutionId::from_parts(partition, entropy.uuid());
            let values: Vec<String> = (0..=round + 2).map(|life| life.to_string()).collect();
            append(&**client.backend(), partition, lives(id, &values)).await;
        }
    }
    let sentinels = sentinels(&client).await;
    let whole = up_to(&mut host.subscribe("start").await, sentinels.clone()).await;
    assert!(whole.iter().all(|item| !matches!(item, CompletionItem::Gap { .. })));

    let (mut left, mut items, mut text, mut starts) =
        (sentinels, Vec::new(), "start".to_owned(), 0_usize);
    while !left.is_empty() {
        starts += 1;
        assert!(starts < 5_000, "no progress at {text}");
        let mut stream = host.subscribe(&text).await;
        // Mostly a few, so that it stops within entries of several completions.
        for _ in 0..(if starts % 8 == 0 { 97 } else { starts % 8 }) {
            let item = next(&mut stream).await;
            if !left.remove(&id_of(&item)) {
                items.push(item);
            }
            if left.is_empty() {
                break;
            }
        }
        text = stream.cursor().to_string();
    }
    assert!(starts > 50, "{starts}");
    assert_eq!(by_partition(&items), by_partition(&whole));
}

async fn a_subscriber_from_the_end_gets_completions_after_it_is_ready(host: Host) {
    let client = host.client(4).await;
    end(&client, vec![work(); 10]).await;
    let mut stream = host.subscribe("end").await;
    assert_eq!(stream.cursor(), CompletionCursor::end());
    stream.ready().await.unwrap();
    let fixed = stream.cursor().to_string();
    let ids: BTreeSet<ExecutionId> = end(&client, vec![work(); 10]).await.into_iter().collect();
    let sentinels = sentinels(&client).await;
    // The cursor can be used before the first item.
    for mut stream in [stream, host.subscribe(&fixed).await] {
        let items = up_to(&mut stream, sentinels.clone()).await;
        assert_eq!(items.len(), ids.len());
        assert_eq!(items.iter().map(id_of).collect::<BTreeSet<_>>(), ids);
    }
}

async fn trimmed_completions_are_a_gap_and_kept_ones_are_yielded(host: Host) {
    let client = host.client(1).await;
    let mut stream = host.subscribe("start").await;
    let first = end(&client, vec![work(); 2]).await;
    assert!(first.contains(&id_of(&next(&mut stream).await)));
    let text = stream.cursor().to_string();
    drop(stream);

    let mut ended = Vec::new();
    for _ in 0..80 {
        let large = (0..16).fold(work(), |work, key| {
            work.tag(format!("test.key{key}"), "x".repeat(MAX_TAG_BYTES))
        });
        ended.push(submit(&client, large).await);
        client.cancel(ended.last().unwrap(), "the test ends it").await.unwrap();
    }
    let sentinels = sentinels(&client).await;
    let mut stream = host.subscribe(&text).await;
    assert_eq!(next(&mut stream).await, gap_in(0));
    let text = stream.cursor().to_string();
    let items = up_to(&mut stream, sentinels.clone()).await;
    let kept: Vec<ExecutionId> = items.iter().map(id_of).collect();
    assert!(kept.len() > 20 && kept.len() < 80, "{}", kept.len());
    assert_eq!(kept, ended[80 - kept.len()..], "the latest are kept, in their order");
    // The cursor after the gap is before the first kept completion: there is no second gap.
    assert_eq!(up_to(&mut host.subscribe(&text).await, sentinels).await, items);
}

/// \[INV-DURABLE-1\]
async fn a_partly_yielded_entry_is_a_gap_only_if_the_rest_is_dropped(host: Host) {
    let client = host.client(1).await;
    let mut entropy = Entropy::from_u64(5);
    let mut draw = || ExecutionId::from_parts(0, entropy.uuid());
    let (backend, several) = (client.backend().clone(), draw());
    let values = ["1", "2", "3"].map(str::to_owned);
    append(&*backend, 0, lives(several, &values)).await;
    let mut stream = host.subscribe("start").await;
    let mut cursors = Vec::new();
    for _ in 0..3 {
        assert_eq!(id_of(&next(&mut stream).await), several);
        cursors.push(stream.cursor().to_string());
    }

    // Append as many bytes as drop exactly that entry.
    let (mut room, mut later) = (MAX_JOURNAL_BYTES, Vec::new());
    while room > 0 {
        let id = draw();
        let bytes = match room {
            room if room > 200_000 => 100_000,
            room if room > 100_000 => room / 2,
            room => room,
        };
        // The encoded length of a tag's text takes one byte more than that of an empty one.
        let text = bytes - lives(id, &vec![String::new(); 100]).len() - 100;
        let length = |life| text / 100 + usize::from(life < text % 100);
        let values: Vec<String> = (0..100).map(|life| "x".repeat(length(life))).collect();
        let entry = lives(id, &values);
        room -= entry.len();
        append(&*backend, 0, entry).await;
        later.extend(std::iter::repeat_n(id, 100));
    }
    for (index, text) in cursors.iter().enumerate() {
        let mut stream = host.subscribe(text).await;
        if index < 2 {
            assert_eq!(next(&mut stream).await, gap_in(0), "after {} of 3", index + 1);
            // The cursor after the gap is before the first kept completion.
            stream = host.subscribe(&stream.cursor().to_string()).await;
        }
        let mut ids = Vec::new();
        for _ in 0..later.len() {
            ids.push(id_of(&next(&mut stream).await));
        }
        assert_eq!(ids, later, "after {} of 3", index + 1);
    }
}

async fn another_history_is_a_gap_in_each_partition_and_the_stream_continues(mut host: Host) {
    let client = host.client(4).await;
    let mut stream = host.subscribe("end").await;
    stream.ready().await.unwrap();
    let early = end(&client, vec![work(); 8]).await;
    for _ in 0..4 {
        next(&mut stream).await;
    }
    let text = stream.cursor().to_string();
    drop(stream);
    drop(client);
    host.change_history();

    let client = host.client(4).await;
    let late = end(&client, vec![work(); 8]).await;
    let sentinels = sentinels(&client).await;
    let mut stream = host.subscribe(&text).await;
    let items = up_to(&mut stream, sentinels).await;
    for (partition, items) in by_partition(&items) {
        assert_eq!(items[0], gap_in(partition));
        assert!(!items[1..].contains(&gap_in(partition)), "{items:?}");
    }
    let gaps = items.iter().filter(|item| matches!(item, CompletionItem::Gap { .. })).count();
    assert_eq!(gaps, 4);
    let completed = items.iter().filter(|item| !matches!(item, CompletionItem::Gap { .. }));
    let ids: BTreeSet<ExecutionId> = completed.map(id_of).collect();
    assert_eq!(ids, early.into_iter().chain(late).collect(), "all kept completions follow");
    // The cursor now belongs to the new history.
    let id = end(&client, vec![work()]).await[0];
    assert_eq!(id_of(&next(&mut host.subscribe(&stream.cursor().to_string()).await).await), id);
}

async fn a_filter_passes_completions_that_match_namespace_lane_and_tags(host: Host) {
    let client = host.client(4).await;
    let other = host.client_of("elsewhere", 4).await;
    let red = || work().tag("test.colour", "red");
    let small_red = || red().tag("test.size", "small");
    let plain = end(&client, vec![work()]).await[0];
    let red_one = end(&client, vec![red()]).await[0];
    let small_one = end(&client, vec![small_red()]).await[0];
    let lane_one = end(&client, vec![small_red().lane("side")]).await[0];
    let blue_one = end(&client, vec![work().tag("test.colour", "blue")]).await[0];
    let their_one = end(&other, vec![small_red().lane("side")]).await[0];
    let tags = |tags: &[(&str, &str)]| -> BTreeMap<String, String> {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let (colour, size) = (("test.colour", "red"), ("test.size", "small"));
    let blue = ("test.colour", "blue");
    let (ours, theirs) = (Some(namespace()), Namespace::try_new("elsewhere").ok());
    let side = LaneId::try_new("side").ok();
    let all = [plain, red_one, small_one, lane_one, blue_one, their_one];
    for (number, (namespace, lane, tags, wanted)) in [
        (&None, &None, tags(&[]), &all[..]),
        (&ours, &None, tags(&[]), &all[..5]),
        (&None, &side, tags(&[]), &[lane_one, their_one]),
        (&None, &Some(lane()), tags(&[]), &[plain, red_one, small_one, blue_one]),
        (&None, &None, tags(&[colour]), &[red_one, small_one, lane_one, their_one]),
        (&None, &None, tags(&[colour, size]), &[small_one, lane_one, their_one]),
        (&None, &None, tags(&[blue]), &[blue_one]),
        (&None, &None, tags(&[("test.shape", "")]), &[]),
        (&theirs, &side, tags(&[colour]), &[their_one]),
        (&ours, &side, tags(&[colour, size]), &[lane_one]),
        (&theirs, &side, tags(&[blue]), &[]),
    ]
    .into_iter()
    .enumerate()
    {
        // Sentinels that pass the filter end the reading.
        let mut last = work().tag("test.last", number.to_string());
        last = lane.iter().fold(last, |last, lane| last.lane(lane.as_str()));
        last = tags.iter().fold(last, |last, (key, value)| last.tag(key, value));
        let client = if *namespace == theirs { &other } else { &client };
        let sentinels = sentinels_of(client, &last, number as u64).await;
        let filter = CompletionFilter { namespace: namespace.clone(), lane: lane.clone(), tags };
        let items = up_to(&mut host.subscribe_to("start", filter.clone()).await, sentinels).await;
        let items = items.iter().filter(|item| match item {
            CompletionItem::Completed { tags, .. } => tags.get("test.last").is_none(),
            _ => true,
        });
        let mut ids: Vec<ExecutionId> = items.map(id_of).collect();
        let mut wanted = wanted.to_vec();
        ids.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(ids, wanted, "{filter:?}");
    }
}

async fn a_filter_that_passes_nothing_does_not_hold_the_cursor_back(host: Host) {
    let client = host.client(1).await;
    let other = host.client_of("elsewhere", 1).await;
    let filter = CompletionFilter { namespace: Some(namespace()), ..CompletionFilter::default() };
    let mut stream = host.subscribe_to("end", filter.clone()).await;
    stream.ready().await.unwrap();
    let mut text = stream.cursor().to_string();
    drop(stream);
    // Completions of another namespace, twice as many bytes as a journal keeps, in steps of a
    // quarter.
    let mut entropy = Entropy::from_u64(5);
    for _ in 0..8 {
        for _ in 0..2 {
            let values = vec!["x".repeat(MAX_TAG_BYTES); 128];
            let id = ExecutionId::from_parts(0, entropy.uuid());
            let entry = theirs(lives(id, &values));
            append(&**other.backend(), 0, entry).await;
        }
        let mut stream = host.subscribe_to(&text, filter.clone()).await;
        // It gets a completion of its own namespace, and passes those before it.
        let id = end(&client, vec![work()]).await[0];
        assert_eq!(id_of(&next(&mut stream).await), id);
        text = stream.cursor().to_string();
    }
    // The cursor of a subscriber that gets no completions moves on too, while it reads.
    let filter = CompletionFilter { lane: LaneId::try_new("none").ok(), ..filter };
    let mut stream = host.subscribe_to(&text, filter).await;
    end(&client, vec![work()]).await;
    let reading = async {
        loop {
            let turn = timeout(Duration::from_millis(50), stream.next());
            assert!(turn.await.is_err(), "nothing passes the filter");
            if stream.cursor().to_string() != text {
                break;
            }
        }
    };
    timeout(DEADLINE, reading).await.expect("the cursor moves before the deadline");
}

/// The same entry in another namespace.
fn theirs(entry: Bytes) -> Bytes {
    let mut entry: JournalEntry = ff_sdk::core::store::codec::decode(&entry, 1).unwrap();
    for event in &mut entry.events {
        if let Event::Ended { namespace, .. } = event {
            *namespace = Namespace::try_new("elsewhere").unwrap();
        }
    }
    encode(&entry, 1)
}

async fn a_cursor_of_another_store_is_refused(host: Host) {
    host.client(4).await;
    let mut stream = host.subscribe("1:7:1af,s").await;
    let refused = CursorError::OtherPartitions { cursor: 2, store: 4 };
    assert_eq!(stream.ready().await, Err(refused.clone()));
    for _ in 0..2 {
        assert_eq!(stream.next().await, Err(refused.clone()));
    }
    assert_eq!(stream.cursor().to_string(), "1:7:1af,s");
}

async fn the_completion_of_an_execution_with_the_most_tags_is_yielded(host: Host) {
    let client = host.client(1).await;
    let mut stream = host.subscribe("start").await;
    let tagged = (0..MAX_TAGS).fold(work(), |work, number| {
        let key = format!("test.{number:0width$}", width = MAX_TAG_BYTES - "test.".len());
        work.tag(key, "x".repeat(MAX_TAG_BYTES))
    });
    let id = submit(&client, tagged).await;
    client.cancel(&id, "the test ends it").await.unwrap();
    match next(&mut stream).await {
        CompletionItem::Completed { execution_id, tags, .. } => {
            assert_eq!((execution_id, tags.iter().count()), (id, MAX_TAGS));
        }
        other => panic!("{other:?}"),
    }
}
