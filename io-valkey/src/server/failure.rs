//! Classifies the errors of a server: whether the call may have been applied, and the remedy.
//!
//! | error | class | remedy |
//! | --- | --- | --- |
//! | no connection | `NotSent` | refresh the slots; the next call connects again |
//! | broken connection, no reply in time | `MaybeApplied` | the same; replace the connection |
//! | a node that is late for a poll | `MaybeApplied` | refresh the slots; ask it in the next poll |
//! | an error raised inside a function that writes | `MaybeApplied` | |
//! | the same inside a function that only reads | `Refused` | |
//! | `non local key` inside a function | `MaybeApplied` | refresh the slots |
//! | a malformed reply | `MaybeApplied` | |
//! | `Function not found` | `Refused` | load the library and repeat the call, once |
//! | `MOVED` | `Refused` | refresh the slots and follow, at most five times for a call |
//! | `ASK` | `Refused` | send this call to the other node, once for each such reply |
//! | `TRYAGAIN` | `Refused` | the operation tries again: its slot is being moved |
//! | `CLUSTERDOWN`, `MASTERDOWN` | `Refused` | refresh the slots |
//! | `READONLY`, or a replica's role | `Refused` | replace the connection, look the primary up |
//! | `LOADING`, `BUSY` | `Refused` | the operation tries again |
//! | `OOM`, `MISCONF`, `NOREPLICAS` | `Refused` | the operation tries again |
//! | `NOAUTH`, `WRONGPASS`, `NOPERM`, a certificate, TLS | `Refused` | lasts: a client gives up |
//! | a right that a function lacks | as other errors inside it | |
//! | any other error before the function begins | `Refused` | |
//!
//! The server did not begin a refused call, so nothing was applied. Operations repeat refused calls
//! until their deadline, with backoff, since each of these errors can be fixed meanwhile.
//!
//! A function may have written before it reaches a command that its user has no right to. So a
//! program checks its rights when it connects, and reports the missing ones.

use std::error::Error;
use std::sync::Arc;

use ff_core::store::Failure;
use redis::{ErrorKind, RedisError, ServerError};
use rustls::CertificateError;

use super::stream::Greeting;

/// The remedy for an error before it is returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Nothing.
    Return,
    /// Load the library and repeat the call.
    Load,
    /// Refresh the slots and follow.
    Moved,
    /// Send this call to the other node.
    Ask,
    /// Refresh the slots, or ask the sentinels.
    Refresh,
}

/// Classifies an error reply; `only_reads` is true for a call that writes nothing.
pub(super) fn classify(error: &ServerError, node: &str, only_reads: bool) -> (Failure, Remedy) {
    let (code, details) = (error.code(), error.details().unwrap_or_default());
    let message = match in_words(code) {
        Some(words) => format!("{node}: {code} {details} ({words})"),
        None => format!("{node}: {code} {details}"),
    };
    let remedy = match code {
        "ERR" if details.starts_with("Function not found") => Remedy::Load,
        "MOVED" => Remedy::Moved,
        "ASK" => Remedy::Ask,
        "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" => Remedy::Refresh,
        _ if details.contains("non local key") => Remedy::Refresh,
        _ => Remedy::Return,
    };
    // The server marks errors raised inside a function, which may have written a unit.
    let inside = details.contains("script: ff_") || details.contains("user_function:");
    // These are raised before a function begins, even if they name it.
    let before = matches!(code, "OOM" | "MISCONF" | "NOREPLICAS" | "READONLY" | "LOADING" | "BUSY");
    let maybe = inside && !before && !only_reads;
    (if maybe { Failure::MaybeApplied(message) } else { Failure::Refused(message) }, remedy)
}

/// Whether a refusal ends by itself: the server starts, is busy, or has no room at the moment.
pub(super) fn is_passing(refused: &str) -> bool {
    const PASSING: [&str; 7] =
        ["LOADING", "BUSY", "CLUSTERDOWN", "MASTERDOWN", "OOM", "MISCONF", "NOREPLICAS"];
    // The message begins with the node.
    refused.split_whitespace().nth(1).is_some_and(|code| PASSING.contains(&code))
}

