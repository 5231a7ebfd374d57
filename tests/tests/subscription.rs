//! Subscribers that go away and come back, on memory and on a Valkey server: from the text of its
//! cursor one goes on with exactly what it has not been told, or is told of a gap.

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
use ff_tests::ground::{NAMESPACE, lane, namespace};
use ff_tests::kit::{submit, work};
use ff_tests::server::Server;
use tokio::time::timeout;

/// How long a test waits for an item that must come.
const DEADLINE: Duration = Duration::from_secs(15);

/// A store that outlives its subscribers.
enum Host {
    Memory(MemoryBackend),
    Valkey(Server),
}

impl Host {
    /// A handle to the store, as another process has it.
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

    /// A subscriber that knows nothing but the text of a cursor.
    async fn subscribe(&self, from: &str) -> Box<dyn Completions> {
        self.subscribe_to(from, CompletionFilter::default()).await
    }

    async fn subscribe_to(&self, from: &str, filter: CompletionFilter) -> Box<dyn Completions> {
        JournalBackend::new(self.open().await).completions(from.parse().unwrap(), filter)
    }

    /// As after a failover: the records are there, and the history of the store is another.
    fn change_history(&mut self) {
        match self {
            Self::Memory(memory) => memory.with_store(|store| store.set_history(4_711)),
            Self::Valkey(server) => server.restart(),
        }
    }
}

/// Every test on every store.
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
    a_subscriber_that_was_away_for_ten_thousand_is_told_of_each_once,
    a_subscriber_that_starts_again_between_any_two_items_misses_none_and_sees_none_twice,
    a_subscriber_from_the_end_is_told_what_ends_once_it_is_ready,
    what_was_trimmed_is_a_gap_and_what_was_kept_is_told,
    an_entry_that_was_told_in_part_is_lost_only_if_something_of_it_is,
    another_history_is_a_gap_in_each_partition_and_the_stream_goes_on,
    filters_by_namespace_lane_and_tags_let_through_what_has_all_of_them,
    a_filter_that_lets_nothing_through_does_not_hold_the_cursor_back,
    a_cursor_of_another_store_is_refused,
    an_execution_with_as_many_tags_as_there_can_be_ends,
);

