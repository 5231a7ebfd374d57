//! Spoils replies of the server's protocol as a broken proxy or server would.

/// How a reply is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoilage {
    /// A status reply of no call precedes it.
    Status,
    /// An error reply of no call precedes it.
    Error,
    /// Its second half is missing.
    Cut,
    /// It changes places with the reply after it.
    Swap,
    /// It is delivered twice.
    Repeat,
}

impl Spoilage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Status, Self::Error, Self::Cut, Self::Swap, Self::Repeat];
}

/// One reply of this many is spoilt.
const EVERY: u64 = 8;

/// The replies of one connection on their way.
#[derive(Debug, Default)]
pub(super) struct Spoiler {
    /// The bytes of a reply that has not arrived completely.
    rest: Vec<u8>,
    /// A reply that is delivered after the next one.
    held: Vec<u8>,
    replies: u64,
}

impl Spoiler {
    /// Whether bytes are held back, so that the next ones have to be passed too.
    pub(super) const fn is_inside(&self) -> bool {
        !self.rest.is_empty() || !self.held.is_empty()
    }

    /// Passes bytes of the server; without a spoilage only those that were held back are added.
    /// Returns the bytes to deliver and the number of replies that were spoilt.
    pub(super) fn pass(&mut self, bytes: &[u8], spoilage: Option<Spoilage>) -> (Vec<u8>, u64) {
        self.rest.extend_from_slice(bytes);
        let (mut out, mut spoilt) = (Vec::new(), 0);
        while let Some(length) = reply_length(&self.rest) {
            let reply: Vec<u8> = self.rest.drain(..length).collect();
            self.replies += 1;
            let now = spoilage.filter(|_| self.replies.is_multiple_of(EVERY));
            spoilt += u64::from(now.is_some());
            match now {
                Some(Spoilage::Status) => out.extend_from_slice(b"+OK\r\n"),
                Some(Spoilage::Error) => out.extend_from_slice(b"-ERR no call\r\n"),
                Some(Spoilage::Repeat) => out.extend_from_slice(&reply),
                Some(Spoilage::Swap) if self.held.is_empty() => {
                    self.held = reply;
                    continue;
                }
                Some(Spoilage::Cut) => {
                    out.extend_from_slice(&reply[..reply.len() / 2]);
                    continue;
                }
                Some(Spoilage::Swap) | None => {}
            }
            out.extend_from_slice(&reply);
            out.append(&mut self.held);
        }
        (out, spoilt)
    }
}

/// The length of the first reply, once all of it has arrived.
fn reply_length(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).ok()?.parse::<i64>().ok();
    match bytes[0] {
        b'$' => {
            let length =
                number().map_or(line, |n| if n < 0 { line } else { line + n as usize + 2 });
            (bytes.len() >= length).then_some(length)
        }
        b'*' | b'>' | b'~' => {
            let mut end = line;
            for _ in 0..number().unwrap_or(0).max(0) {
                end += reply_length(&bytes[end..])?;
            }
            Some(end)
        }
        _ => Some(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[u8] = b"*2\r\n:1\r\n$3\r\nabc\r\n+OK\r\n$-1\r\n";

    /// However the bytes are split, replies pass unchanged without a spoilage.
    #[test]
    fn replies_pass_unchanged_in_any_pieces() {
        for size in 1..REPLIES.len() {
            let mut spoiler = Spoiler::default();
            let passed = REPLIES.chunks(size).flat_map(|piece| spoiler.pass(piece, None).0);
            assert_eq!(passed.collect::<Vec<u8>>(), REPLIES, "pieces of {size}");
            assert!(!spoiler.is_inside());
        }
    }

    #[test]
    fn one_reply_of_eight_is_spoilt() {
        let all: Vec<u8> = (1..=10).flat_map(|n| format!(":{n}\r\n").into_bytes()).collect();
        let spoilt = Spoilage::ALL.map(|spoilage| {
            let (out, spoilt) = Spoiler::default().pass(&all, Some(spoilage));
            assert_eq!(spoilt, 1);
            String::from_utf8(out).unwrap().replace("\r\n", " ")
        });
        assert_eq!(
            spoilt,
            [
                ":1 :2 :3 :4 :5 :6 :7 +OK :8 :9 :10 ",
                ":1 :2 :3 :4 :5 :6 :7 -ERR no call :8 :9 :10 ",
                ":1 :2 :3 :4 :5 :6 :7 :8:9 :10 ",
                ":1 :2 :3 :4 :5 :6 :7 :9 :8 :10 ",
                ":1 :2 :3 :4 :5 :6 :7 :8 :8 :9 :10 ",
            ]
        );
    }
}