/// The meaning of a code for a person, if it is about the state of the server or about access.
pub(super) fn in_words(code: &str) -> Option<&'static str> {
    Some(match code {
        "WRONGPASS" => "the server refuses the user name or the password",
        "NOAUTH" => "the server wants a password: put it in the URL, as in valkey://:PASSWORD@HOST",
        "NOPERM" => "the user lacks a right: grant all of docs/valkey.md, Access",
        "DENIED" => "the server takes only connections from its host",
        "READONLY" => "the server is a replica and takes no writes",
        "NOREPLICAS" => {
            "the server has too few replicas (min-replicas-to-write), and takes no writes"
        }
        "MISCONF" => "the server cannot save its data, and takes no writes",
        "OOM" => "the server's memory is full (maxmemory), and it takes no writes",
        "LOADING" => "the server is loading its data",
        "BUSY" => "the server is busy with a long script",
        "CLUSTERDOWN" => "the cluster serves no calls at present",
        "MASTERDOWN" => "the server has lost its primary",
        _ => return None,
    })
}

/// Returns whether a refusal, the text of a [`Failure::Refused`], is about access: credentials,
/// rights, a certificate, TLS, or the database. Such a refusal lasts until an operator corrects it.
pub fn is_access_refused(refused: &str) -> bool {
    const ACCESS: [&str; 7] =
        ["WRONGPASS", "NOAUTH", "NOPERM", "DENIED", "CERTIFICATE", "TLS", "DB"];
    // The message begins with the node.
    refused.split_whitespace().nth(1).is_some_and(|code| ACCESS.contains(&code))
}

