//! Plans of random sequences of requests. They are abstract: a step means, for example, "with the
//! present version of the record", whatever the steps before did. Small pools of names make the
//! steps interact.

use ff_core::state::CountedState;
use ff_core::store::ScanOrder;
use ff_core::store::bounds::{MAX_CONFLICT_BYTES, MAX_PAGE_BYTES};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::names;

/// A sequence of steps on an empty store.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// Texts of users, for namespaces and lanes.
    pub texts: Vec<String>,
    /// The steps in order.
    pub steps: Vec<Step>,
}

/// A request, and the time that passes before it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The time in milliseconds, if the clock can be moved; negative: the clock steps back.
    pub pass_ms: i64,
    /// The partition.
    pub partition: usize,
    /// The request.
    pub action: Action,
}

/// A request to the store. Names are numbers of a pool.
#[derive(Clone, Debug)]
pub enum Action {
    /// A commit.
    Commit {
        /// Whether it finishes work.
        finish: bool,
        /// Whether two units may name one record, which is refused.
        collide: bool,
        /// The units in order.
        units: Vec<UnitPlan>,
    },
    /// A take.
    Take {
        /// The indexes.
        from: Vec<usize>,
        /// The most entries.
        count: u32,
        /// The bytes of records after which it ends.
        bytes: u32,
        /// The end of the range.
        until: UntilPlan,
        /// The time for which entries are held, in milliseconds.
        hold_ms: u64,
        /// Whether remaining entries ring a wake-up.
        ring_rest: bool,
    },
    /// A poll of an index, or of a namespace's queues, in some partitions.
    Poll {
        /// The scores to read.
        of: PollPlan,
        /// The partitions.
        partitions: Vec<usize>,
    },
    /// A read.
    Read {
        /// Records.
        records: Vec<usize>,
        /// Values.
        values: Vec<usize>,
    },
    /// A page of an index.
    Scan {
        /// The index.
        index: usize,
        /// The order.
        order: ScanOrder,
        /// The start of the page.
        after: AfterPlan,
        /// The most entries.
        limit: u32,
        /// The bytes of records after which it ends.
        bytes: u32,
    },
    /// A page of a stream.
    Stream {
        /// The stream.
        stream: usize,
        /// The start of the page.
        from: FromPlan,
        /// The most entries.
        limit: u32,
    },
    /// A request that is over the bound of this number.
    OverBound(usize),
}

/// The scores that a poll reads.
#[derive(Clone, Debug)]
pub enum PollPlan {
    /// An index.
    Index(usize),
    /// The queues of the namespace of this text, without the first ones.
    Queues(usize, u32),
    /// The counts of the namespace of this text, without the first ones.
    Counts(usize, u32),
}

/// One unit of a commit.
#[derive(Clone, Debug)]
pub struct UnitPlan {
    /// Records: the record, the expected version, and the write.
    pub records: Vec<(usize, Seen, Write)>,
    /// Both ends of the window.
    pub window: (Edge, Edge),
    /// The nonce of new versions.
    pub nonce: u64,
    /// Values to write or remove.
    pub values: Vec<(usize, Option<Vec<u8>>)>,
    /// Index entries to put or remove: index, member, score.
    pub index: Vec<(usize, usize, Option<Place>)>,
    /// Changes of counts: text of the namespace, text of the lane, number of the state, change.
    pub counts: Vec<CountPlan>,
    /// Entries for streams, and the caps of the streams with them.
    pub append: Vec<AppendPlan>,
    /// Streams to drop, except for those that are appended to.
    pub drop_streams: Vec<usize>,
    /// Wake-ups to ring.
    pub ring: Vec<Ring>,
    /// Values to return.
    pub fetch: Vec<usize>,
    /// The bytes of records that the reply to a conflict may have.
    pub conflict_bytes: u32,
}

/// A stream, an entry for it, and the caps of the stream with it.
pub type AppendPlan = (usize, Vec<u8>, CapsPlan);

/// A change of a count: text of the namespace, text of the lane, number of the state, change.
pub type CountPlan = (usize, usize, usize, i8);

/// The caps of an append.
#[derive(Clone, Debug)]
pub enum CapsPlan {
    /// Those of its stream.
    OfStream,
    /// Smaller ones, so that a few entries fill the stream; enough for the entry itself.
    Small {
        /// The most bytes.
        bytes: usize,
        /// The most entries.
        entries: usize,
        /// The greatest age in milliseconds.
        age_ms: u64,
    },
}