/// The next item, which must come.
async fn next(stream: &mut Box<dyn Completions>) -> CompletionItem {
    let item = timeout(DEADLINE, stream.next()).await.expect("it comes before the deadline");
    item.unwrap().expect("the store is there")
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

/// Submits executions and ends them, many at once.
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

/// Ends one execution in each partition, behind everything else there.
async fn sentinels(client: &Client) -> BTreeSet<ExecutionId> {
    sentinels_of(client, &work(), 99).await
}

/// The same, of executions like this one.
async fn sentinels_of(client: &Client, work: &Submission, seed: u64) -> BTreeSet<ExecutionId> {
    let mut entropy = Entropy::from_u64(seed);
    let count = client.partition_config().num_flow_partitions;
    let ids = (0..count).map(|index| ExecutionId::from_parts(index, entropy.uuid()));
    end(client, ids.map(|id| work.clone().id(id)).collect()).await.into_iter().collect()
}

/// Everything before the sentinels: the order within a partition proves that nothing is missing.
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

/// The same items by partition, in which they have an order.
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

/// Appends an entry to a journal as it is.
async fn append(backend: &dyn EngineBackend, partition: u16, entry: Bytes) {
    let append = vec![StreamAppend { stream: StreamName::Journal, entry }];
    let units = vec![Unit { append, ..Unit::new(Purpose::Finish, 1) }];
    let commit = Commit { partition: Partition::flow(partition), units };
    let reply = backend.call(Request::Commit(commit)).await.unwrap();
    assert!(matches!(reply.body, ReplyBody::Commit(_)), "{reply:?}");
}

/// An entry of several lives, each of which ended with a tag of its own.
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

async fn a_subscriber_that_was_away_for_ten_thousand_is_told_of_each_once(host: Host) {
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
    let told = up_to(&mut stream, sentinels).await;
    println!("{AWAY} completions and 256 more were read in {:?}", started.elapsed());
    assert_eq!(told.len(), AWAY);
    assert_eq!(told.iter().map(id_of).collect::<BTreeSet<_>>(), away);
}

async fn a_subscriber_that_starts_again_between_any_two_items_misses_none_and_sees_none_twice(
    host: Host,
) {
    let client = host.client(2).await;
    let mut entropy = Entropy::from_u64(5);
    for round in 0..4_usize {
        // More than a page, and among them entries that stand for several completions.
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
        assert!(starts < 5_000, "it gets nowhere: {text}");
        let mut stream = host.subscribe(&text).await;
        // Mostly a few, so that it stops within the entries of several.
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

async fn a_subscriber_from_the_end_is_told_what_ends_once_it_is_ready(host: Host) {
    let client = host.client(4).await;
    end(&client, vec![work(); 10]).await;
    let mut stream = host.subscribe("end").await;
    assert_eq!(stream.cursor(), CompletionCursor::end());
    stream.ready().await.unwrap();
    let fixed = stream.cursor().to_string();
    let ids: BTreeSet<ExecutionId> = end(&client, vec![work(); 10]).await.into_iter().collect();
    let sentinels = sentinels(&client).await;
    // The cursor is good without a single item.
    for mut stream in [stream, host.subscribe(&fixed).await] {
        let told = up_to(&mut stream, sentinels.clone()).await;
        assert_eq!(told.len(), ids.len());
        assert_eq!(told.iter().map(id_of).collect::<BTreeSet<_>>(), ids);
    }
}

async fn what_was_trimmed_is_a_gap_and_what_was_kept_is_told(host: Host) {
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
    let told = up_to(&mut stream, sentinels.clone()).await;
    let kept: Vec<ExecutionId> = told.iter().map(id_of).collect();
    assert!(kept.len() > 20 && kept.len() < 80, "{}", kept.len());
    assert_eq!(kept, ended[80 - kept.len()..], "the latest are kept, in their order");
    // Behind the gap the cursor is before the first that is kept: no second gap.
    assert_eq!(up_to(&mut host.subscribe(&text).await, sentinels).await, told);
}

/// \[INV-DURABLE-1\]
async fn an_entry_that_was_told_in_part_is_lost_only_if_something_of_it_is(host: Host) {
    let client = host.client(1).await;
    let mut entropy = Entropy::from_u64(5);
    let mut draw = || ExecutionId::from_parts(0, entropy.uuid());
    let (backend, several) = (client.backend().clone(), draw());
    let values = ["1", "2", "3"].map(str::to_owned);
    append(&*backend, 0, lives(several, &values)).await;
    let mut stream = host.subscribe("start").await;
    let mut places = Vec::new();
    for _ in 0..3 {
        assert_eq!(id_of(&next(&mut stream).await), several);
        places.push(stream.cursor().to_string());
    }

    // Just as much as drops that entry and nothing else.
    let (mut room, mut later) = (MAX_JOURNAL_BYTES, Vec::new());
    while room > 0 {
        let id = draw();
        let bytes = match room {
            room if room > 200_000 => 100_000,
            room if room > 100_000 => room / 2,
            room => room,
        };
        // The length of a tag's text takes one byte more than that of none.
        let text = bytes - lives(id, &vec![String::new(); 100]).len() - 100;
        let length = |life| text / 100 + usize::from(life < text % 100);
        let values: Vec<String> = (0..100).map(|life| "x".repeat(length(life))).collect();
        let entry = lives(id, &values);
        room -= entry.len();
        append(&*backend, 0, entry).await;
        later.extend(std::iter::repeat_n(id, 100));
    }
    for (told, text) in places.iter().enumerate() {
        let mut stream = host.subscribe(text).await;
        if told < 2 {
            assert_eq!(next(&mut stream).await, gap_in(0), "after {} of 3", told + 1);
            // Behind the gap is before the first that is kept.
            stream = host.subscribe(&stream.cursor().to_string()).await;
        }
        let mut ids = Vec::new();
        for _ in 0..later.len() {
            ids.push(id_of(&next(&mut stream).await));
        }
        assert_eq!(ids, later, "after {} of 3", told + 1);
    }
}

async fn another_history_is_a_gap_in_each_partition_and_the_stream_goes_on(mut host: Host) {
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
    let told = up_to(&mut stream, sentinels).await;
    for (partition, items) in by_partition(&told) {
        assert_eq!(items[0], gap_in(partition));
        assert!(!items[1..].contains(&gap_in(partition)), "{items:?}");
    }
    let gaps = told.iter().filter(|item| matches!(item, CompletionItem::Gap { .. })).count();
    assert_eq!(gaps, 4);
    let completed = told.iter().filter(|item| !matches!(item, CompletionItem::Gap { .. }));
    let ids: BTreeSet<ExecutionId> = completed.map(id_of).collect();
    assert_eq!(ids, early.into_iter().chain(late).collect(), "it goes on with all that is kept");
    // The cursor is of the new history now.
    let id = end(&client, vec![work()]).await[0];
    assert_eq!(id_of(&next(&mut host.subscribe(&stream.cursor().to_string()).await).await), id);
}

async fn filters_by_namespace_lane_and_tags_let_through_what_has_all_of_them(host: Host) {
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
        // What is let through and comes last in each partition ends the reading.
        let mut last = work().tag("test.last", number.to_string());
        last = lane.iter().fold(last, |last, lane| last.lane(lane.as_str()));
        last = tags.iter().fold(last, |last, (key, value)| last.tag(key, value));
        let client = if *namespace == theirs { &other } else { &client };
        let sentinels = sentinels_of(client, &last, number as u64).await;
        let filter = CompletionFilter { namespace: namespace.clone(), lane: lane.clone(), tags };
        let told = up_to(&mut host.subscribe_to("start", filter.clone()).await, sentinels).await;
        let told = told.iter().filter(|item| match item {
            CompletionItem::Completed { tags, .. } => tags.get("test.last").is_none(),
            _ => true,
        });
        let mut told: Vec<ExecutionId> = told.map(id_of).collect();
        let mut wanted = wanted.to_vec();
        told.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(told, wanted, "{filter:?}");
    }
}

async fn a_filter_that_lets_nothing_through_does_not_hold_the_cursor_back(host: Host) {
    let client = host.client(1).await;
    let other = host.client_of("elsewhere", 1).await;
    let filter = CompletionFilter { namespace: Some(namespace()), ..CompletionFilter::default() };
    let mut stream = host.subscribe_to("end", filter.clone()).await;
    stream.ready().await.unwrap();
    let mut text = stream.cursor().to_string();
    drop(stream);
    // Twice as much as is kept, of others, in steps of a quarter.
    let mut entropy = Entropy::from_u64(5);
    for _ in 0..8 {
        for _ in 0..2 {
            let values = vec!["x".repeat(MAX_TAG_BYTES); 128];
            let id = ExecutionId::from_parts(0, entropy.uuid());
            let entry = theirs(lives(id, &values));
            append(&**other.backend(), 0, entry).await;
        }
        let mut stream = host.subscribe_to(&text, filter.clone()).await;
        // It is told of one of its own, and with it passes what came before.
        let id = end(&client, vec![work()]).await[0];
        assert_eq!(id_of(&next(&mut stream).await), id);
        text = stream.cursor().to_string();
    }
    // A subscriber that is told nothing at all moves on too, while it looks.
    let filter = CompletionFilter { lane: LaneId::try_new("none").ok(), ..filter };
    let mut stream = host.subscribe_to(&text, filter).await;
    end(&client, vec![work()]).await;
    let looking = async {
        loop {
            let turn = timeout(Duration::from_millis(50), stream.next());
            assert!(turn.await.is_err(), "nothing passes");
            if stream.cursor().to_string() != text {
                break;
            }
        }
    };
    timeout(DEADLINE, looking).await.expect("it moves before the deadline");
}

/// The same entry of another namespace.
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

async fn an_execution_with_as_many_tags_as_there_can_be_ends(host: Host) {
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