/// The TLS error in an error of connecting.
fn tls_error(error: &RedisError) -> Option<&rustls::Error> {
    let source = error.source()?.downcast_ref::<Arc<dyn Error + Send + Sync>>()?;
    source.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// Whether the server has answered to TLS with something else.
pub(super) fn is_not_tls(error: &RedisError) -> bool {
    matches!(tls_error(error), Some(rustls::Error::InvalidMessage(_)))
}

/// Classifies an error of connecting. `greeting` is how the server answers to another connection.
pub(super) fn not_connected(
    error: &RedisError,
    greeting: Option<&Greeting>,
    node: &str,
) -> Failure {
    match (greeting, tls_error(error)) {
        (Some(Greeting::Error(said)), _) if said.starts_with("DENIED ") => {
            let words = in_words("DENIED").unwrap_or_default();
            Failure::Refused(format!("{node}: {said} ({words})"))
        }
        (Some(Greeting::Error(said)), _) => {
            Failure::NotSent(format!("cannot connect to {node}: {said}"))
        }
        (Some(Greeting::Plain), _) => Failure::Refused(format!(
            "{node}: TLS the server answers without TLS: use valkey:// instead of valkeys://, or \
             the server's port for TLS"
        )),
        (Some(Greeting::Tls), _) => Failure::Refused(format!(
            "{node}: TLS the server answers in TLS: use valkeys:// instead of valkey://"
        )),
        (None, Some(rustls::Error::InvalidCertificate(why))) => {
            let hint = match why {
                // The latter is a self-signed certificate.
                CertificateError::UnknownIssuer | CertificateError::Other(_) => {
                    "; if you trust it, name it or its authority in SSL_CERT_FILE"
                }
                _ => "",
            };
            Failure::Refused(format!("{node}: CERTIFICATE {error}{hint}"))
        }
        (None, Some(rustls::Error::AlertReceived(_))) => {
            Failure::Refused(format!("{node}: CERTIFICATE {error}"))
        }
        _ if error.kind() == ErrorKind::AuthenticationFailed => {
            let words = in_words("WRONGPASS").unwrap_or_default();
            Failure::Refused(format!("{node}: WRONGPASS {words}"))
        }
        _ if error.to_string().contains("switch database") => Failure::Refused(format!(
            "{node}: DB the server has no database of this number: its setting `databases` limits \
             them, and a cluster has only 0"
        )),
        _ if error.is_timeout() => {
            Failure::NotSent(format!("cannot connect to {node}: it does not answer"))
        }
        _ => Failure::NotSent(format!("cannot connect to {node}: {error}")),
    }
}

/// Classifies an error of the connection on which a call was sent.
pub(super) fn broken(error: &RedisError, node: &str) -> Failure {
    Failure::MaybeApplied(format!("{node}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the error is refused, and its remedy.
    fn classified(line: &str, only_reads: bool) -> (bool, Remedy) {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        let redis::Value::ServerError(error) = value else { panic!("{value:?}") };
        let (failure, remedy) = classify(&error, "node", only_reads);
        (matches!(failure, Failure::Refused(_)), remedy)
    }

    /// The texts are those of Valkey 8.0 and Redis 7.0.
    #[test]
    fn errors_are_classified_by_their_code_and_origin() {
        let refused = [
            ("ERR Function not found", Remedy::Load),
            ("MOVED 3999 127.0.0.1:6381", Remedy::Moved),
            ("ASK 3999 127.0.0.1:6381", Remedy::Ask),
            ("TRYAGAIN Multiple keys request during rehashing of slot", Remedy::Return),
            ("CLUSTERDOWN The cluster is down", Remedy::Refresh),
            ("CLUSTERDOWN Hash slot not served", Remedy::Refresh),
            ("MASTERDOWN Link with MASTER is down", Remedy::Refresh),
            ("READONLY You can't write against a read only replica.", Remedy::Refresh),
            ("LOADING Valkey is loading the dataset in memory", Remedy::Return),
            ("BUSY Valkey is busy running a script.", Remedy::Return),
            ("OOM command not allowed when used memory > 'maxmemory'.", Remedy::Return),
            ("MISCONF Errors writing to the AOF file: No space left on device", Remedy::Return),
            ("NOREPLICAS Not enough good replicas to write.", Remedy::Return),
            ("NOAUTH Authentication required.", Remedy::Return),
            ("NOPERM User x has no permissions to run the 'fcall' command", Remedy::Return),
            ("ERR unknown command 'FCALL', with args beginning with: 'x'", Remedy::Return),
        ];
        for (line, remedy) in refused {
            assert_eq!(classified(line, false), (true, remedy), "{line}");
        }
        let inside = "script: ff_commit_1, on @user_function:120.";
        let maybe = [
            (format!("WRONGTYPE Operation against a key {inside}"), Remedy::Return),
            (format!("ERR user_function:99: a score is not an integer {inside}"), Remedy::Return),
            (
                format!(
                    "ERR Script attempted to access a non local key in a cluster node {inside}"
                ),
                Remedy::Refresh,
            ),
            (
                format!("ERR ACL failure in script: User x has no permissions {inside}"),
                Remedy::Return,
            ),
            (
                format!("ERR The user executing the script can't run this command {inside}"),
                Remedy::Return,
            ),
        ];
        for (line, remedy) in maybe {
            assert_eq!(classified(&line, false), (false, remedy), "{line}");
            assert_eq!(classified(&line, true), (true, remedy), "{line}");
        }
    }

    #[test]
    fn refused_access_lasts() {
        for (line, lasts) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", true),
            ("NOAUTH Authentication required.", true),
            ("NOPERM User x has no permissions to run the 'fcall' command", true),
            ("LOADING Valkey is loading the dataset in memory", false),
            ("READONLY You can't write against a read only replica.", false),
            ("", false),
        ] {
            assert_eq!(is_access_refused(&format!("127.0.0.1:6379: {line}")), lasts, "{line}");
        }
        let error = RedisError::from((ErrorKind::AuthenticationFailed, "failed"));
        let refused = not_connected(&error, None, "node");
        assert!(matches!(&refused, Failure::Refused(text) if is_access_refused(text)));
        let invalid = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let error = RedisError::from(std::io::Error::other(invalid));
        let refused = not_connected(&error, None, "node");
        assert!(matches!(&refused, Failure::Refused(text) if is_access_refused(text)), "{refused}");
        // The server refuses the connection, not the password that it was sent.
        let error = RedisError::from((ErrorKind::AuthenticationFailed, "failed"));
        let said = Greeting::Error("ERR max number of clients reached".to_owned());
        let full = not_connected(&error, Some(&said), "node");
        assert!(matches!(full, Failure::NotSent(_)), "{full}");
    }

    #[test]
    fn a_server_that_starts_or_has_no_room_is_tried_again() {
        for (line, passes) in [
            ("LOADING Valkey is loading the dataset in memory", true),
            ("OOM command not allowed when used memory > 'maxmemory'.", true),
            ("NOPERM User x has no permissions to run the 'fcall' command", false),
            ("ERR Library 'ff' already exists", false),
            ("", false),
        ] {
            assert_eq!(is_passing(&format!("127.0.0.1:6379: {line}")), passes, "{line}");
        }
    }
}
