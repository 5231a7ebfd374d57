//! What an error of a server means: sent or not, applied or not, and what to do about it.
//!
//! | error | sorted as | and then |
//! | --- | --- | --- |
//! | no connection | `NotSent` | the slots are asked for again, the next call connects again |
//! | broken connection, no reply in time | `MaybeApplied` | the same; the connection is replaced |
//! | an error raised inside a function that writes | `MaybeApplied` | |
//! | the same inside one that only reads | `Refused` | |
//! | `non local key` inside a function | `MaybeApplied` | the slots are asked for again |
//! | a reply in another form | `MaybeApplied` | |
//! | `Function not found` | `Refused` | the library is loaded and the call repeated, once |
//! | `MOVED` | `Refused` | the slots are asked for again, the call follows, at most five times |
//! | `ASK` | `Refused` | the call goes to the other node, once for each such answer |
//! | `TRYAGAIN` | `Refused` | the operation tries again: its slot is being moved |
//! | `CLUSTERDOWN`, `MASTERDOWN` | `Refused` | the slots are asked for again |
//! | `READONLY` | `Refused` | a replica now: the connection is replaced, the slots asked for |
//! | `LOADING`, `BUSY` | `Refused` | the operation tries again |
//! | `OOM`, `MISCONF`, `NOREPLICAS` | `Refused` | the operation tries again |
//! | `NOAUTH`, `WRONGPASS`, `NOPERM` | `Refused` | |
//! | a right that a function lacks | as other errors inside it | |
//! | any other error before the function begins | `Refused` | |
//!
//! A refused call was not begun, so nothing was applied. Operations repeat what was refused until
//! their deadline, with growing waits, since each of these can be mended meanwhile.
//!
//! A function may have written before it comes to a command that its user has no right to. So
//! rights are looked at when a program connects, which says at once what is missing.

use ff_core::store::Failure;
use redis::{RedisError, ServerError};

/// What to do about an error before it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    Tell,
    /// Load the library and call again.
    Load,
    /// Learn the slots anew and follow.
    Moved,
    /// Call the other node once.
    Ask,
    /// Learn the slots anew.
    Refresh,
    /// Replace the connection and learn the slots anew.
    Demoted,
}

/// What an error reply means, to a call that only reads or to another.
pub(super) fn sort(error: &ServerError, node: &str, only_reads: bool) -> (Failure, Remedy) {
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    let message = format!("{node} says {code} {details}");
    let remedy = match code {
        "ERR" if details.starts_with("Function not found") => Remedy::Load,
        "MOVED" => Remedy::Moved,
        "ASK" => Remedy::Ask,
        "CLUSTERDOWN" | "MASTERDOWN" => Remedy::Refresh,
        "READONLY" => Remedy::Demoted,
        _ if details.contains("non local key") => Remedy::Refresh,
        _ => Remedy::Tell,
    };
    // The server says so where an error was raised inside a function; a unit may be written then.
    let inside = details.contains("script: ff_") || details.contains("user_function:");
    // These are raised for a function as a whole, also where they name it.
    let before = matches!(code, "OOM" | "MISCONF" | "NOREPLICAS" | "READONLY" | "LOADING" | "BUSY");
    let maybe = inside && !before && !only_reads;
    (if maybe { Failure::MaybeApplied(message) } else { Failure::Refused(message) }, remedy)
}

/// What an error of the connection means for a call that was handed to it.
pub(super) fn broken(error: &RedisError, node: &str) -> Failure {
    Failure::MaybeApplied(format!("{node}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sorted(line: &str) -> (bool, Remedy) {
        sorted_of(line, false)
    }

    fn sorted_of(line: &str, only_reads: bool) -> (bool, Remedy) {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let redis::Value::ServerError(error) = value else { panic!("{value:?}") };
        let (failure, remedy) = sort(&error, "node", only_reads);
        (matches!(failure, Failure::Refused(_)), remedy)
    }

    /// As Valkey 8.0 and Redis 7.0 write them.
    #[test]
    fn errors_are_sorted_by_what_they_mean() {
        let refused = [
            ("ERR Function not found", Remedy::Load),
            ("MOVED 3999 127.0.0.1:6381", Remedy::Moved),
            ("ASK 3999 127.0.0.1:6381", Remedy::Ask),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Remedy::Tell),
            ("CLUSTERDOWN The cluster is down", Remedy::Refresh),
            ("CLUSTERDOWN Hash slot not served", Remedy::Refresh),
            ("MASTERDOWN Link with MASTER is down", Remedy::Refresh),
            ("READONLY You can't write against a read only replica.", Remedy::Demoted),
            ("LOADING Valkey is loading the dataset in memory", Remedy::Tell),
            ("BUSY Valkey is busy running a script.", Remedy::Tell),
            ("OOM command not allowed when used memory > 'maxmemory'.", Remedy::Tell),
            ("MISCONF Errors writing to the AOF file: No space left on device", Remedy::Tell),
            ("NOREPLICAS Not enough good replicas to write.", Remedy::Tell),
            ("NOAUTH Authentication required.", Remedy::Tell),
            ("NOPERM User x has no permissions to run the 'fcall' command", Remedy::Tell),
            ("ERR unknown command 'FCALL', with args beginning with: 'x'", Remedy::Tell),
        ];
        for (line, remedy) in refused {
            assert_eq!(sorted(line), (true, remedy), "{line}");
        }
        let inside = "script: ff_commit_1, on @user_function:120.";
        let maybe = [
            (format!("WRONGTYPE Operation against a key {inside}"), Remedy::Tell),
            (format!("ERR user_function:99: a score is no integer {inside}"), Remedy::Tell),
            (
                format!(
                    "ERR Script attempted to access a non local key in a cluster node {inside}"
                ),
                Remedy::Refresh,
            ),
            (
                format!("ERR ACL failure in script: User x has no permissions {inside}"),
                Remedy::Tell,
            ),
            (
                format!("ERR The user executing the script can't run this command {inside}"),
                Remedy::Tell,
            ),
        ];
        for (line, remedy) in maybe {
            assert_eq!(sorted(&line), (false, remedy), "{line}");
            assert_eq!(sorted_of(&line, true), (true, remedy), "{line}");
        }
    }
}