/// A wake-up of a unit.
#[derive(Clone, Debug)]
pub enum Ring {
    /// The executions of a namespace that are blocked by route.
    Routes(usize),
    /// The lanes of a namespace.
    Lanes(usize),
    /// A stream.
    Stream(usize),
}

/// The version that a unit expects.
#[derive(Clone, Debug)]
pub enum Seen {
    /// The present one.
    Present,
    /// The one before it.
    Stale,
    /// The present count with another nonce.
    Foreign,
    /// The present one of another record.
    Other(usize),
    /// None: the record is expected to be absent.
    Absent,
}

/// The write of a unit to a record.
#[derive(Clone, Debug)]
pub enum Write {
    /// None: the unit only checks its version.
    Keep,
    /// Writes this body.
    Put(Vec<u8>),
    /// Removes it.
    Remove,
}

/// An end of a window.
#[derive(Clone, Debug)]
pub enum Edge {
    /// Open.
    Open,
    /// The present time plus these milliseconds.
    FromNow(i64),
}

/// A score.
#[derive(Clone, Debug)]
pub enum Place {
    /// This one.
    At(i64),
    /// The present time plus these milliseconds.
    FromNow(i64),
}

/// The end of a take's range.
#[derive(Clone, Debug)]
pub enum UntilPlan {
    /// The end of the index.
    End,
    /// The store's present time.
    Now,
    /// A score.
    Score(Place),
}

/// The start of a page of an index.
#[derive(Clone, Debug)]
pub enum AfterPlan {
    /// The start of the index.
    Start,
    /// The end of the page before.
    Next,
    /// The score of a member plus this number.
    Member(usize, i64),
    /// A score and a member.
    Place(Place, usize),
}

/// The start of a page of a stream.
#[derive(Clone, Debug)]
pub enum FromPlan {
    /// The first kept entry.
    Start,
    /// After the last entry.
    End,
    /// The end of the page before.
    Next,
    /// After an existing entry, with this number added to its sequence.
    Entry(usize, u64),
    /// After an entry that can never exist.
    Beyond,
    /// Before all entries of any time.
    Zero,
    /// After an entry of another history.
    OtherHistory,
}

/// Partitions in the pool.
pub const PARTITIONS: usize = 4;
/// Members in the pool.
pub const MEMBERS: usize = 6;
/// Records in the pool: an execution and a signal for each member, one more signal, one
/// beside executions, and two records of the store itself.
pub const RECORDS: usize = 2 * MEMBERS + 4;
/// Values in the pool: two for each member, and those of two signals.
pub const VALUES: usize = 2 * MEMBERS + 2;
/// Indexes in the pool.
pub const INDEXES: usize = 13;
/// Streams in the pool.
pub const STREAMS: usize = 4;
/// Kinds of requests over a bound.
pub const OVER_BOUNDS: usize = 24;

/// Draws sequences of up to this many steps.
pub fn sequences(steps: usize) -> impl Strategy<Value = Sequence> {
    // Texts that look like parts of keys, and texts of all allowed characters.
    let text = prop_oneof!["[:0-9a-c{}]{1,6}", "[!-~]{1,64}", Just("a".to_owned())];
    (vec(text, 2), vec(step(), 1..=steps)).prop_map(|(texts, steps)| Sequence { texts, steps })
}

/// A number of a pool; the first ones are drawn most often, so that steps interact.
fn pick(pool: usize) -> impl Strategy<Value = usize> {
    prop_oneof![3 => 0..pool.min(2), 2 => 0..pool]
}

/// An index, more often one of signals: a scan finds a signal only if its record exists, too.
fn index() -> impl Strategy<Value = usize> {
    prop_oneof![4 => pick(INDEXES), 1 => names::SIGNALS]
}

fn step() -> impl Strategy<Value = Step> {
    let hour = 3_600_000;
    let pass = prop_oneof![
        8 => Just(0_i64),
        4 => 1..20_i64,
        2 => Just(5_000),
        1 => Just(hour),
        1 => Just(25 * hour),
        1 => prop::sample::select(vec![-1, -7_000, -hour]),
    ];
    let action = prop_oneof![
        12 => commit(),
        5 => take(),
        2 => (poll(), vec(0..PARTITIONS, 0..5))
            .prop_map(|(of, partitions)| Action::Poll { of, partitions }),
        2 => (vec(pick(RECORDS), 0..5), vec(pick(VALUES), 0..5))
            .prop_map(|(records, values)| Action::Read { records, values }),
        4 => scan(),
        4 => stream(),
        1 => (0..OVER_BOUNDS).prop_map(Action::OverBound),
    ];
    let partition = prop_oneof![6 => Just(0), 1 => 0..PARTITIONS];
    (pass, partition, action).prop_map(|(pass_ms, partition, action)| Step {
        pass_ms,
        partition,
        action,
    })
}

