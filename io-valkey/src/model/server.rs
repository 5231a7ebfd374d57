//! The model of a server: its commands by name, its clock and its channels, around the keyspace.

use ff_core::time::TimestampMs;

use super::answer::{Answer, CommandError, integer};
use super::keyspace::Keyspace;

/// The arguments of a command that are keys.
enum Keys {
    None,
    First,
    All,
    /// The first, the third, and so on.
    Odd,
}

/// A command that the library may call.
struct Command {
    name: &'static str,
    /// The number of arguments, with the name; negative: the least number.
    arity: i32,
    writes: bool,
    keys: Keys,
    run: fn(&mut Server, &[&[u8]]) -> Result<Answer, CommandError>,
}

const fn reads(
    name: &'static str,
    arity: i32,
    keys: Keys,
    run: fn(&mut Server, &[&[u8]]) -> Result<Answer, CommandError>,
) -> Command {
    Command { name, arity, writes: false, keys, run }
}

const fn writes(
    name: &'static str,
    arity: i32,
    keys: Keys,
    run: fn(&mut Server, &[&[u8]]) -> Result<Answer, CommandError>,
) -> Command {
    Command { name, arity, writes: true, keys, run }
}

const COMMANDS: &[Command] = &[
    reads("EXISTS", -2, Keys::All, |server, args| Ok(server.keyspace.count_present(args))),
    reads("GET", 2, Keys::First, |server, args| server.keyspace.get_text(args[0])),
    reads("GETRANGE", 4, Keys::First, |server, args| {
        server.keyspace.text_range(args[0], integer(args[1])?, integer(args[2])?)
    }),
    reads("MGET", -2, Keys::All, |server, args| Ok(server.keyspace.get_texts(args))),
    reads("STRLEN", 2, Keys::First, |server, args| server.keyspace.text_length(args[0])),
    writes("MSET", -3, Keys::Odd, |server, args| server.keyspace.set_texts(args)),
    writes("UNLINK", -2, Keys::All, |server, args| Ok(server.keyspace.unlink(args))),
    reads("LINDEX", 3, Keys::First, |server, args| {
        server.keyspace.element(args[0], integer(args[1])?)
    }),
    reads("LLEN", 2, Keys::First, |server, args| server.keyspace.list_length(args[0])),
    reads("LRANGE", 4, Keys::First, |server, args| {
        server.keyspace.elements(args[0], integer(args[1])?, integer(args[2])?)
    }),
    writes("LTRIM", 4, Keys::First, |server, args| {
        server.keyspace.trim(args[0], integer(args[1])?)
    }),
    writes("RPUSH", -3, Keys::First, |server, args| server.keyspace.push(args[0], &args[1..])),
    reads("ZCARD", 2, Keys::First, |server, args| server.keyspace.scored_length(args[0])),
    reads("ZCOUNT", 4, Keys::First, |server, args| {
        server.keyspace.count_scored(args[0], args[1], args[2])
    }),
    reads("ZRANGE", -4, Keys::First, |server, args| {
        server.keyspace.range(args[0], args[1], args[2], &args[3..])
    }),
    reads("ZRANK", 3, Keys::First, |server, args| server.keyspace.rank(args[0], args[1])),
    reads("ZSCORE", 3, Keys::First, |server, args| server.keyspace.score(args[0], args[1])),
    writes("ZADD", -4, Keys::First, |server, args| server.keyspace.add_scored(args[0], &args[1..])),
    writes("ZREM", -3, Keys::First, |server, args| {
        server.keyspace.remove_scored(args[0], &args[1..])
    }),
    reads("INFO", 2, Keys::None, |server, args| server.info(args[0])),
    reads("TIME", 1, Keys::None, |server, _| Ok(server.time())),
    // It changes no key, but it is replicated.
    writes("PUBLISH", 3, Keys::None, |server, args| Ok(server.publish(args[0], args[1]))),
];