/// Contents that could be mistaken for tokens of the wire form.
const TOKENS: &[&str] = &["-", "+", "0", "nil", "\r\n", "0-0-0 ", "now"];

/// Contents of records, values and entries.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::sample::select(TOKENS).prop_map(|token| token.as_bytes().to_vec()),
        5 => vec(any::<u8>(), 0..24),
        1 => (1_000..3_000_usize, any::<u8>()).prop_map(|(length, byte)| vec![byte; length]),
    ]
}

/// Milliseconds from now: an hour or one millisecond before or after, or none.
fn offset() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![-3_600_000, -1, 0, 1, 3_600_000])
}

/// The last millisecond that is soon, and the first one that is not, before and after now.
const SOON: [i64; 4] = [-5_001, -5_000, 5_000, 5_001];

fn place() -> impl Strategy<Value = Place> {
    let extremes = vec![i64::MIN, -1_000_000_000_000, -1, 0, 1, 2, 1_000_000_000_000, i64::MAX];
    prop_oneof![
        3 => (0..4_i64).prop_map(Place::At),
        2 => prop::sample::select(extremes).prop_map(Place::At),
        3 => offset().prop_map(Place::FromNow),
        2 => prop::sample::select(SOON.to_vec()).prop_map(Place::FromNow),
    ]
}

fn commit() -> impl Strategy<Value = Action> {
    (any::<bool>(), prop::bool::weighted(0.1), vec(unit(), 1..4))
        .prop_map(|(finish, collide, units)| Action::Commit { finish, collide, units })
}

fn unit() -> impl Strategy<Value = UnitPlan> {
    let seen = prop_oneof![
        16 => Just(Seen::Present),
        1 => Just(Seen::Stale),
        1 => Just(Seen::Foreign),
        1 => pick(RECORDS).prop_map(Seen::Other),
        1 => Just(Seen::Absent),
    ];
    let write = prop_oneof![
        2 => Just(Write::Keep),
        6 => body().prop_map(Write::Put),
        1 => Just(Write::Remove),
    ];
    let edge = || offset().prop_map(Edge::FromNow);
    let hour = || Just(3_600_000_i64);
    let window = prop_oneof![
        10 => Just((Edge::Open, Edge::Open)),
        2 => hour().prop_map(|hour| (Edge::FromNow(-hour), Edge::FromNow(hour))),
        1 => edge().prop_map(|edge| (edge, Edge::Open)),
        1 => edge().prop_map(|edge| (Edge::Open, edge)),
        1 => (edge(), edge()),
    ];
    (
        vec((pick(RECORDS), seen, write), 0..4),
        window,
        any::<u64>(),
        vec((pick(VALUES), option::of(body())), 0..3),
        vec((index(), 0..MEMBERS, option::weighted(0.8, place())), 0..6),
        vec((pick(2), pick(2), pick(CountedState::ALL.len()), change()), 0..4),
        streams(),
        vec(ring(), 0..3),
        vec(pick(VALUES), 0..3),
        bytes(MAX_CONFLICT_BYTES),
    )
        .prop_map(
            |(records, window, nonce, values, index, counts, streams, ring, fetch, bytes)| {
                UnitPlan {
                    records,
                    window,
                    nonce,
                    values,
                    index,
                    counts,
                    append: streams.0,
                    drop_streams: streams.1,
                    ring,
                    fetch,
                    conflict_bytes: bytes,
                }
            },
        )
}

/// A change of a count: most are by one, so that counts return to 0.
fn change() -> impl Strategy<Value = i8> {
    prop_oneof![6 => prop::sample::select(vec![-1_i8, 1]), 1 => any::<i8>()]
}

/// Bounds on the bytes of records that the records of plans reach.
pub const BYTES: [u32; 5] = [0, 1, 40, 100, 2_000];

/// A bound on the bytes of records, at most this one.
fn bytes(most: u32) -> impl Strategy<Value = u32> {
    prop_oneof![1 => prop::sample::select(BYTES.to_vec()), 3 => Just(most)]
}

/// Entries to append to streams, and streams to drop.
fn streams() -> impl Strategy<Value = (Vec<AppendPlan>, Vec<usize>)> {
    let dropped = prop_oneof![5 => Just(Vec::new()), 1 => vec(pick(STREAMS), 1..3)];
    (vec((pick(STREAMS), body(), caps()), 0..3), dropped)
}

fn caps() -> impl Strategy<Value = CapsPlan> {
    let bytes = prop_oneof![Just(0_usize), 0..60_usize, Just(1 << 18)];
    let age_ms = prop::sample::select(vec![0, 1, 5_000, 3_600_000, 86_400_000]);
    let small = (bytes, 1..6_usize, age_ms);
    prop_oneof![
        2 => Just(CapsPlan::OfStream),
        1 => small.prop_map(|(bytes, entries, age_ms)| CapsPlan::Small { bytes, entries, age_ms }),
    ]
}

fn ring() -> impl Strategy<Value = Ring> {
    prop_oneof![
        1 => (0..2_usize).prop_map(Ring::Routes),
        1 => (0..2_usize).prop_map(Ring::Lanes),
        3 => pick(STREAMS).prop_map(Ring::Stream),
    ]
}

fn poll() -> impl Strategy<Value = PollPlan> {
    prop_oneof![
        1 => pick(INDEXES).prop_map(PollPlan::Index),
        2 => (0..2_usize, 0..3_u32).prop_map(|(text, skip)| PollPlan::Queues(text, skip)),
        2 => (0..2_usize, 0..3_u32).prop_map(|(text, skip)| PollPlan::Counts(text, skip)),
    ]
}

fn take() -> impl Strategy<Value = Action> {
    let until = prop_oneof![
        3 => Just(UntilPlan::End),
        2 => Just(UntilPlan::Now),
        2 => place().prop_map(UntilPlan::Score),
    ];
    let hold = prop::sample::select(vec![0, 1, 5_000, 3_600_000, 1 << 51, u64::MAX]);
    let queues = Just(names::QUEUES.to_vec()).prop_shuffle();
    let queues = (queues, 1..=names::QUEUES.len());
    let from = prop_oneof![
        4 => queues.prop_map(|(mut queues, count)| {
            queues.truncate(count);
            queues
        }),
        2 => prop::sample::select(names::OTHER_QUEUES.to_vec()).prop_map(|queue| vec![queue]),
        4 => Just(vec![names::DUE]),
        1 => Just(vec![names::RETENTION]),
    ];
    let take = (from, 0..6_u32, bytes(MAX_PAGE_BYTES), until, hold, any::<bool>());
    take.prop_map(|(from, count, bytes, until, hold_ms, ring_rest)| Action::Take {
        from,
        count,
        bytes,
        until,
        hold_ms,
        ring_rest,
    })
}

fn scan() -> impl Strategy<Value = Action> {
    let after = prop_oneof![
        2 => Just(AfterPlan::Start),
        3 => Just(AfterPlan::Next),
        3 => (0..MEMBERS, -1..2_i64).prop_map(|(member, more)| AfterPlan::Member(member, more)),
        2 => (place(), 0..MEMBERS).prop_map(|(place, member)| AfterPlan::Place(place, member)),
    ];
    let order = prop::sample::select(vec![ScanOrder::Ascending, ScanOrder::Descending]);
    let page = (index(), order, after, 0..5_u32, bytes(MAX_PAGE_BYTES));
    page.prop_map(|(index, order, after, limit, bytes)| Action::Scan {
        index,
        order,
        after,
        limit,
        bytes,
    })
}

fn stream() -> impl Strategy<Value = Action> {
    let from = prop_oneof![
        3 => Just(FromPlan::Start),
        1 => Just(FromPlan::End),
        4 => Just(FromPlan::Next),
        3 => (0..8_usize, 0..2_u64).prop_map(|(entry, more)| FromPlan::Entry(entry, more)),
        1 => Just(FromPlan::Beyond),
        1 => Just(FromPlan::Zero),
        1 => Just(FromPlan::OtherHistory),
    ];
    let page = (pick(STREAMS), from, 0..5_u32);
    page.prop_map(|(stream, from, limit)| Action::Stream { stream, from, limit })
}