/// A server without its network.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) keyspace: Keyspace,
    /// Its clock, which does not advance while a function runs.
    pub(super) now: TimestampMs,
    /// Its replication id.
    pub(super) history: u64,
    /// The published channels and messages, in order.
    pub(super) published: Vec<(Vec<u8>, Vec<u8>)>,
    /// Whether the running function must not write.
    read_only: bool,
    /// The hash tag of the keys of the running function.
    tag: Option<Vec<u8>>,
}

impl Server {
    pub(super) fn new(history: u64) -> Self {
        Self {
            keyspace: Keyspace::default(),
            now: TimestampMs::ZERO,
            history,
            published: Vec::new(),
            read_only: false,
            tag: None,
        }
    }

    /// Begins a function.
    pub(super) fn begin(&mut self, read_only: bool) {
        self.read_only = read_only;
        self.tag = None;
    }

    /// Runs a command for a function.
    pub(super) fn call(&mut self, command: &[&[u8]]) -> Result<Answer, CommandError> {
        let [name, args @ ..] = command else {
            return Err(CommandError(
                "ERR Please specify at least one argument for this redis lib call script",
            ));
        };
        let named = |command: &&Command| name.eq_ignore_ascii_case(command.name.as_bytes());
        let count = i32::try_from(command.len()).unwrap_or(i32::MAX);
        let command = COMMANDS.iter().find(named);
        let command =
            command.ok_or(CommandError("ERR Unknown Redis command called from script"))?;
        if if command.arity < 0 { count < -command.arity } else { count != command.arity } {
            return Err(CommandError("ERR Wrong number of args calling Redis command from script"));
        }
        if command.writes && self.read_only {
            return Err(CommandError("ERR Write commands are not allowed from read-only scripts."));
        }
        let (count, step) = match command.keys {
            Keys::None => (0, 1),
            Keys::First => (1, 1),
            Keys::All => (args.len(), 1),
            Keys::Odd => (args.len(), 2),
        };
        args[..count].iter().step_by(step).try_for_each(|key| self.touch(key))?;
        (command.run)(self, args)
    }

    /// Checks that all keys of a function share one slot. A cluster checks it in most cases, a
    /// standalone server never; the model always.
    fn touch(&mut self, key: &[u8]) -> Result<(), CommandError> {
        let tag = hash_tag(key);
        match &self.tag {
            None => self.tag = Some(tag.to_vec()),
            Some(first) if first == tag => {}
            Some(_) => {
                return Err(CommandError(
                    "ERR Script attempted to access keys that do not hash to the same slot",
                ));
            }
        }
        Ok(())
    }

    fn time(&self) -> Answer {
        let now = self.now.get();
        let part = |number: u64| Answer::Text(number.to_string().into_bytes());
        Answer::List(vec![part(now / 1_000), part(now % 1_000 * 1_000)])
    }

    fn info(&self, section: &[u8]) -> Result<Answer, CommandError> {
        if !section.eq_ignore_ascii_case(b"replication") {
            return Err(CommandError("ERR the model has only the INFO section replication"));
        }
        let info = format!(
            "# Replication\r\nrole:master\r\nmaster_replid:{:016x}{:024x}\r\n",
            self.history, 0
        );
        Ok(Answer::Text(info.into_bytes()))
    }

    /// Records the message.
    fn publish(&mut self, channel: &[u8], message: &[u8]) -> Answer {
        self.published.push((channel.to_vec(), message.to_vec()));
        Answer::Integer(0)
    }
}

/// The part of a key that determines its slot: the text between its first braces, or all of it.
fn hash_tag(key: &[u8]) -> &[u8] {
    let open = key.iter().position(|byte| *byte == b'{');
    let rest = open.map_or(&key[..0], |open| &key[open + 1..]);
    match rest.iter().position(|byte| *byte == b'}') {
        Some(end) if end > 0 => &rest[..end],
        _ => key,
    }
}
